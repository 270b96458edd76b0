package hamt

import (
	"fmt"
	"maps"
	"math/rand"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/internal/nodetest"
	"github.com/seed-869cc763/shmkv/node"
)

// TestFull checks that a call of which any one allocation fails leaves the transaction
// unchanged and usable, and leaks no block.
func TestFull(t *testing.T) {
	eachHash(t, func(t *testing.T, hash func([]byte) uint64) {
		rnd := rand.New(rand.NewSource(3))
		s := newSubject(t, 16<<20, hash)
		for round := range 400 / slow {
			key := randomKey(rnd, 60)
			h := hash([]byte(key))
			del := rnd.Intn(2) == 0
			for n := 1; ; n++ {
				root, entries, data := s.tx.Root, s.tx.Entries, s.tx.DataBytes
				s.heap.Allocs, s.heap.FailAt = 0, n
				var err error
				if del {
					_, _, err = s.tx.Delete(h, []byte(key))
				} else {
					_, _, err = s.tx.Set(h, []byte(key), []byte("value"))
				}
				s.heap.FailAt = 0
				if err == nil {
					break
				}
				require.ErrorIs(t, err, nodetest.ErrFull)
				require.Equal(t, []any{root, entries, data}, []any{s.tx.Root, s.tx.Entries, s.tx.DataBytes})
				s.verify(0)
			}
			if del {
				delete(s.model, key)
			} else {
				s.model[key] = "value"
			}
			if round%7 == 0 {
				s.commit()
			}
		}
	})
}

// TestWalkAndChange checks that a walk in a transaction sees the entries as they were
// when it began, even if its body changes entries of the same transaction.
func TestWalkAndChange(t *testing.T) {
	eachHash(t, func(t *testing.T, hash func([]byte) uint64) {
		rnd := rand.New(rand.NewSource(5))
		s := newSubject(t, 16<<20, hash)
		s.tx.KeepLeaves = true
		churn := func(n int) {
			for range n {
				if key := randomKey(rnd, 80); rnd.Intn(2) == 0 {
					s.delete(key)
				} else {
					s.set(key, randomValue(rnd))
				}
			}
		}
		for round := range 12 {
			churn(40)
			before, seen := maps.Clone(s.model), map[string]string{}
			steps := 0
			require.NoError(t, s.walk(func(l node.Leaf) bool {
				seen[string(s.tx.r.Key(l))] = string(s.tx.r.Value(l))
				churn(3)
				if steps++; steps%16 == 0 { // start a nested walk
					inner, got := maps.Clone(s.model), map[string]string{}
					require.NoError(t, s.walk(func(l node.Leaf) bool {
						got[string(s.tx.r.Key(l))] = string(s.tx.r.Value(l))
						churn(1)
						return true
					}))
					require.Equal(t, inner, got)
				}
				return true
			}))
			require.Equal(t, before, seen)
			s.verify(0)
			if round%3 == 0 {
				s.commit()
			}
		}
	})
}

// TestWalkStops checks that a walk ends when visit returns false.
func TestWalkStops(t *testing.T) {
	for name, hash := range hashes {
		s := newSubject(t, 1<<20, hash)
		for i := range 50 {
			s.set(fmt.Sprint(i), "")
		}
		for stop := 1; stop <= 50; stop++ {
			n := 0
			require.NoError(t, s.tx.Reader().Walk(s.tx.Root, func(node.Leaf) bool { n++; return n < stop }))
			require.Equal(t, stop, n, name)
		}
	}
}

// TestBatchCopiesOnce checks that a transaction copies a path once, then changes it in
// place, and gives back the leaves that it replaced itself.
func TestBatchCopiesOnce(t *testing.T) {
	s := newSubject(t, 16<<20, sip)
	for i := range 5000 {
		s.set(fmt.Sprint(i), "first")
	}
	s.commit()

	s.set("17", "second")
	s.heap.Allocs = 0
	retired := s.heap.Waits()
	for range 100 {
		s.set("17", "again")
	}
	require.Equal(t, 100, s.heap.Allocs, "the leaf and nothing else")
	require.Equal(t, retired, s.heap.Waits())
	s.commit()
}

// TestLeafSurvivesRebase checks that the loser of a compare-and-swap can use its leaf
// again on the new root.
func TestLeafSurvivesRebase(t *testing.T) {
	s := newSubject(t, 1<<20, sip)
	for i := range 100 {
		s.set(fmt.Sprint(i), "value")
	}
	s.commit()

	key := []byte("key")
	leaf, err := s.tx.NewLeaf(key, []byte("large"))
	require.NoError(t, err)
	root := s.tx.Root
	_, did, err := s.tx.SetLeaf(sip(key), leaf)
	require.NoError(t, err)
	require.Equal(t, node.Inserted, did)

	s.heap.Rollback(leaf.Off) // the compare-and-swap was lost
	other := []byte("of the winner")
	s.tx.Reset(reader(s.heap), s.heap, sip, node.Tree{Root: root, Entries: 100, DataBytes: s.tx.DataBytes - leaf.DataBytes()})
	_, _, err = s.tx.Set(sip(other), other, nil)
	require.NoError(t, err)
	_, did, err = s.tx.SetLeaf(sip(key), leaf)
	require.NoError(t, err)
	require.Equal(t, node.Inserted, did)
	s.model["key"], s.model["of the winner"] = "large", ""
	s.commit()
}

// TestRebase checks that Rebase moves an overtaken transaction to the winner's trie or
// reports that it must be repeated. In both cases the result is that of running one
// transaction after the other.
func TestRebase(t *testing.T) {
	hashes := map[string]func([]byte) uint64{
		"sip":        sip,
		"few bits":   func(key []byte) uint64 { return sip(key) & 0x3f0_0000_0000_0fff },
		"collisions": func(key []byte) uint64 { return sip(key) & 7 << 40 },
	}
	for name, hash := range hashes {
		t.Run(name, func(t *testing.T) {
			for _, keys := range []int{3, 30, 3000} {
				testRebase(t, hash, keys)
			}
		})
	}
}

func testRebase(t *testing.T, hash func([]byte) uint64, keys int) {
	rnd := rand.New(rand.NewSource(int64(keys)))
	s := newSubject(t, 64<<20, hash)
	s.heap.KeepRetired = true
	for i := range keys / 2 {
		s.set(fmt.Sprint(i), "value")
	}
	s.commit()
	type state struct {
		tree    node.Tree
		version uint64
		model   map[string]string
	}
	now := func() state {
		return state{s.tx.Tree, s.version - 1, maps.Clone(s.model)}
	}
	rebased, anew := 0, 0
	for range min(400, 60_000/keys) / slow {
		states := []state{now()} // the transaction will be rebased to each in turn
		for range 1 + rnd.Intn(3) {
			for range 1 + rnd.Intn(3) {
				if key := fmt.Sprint(rnd.Intn(keys)); rnd.Intn(3) == 0 {
					s.delete(key)
				} else {
					s.set(key, fmt.Sprint(rnd.Int()))
				}
			}
			s.commit()
			states = append(states, now())
		}

		key, value, remove := fmt.Sprint(rnd.Intn(keys)), fmt.Sprint(rnd.Int()), rnd.Intn(3) == 0
		h := hash([]byte(key))
		var existed bool
		do := func(st state) {
			s.tx.Reset(reader(s.heap), s.heap, hash, st.tree)
			var err error
			if remove {
				_, existed, err = s.tx.Delete(h, []byte(key))
			} else {
				var did node.Effect
				_, did, err = s.tx.Set(h, []byte(key), []byte(value))
				existed = did != node.Inserted
			}
			require.NoError(t, err)
		}
		s.heap.Overtaken = true
		do(states[0])
		for i, st := range states[1:] {
			for _, off := range s.heap.Log { // the births that the lost commit has stamped
				s.heap.Mem.SetWord(off, states[i].version+1)
			}
			ok, err := s.tx.Rebase(reader(s.heap), st.tree, h, states[i].version)
			require.NoError(t, err)
			if ok {
				rebased++
			} else {
				anew++
				s.heap.Rewind(0)
				s.heap.Rollback(0)
				do(st)
			}
			_, has := st.model[key]
			require.Equal(t, has, existed, "what was found still holds")
		}
		s.heap.Overtaken = false
		if remove {
			delete(s.model, key)
		} else {
			s.model[key] = value
		}
		s.commit()
	}
	t.Logf("%d keys: %d rebased, %d done anew", keys, rebased, anew)
	if keys > 1000 {
		require.NotZero(t, rebased)
	}
}

// TestLimits checks that the longest key is stored and a longer one refused.
func TestLimits(t *testing.T) {
	s := newSubject(t, 1<<20, sip)
	long := string(make([]byte, node.MaxKeyLen))
	s.set(long, "value")
	s.commit()
	_, _, err := s.tx.Set(0, []byte(long+"x"), nil)
	require.ErrorIs(t, err, node.ErrTooLarge)
	s.delete(long + "x")
	s.verify(0)
}
