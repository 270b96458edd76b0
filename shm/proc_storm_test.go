// The race detector sees nothing of a mapping, and slows processes down.

//go:build !race

package shm

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"math/rand/v2"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/internal/testdir"
)

// The kill storm: a child does one kind of operation in order, telling on its
// board which one it has begun and which one was acknowledged, and is killed.
// Then every acknowledged one must have happened, only the last one begun may
// have, and no byte may be lost.

// Words of a storm child's board.
const (
	stormBegun = iota
	stormAcked
	stormWords
)

const (
	stormKeys  = 16  // of the overwriting kinds
	stormBatch = 150 // keys of a batch
	stormLoad  = 600 // keys of the deleting kind
)

// stormKind is one kind of operation. step does operation n, from 1 on; verify
// proves what must be there after the first acked and perhaps one more.
type stormKind struct {
	name   string
	setUp  func(s *Store, prefix string) error
	step   func(s *Store, prefix string, n uint64) error
	verify func(s *Store, prefix string, begun, acked uint64) error
}

func stormKey(prefix string, n uint64) []byte { return fmt.Appendf(nil, "%s%d", prefix, n) }

// stormGet returns the id of a key's value, 0 if it is absent.
func stormGet(s *Store, prefix string, n uint64) (uint64, error) {
	v, err := s.Get(stormKey(prefix, n))
	if errors.Is(err, ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	id, ok := valueID(v)
	if !ok {
		return 0, fmt.Errorf("key %s%d has a value of %d bytes that nobody wrote, of id %d", prefix, n, len(v), id)
	}
	return id, nil
}

// inserts is a kind that writes a new key every time.
func inserts(name string, size func(n uint64) int) stormKind {
	return stormKind{
		name: name,
		step: func(s *Store, prefix string, n uint64) error {
			return s.Set(stormKey(prefix, n), testValue(n, size(n)))
		},
		verify: func(s *Store, prefix string, begun, acked uint64) error {
			for n := uint64(1); n <= begun+1; n++ {
				id, err := stormGet(s, prefix, n)
				switch {
				case err != nil:
					return err
				case n <= acked && id != n:
					return fmt.Errorf("insert %d of %d was acknowledged and has value %d", n, acked, id)
				case n > begun && id != 0:
					return fmt.Errorf("insert %d was never begun and is there", n)
				}
			}
			return nil
		},
	}
}

// overwrites is a kind that writes a few keys in turn.
func overwrites(name string, keys uint64, step func(s *Store, key, value []byte, n uint64) error, size int) stormKind {
	return stormKind{
		name: name,
		step: func(s *Store, prefix string, n uint64) error {
			return step(s, stormKey(prefix, n%keys), testValue(n, size), n)
		},
		verify: func(s *Store, prefix string, begun, acked uint64) error {
			for k := range keys {
				id, err := stormGet(s, prefix, k)
				if err != nil {
					return err
				}
				// The last acknowledged and the last begun n of this key.
				least, most := lastTurn(acked, k, keys), lastTurn(begun, k, keys)
				if id < least || id > most {
					return fmt.Errorf("key %d has value %d, expected %d (acknowledged) to %d (begun)", k, id, least, most)
				}
			}
			return nil
		},
	}
}

// lastTurn is the greatest number up to n that is k modulo keys, or 0.
func lastTurn(n, k, keys uint64) uint64 {
	if n < k {
		return 0
	}
	return n - (n-k)%keys
}

// heldSnapshots are kept over the steps of the kind that holds some.
var heldSnapshots [6]*Snapshot

func setKey(s *Store, key, value []byte, _ uint64) error { return s.Set(key, value) }

var stormKinds = []stormKind{
	inserts("insert", func(n uint64) int { return 10 + int(n*7%200) }),
	inserts("growth", func(n uint64) int { return 2000 + int(n*7919%40000) }),
	inserts("insert of 1 MiB", func(uint64) int { return 1 << 20 }),
	overwrites("overwrite", stormKeys, setKey, 100),
	overwrites("overwrite of 1 MiB", 3, setKey, 1<<20),
	overwrites("swap and modify", stormKeys, func(s *Store, key, value []byte, n uint64) error {
		if n%2 == 0 {
			_, _, err := s.Swap(key, value)
			return err
		}
		return s.Modify(key, func([]byte, bool) ([]byte, bool) { return value, true })
	}, 3000),
	overwrites("overwrite under snapshots", stormKeys, func(s *Store, key, value []byte, n uint64) error {
		// Some are held for long, some for a few commits.
		i := n % 4
		if n%64 == 0 {
			i = 4 + n/64%2
		}
		if sn := heldSnapshots[i]; sn != nil {
			if err := sn.Close(); err != nil {
				return err
			}
		}
		sn, err := s.Snapshot()
		if err != nil {
			return err
		}
		heldSnapshots[i] = sn
		return s.Set(key, value)
	}, 700),
	{
		name: "delete",
		setUp: func(s *Store, prefix string) error {
			return s.Update(func(tx *Tx) error {
				for n := range uint64(stormLoad) {
					if err := tx.Set(stormKey(prefix, n+1), testValue(n+1, 50+int(n))); err != nil {
						return err
					}
				}
				return nil
			})
		},
		step: func(s *Store, prefix string, n uint64) error {
			if n > stormLoad {
				time.Sleep(time.Millisecond)
				return nil
			}
			existed, err := s.Delete(stormKey(prefix, n))
			if err == nil && !existed {
				err = fmt.Errorf("key %d was not there to be deleted", n)
			}
			return err
		},
		verify: func(s *Store, prefix string, begun, acked uint64) error {
			for n := uint64(1); n <= stormLoad; n++ {
				id, err := stormGet(s, prefix, n)
				switch {
				case err != nil:
					return err
				case n <= acked && id != 0:
					return fmt.Errorf("delete %d of %d was acknowledged and the key is there", n, acked)
				case n > begun && id != n:
					return fmt.Errorf("delete %d was never begun and the key has value %d", n, id)
				}
			}
			return nil
		},
	},
	{
		name: "batch",
		step: func(s *Store, prefix string, n uint64) error {
			return s.Update(func(tx *Tx) error {
				for k := range uint64(stormBatch) {
					var err error
					if n%3 == 0 && k%2 == 1 {
						_, err = tx.Delete(stormKey(prefix, k))
					} else {
						err = tx.Set(stormKey(prefix, k), testValue(n, 20+int((n+k)*37%400)))
					}
					if err != nil {
						return err
					}
				}
				return nil
			})
		},
		verify: func(s *Store, prefix string, begun, acked uint64) error {
			first, err := stormGet(s, prefix, 0)
			if err != nil || begun == 0 {
				return err
			}
			if first < acked || first > begun {
				return fmt.Errorf("batch %d is there, expected %d (acknowledged) to %d (begun)", first, acked, begun)
			}
			for k := range uint64(stormBatch) {
				want := first
				if first%3 == 0 && k%2 == 1 {
					want = 0
				}
				if id, err := stormGet(s, prefix, k); err != nil || id != want {
					return fmt.Errorf("key %d is of batch %d, expected %d as key 0: half of a transaction (%v)", k, id, want, err)
				}
			}
			return nil
		},
	},
}

func init() {
	children["storm"] = func() {
		b, err := openBoard(setting("BOARD"))
		must(err)
		s := mustOpen(setting("PATH"), nil)
		kind, prefix, until := stormKinds[settingInt("KIND")], setting("PREFIX"), clock()+settingInt("NANOS")
		if kind.setUp != nil {
			must(kind.setUp(s, prefix))
		}
		for n := uint64(1); clock() < until; n++ {
			b.set(stormBegun, n)
			must(kind.step(s, prefix, n))
			b.set(stormAcked, n)
		}
	}
}

func TestKillStorm(t *testing.T) {
	rnd := newRand(t)
	rounds := testdir.Scale(5, 9)
	if testing.Short() {
		rounds = 3
	}
	if *soakFlag > defaultSoak {
		rounds = int(*soakFlag / time.Second)
	}
	for i, kind := range stormKinds {
		t.Run(kind.name, func(t *testing.T) { storm(t, rnd, i, rounds) })
	}
}

func storm(t *testing.T, rnd *rand.Rand, kind, rounds int) {
	dir := testdir.Memory(t)
	path := dir + "/store"
	for round := range rounds {
		prefix := fmt.Sprintf("%d/", round)
		b := newBoard(t, dir, stormWords)
		set := settings{"PATH": path, "BOARD": b.path, "KIND": fmt.Sprint(kind), "PREFIX": prefix,
			"NANOS": fmt.Sprint(int64(10 * time.Second))}
		c := startChild(t, "storm", set)
		b.await(t, c, stormBegun, 1)
		pause := time.Duration(1+rnd.IntN(30)) * time.Millisecond
		time.Sleep(pause - time.Duration(rnd.IntN(1000))*time.Microsecond)
		c.kill(t)
		if round%3 == 2 {
			// Another one, killed while it opens and adopts.
			set["PREFIX"] = "adopter/"
			set["BOARD"] = newBoard(t, dir, stormWords).path
			c := startChild(t, "storm", set)
			time.Sleep(time.Duration(3000+rnd.IntN(15000)) * time.Microsecond)
			c.kill(t)
		}
		begun, acked := b.get(stormBegun), b.get(stormAcked)
		s, err := Open(path, nil)
		require.NoError(t, err)
		checkSound(t, s)
		if err := stormKinds[kind].verify(s, prefix, begun, acked); err != nil {
			t.Fatalf("round %d, killed after %v in operation %d: %v", round, pause, begun, err)
		}
		if round%2 == 1 {
			stormClear(t, s)
			checkSound(t, s)
		}
		require.NoError(t, s.Close())
	}
	checkFresh(t, path)
}

// stormClear deletes everything, some hundred keys at a time.
func stormClear(t *testing.T, s *Store) {
	t.Helper()
	for s.Len() > 0 {
		require.NoError(t, s.Update(func(tx *Tx) error {
			n := 0
			for key := range tx.All() {
				if _, err := tx.Delete(append([]byte{}, key...)); err != nil {
					return err
				}
				if n++; n == 300 {
					break
				}
			}
			return nil
		}))
	}
}
