package shm_test

import (
	"bytes"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/shm"
)

// A snapshot's slices stay as they are while the store is overwritten many
// times over.
func TestSnapshotStays(t *testing.T) {
	stores(t, func(t *testing.T, s, other *shm.Store) {
		value := func(i, round int) []byte {
			return bytes.Repeat(fmt.Appendf(nil, "%d/%d ", i, round), 1+i*i%300)
		}
		const n = 200
		for i := range n {
			require.NoError(t, s.Set(numbered(i), value(i, 0)))
		}
		sn, err := s.Snapshot()
		require.NoError(t, err)
		var values [n][]byte
		for i := range n {
			values[i], err = sn.Get(numbered(i))
			require.NoError(t, err)
			require.Equal(t, len(values[i]), cap(values[i]), "appending must not reach what lies behind")
		}
		file := s.Stats().FileBytes
		for round := range 60 {
			for i := range n {
				require.NoError(t, []*shm.Store{s, other}[round%2].Set(numbered(i), value(i, round+1)))
			}
		}
		for i := range n {
			require.Equal(t, value(i, 0), values[i])
			got, err := sn.Get(numbered(i))
			require.NoError(t, err)
			require.Equal(t, value(i, 0), got)
		}
		require.Equal(t, n, sn.Len())
		require.Less(t, s.Stats().FileBytes, 4*file+1<<20, "the snapshot keeps only what it sees")
		require.NoError(t, sn.Close())
		require.NoError(t, sn.Close())
		_, err = sn.Get(numbered(0))
		require.ErrorIs(t, err, shm.ErrClosed)
		_, err = sn.Has(numbered(0))
		require.ErrorIs(t, err, shm.ErrClosed)
		require.Zero(t, sn.Len())
		for range sn.All() {
			require.Fail(t, "All of a closed snapshot")
		}
	})
}

func TestManySnapshots(t *testing.T) {
	s := heapStores(t, 8<<20, 1)[0]
	var all []*shm.Snapshot
	for i := range shm.MaxSnapshots {
		set(t, s, "k", fmt.Sprint(i))
		for range 2 { // of one version they share a pin
			sn, err := s.Snapshot()
			require.NoError(t, err)
			all = append(all, sn)
		}
	}
	set(t, s, "k", "one more")
	_, err := s.Snapshot()
	require.ErrorIs(t, err, shm.ErrTooManySnapshots)
	require.Equal(t, "one more", get(t, s, "k"))
	for i, sn := range all {
		got, err := sn.Get([]byte("k"))
		require.NoError(t, err)
		require.Equal(t, fmt.Sprint(i/2), string(got))
		require.NoError(t, sn.Close())
	}
	sn, err := s.Snapshot()
	require.NoError(t, err)
	require.NoError(t, sn.Close())
	sound(t, s)
}

func TestDiffAfterContraction(t *testing.T) {
	for name, hash := range map[string]func([]byte) uint64{
		"own": nil, "equal": func([]byte) uint64 { return 1 }, "one bit": func(k []byte) uint64 { return fnvHash(k) & (1 << 59) },
	} {
		t.Run(name, func(t *testing.T) {
			stores(t, func(t *testing.T, s, other *shm.Store) {
				s.SetHash(hash)
				other.SetHash(hash)
				take := func() *keptSnapshot {
					sn, err := s.Snapshot()
					require.NoError(t, err)
					k := &keptSnapshot{sn: sn, model: map[string]string{}, version: sn.Version()}
					for key, value := range sn.All() {
						k.model[string(key)] = string(value)
					}
					return k
				}
				kept := []*keptSnapshot{take()}
				grow := func(from, to int, value string) {
					for i := from; i < to; i++ {
						set(t, s, string(numbered(i)), value)
					}
					kept = append(kept, take())
				}
				shrink := func(from, to int) {
					for i := from; i < to; i++ {
						existed, err := other.Delete(numbered(i))
						require.NoError(t, err)
						require.True(t, existed)
					}
					kept = append(kept, take())
				}
				grow(0, 1, "a")
				grow(1, 200, "a")
				grow(0, 100, "a") // the same again: no difference
				shrink(2, 200)
				shrink(1, 2)
				grow(1, 300, "b")
				grow(0, 300, "a")
				shrink(0, 300)
				for _, a := range kept {
					for _, b := range kept {
						sameDiff(t, a, b)
					}
				}
				for range kept[2].sn.Diff(kept[0].sn) {
					break // it can be left early
				}
				for _, k := range kept {
					require.NoError(t, k.sn.Close())
				}
			})
		})
	}
}

// Diff of snapshots that come from two handles.
func TestDiffAcrossHandles(t *testing.T) {
	stores(t, func(t *testing.T, s, other *shm.Store) {
		set(t, s, "k", "1")
		older, err := s.Snapshot()
		require.NoError(t, err)
		for i := range 3000 { // the file grows in between
			require.NoError(t, other.Set(numbered(i), make([]byte, 200)))
		}
		set(t, other, "k", "2")
		newer, err := other.Snapshot()
		require.NoError(t, err)
		for _, d := range []struct{ a, b *shm.Snapshot }{{newer, older}, {older, newer}} {
			n := 0
			for key, c := range d.a.Diff(d.b) {
				if n++; string(key) == "k" {
					require.NotNil(t, c.Old)
					require.NotNil(t, c.New)
				}
			}
			require.Equal(t, 3001, n)
		}
		require.NoError(t, older.Close())
		for range newer.Diff(older) {
			require.Fail(t, "Diff with a closed snapshot")
		}
		require.NoError(t, newer.Close())
	})
}

// The time of Diff is that of the change, not of the store.
func TestDiffIsProportional(t *testing.T) {
	s := heapStores(t, 64<<20, 1)[0]
	require.NoError(t, s.Update(func(tx *shm.Tx) error {
		for i := range 50000 {
			require.NoError(t, tx.Set(numbered(i), []byte("v")))
		}
		return nil
	}))
	older, err := s.Snapshot()
	require.NoError(t, err)
	set(t, s, string(numbered(77)), "changed")
	newer, err := s.Snapshot()
	require.NoError(t, err)
	start := time.Now()
	const rounds = 1000
	for range rounds {
		n := 0
		for key, c := range newer.Diff(older) {
			require.Equal(t, string(numbered(77)), string(key))
			require.Equal(t, "v", string(c.Old))
			require.Equal(t, "changed", string(c.New))
			n++
		}
		require.Equal(t, 1, n)
	}
	// A walk of the whole would take milliseconds.
	require.Less(t, time.Since(start)/rounds, 500*time.Microsecond)
	require.NoError(t, older.Close())
	require.NoError(t, newer.Close())
}

// Two stores have nothing to compare, whatever their files have in common.
func TestDiffOfTwoStores(t *testing.T) {
	dir := t.TempDir()
	var all []*shm.Snapshot
	for _, name := range []string{"a", "b", "copy of a"} {
		if name == "copy of a" {
			require.NoError(t, os.CopyFS(dir+"/"+name, os.DirFS(dir+"/a")))
		}
		s, err := shm.Open(dir+"/"+name, nil)
		require.NoError(t, err)
		defer func() { require.NoError(t, s.Close()) }()
		for i := range 200 {
			require.NoError(t, s.Set(numbered(i), []byte(name)))
		}
		sn, err := s.Snapshot()
		require.NoError(t, err)
		defer func() { require.NoError(t, sn.Close()) }()
		all = append(all, sn)
	}
	for i, sn := range all {
		for range sn.Diff(sn) {
			t.Fatal("a change since itself")
		}
		require.NoError(t, sn.Err())
		for j, older := range all {
			for range sn.Diff(older) {
				require.Equal(t, i, j, "a change")
			}
		}
		require.ErrorIs(t, sn.Err(), shm.ErrUnrelated)
		require.ErrorContains(t, sn.Err(), dir)
	}
}

// A snapshot knows how many bytes its keys and values have.
func TestSnapshotBytes(t *testing.T) {
	stores(t, func(t *testing.T, s, other *shm.Store) {
		empty, err := s.Snapshot()
		require.NoError(t, err)
		require.Zero(t, empty.Bytes())
		set(t, s, "key", "value")
		set(t, other, "k", "")
		sn, err := s.Snapshot()
		require.NoError(t, err)
		require.EqualValues(t, len("key")+len("value")+len("k"), sn.Bytes())
		set(t, s, "key", "another value")
		require.EqualValues(t, 9, sn.Bytes())
		require.Zero(t, empty.Bytes())
		require.NoError(t, s.View(func(sn *shm.Snapshot) error {
			require.Equal(t, s.Stats().DataBytes, sn.Bytes())
			return nil
		}))
		require.NoError(t, empty.Close())
		require.NoError(t, sn.Close())
		require.Zero(t, sn.Bytes())
	})
}
