package hamt

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime/debug"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/alloc/region"
	"github.com/seed-869cc763/shmkv/internal/nodetest"
	"github.com/seed-869cc763/shmkv/node"
)

// provoke calls all functions that read, then all functions that write, on memory
// that may be anything. They must not panic or hang, and an error must be a
// region.CorruptError. They may write anything below end, but nothing beyond it.
func provoke(t testing.TB, mem region.Mem, end uint64, root node.Ref, keys [][]byte) {
	r := NewReader(mem, end)
	hs, out := make([]uint64, len(keys)), make([]node.Result, len(keys))
	for i, k := range keys {
		hs[i] = sip(k)
		l, st := r.Find(root, hs[i], k)
		if st == node.Present && l.Off+l.Size() > end {
			t.Fatalf("leaf %+v lies outside of %#x", l, end)
		}
		nodetest.RequireCorruptOrNil(t, r.Explain(root, hs[i], k))
		if st == node.Damaged && r.Explain(root, hs[i], k) == nil {
			t.Fatalf("Find met damage that Explain does not see")
		}
	}
	r.FindMany(root, hs, keys, out)
	for _, o := range out {
		if o.Status == node.Present && o.Leaf.Off+o.Leaf.Size() > end {
			t.Fatalf("leaf %+v lies outside of %#x", o.Leaf, end)
		}
	}
	nodetest.RequireCorruptOrNil(t, r.Walk(root, func(l node.Leaf) bool {
		_, _ = r.Key(l), r.Value(l)
		return l.Off+l.Size() <= end
	}))
	for _, h := range hs {
		nodetest.RequireCorruptOrNil(t, r.WalkFrom(root, Position(h), func(l node.Leaf) bool {
			_, _ = r.Key(l), r.Value(l)
			return l.Off+l.Size() <= end
		}))
	}
	_, err := r.Check(root, 1<<40, sip, node.Extra{}, func(n node.Node) error {
		nodetest.RequireCorruptOrNil(t, r.CheckSum(n.Leaf))
		return nil
	})
	nodetest.RequireCorruptOrNil(t, err)
	visited := 0
	if err := r.Newer(root, 0, func(n node.Node) error {
		if visited++; visited > 1000 || n.Ref.Off()+n.Size > end {
			return errVisited
		}
		return nil
	}); err != errVisited {
		nodetest.RequireCorruptOrNil(t, err)
	} else if visited <= 1000 {
		t.Fatalf("a node lies outside of %#x", end)
	}
	for _, other := range []node.Ref{0, root ^ 8, node.Ref(mem.Word(64))} {
		nodetest.RequireCorruptOrNil(t, r.Diff(root, other, sip, func(_, _ node.Leaf) bool { return true }))
		nodetest.RequireCorruptOrNil(t, r.Diff(other, root, sip, func(_, _ node.Leaf) bool { return true }))
		nodetest.RequireCorruptOrNil(t, Join(r, other, r, root, sip, func(_, _ node.Leaf) bool { return true }))
	}

	tx := &Tx{}
	tx.Reset(r, &nodetest.Drain{R: r.Reader}, sip, node.Tree{Root: root})
	for i, k := range keys {
		_, _, err := tx.Set(hs[i], k, []byte("value"))
		nodetest.RequireCorruptOrNil(t, err)
		_, err = tx.Rebase(r, node.Tree{Root: root}, hs[i], 1<<40)
		nodetest.RequireCorruptOrNil(t, err)
		_, _, err = tx.Delete(hs[i], k)
		nodetest.RequireCorruptOrNil(t, err)
		nodetest.RequireCorruptOrNil(t, tx.Seal(hs))
		_, err = tx.RebaseMany(r, node.Tree{Root: root}, 1<<40)
		nodetest.RequireCorruptOrNil(t, err)
	}
	for _, size := range []uint64{16, 40, 64, nodetest.ClassSize(r.End)} {
		tx.Reset(r, &nodetest.Drain{R: r.Reader}, sip, node.Tree{Root: root})
		_, _, err := move(tx, root.Off()&^7%end, size)
		nodetest.RequireCorruptOrNil(t, err)
		_, _, err = move(tx, size, size)
		nodetest.RequireCorruptOrNil(t, err)
	}
	nodetest.RequireGuard(t, mem, end)
}

var errVisited = errors.New("visited")

func someKeys() [][]byte {
	keys := [][]byte{{}, []byte("a"), make([]byte, 9), make([]byte, 300)}
	for i := range 12 {
		keys = append(keys, fmt.Append(nil, i))
	}
	return keys
}

// FuzzHostile runs provoke with any bytes as memory and any root.
func FuzzHostile(f *testing.F) {
	f.Add(make([]byte, 256), uint64(65))
	f.Add([]byte("a region of which nothing makes sense, long enough to hold a node or two"), uint64(0xabcd_0000_0000_0013))
	// A branch that is its own child at each index.
	self := make([]uint64, 80)
	self[1] = ^uint64(0)
	for i := 2; i < len(self); i++ {
		self[i] = uint64(node.KindBranch)
	}
	f.Add(nodetest.ToBytes(self), uint64(node.KindBranch))
	f.Fuzz(func(t *testing.T, p []byte, root uint64) {
		words := append(nodetest.ToWords(p[:min(len(p), 1<<15)], maxBranch/node.WordSize), make([]uint64, 8)...)
		mem, end := nodetest.HostileRegion(words)
		provoke(t, mem, end, node.Ref(root), someKeys())
	})
}

// TestBrokenTries runs provoke on a sound trie in which one word was overwritten with
// a value that is likely to mislead.
func TestBrokenTries(t *testing.T) {
	rnd := rand.New(rand.NewPCG(11, 0))
	s := newSubject(t, 1<<16, sip)
	for i := range 40 {
		s.tx.Extra.Flags = uint64(i%2) * node.HasSum
		s.set(fmt.Sprint(i), "value")
	}
	s.commit()
	sound := s.heap.Words()
	for range 3000 / slow {
		words := append([]uint64(nil), sound...)
		for range 1 + rnd.IntN(3) {
			nodetest.Break(rnd, words, s.tx.Root, node.KindBranch)
		}
		mem, end := nodetest.HostileRegion(words)
		provoke(t, mem, end, s.tx.Root, someKeys())
	}
}

// TestFindBesideReuse runs lookups in memory that changes meanwhile, as blocks that are
// reused under an optimistic reader do. The lookups must end, and the leaf that they
// return must lie within the region. Their results mean nothing.
func TestFindBesideReuse(t *testing.T) {
	s := newSubject(t, 1<<16, hashes["few"])
	for i := range 100 {
		s.set(fmt.Sprint(i), "value")
	}
	s.commit()
	mem, end := nodetest.HostileRegion(make([]uint64, s.heap.Top/8))
	mem.Write(0, s.heap.Mem.Bytes(0, end))

	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		rnd := rand.New(rand.NewPCG(1, 0))
		words := int(end / 8)
		for {
			select {
			case <-stop:
				return
			default:
			}
			i, j := uint64(rnd.IntN(words)), uint64(rnd.IntN(words))
			w := s.heap.Mem.Word(8 * j)
			if rnd.IntN(4) == 0 {
				w ^= 1 << rnd.IntN(64)
			}
			mem.SetWord(8*i, w)
			mem.SetWord(8*j, s.heap.Mem.Word(8*j)) // and back
		}
	}()
	r := NewReader(mem, end)
	keys := someKeys()
	hs, out := make([]uint64, len(keys)), make([]node.Result, len(keys))
	for i, k := range keys {
		hs[i] = s.hash(k)
	}
	met := map[node.Status]int{}
	for range 20000 / slow {
		for i, k := range keys {
			l, st := r.Find(s.tx.Root, hs[i], k)
			met[st]++
			require.LessOrEqual(t, l.Off+l.Size(), end)
		}
		r.FindMany(s.tx.Root, hs, keys, out)
		s.tx.Warm(hs)
		for _, o := range out {
			require.LessOrEqual(t, o.Leaf.Off+o.Leaf.Size(), end)
		}
	}
	close(stop)
	<-done
	t.Log("met:", met)
}

// TestEveryFlippedBitIsSeen checks that Check detects each flipped bit in each node of a
// trie, except in values and births. An older birth can be valid. A leaf without a
// checksum that gets the flag of one has a wrong one.
func TestEveryFlippedBitIsSeen(t *testing.T) {
	for _, name := range []string{"sip", "few", "bit33", "equal"} {
		hash := hashes[name]
		s := newSubject(t, 1<<20, hash)
		for i := range 60 {
			s.set(fmt.Sprint("key ", i), "")
		}
		s.commit()
		r := s.tx.Reader()
		check := func() error {
			counts, err := r.Check(s.tx.Root, s.version-1, hash, node.Extra{}, func(n node.Node) error { return r.CheckSum(n.Leaf) })
			if err == nil && (counts.Entries != s.tx.Entries || counts.DataBytes != s.tx.DataBytes) {
				err = errors.New("other counts than the root node's")
			}
			return err
		}
		require.NoError(t, check())
		var spans [][2]uint64
		_, err := r.Check(s.tx.Root, 0, hash, node.Extra{}, func(n node.Node) error {
			end := n.Ref.Off() + n.Size
			if n.Ref.Kind() == node.KindLeaf && name != "sip" {
				end = n.Ref.Off() + node.HeaderSize // another key may have the same hash
			}
			spans = append(spans, [2]uint64{n.Ref.Off() + node.HeadOff, end})
			return nil
		})
		require.NoError(t, err)
		for _, span := range spans {
			for bit := span[0] * 8; bit < span[1]*8; bit++ {
				word, mask := bit/64*8, uint64(1)<<(bit%64)
				s.heap.Mem.SetWord(word, s.heap.Mem.Word(word)^mask)
				require.Error(t, check(), "%s: bit %d at %#x of the node at %#x", name, bit%64, word, span[0]-node.HeadOff)
				s.heap.Mem.SetWord(word, s.heap.Mem.Word(word)^mask)
			}
		}
		require.NoError(t, check())
	}
}

// FuzzOps runs any stream of operations under any of the hashes.
func FuzzOps(f *testing.F) {
	f.Add([]byte("\x00abcabcABC!"))
	f.Add([]byte("\x01zyxwvutsrqponmZYXWVUTSRQPONM!zyx"))
	f.Add([]byte("\x04a!A!bcd!BCD!"))
	names := []string{"sip", "equal", "bit63", "deep", "comb", "few"}
	f.Fuzz(func(t *testing.T, ops []byte) {
		if len(ops) == 0 || len(ops) > 300 {
			return
		}
		s := newSubject(t, 4<<20, hashes[names[int(ops[0])%len(names)]])
		s.heap.KeepRetired = true
		before, model := s.tx.Root, map[string]string{}
		for i, op := range ops[1:] {
			key := fmt.Sprint(op % 64)
			switch op / 64 {
			case 0:
				s.commit()
				requireDiff(t, s.tx.Reader(), before, s.tx.Root, s.hash, model, s.model)
				before, model = s.tx.Root, maps.Clone(s.model)
			case 1:
				s.delete(key)
			default:
				s.set(key, fmt.Sprint(i%5))
			}
		}
		s.commit()
	})
}

// TestDiffOfOneLeafManyTimes compares two collisions that each refer to one large leaf
// many times. The leaves are equal and overlap. To compare them each time would take
// time in the square of the region's size.
func TestDiffOfOneLeafManyTimes(t *testing.T) {
	const count = 1 << 16
	words := make([]uint64, 1<<19)
	for i := 2 << 20; i < 4<<20; i += 64 {
		words[i/8+1] = 1 << 20 // a leaf with an empty key and a value of 1 MiB
	}
	collide := func(at, leaf uint64) node.Ref {
		words[at/8+1] = count
		for i := range uint64(count) {
			words[at/8+2+i] = uint64(node.MakeRef(node.KindLeaf, leaf, 0))
		}
		return node.MakeRef(node.KindCollision, at, 0)
	}
	older, newer := collide(64, 2<<20), collide(1<<20, 2<<20+64)
	mem, end := nodetest.HostileRegion(words)
	r := NewReader(mem, end)
	for _, ref := range []node.Ref{older, newer} {
		c, err := r.collision(ref)
		require.NoError(t, err)
		_, err = r.Leaf(c.ref(r, 0))
		require.NoError(t, err)
	}
	began := time.Now()
	err := r.Diff(older, newer, sip, func(_, _ node.Leaf) bool { return true })
	require.Error(t, err)
	nodetest.RequireCorruptOrNil(t, err)
	require.Less(t, time.Since(began), 2*time.Second)
}

// The page of a block may be the last page that has memory. So a lookup must not touch
// the next page, even if a larger block would reach into it.
func TestFindStaysOnItsPage(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "page"))
	require.NoError(t, err)
	defer func() { _ = f.Close() }()
	system := uint64(os.Getpagesize())
	require.NoError(t, f.Truncate(int64(system))) // an access beyond the file faults
	m, err := region.Map(f, 3*system, true)
	require.NoError(t, err)
	defer func() { require.NoError(t, m.Unmap()) }()
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	require.Panics(t, func() { m.Load(system) })

	r := NewReader(m, 3*system)
	key := []byte("key")
	h := sip(key)
	for size := uint64(24); size <= 256; size += 8 {
		off := system - size
		m.SetWord(off+node.HeadOff, uint64(len(key))<<node.KeyLenShift|(size-node.HeaderSize-3))
		m.Write(off+node.HeaderSize, key)
		leaf := node.MakeRef(node.KindLeaf, off, h)
		m.SetWord(8+node.HeadOff, 1<<(h&levelMask))
		m.SetWord(8+node.HeaderSize, uint64(leaf))
		out := make([]node.Result, 1)
		require.NotPanics(t, func() {
			l, status := r.Find(node.MakeRef(node.KindBranch, 8, 0), h, key)
			require.Equal(t, node.Present, status)
			require.Equal(t, off, l.Off)
			r.FindMany(leaf, []uint64{h}, [][]byte{key}, out)
			require.Equal(t, node.Result{Leaf: l, Status: node.Present}, out[0])
		})
		// A branch with one child, at the end of the page.
		m.SetWord(off+node.HeadOff, 1<<(h&levelMask))
		m.SetWord(off+node.HeaderSize, uint64(node.MakeRef(node.KindLeaf, 64, h)))
		m.SetWord(64+node.HeadOff, 3<<node.KeyLenShift)
		m.Write(64+node.HeaderSize, key)
		require.NotPanics(t, func() {
			_, status := r.Find(node.MakeRef(node.KindBranch, off, 0), h, key)
			require.Equal(t, node.Present, status)
		})
	}
}

// A stray reference makes a transaction take its own leaf for a branch, whose
// references would lie beyond the leaf's block. The transaction must not write there.
func TestStrayReferenceToAnOwnLeaf(t *testing.T) {
	h := nodetest.New(t, 1<<16)
	var tx Tx
	hash := func([]byte) uint64 { return 35 << levelBits } // index 0, then 35
	published := func(words ...uint64) uint64 {
		off, err := h.Alloc(uint64(len(words)) * node.WordSize)
		require.NoError(t, err)
		for i, w := range words {
			h.Mem.SetWord(off+uint64(i)*node.WordSize, w)
		}
		h.Publish(off)
		return off
	}
	key, value := make([]byte, 15), make([]byte, 7)        // as a bitmap their lengths have 7 bits, the last at 35
	other := published(1, 15<<node.KeyLenShift|7, 0, 0, 1) // another value
	r := NewReader(h.Mem, h.Mem.Size())
	tx.Reset(r, h, hash, node.Tree{Entries: 1, DataBytes: 22})
	leaf, err := tx.NewLeaf(key, value)
	require.NoError(t, err)
	require.Equal(t, uint64(40), nodetest.ClassSize(leaf.Size()))
	neighbour := published(0, 0, 0, uint64(node.MakeRef(node.KindLeaf, other, hash(nil))), 0)
	require.Equal(t, leaf.Off+40, neighbour)
	tx.Root = node.MakeRef(node.KindBranch, published(1, 1, uint64(node.MakeRef(node.KindBranch, leaf.Off, 0))), 0)
	before := append([]byte(nil), h.Mem.Bytes(neighbour, 40)...)
	h.Careless = true // the leaf is retired as a branch
	_, did, err := tx.SetLeaf(hash(key), leaf)
	require.NoError(t, err)
	require.Equal(t, node.Replaced, did, "the stray reference was followed to the neighbour's word")
	require.Equal(t, before, h.Mem.Bytes(neighbour, 40))
}
