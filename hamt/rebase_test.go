package hamt

import (
	"fmt"
	"maps"
	"math/rand"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/node"
)

// TestRebaseMany checks that RebaseMany moves an overtaken transaction of many keys to
// the winner's trie or reports that the transaction must be repeated. In both cases the
// result is that of running one transaction after the other, and the result for each key
// still holds.
func TestRebaseMany(t *testing.T) {
	hashes := map[string]func([]byte) uint64{
		"sip":        sip,
		"few bits":   func(key []byte) uint64 { return sip(key) & 0x3f0_0000_0000_0fff },
		"two sides":  func(key []byte) uint64 { return sip(key) &^ 0x3e },
		"collisions": func(key []byte) uint64 { return sip(key) & 7 << 40 },
	}
	for name, hash := range hashes {
		t.Run(name, func(t *testing.T) {
			for _, keys := range []int{3, 30, 300, 3000} {
				testRebaseMany(t, hash, keys)
			}
		})
	}
}

func testRebaseMany(t *testing.T, hash func([]byte) uint64, keys int) {
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
	type change struct {
		key, value string
		remove     bool
		existed    bool
	}
	rebased, again := 0, 0
	for range min(300, 60_000/keys) / slow {
		states := []state{now()} // the transaction will be rebased to each in turn
		for range 1 + rnd.Intn(3) {
			for range 1 + rnd.Intn(2) {
				if key := fmt.Sprint(rnd.Intn(keys)); rnd.Intn(3) == 0 {
					s.delete(key)
				} else {
					s.set(key, fmt.Sprint(rnd.Int()))
				}
			}
			s.commit()
			states = append(states, now())
		}
		var all []*change
		var hs []uint64
		for range 1 + rnd.Intn(6) {
			c := &change{key: fmt.Sprint(rnd.Intn(keys)), value: fmt.Sprint(rnd.Int()), remove: rnd.Intn(3) == 0}
			all, hs = append(all, c), append(hs, hash([]byte(c.key)))
		}
		do := func(st state) {
			s.tx.Reset(reader(s.heap), s.heap, hash, st.tree)
			for i, c := range all {
				var err error
				if c.remove {
					_, c.existed, err = s.tx.Delete(hs[i], []byte(c.key))
				} else {
					var did node.Effect
					_, did, err = s.tx.Set(hs[i], []byte(c.key), []byte(c.value))
					c.existed = did != node.Inserted
				}
				require.NoError(t, err)
			}
			require.NoError(t, s.tx.Seal(hs))
		}
		holds := func(model map[string]string) map[string]string {
			model = maps.Clone(model)
			for _, c := range all {
				_, has := model[c.key]
				require.Equal(t, has, c.existed, "what was found still holds")
				if c.remove {
					delete(model, c.key)
				} else {
					model[c.key] = c.value
				}
			}
			return model
		}
		s.heap.Overtaken = true
		do(states[0])
		var after map[string]string
		for i, st := range states[1:] {
			for _, off := range s.heap.Log { // the births that the lost commit has stamped
				s.heap.Mem.SetWord(off, states[i].version+1)
			}
			ok, err := s.tx.RebaseMany(reader(s.heap), st.tree, states[i].version)
			require.NoError(t, err)
			if ok {
				rebased++
			} else {
				again++
				s.heap.Rewind(0)
				s.heap.Rollback(0)
				do(st)
			}
			after = holds(st.model)
		}
		s.heap.Overtaken = false
		s.model = after
		s.commit()
	}
	t.Logf("%d keys: %d rebased, %d made again", keys, rebased, again)
	if keys > 1000 && hash([]byte("a"))&63 != hash([]byte("b"))&63 { // else the root has one child only
		require.NotZero(t, rebased)
	}
	if keys < 1000 || !testing.Short() { // a group of few keys seldom shares a child
		require.NotZero(t, again)
	}
}

// overtakenSet returns a trie of some levels in which a transaction has set one key, the
// root that the transaction began with, and the hash of the key.
func overtakenSet(t *testing.T) (s *subject, root node.Ref, h uint64) {
	s = newSubject(t, 1<<20, sip)
	for i := range 5000 {
		s.set(fmt.Sprint(i), "value")
	}
	s.commit()
	root, h = s.tx.Root, sip([]byte("1"))
	_, _, err := s.tx.Set(h, []byte("1"), []byte("other"))
	require.NoError(t, err)
	return s, root, h
}

// A child at the same offset as before but with a newer birth is another node, because
// its block was reused.
func TestRebaseManyLooksAtBirths(t *testing.T) {
	for _, later := range []bool{false, true} {
		s, root, h := overtakenSet(t)
		version, trie := s.version-1, s.tx.Tree
		trie.Root = root
		require.NoError(t, s.tx.Seal([]uint64{h}))
		b, err := reader(s.heap).branch(root, 0)
		require.NoError(t, err)
		i, taken := b.index(h, 0)
		require.True(t, taken)
		if later {
			s.heap.Mem.SetWord(b.ref(reader(s.heap), i).Off(), version+1)
		}
		s.heap.Overtaken = true
		ok, err := s.tx.RebaseMany(reader(s.heap), trie, version)
		require.NoError(t, err)
		require.Equal(t, !later, ok)
	}
}

// The same holds for a branch on the path of a transaction of one key.
func TestRebaseLooksAtBirths(t *testing.T) {
	for _, later := range []bool{false, true} {
		s, root, h := overtakenSet(t)
		version, trie := s.version-1, s.tx.Tree
		trie.Root = root
		b, err := reader(s.heap).branch(root, 0)
		require.NoError(t, err)
		i, taken := b.index(h, 0)
		require.True(t, taken)
		child := b.ref(reader(s.heap), i)
		require.Equal(t, node.KindBranch, child.Kind())
		s.heap.Mem.SetWord(root.Off(), version+1) // another has replaced the root
		if later {
			s.heap.Mem.SetWord(child.Off(), version+1)
		}
		s.heap.Overtaken = true
		ok, err := s.tx.Rebase(reader(s.heap), trie, h, version)
		require.NoError(t, err)
		require.Equal(t, !later, ok)
	}
}
