package btree

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/internal/nodetest"
	"github.com/seed-869cc763/shmkv/node"
)

// subject is a tree and a sorted model of its contents.
type subject struct {
	t       testing.TB
	heap    *nodetest.Heap
	tx      *Tx
	keys    []string // in order
	values  map[string]string
	version uint64
}

func newSubject(t testing.TB, size int) *subject {
	s := &subject{t: t, heap: nodetest.New(t, size), tx: &Tx{}, values: map[string]string{}, version: 1}
	s.tx.Reset(reader(s.heap), s.heap, node.Tree{})
	return s
}

// reader returns a Reader whose end is directly after the last block, so that each kind
// of node is the last one at times.
func reader(h *nodetest.Heap) Reader { return NewReader(h.Mem, max(h.Top, node.HeaderSize)) }

func (s *subject) set(key, value string) {
	s.t.Helper()
	was, had := s.values[key]
	root := s.tx.Root
	old, did, err := s.tx.Set([]byte(key), []byte(value))
	require.NoError(s.t, err)
	want := node.Inserted
	switch {
	case had && was == value:
		want = node.Unchanged
		require.Equal(s.t, root, s.tx.Root)
	case had:
		want = node.Replaced
	}
	require.Equal(s.t, want, did, "set %q", key)
	if had && (s.tx.KeepLeaves || s.heap.IsWaiting(old.Off)) {
		require.Equal(s.t, was, string(s.tx.r.Value(old)))
	}
	if !had {
		i, _ := slices.BinarySearch(s.keys, key)
		s.keys = slices.Insert(s.keys, i, key)
	}
	s.values[key] = value
}

func (s *subject) delete(key string) {
	s.t.Helper()
	i, had := slices.BinarySearch(s.keys, key)
	root, allocs := s.tx.Root, s.heap.Allocs
	_, existed, err := s.tx.Delete([]byte(key))
	require.NoError(s.t, err)
	require.Equal(s.t, had, existed, "delete %q", key)
	if !existed {
		require.Equal(s.t, root, s.tx.Root)
		require.Equal(s.t, allocs, s.heap.Allocs, "deleting an absent key copied a path")
		return
	}
	s.keys = slices.Delete(s.keys, i, i+1)
	delete(s.values, key)
}

// commit publishes the transaction and starts the next one.
func (s *subject) commit() {
	s.t.Helper()
	s.tx.Finish()
	s.heap.Commit(s.version)
	s.version++
	keep := s.tx.KeepLeaves
	s.tx.Reset(reader(s.heap), s.heap, s.tx.Tree)
	s.tx.KeepLeaves = keep
	s.verify(s.version - 1)
}

// walk visits the leaves of the transaction. visit may change it.
func (s *subject) walk(visit func(node.Leaf) bool) error {
	return s.tx.Walk(func() error { return s.tx.Reader().Range(s.tx.Root, nil, nil, visit) })
}

// verify compares the tree with the model, and the blocks that the tree reaches with the
// allocated blocks.
func (s *subject) verify(version uint64) {
	s.t.Helper()
	r := s.tx.Reader()
	reached := map[uint64]uint64{}
	var keys []string
	counts, err := r.Check(s.tx.Root, version, node.Extra{}, func(n node.Node) error {
		if _, again := reached[n.Ref.Off()]; again {
			s.t.Fatalf("%v was reached twice", n.Ref)
		}
		reached[n.Ref.Off()] = nodetest.ClassSize(n.Size)
		if n.Ref.Kind() == node.KindLeaf {
			keys = append(keys, string(r.Key(n.Leaf)))
			if value := string(r.Value(n.Leaf)); s.values[string(r.Key(n.Leaf))] != value { // in less time than require.Equal
				s.t.Fatalf("%q has the value %q, expected %q", r.Key(n.Leaf), value, s.values[string(r.Key(n.Leaf))])
			}
		}
		return r.CheckSum(n.Leaf)
	})
	require.NoError(s.t, err)
	require.Equal(s.t, len(s.keys), len(keys))
	require.True(s.t, slices.Equal(s.keys, keys))
	require.Equal(s.t, s.tx.Entries, counts.Entries)
	require.Equal(s.t, s.tx.DataBytes, counts.DataBytes)
	require.EqualValues(s.t, len(s.keys), counts.Entries)
	s.heap.Ledger(s.tx.Pending(), reached)
}

// look compares what all lookups say of key.
func (s *subject) look(key string) {
	s.t.Helper()
	r, k, root := s.tx.Reader(), []byte(key), s.tx.Root
	i, found := slices.BinarySearch(s.keys, key)
	l, status := r.Find(root, k)
	if found {
		require.Equal(s.t, node.Present, status, "%q", key)
		require.Equal(s.t, s.values[key], string(r.Value(l)))
	} else {
		require.Equal(s.t, node.Absent, status, "%q", key)
	}
	require.NoError(s.t, r.Explain(root, k))
	n, had, err := r.Rank(root, k)
	require.NoError(s.t, err)
	require.Equal(s.t, found, had)
	require.EqualValues(s.t, i, n, "rank of %q", key)
	after := i
	if found {
		after++
	}
	for rel, at := range map[Relation]int{Lower: i - 1, Floor: after - 1, Ceil: i, Higher: after} {
		l, err := r.Near(root, k, rel)
		require.NoError(s.t, err)
		s.is(l, at)
	}
}

// is checks that l is the leaf of the model's key at i, or none.
func (s *subject) is(l node.Leaf, i int) {
	s.t.Helper()
	if i < 0 || i >= len(s.keys) {
		require.Zero(s.t, l)
		return
	}
	require.NotZero(s.t, l)
	require.Equal(s.t, s.keys[i], string(s.tx.r.Key(l)))
}

// walks compares walks over parts of the tree.
func (s *subject) walks(rnd *rand.Rand) {
	s.t.Helper()
	r, n := s.tx.Reader(), len(s.keys)
	l, err := r.Min(s.tx.Root)
	require.NoError(s.t, err)
	s.is(l, 0)
	l, err = r.Max(s.tx.Root)
	require.NoError(s.t, err)
	s.is(l, n-1)
	for range 3 {
		first := rnd.IntN(n + 3)
		l, err := r.At(s.tx.Root, uint64(first))
		require.NoError(s.t, err)
		s.is(l, first)
		bound := func() []byte {
			if n == 0 || rnd.IntN(5) == 0 {
				return nil
			}
			key := s.keys[rnd.IntN(n)]
			switch rnd.IntN(3) {
			case 0:
				return []byte(key + "\x00")
			case 1:
				return []byte(key[:rnd.IntN(len(key)+1)])
			}
			return []byte(key)
		}
		from, to := bound(), bound()
		var want, up, down []string
		for _, key := range s.keys {
			if (from == nil || key >= string(from)) && (to == nil || key < string(to)) {
				want = append(want, key)
			}
		}
		require.NoError(s.t, r.Range(s.tx.Root, from, to, func(l node.Leaf) bool {
			up = append(up, string(r.Key(l)))
			return true
		}))
		require.True(s.t, slices.Equal(want, up), "from %q to %q", from, to)
		require.NoError(s.t, r.Backward(s.tx.Root, from, to, func(l node.Leaf) bool {
			down = append(down, string(r.Key(l)))
			return len(down) < 50
		}))
		slices.Reverse(want)
		require.True(s.t, slices.Equal(want[:min(50, len(want))], down), "from %q to %q, backward", from, to)
	}
}

// kinds are the kinds of keys that the tests use: one chosen by a number.
var kinds = map[string]func(i uint64) string{
	"numbers": func(i uint64) string { return fmt.Sprintf("%016d", i) },
	"binary":  func(i uint64) string { return string(binary.BigEndian.AppendUint64(nil, i)) },
	"random": func(i uint64) string {
		return string(binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, i*0x9e3779b97f4a7c15), i))
	},
	"tenants": func(i uint64) string { return fmt.Sprintf("tenant-%03d/item/%06d/field", i%7, i/7) },
	"fields":  func(i uint64) string { return fmt.Sprintf("user:%08d:field-%c", i/5, 'a'+i%5) },
	// All prefixes of one key, the empty one too.
	"prefixes": func(i uint64) string { return strings.Repeat("p", int(i)) },
	"zeros":    func(i uint64) string { return strings.Repeat("\x00", int(i)) },
	// One byte apart, far behind.
	"long": func(i uint64) string {
		return strings.Repeat("x", 300) + string([]byte{byte(i >> 8), byte(i)}) + strings.Repeat("y", int(i%3)*100)
	},
	"short": func(i uint64) string { return string([]byte{byte(i), byte(i >> 8)}[:1+i%2]) },
	"tails": func(i uint64) string {
		return strings.Repeat("\x00", int(i%40)) + "\x01" + strings.Repeat("\xff", int(i/40%40))
	},
}

func eachKind(t *testing.T, story func(t *testing.T, key func(i uint64) string)) {
	for _, name := range slices.Sorted(maps.Keys(kinds)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			story(t, kinds[name])
		})
	}
}

// Random sets and deletes, with transactions of many sizes, over a number of keys that
// grows and shrinks.
func TestModel(t *testing.T) {
	eachKind(t, func(t *testing.T, key func(i uint64) string) {
		rnd := rand.New(rand.NewPCG(1, 2))
		s := newSubject(t, 16<<20)
		for round := range 120 / slow {
			span := uint64(1 + rnd.IntN(1500))
			grow := rnd.IntN(3) > 0
			s.tx.Extra.Flags = uint64(round%3/2) * node.HasSum
			for range 1 + rnd.IntN(60) {
				k := key(rnd.Uint64N(span))
				if (rnd.IntN(4) > 0) == grow {
					s.set(k, fmt.Sprint("value ", rnd.IntN(5)))
				} else {
					s.delete(k)
				}
			}
			s.tx.KeepLeaves = rnd.IntN(2) == 0
			if round%3 == 0 {
				s.verify(0)
			}
			s.commit()
			for range 10 {
				s.look(key(rnd.Uint64N(span + 10)))
			}
			s.walks(rnd)
		}
		for len(s.keys) > 0 {
			for range min(1+rnd.IntN(30), len(s.keys)) {
				s.delete(s.keys[rnd.IntN(len(s.keys))])
			}
			s.commit()
		}
		require.Zero(t, s.tx.Root)
		require.Zero(t, s.heap.LiveBlocks(), "an empty tree takes no memory")
	})
}

// Keys in ascending and descending order, and deletes from either end.
func TestOrders(t *testing.T) {
	eachKind(t, func(t *testing.T, key func(i uint64) string) {
		all := map[string]bool{}
		for i := range uint64(1200 / slow) {
			all[key(i)] = true
		}
		sorted := slices.Sorted(maps.Keys(all))
		rnd := rand.New(rand.NewPCG(3, 4))
		for _, ascending := range []bool{true, false} {
			for _, fifo := range []bool{true, false} {
				s := newSubject(t, 16<<20)
				for i := range sorted {
					if !ascending {
						i = len(sorted) - 1 - i
					}
					s.set(sorted[i], "value")
					if rnd.IntN(20) == 0 {
						s.commit()
						s.look(sorted[rnd.IntN(len(sorted))])
						s.walks(rnd)
					}
				}
				s.commit()
				if counts := s.counts(); ascending && len(sorted) > 200 {
					require.GreaterOrEqual(t, counts.Children[maxBottom], counts.Bottoms*9/10, "full nodes stay behind")
				}
				for len(s.keys) > 0 {
					i := 0
					if !fifo {
						i = len(s.keys) - 1
					}
					s.delete(s.keys[i])
					if rnd.IntN(20) == 0 {
						s.commit()
						s.look(sorted[rnd.IntN(len(sorted))])
					}
				}
				s.commit()
				require.Zero(t, s.heap.LiveBlocks())
			}
		}
	})
}

func (s *subject) counts() Counts {
	c, err := s.tx.Reader().Check(s.tx.Root, 0, node.Extra{}, func(node.Node) error { return nil })
	require.NoError(s.t, err)
	return c
}

// A change that finds no memory leaves the tree as it was, wherever that happens.
func TestFull(t *testing.T) {
	eachKind(t, func(t *testing.T, key func(i uint64) string) {
		rnd := rand.New(rand.NewPCG(5, 6))
		s := newSubject(t, 16<<20)
		for i := range uint64(700) {
			s.set(key(i*2), "value")
		}
		s.commit()
		for range 300 / slow {
			k := key(rnd.Uint64N(1500))
			for failAt := 1; ; failAt++ {
				root, entries, live := s.tx.Root, s.tx.Entries, s.heap.LiveBlocks()
				s.heap.FailAt, s.heap.Allocs = failAt, 0
				var err error
				if rnd.IntN(2) == 0 {
					_, _, err = s.tx.Set([]byte(k), []byte("another"))
				} else {
					_, _, err = s.tx.Delete([]byte(k))
				}
				s.heap.FailAt = 0
				if err == nil {
					break
				}
				require.ErrorIs(t, err, nodetest.ErrFull)
				require.Equal(t, root, s.tx.Root)
				require.Equal(t, entries, s.tx.Entries)
				require.Equal(t, live, s.heap.LiveBlocks())
			}
			s.resync(k)
			if rnd.IntN(4) == 0 {
				s.commit()
			}
		}
		s.commit()
	})
}

// resync makes the model follow the tree at a key.
func (s *subject) resync(key string) {
	l, status := s.tx.Reader().Find(s.tx.Root, []byte(key))
	i, had := slices.BinarySearch(s.keys, key)
	switch present := status == node.Present; {
	case present && !had:
		s.keys = slices.Insert(s.keys, i, key)
	case !present && had:
		s.keys = slices.Delete(s.keys, i, i+1)
		delete(s.values, key)
	}
	if status == node.Present {
		s.values[key] = string(s.tx.Reader().Value(l))
	}
}

// A walk in a transaction sees the entries as they were when it began, whatever its loop
// writes.
func TestWalkAndChange(t *testing.T) {
	eachKind(t, func(t *testing.T, key func(i uint64) string) {
		rnd := rand.New(rand.NewPCG(7, 8))
		s := newSubject(t, 16<<20)
		for i := range uint64(500) {
			s.set(key(i), "value")
			if i == 250 {
				s.commit()
			}
		}
		for range max(5/slow, 1) {
			before := slices.Clone(s.keys)
			var seen []string
			require.NoError(t, s.walk(func(l node.Leaf) bool {
				seen = append(seen, string(s.tx.Reader().Key(l)))
				for range 2 {
					if k := key(rnd.Uint64N(900)); rnd.IntN(2) == 0 {
						s.set(k, fmt.Sprint(rnd.IntN(1000)))
					} else {
						s.delete(k)
					}
				}
				return true
			}))
			require.True(t, slices.Equal(before, seen))
			s.verify(0)
		}
		s.commit()
	})
}

func TestHeads(t *testing.T) {
	s := newSubject(t, 1<<20)
	rnd := rand.New(rand.NewPCG(9, 10))
	for range 500 {
		key := make([]byte, rnd.IntN(40))
		for i := range key {
			key[i] = byte(rnd.Uint32())
		}
		l, err := s.tx.NewLeaf(key, bytes.Repeat([]byte{0xee}, 20))
		require.NoError(t, err)
		for skip := uint64(0); skip < 48; skip++ {
			require.Equal(t, headOf(key, skip), s.tx.r.leafHead(l, skip), "%x from %d", key, skip)
		}
	}
}
