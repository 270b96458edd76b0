package btree

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/alloc/region"
	"github.com/seed-869cc763/shmkv/internal/nodetest"
	"github.com/seed-869cc763/shmkv/node"
)

// provoke calls all functions that read, then all functions that write, on memory that
// may be anything. They must not panic or hang, and an error must be a
// region.CorruptError. They may write anything below end, but nothing beyond it.
func provoke(t testing.TB, mem region.Mem, end uint64, root node.Ref, keys [][]byte) {
	r := NewReader(mem, end)
	inside := func(l node.Leaf, err error) {
		t.Helper()
		nodetest.RequireCorruptOrNil(t, err)
		if l.Off+l.Size() > end && l != (node.Leaf{}) {
			t.Fatalf("leaf %+v lies outside of %#x", l, end)
		}
	}
	for _, k := range keys {
		l, st := r.Find(root, k)
		inside(l, nil)
		explained := r.Explain(root, k)
		nodetest.RequireCorruptOrNil(t, explained)
		if st == node.Damaged && explained == nil {
			t.Fatalf("Find met damage that Explain does not see")
		}
		for _, rel := range []Relation{Lower, Floor, Ceil, Higher} {
			inside(r.Near(root, k, rel))
		}
		_, _, err := r.Rank(root, k)
		nodetest.RequireCorruptOrNil(t, err)
	}
	inside(r.Min(root))
	inside(r.Max(root))
	for _, i := range []uint64{0, 1, 17, 1 << 40, ^uint64(0)} {
		inside(r.At(root, i))
	}
	for _, from := range [][]byte{nil, {}, []byte("key 3"), bytes.Repeat([]byte("x"), 300)} {
		for _, to := range [][]byte{nil, []byte("key 30"), {0xff}} {
			visit := func(l node.Leaf) bool { inside(l, nil); return true }
			nodetest.RequireCorruptOrNil(t, r.Range(root, from, to, visit))
			nodetest.RequireCorruptOrNil(t, r.Backward(root, from, to, visit))
		}
	}
	_, err := r.Check(root, 1<<40, node.Extra{}, func(n node.Node) error {
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
		visit := func(_, _ node.Leaf) bool { return true }
		nodetest.RequireCorruptOrNil(t, r.Diff(root, other, visit))
		nodetest.RequireCorruptOrNil(t, r.Diff(other, root, visit))
		nodetest.RequireCorruptOrNil(t, Join(r, other, r, root, visit))
	}

	tx := &Tx{}
	tx.Reset(r, &nodetest.Drain{R: r.Reader}, node.Tree{Root: root})
	for _, k := range keys {
		_, _, err := tx.Set(k, []byte("value"))
		nodetest.RequireCorruptOrNil(t, err)
		_, _, err = tx.Delete(k)
		nodetest.RequireCorruptOrNil(t, err)
	}
	for _, deletes := range []bool{true, false} {
		tx.Reset(r, &nodetest.Drain{R: r.Reader}, node.Tree{Root: root})
		var changes []Change
		for i, k := range slices.SortedFunc(slices.Values(keys), bytes.Compare) {
			c := Change{Key: k}
			if deletes == (i%3 == 0) {
				var err error
				if c.Leaf, err = tx.NewLeaf(k, []byte("value")); err != nil {
					continue
				}
			}
			changes = append(changes, c)
		}
		_, err := tx.ChangeMany(changes)
		nodetest.RequireCorruptOrNil(t, err)
	}
	for _, size := range []uint64{32, 40, 64, nodetest.ClassSize(r.End)} {
		tx.Reset(r, &nodetest.Drain{R: r.Reader}, node.Tree{Root: root})
		for _, off := range []uint64{root.Off() &^ 7 % end, size} {
			l, ok := tx.LeafBelow(off, size)
			if ok {
				inside(l, nil)
				_, _, err := tx.Move(off, append([]byte{}, r.Key(l)...))
				nodetest.RequireCorruptOrNil(t, err)
			}
		}
	}
	nodetest.RequireGuard(t, mem, end)
}

var errVisited = errors.New("visited")

func someKeys() [][]byte {
	keys := [][]byte{{}, []byte("a"), make([]byte, 9), make([]byte, 300)}
	for i := range 12 {
		keys = append(keys, fmt.Appendf(nil, "key%03d", i*17))
	}
	return keys
}

// FuzzHostile runs provoke with any bytes as memory and any root.
func FuzzHostile(f *testing.F) {
	f.Add(make([]byte, 256), uint64(68))
	f.Add([]byte("a region of which nothing makes sense, long enough to hold a node or two"), uint64(0xabcd_0000_0000_0015))
	// An inner node that is its own child at each place, and one that is too deep.
	self := make([]uint64, 80)
	self[1] = 8
	for i := 10; i < 18; i++ {
		self[i] = uint64(node.KindInner | node.Tied)
		self[i+8] = 1 << 40
	}
	f.Add(nodetest.ToBytes(self), uint64(node.KindInner))
	f.Fuzz(func(t *testing.T, p []byte, root uint64) {
		words := append(nodetest.ToWords(p[:min(len(p), 1<<15)], 40), make([]uint64, 8)...)
		mem, end := nodetest.HostileRegion(words)
		provoke(t, mem, end, node.Ref(root), someKeys())
	})
}

// brokenTree is a tree of some levels, with ties.
func brokenTree(t testing.TB) *subject {
	s := newSubject(t, 1<<20)
	for i := range 700 {
		s.tx.Extra.Flags = uint64(i%2) * node.HasSum
		s.set(fmt.Sprintf("key%03d", i%350)+string(make([]byte, i/350*20)), "value")
	}
	s.commit()
	return s
}

// TestBrokenTrees runs provoke on a sound tree in which some words were overwritten.
func TestBrokenTrees(t *testing.T) {
	rnd := rand.New(rand.NewPCG(21, 22))
	s := brokenTree(t)
	sound := s.heap.Words()
	for range 300 / slow {
		words := append([]uint64(nil), sound...)
		for range 1 + rnd.IntN(30) {
			nodetest.Break(rnd, words, s.tx.Root, node.KindInner)
		}
		mem, end := nodetest.HostileRegion(words)
		provoke(t, mem, end, s.tx.Root, someKeys())
	}
}

// TestReadBesideReuse runs lookups in memory that changes meanwhile, as blocks that are
// reused under an optimistic reader do. The lookups must end, and a leaf that they return
// must lie within the region. Their results mean nothing.
func TestReadBesideReuse(t *testing.T) {
	s := brokenTree(t)
	mem, end := nodetest.HostileRegion(s.heap.Words())
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		rnd := rand.New(rand.NewPCG(1, 2))
		for {
			select {
			case <-stop:
				return
			default:
			}
			i, j := rnd.Uint64N(end/8), rnd.Uint64N(end/8)
			w := s.heap.Mem.Word(8 * j)
			if rnd.IntN(4) == 0 {
				w ^= 1 << rnd.IntN(64)
			}
			mem.SetWord(8*i, w)
			mem.SetWord(8*j, s.heap.Mem.Word(8*j)) // and back
		}
	}()
	r := NewReader(mem, end)
	met := map[node.Status]int{}
	for range 5000 / slow {
		for i, k := range someKeys() {
			l, st := r.Find(s.tx.Root, k)
			met[st]++
			require.LessOrEqual(t, l.Off+l.Size(), end)
			if l, err := r.Near(s.tx.Root, k, Relation(i%4)); err == nil {
				require.LessOrEqual(t, l.Off+l.Size(), end)
			}
			_, _, _ = r.Rank(s.tx.Root, k)
			_, _ = r.At(s.tx.Root, uint64(i))
		}
	}
	close(stop)
	<-done
	t.Log("met:", met)
}

// TestFlippedBits flips each bit of each node. Check sees it, but for values and births,
// and for separators that are as good. A leaf without a checksum that gets the flag of
// one has a wrong one.
func TestFlippedBits(t *testing.T) {
	s := newSubject(t, 1<<20)
	for i := range 300 {
		s.set(fmt.Sprintf("key%03d", i%150)+string(make([]byte, i/150*20)), "")
	}
	s.commit()
	r := s.tx.Reader()
	check := func() error {
		counts, err := r.Check(s.tx.Root, s.version-1, node.Extra{}, func(n node.Node) error { return r.CheckSum(n.Leaf) })
		if err == nil && (counts.Entries != s.tx.Entries || counts.DataBytes != s.tx.DataBytes) {
			err = fmt.Errorf("other counts than the root node's")
		}
		return err
	}
	require.NoError(t, check())
	var all []node.Node
	_, err := r.Check(s.tx.Root, 0, node.Extra{}, func(n node.Node) error {
		all = append(all, n)
		return nil
	})
	require.NoError(t, err)
	unseen, inner := 0, 0
	for _, n := range all {
		if n.Ref.Kind() == node.KindLeaf && n.Ref.Off()%64 != 0 {
			continue // some will do
		}
		if slow > 1 && n.Ref.Kind() == node.KindBottom && n.Ref.Off()%128 != 0 {
			continue
		}
		for bit := (n.Ref.Off() + node.HeadOff) * 8; bit < (n.Ref.Off()+n.Size)*8; bit++ {
			word, mask := bit/64*8, uint64(1)<<(bit%64)
			s.heap.Mem.SetWord(word, s.heap.Mem.Word(word)^mask)
			err := check()
			if n.Ref.Kind() != node.KindInner {
				require.Error(t, err, "bit %d at %#x of %v", bit%64, word-n.Ref.Off(), n.Ref)
			} else if inner++; err == nil {
				unseen++
				for i := 0; i < len(s.keys); i += 7 {
					_, status := r.Find(s.tx.Root, []byte(s.keys[i]))
					require.Equal(t, node.Present, status)
				}
			}
			s.heap.Mem.SetWord(word, s.heap.Mem.Word(word)^mask)
		}
	}
	require.NoError(t, check())
	t.Logf("%d of %d flips in inner nodes are as good", unseen, inner)
	require.Less(t, unseen, inner/4)
}

// FuzzOps runs any stream of operations on keys of few bytes.
func FuzzOps(f *testing.F) {
	f.Add([]byte("abcdefghijklmnopABCDEFGHIJKLMNOP!"))
	f.Add([]byte("\x00a\x00b\xffc!\x00A\x00B"))
	f.Fuzz(func(t *testing.T, ops []byte) {
		if len(ops) > 600 {
			return
		}
		s := newSubject(t, 4<<20)
		for i := 0; i+2 < len(ops); i += 3 {
			key := string(make([]byte, ops[i+1]%20)) + string(ops[i+2:i+3]) + string(make([]byte, ops[i+1]/20))
			var writes []write
			for k := range int(ops[i]%32) + 1 { // a run of keys, so that nodes split
				if k > 0 {
					key += string([]byte{byte(k * 8)})
				}
				switch ops[i] / 32 {
				case 0, 1, 2:
					s.set(key, fmt.Sprint(k%3))
				case 3:
					writes = append(writes, write{key, fmt.Sprint(k % 3), k%8 == 7})
				case 4, 5:
					s.delete(key)
				case 6:
					writes = append(writes, write{key, "again", k%8 != 7})
				default:
					s.look(key)
				}
			}
			s.changeMany(writes)
			if ops[i]%5 == 0 {
				s.commit()
			}
		}
		s.commit()
		for _, k := range s.keys {
			s.look(k)
		}
	})
}
