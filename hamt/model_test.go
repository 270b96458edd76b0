package hamt

import (
	"fmt"
	"maps"
	"math/rand"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/internal/nodetest"
	"github.com/seed-869cc763/shmkv/node"
)

// hashes are the hash functions with which the tests run: the real one, and those that
// an adversary would choose.
var hashes = map[string]func([]byte) uint64{
	"sip":   sip,
	"equal": func([]byte) uint64 { return 0xfeedfacecafef00d },
	// Two groups of equal hashes that differ in the first, a middle or the last bit.
	"bit0":  func(k []byte) uint64 { return 0x5555555555555555 ^ sip(k)&1 },
	"bit33": func(k []byte) uint64 { return 0x5555555555555555 ^ sip(k)&1<<33 },
	"bit63": func(k []byte) uint64 { return 0x5555555555555555 ^ sip(k)&1<<63 },
	// All keys share all levels but the last two.
	"deep": func(k []byte) uint64 { return sip(k) << 54 },
	// One leaf at each level: a comb.
	"comb": func(k []byte) uint64 { return 1 << (sip(k) % 64) },
	// Equal tags, so that each lookup has to read the leaf.
	"tags": func(k []byte) uint64 { return sip(k) & (1<<48 - 1) },
	// Few collisions of two or three keys each.
	"few": func(k []byte) uint64 { return Hash(0, 0, []byte{byte(sip(k) % 61)}) },
}

func eachHash(t *testing.T, story func(t *testing.T, hash func([]byte) uint64)) {
	for _, name := range slices.Sorted(maps.Keys(hashes)) {
		t.Run(name, func(t *testing.T) { story(t, hashes[name]) })
	}
}

// subject is a trie and a Go map that models its contents.
type subject struct {
	t       testing.TB
	heap    *nodetest.Heap
	tx      *Tx
	hash    func([]byte) uint64
	model   map[string]string
	version uint64
}

func newSubject(t testing.TB, size int, hash func([]byte) uint64) *subject {
	s := &subject{t: t, heap: nodetest.New(t, size), tx: &Tx{}, hash: hash, model: map[string]string{}, version: 1}
	s.tx.Reset(reader(s.heap), s.heap, hash, node.Tree{})
	return s
}

func (s *subject) set(key, value string) {
	s.t.Helper()
	was, had := s.model[key]
	root := s.tx.Root
	old, did, err := s.tx.Set(s.hash([]byte(key)), []byte(key), []byte(value))
	require.NoError(s.t, err)
	want := node.Inserted
	if had {
		want = node.Replaced
	}
	if had && was == value {
		want = node.Unchanged
		require.Equal(s.t, root, s.tx.Root)
	}
	require.Equal(s.t, want, did, "set %q", key)
	if had && (s.tx.KeepLeaves || !s.heap.Live(old.Off) && s.heap.IsWaiting(old.Off)) {
		require.Equal(s.t, was, string(s.tx.r.Value(old)))
	}
	s.model[key] = value
}

func (s *subject) delete(key string) {
	s.t.Helper()
	_, had := s.model[key]
	root, allocs := s.tx.Root, s.heap.Allocs
	_, existed, err := s.tx.Delete(s.hash([]byte(key)), []byte(key))
	require.NoError(s.t, err)
	require.Equal(s.t, had, existed, "delete %q", key)
	if !existed {
		require.Equal(s.t, root, s.tx.Root)
		require.Equal(s.t, allocs, s.heap.Allocs, "deleting an absent key copied a path")
	}
	delete(s.model, key)
}

// commit publishes the transaction and starts the next one.
func (s *subject) commit() {
	s.tx.Finish()
	s.heap.Commit(s.version)
	s.version++
	keep := s.tx.KeepLeaves
	s.tx.Reset(reader(s.heap), s.heap, s.hash, s.tx.Tree)
	s.tx.KeepLeaves = keep
	s.verify(s.version - 1)
}

// walk visits the leaves of the transaction. visit may change it.
func (s *subject) walk(visit func(node.Leaf) bool) error {
	return s.tx.Walk(func() error { return s.tx.Reader().Walk(s.tx.Root, visit) })
}

// verify compares the trie with the model, and the blocks that the trie reaches with
// the allocated blocks.
func (s *subject) verify(version uint64) {
	s.t.Helper()
	r := s.tx.Reader()
	requireContents(s.t, r, s.tx.Root, s.hash, s.model)
	reached := map[uint64]uint64{}
	var shape Shape
	counts, err := r.Check(s.tx.Root, version, s.hash, node.Extra{}, func(n node.Node) error {
		if _, again := reached[n.Ref.Off()]; again {
			s.t.Fatalf("%v was reached twice", n.Ref)
		}
		reached[n.Ref.Off()] = nodetest.ClassSize(n.Size)
		switch n.Ref.Kind() {
		case node.KindBranch:
			shape.Branches[n.Depth]++
			shape.Children[(n.Size-node.HeaderSize)/node.WordSize]++
		case node.KindLeaf:
			shape.Leaves[n.Depth]++
		case node.KindCollision:
			shape.Collisions++
		}
		return r.CheckSum(n.Leaf)
	})
	require.NoError(s.t, err)
	require.Equal(s.t, s.tx.Entries, counts.Entries)
	require.Equal(s.t, s.tx.DataBytes, counts.DataBytes)
	require.Equal(s.t, shape, counts.Shape)
	s.heap.Ledger(s.tx.Pending(), reached)
}

// requireContents compares the results of all kinds of lookups and walks with model.
func requireContents(t testing.TB, r Reader, root node.Ref, hash func([]byte) uint64, model map[string]string) {
	t.Helper()
	found := map[string]string{}
	require.NoError(t, r.Walk(root, func(l node.Leaf) bool {
		found[string(r.Key(l))] = string(r.Value(l))
		return true
	}))
	if !maps.Equal(model, found) { // in less time than require.Equal
		require.Equal(t, model, found)
	}
	requireWalkFrom(t, r, root, hash, model)

	var keys [][]byte
	var hs []uint64
	for key := range model {
		for _, k := range []string{key, key + "?"} {
			keys = append(keys, []byte(k))
			hs = append(hs, hash([]byte(k)))
		}
	}
	out := make([]node.Result, len(keys))
	r.FindMany(root, hs, keys, out)
	for i, key := range keys {
		l, st := r.Find(root, hs[i], key)
		if out[i] != (node.Result{Leaf: l, Status: st}) {
			t.Fatalf("%q: Find says %v %v, FindMany %v", key, l, st, out[i])
		}
		value, had := model[string(key)]
		if had != (st == node.Present) || st == node.Damaged || r.Explain(root, hs[i], key) != nil {
			t.Fatalf("%q is %v", key, st)
		}
		if had && (string(r.Key(l)) != string(key) || string(r.Value(l)) != value) {
			t.Fatalf("%q has the leaf of %q", key, r.Key(l))
		}
	}
}

// randomKey returns one of n keys of 0 to 17 bytes.
func randomKey(rnd *rand.Rand, n int) string {
	i := rnd.Intn(n)
	if i == 0 {
		return ""
	}
	return strings.Repeat("x", i*7%15) + fmt.Sprint(i)
}

// randomValue returns a value that is short or empty, and sometimes large.
func randomValue(rnd *rand.Rand) string {
	n := rnd.Intn(40)
	if rnd.Intn(50) == 0 {
		n = rnd.Intn(5000)
	}
	p := make([]byte, n)
	rnd.Read(p)
	return string(p)
}

// TestModel runs random transactions and verifies each after its commit. The heap
// poisons and reuses retired blocks at once.
func TestModel(t *testing.T) {
	eachHash(t, func(t *testing.T, hash func([]byte) uint64) {
		for seed := range int64(4) {
			rnd := rand.New(rand.NewSource(seed))
			s := newSubject(t, 16<<20, hash)
			s.tx.KeepLeaves = seed%2 == 1
			for round := range uint64(150 / slow) {
				s.tx.Extra.Flags = round % 3 / 2 * node.HasSum
				// Grow, churn, and shrink to nothing.
				deletes := []int{1, 5, 9}[rnd.Intn(3)]
				for range 1 + rnd.Intn(30) {
					if key := randomKey(rnd, 150); rnd.Intn(10) < deletes {
						s.delete(key)
					} else if was, had := s.model[key]; had && rnd.Intn(4) == 0 {
						s.set(key, was)
					} else {
						s.set(key, randomValue(rnd))
					}
				}
				s.verify(0)
				if rnd.Intn(3) > 0 {
					s.commit()
				}
			}
			for key := range maps.Clone(s.model) {
				s.delete(key)
			}
			s.commit()
			require.Zero(t, s.tx.Root)
			require.Zero(t, s.heap.LiveBlocks(), "an empty trie takes no memory")
		}
	})
}

// TestSnapshots checks that a committed version does not change while retired blocks are
// not reused.
func TestSnapshots(t *testing.T) {
	eachHash(t, func(t *testing.T, hash func([]byte) uint64) {
		type snapshot struct {
			root  node.Ref
			model map[string]string
		}
		rnd := rand.New(rand.NewSource(7))
		s := newSubject(t, 32<<20, hash)
		s.heap.KeepRetired = true
		var snapshots []snapshot
		for range 60 / slow {
			for range 1 + rnd.Intn(20) {
				if key := randomKey(rnd, 120); rnd.Intn(3) == 0 {
					s.delete(key)
				} else {
					s.set(key, randomValue(rnd))
				}
			}
			s.commit()
			snapshots = append(snapshots, snapshot{s.tx.Root, maps.Clone(s.model)})
		}
		for _, sn := range snapshots {
			requireContents(t, s.tx.Reader(), sn.root, hash, sn.model)
		}
		// Diff of any two versions turns the one into the other.
		for range 60 / slow {
			a, b := snapshots[rnd.Intn(len(snapshots))], snapshots[rnd.Intn(len(snapshots))]
			requireDiff(t, s.tx.Reader(), a.root, b.root, hash, a.model, b.model)
		}
	})
}

func requireDiff(t testing.TB, r Reader, older, newer node.Ref, hash func([]byte) uint64, a, b map[string]string) {
	t.Helper()
	got := maps.Clone(a)
	seen := map[string]bool{}
	require.NoError(t, r.Diff(older, newer, hash, func(old, new node.Leaf) bool {
		l := new
		if new == (node.Leaf{}) {
			l = old
		}
		key := string(r.Key(l))
		require.False(t, seen[key], "%q was reported twice", key)
		seen[key] = true
		was, had := a[key]
		require.Equal(t, had, old != node.Leaf{})
		if had {
			require.Equal(t, was, string(r.Value(old)))
		}
		if new == (node.Leaf{}) {
			delete(got, key)
			return true
		}
		if had {
			require.NotEqual(t, was, string(r.Value(new)), "%q has not changed", key)
		}
		got[key] = string(r.Value(new))
		return true
	}))
	require.Equal(t, b, got)
}

// shape describes a trie's structure and contents, without its offsets.
func shape(t testing.TB, r Reader, root node.Ref, hash func([]byte) uint64) string {
	var sb strings.Builder
	_, err := r.Check(root, 0, hash, node.Extra{}, func(n node.Node) error {
		fmt.Fprintf(&sb, "%d:%d:%04x", n.Depth, n.Ref.Kind(), n.Ref.Tag())
		switch n.Ref.Kind() {
		case node.KindLeaf:
			l, err := r.Leaf(n.Ref)
			fmt.Fprintf(&sb, "%x=%x", r.Key(l), r.Value(l))
			require.NoError(t, err)
		default:
			fmt.Fprintf(&sb, "[%x", r.Mem.Word(n.Ref.Off()+node.HeadOff))
		}
		sb.WriteByte('\n')
		return nil
	})
	require.NoError(t, err)
	return sb.String()
}

// TestEqualContentsEqualShapes checks that the shape of a trie does not depend on its
// history (I3).
func TestEqualContentsEqualShapes(t *testing.T) {
	eachHash(t, func(t *testing.T, hash func([]byte) uint64) {
		var want string
		var model map[string]string
		for seed := range int64(6) {
			rnd := rand.New(rand.NewSource(seed))
			s := newSubject(t, 16<<20, hash)
			for i := range 300 { // another history
				if key := randomKey(rnd, 200); i%3 == 0 {
					s.delete(key)
				} else {
					s.set(key, "past")
				}
				if rnd.Intn(40) == 0 {
					s.commit()
				}
			}
			if model == nil {
				model = map[string]string{}
				for i := range 70 {
					model[fmt.Sprint("k", i*i)] = fmt.Sprint(i)
				}
			}
			keys := slices.Collect(maps.Keys(s.model))
			keys = append(keys, slices.Collect(maps.Keys(model))...)
			slices.Sort(keys)
			rnd.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
			for _, key := range keys {
				if value, ok := model[key]; ok {
					s.set(key, value)
				} else {
					s.delete(key)
				}
			}
			s.commit()
			got := shape(t, s.tx.Reader(), s.tx.Root, hash)
			if want == "" {
				want = got
			}
			require.Equal(t, want, got)
		}
	})
}

// TestManyCollisions stores thousands of keys of one hash.
func TestManyCollisions(t *testing.T) {
	s := newSubject(t, 64<<20, hashes["equal"])
	rnd := rand.New(rand.NewSource(1))
	const n = 5000 / slow
	for _, i := range rnd.Perm(n) {
		s.set(fmt.Sprintf("%08d", i), fmt.Sprint(i))
		if i%500 == 0 {
			s.tx.Finish()
			s.heap.Commit(s.version)
		}
	}
	s.commit()
	for _, i := range rnd.Perm(n)[:n-1] {
		s.delete(fmt.Sprintf("%08d", i))
	}
	s.commit()
	require.Equal(t, node.KindLeaf, s.tx.Root.Kind(), "one key is a leaf at the root")
}
