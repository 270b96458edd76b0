package shm_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/shm"
)

// The same key is another entry in each map. The empty name is a name.
func TestMapsAreApart(t *testing.T) {
	s := fileStore(t, nil)
	k := []byte("key")
	a, b, o := s.Map("a"), s.Map(""), s.Ordered("o")
	for i, c := range []mapCalls{s, a, b, o} {
		require.NoError(t, c.Set(k, fmt.Append(nil, i)))
	}
	for i, c := range []mapCalls{s, a, b, o} {
		v, err := c.Get(k)
		require.NoError(t, err)
		require.Equal(t, fmt.Sprint(i), string(v))
		require.Equal(t, 1, c.Len())
	}
	maps, err := s.Maps()
	require.NoError(t, err)
	require.Equal(t, []shm.MapInfo{
		{Name: "", Kind: shm.KindHash, Entries: 1, DataBytes: 4},
		{Name: "a", Kind: shm.KindHash, Entries: 1, DataBytes: 4},
		{Name: "o", Kind: shm.KindOrdered, Entries: 1, DataBytes: 4},
	}, maps)
	require.EqualValues(t, 4, s.Stats().Entries)
	require.EqualValues(t, 16, s.Stats().DataBytes)
	sound(t, s)
}

// A map is there from its first entry on until it is dropped, and its name is free then.
func TestMapLifetime(t *testing.T) {
	s := fileStore(t, nil)
	names := func() (names []string) {
		maps, err := s.Maps()
		require.NoError(t, err)
		for _, m := range maps {
			names = append(names, fmt.Sprint(m.Name, " ", m.Kind, " ", m.Entries))
		}
		return names
	}
	k := []byte("key")
	for _, c := range []mapCalls{s.Map("m"), s.Ordered("m")} { // reads make no map
		_, err := c.Get(k)
		require.ErrorIs(t, err, shm.ErrNotFound)
		existed, err := c.Delete(k)
		require.NoError(t, err)
		require.False(t, existed)
		require.Zero(t, c.Len())
		require.NoError(t, c.GetMany([][]byte{k}, func(_ int, _ []byte, ok bool) { require.False(t, ok) }))
	}
	version := s.Version()
	require.Empty(t, names())
	existed, err := s.DropMap("m")
	require.NoError(t, err)
	require.False(t, existed)

	require.NoError(t, s.Ordered("m").Set(k, nil))
	require.Equal(t, []string{"m ordered 1"}, names())
	_, err = s.Ordered("m").Delete(k)
	require.NoError(t, err)
	require.Equal(t, []string{"m ordered 0"}, names(), "a map without entries stays")
	require.ErrorIs(t, s.Map("m").Set(k, nil), shm.ErrKind)

	require.NoError(t, s.Ordered("m").Set(k, nil))
	sn, err := s.Snapshot()
	require.NoError(t, err)
	existed, err = s.DropMap("m")
	require.NoError(t, err)
	require.True(t, existed)
	require.Empty(t, names())
	require.Zero(t, s.Ordered("m").Len())
	require.NoError(t, s.Map("m").Set(k, nil))
	require.Equal(t, []string{"m hash 1"}, names())
	require.Equal(t, 1, sn.Ordered("m").Len(), "a snapshot still sees what was dropped")
	require.NoError(t, sn.Close())
	require.Greater(t, s.Version(), version)
	sound(t, s)
}

// Each call says that a map is of the other kind, and which it is.
func TestWrongKind(t *testing.T) {
	s := fileStore(t, nil)
	require.NoError(t, s.Map("hash").Set([]byte("key"), nil))
	require.NoError(t, s.Ordered("ordered").Set([]byte("key"), nil))
	before := s.Version()
	for name, wrong := range map[string]mapCalls{"hash": s.Ordered("hash"), "ordered": s.Map("ordered")} {
		other := map[string]string{"hash": "ordered", "ordered": "hash"}[name]
		is := func(err error) {
			t.Helper()
			require.ErrorIs(t, err, shm.ErrKind)
			require.ErrorContains(t, err, fmt.Sprintf("found map %q of kind %s, expected %s", name, name, other))
			require.ErrorContains(t, err, s.Path())
		}
		k := []byte("key")
		_, err := wrong.Get(k)
		is(err)
		_, err = wrong.Has(k)
		is(err)
		is(wrong.Set(k, nil))
		_, err = wrong.Delete(k)
		is(err)
		_, _, err = wrong.Swap(k, nil)
		is(err)
		_, err = wrong.CompareAndSwap(k, nil, k)
		is(err)
		_, err = wrong.Add(k, 1)
		is(err)
		is(wrong.GetMany([][]byte{k}, nil))
		require.Zero(t, wrong.Len())

		require.NoError(t, s.View(func(sn *shm.Snapshot) error {
			v := viewCalls(sn.Map(name))
			if name == "hash" {
				v = sn.Ordered(name)
			}
			_, err := v.Get(k)
			is(err)
			require.Zero(t, v.Len())
			for range v.All() {
				t.Fatal("an entry of a map of another kind")
			}
			is(sn.Err())
			return nil
		}))
		err = s.Update(func(tx *shm.Tx) error {
			c := txCalls(tx.Map(name))
			if name == "hash" {
				c = tx.Ordered(name)
			}
			_, err := c.Get(k)
			is(err)
			_, err = c.Delete(k)
			is(err)
			require.Zero(t, c.Len())
			require.NoError(t, tx.Err(), "the transaction is not lost yet")
			err = c.Set(k, nil)
			is(err)
			for range c.All() {
				t.Fatal("an entry of a map of another kind")
			}
			is(tx.Err())
			return nil
		})
		is(err)
	}
	_, _, err := s.Ordered("hash").Min()
	require.ErrorIs(t, err, shm.ErrKind)
	_, err = s.Ordered("hash").DeleteRange(nil, nil)
	require.ErrorIs(t, err, shm.ErrKind)
	require.Equal(t, before, s.Version())

	// In one transaction, too, a name is of one kind.
	require.ErrorIs(t, s.Update(func(tx *shm.Tx) error {
		_, err := tx.Ordered("new").Get(nil)
		require.ErrorIs(t, err, shm.ErrNotFound)
		require.NoError(t, tx.Map("new").Set([]byte("a"), nil))
		return tx.Ordered("new").Set([]byte("b"), nil)
	}), shm.ErrKind)
}

func TestNamesOfMaps(t *testing.T) {
	s := fileStore(t, nil)
	names := []string{"", "\x00", "a/b", "\xff\xfe", strings.Repeat("n", 255), strings.Repeat("\x00", 255)}
	for i, name := range names {
		if i%2 == 0 {
			require.NoError(t, s.Map(name).Set([]byte("key"), []byte(name)))
		} else {
			require.NoError(t, s.Ordered(name).Set([]byte("key"), []byte(name)))
		}
	}
	maps, err := s.Maps()
	require.NoError(t, err)
	require.Len(t, maps, len(names))
	for i, name := range names {
		c := mapCalls(s.Map(name))
		if i%2 == 1 {
			c = s.Ordered(name)
		}
		v, err := c.Get([]byte("key"))
		require.NoError(t, err)
		require.Equal(t, name, string(v))
	}
	sound(t, s)

	long := strings.Repeat("n", 256)
	is := func(err error) {
		t.Helper()
		require.ErrorIs(t, err, shm.ErrTooLarge)
		require.ErrorContains(t, err, "found a map's name of 256 bytes, expected at most 255")
	}
	for _, c := range []mapCalls{s.Map(long), s.Ordered(long)} {
		_, err := c.Get([]byte("key"))
		is(err)
		is(c.Set([]byte("key"), nil))
		_, err = c.Delete([]byte("key"))
		is(err)
	}
	_, err = s.DropMap(long)
	is(err)
	is(s.Update(func(tx *shm.Tx) error { return tx.Map(long).Set(nil, nil) }))
	require.NoError(t, s.View(func(sn *shm.Snapshot) error {
		_, err := sn.Ordered(long).Get(nil)
		is(err)
		return nil
	}))
}

// Handles of a closed store, views of a closed snapshot, and maps of a transaction that has
// ended say so.
func TestMapsAfterTheEnd(t *testing.T) {
	s := fileStore(t, nil)
	require.NoError(t, s.Ordered("o").Set([]byte("key"), []byte("value")))
	sn, err := s.Snapshot()
	require.NoError(t, err)
	open := sn.Ordered("o")
	var tx *shm.TxOrdered
	require.NoError(t, s.Update(func(t *shm.Tx) error {
		tx = t.Ordered("o")
		return nil
	}))
	require.ErrorIs(t, tx.Set(nil, nil), shm.ErrClosed)
	_, _, err = tx.Min()
	require.ErrorIs(t, err, shm.ErrClosed)
	for range tx.Range(nil, nil) {
		t.Fatal("an entry of a transaction that has ended")
	}

	o := s.Ordered("o")
	require.NoError(t, s.Close())
	_, err = o.Get([]byte("key"))
	require.ErrorIs(t, err, shm.ErrClosed)
	_, _, err = o.Max()
	require.ErrorIs(t, err, shm.ErrClosed)
	_, _, err = o.Rank(nil)
	require.ErrorIs(t, err, shm.ErrClosed)
	require.ErrorIs(t, o.Set(nil, nil), shm.ErrClosed)
	require.Zero(t, o.Len())
	_, err = s.Maps()
	require.ErrorIs(t, err, shm.ErrClosed)
	_, err = s.DropMap("o")
	require.ErrorIs(t, err, shm.ErrClosed)

	key, value, err := open.Min() // a snapshot outlives its store
	require.NoError(t, err)
	require.Equal(t, "key value", fmt.Sprintf("%s %s", key, value))
	require.NoError(t, sn.Close())
	_, _, err = open.Min()
	require.ErrorIs(t, err, shm.ErrClosed)
	_, err = sn.Map("m").Get(nil)
	require.ErrorIs(t, err, shm.ErrClosed)
	_, err = sn.Maps()
	require.ErrorIs(t, err, shm.ErrClosed)
	require.Zero(t, open.Len())
	for range open.Backward(nil, nil) {
		t.Fatal("an entry of a snapshot that is closed")
	}
	require.ErrorIs(t, sn.Err(), shm.ErrClosed)
}

// A handle that may only read can read all maps, and change none.
func TestMapsReadOnly(t *testing.T) {
	s := fileStore(t, nil)
	for i := range 100 {
		require.NoError(t, s.Ordered("o").Set(numbered(i), nil))
	}
	r := openWith(t, s.Path(), &shm.Options{ReadOnly: true})
	n, err := r.Ordered("o").Count(nil, nil)
	require.NoError(t, err)
	require.Equal(t, 100, n)
	require.ErrorIs(t, r.Ordered("o").Set(numbered(0), []byte("x")), shm.ErrReadOnly)
	require.ErrorIs(t, r.Map("m").Set(numbered(0), []byte("x")), shm.ErrReadOnly)
	_, err = r.DropMap("o")
	require.ErrorIs(t, err, shm.ErrReadOnly)
	_, err = r.Ordered("o").DeleteRange(nil, nil)
	require.ErrorIs(t, err, shm.ErrReadOnly)
	sound(t, r)
}

// A transaction moves entries between maps of both kinds, and no snapshot sees one twice or
// not at all.
func TestMovesBetweenMaps(t *testing.T) {
	t.Parallel()
	s := fileStore(t, nil)
	const n = 50
	for i := range n {
		require.NoError(t, s.Map("from").Set(numbered(i), nil))
	}
	done := make(chan error, 1)
	go func() {
		done <- func() error {
			for i := range 2000 {
				err := s.Update(func(tx *shm.Tx) error {
					from, to := txCalls(tx.Map("from")), txCalls(tx.Ordered("to"))
					if i/n%2 == 1 {
						from, to = to, from
					}
					k := numbered(i % n)
					if existed, err := from.Delete(k); err != nil || !existed {
						return errors.Join(err, fmt.Errorf("move %d: existed is %v", i, existed))
					}
					return to.Set(k, nil)
				})
				if err != nil {
					return err
				}
			}
			return nil
		}()
	}()
	for running := true; running; {
		select {
		case err := <-done:
			require.NoError(t, err)
			running = false
		default:
		}
		require.NoError(t, s.View(func(sn *shm.Snapshot) error {
			require.Equal(t, n, sn.Map("from").Len()+sn.Ordered("to").Len())
			seen := map[string]bool{}
			for _, all := range []iter.Seq2[[]byte, []byte]{sn.Map("from").All(), sn.Ordered("to").All()} {
				for key := range all {
					require.False(t, seen[string(key)])
					seen[string(key)] = true
				}
			}
			require.Len(t, seen, n)
			return sn.Err()
		}))
	}
	sound(t, s)
}

// The space of a dropped map comes back through the commits that follow.
// A store that a dropped map has filled takes new entries.
// Compact finishes what was dropped and moves entries of all maps.
// Reads of named maps allocate nothing but what they return.
func TestAllocationsOfMaps(t *testing.T) {
	if raced {
		t.Skip("the race detector allocates")
	}
	s := fileStore(t, nil)
	o, m := s.Ordered("o"), s.Map("m")
	for i := range 100 {
		require.NoError(t, o.Set(numbered(i), []byte("value")))
		require.NoError(t, m.Set(numbered(i), []byte("value")))
	}
	buf := make([]byte, 0, 100)
	key := numbered(50)
	for what, c := range map[string]struct {
		most float64
		call func()
	}{
		"Append to a hash map":     {0, func() { _, _ = m.Append(buf, key) }},
		"Append to an ordered map": {0, func() { _, _ = o.Append(buf, key) }},
		"Has":                      {0, func() { _, _ = o.Has(key) }},
		"Len":                      {0, func() { _ = o.Len() }},
		"Rank":                     {0, func() { _, _, _ = o.Rank(key) }},
		"Count":                    {0, func() { _, _ = o.Count(key, nil) }},
		"Get":                      {1, func() { _, _ = o.Get(key) }},
		"Min":                      {1, func() { _, _, _ = o.Min() }},
		"Higher":                   {1, func() { _, _, _ = o.Higher(key) }},
		"At":                       {1, func() { _, _, _ = o.At(50) }},
	} {
		require.LessOrEqual(t, testing.AllocsPerRun(100, c.call), c.most, what)
	}
}

// A hundred thousand maps of one entry take at most 300 bytes each, and one transaction can
// use all of them.
// A map is there from its first entry on, also if the transaction that has set the entry
// deletes it again: so a group of edits leaves what they leave one by one.
func TestMapWithoutEntriesIsThere(t *testing.T) {
	s := fileStore(t, nil)
	require.NoError(t, s.Map("one by one").Set([]byte("key"), nil))
	existed, err := s.Map("one by one").Delete([]byte("key"))
	require.NoError(t, err)
	require.True(t, existed)
	require.NoError(t, s.Update(func(tx *shm.Tx) error {
		m := tx.Ordered("at once")
		require.NoError(t, m.Set([]byte("key"), nil))
		existed, err := m.Delete([]byte("key"))
		require.True(t, existed)
		return err
	}))
	infos, err := s.Maps()
	require.NoError(t, err)
	require.Equal(t, []shm.MapInfo{{"at once", shm.KindOrdered, 0, 0}, {"one by one", shm.KindHash, 0, 0}}, infos)
	for _, name := range []string{"at once", "one by one", "never"} {
		existed, err := s.DropMap(name)
		require.NoError(t, err)
		require.Equal(t, name != "never", existed)
	}
	sound(t, s)
}

// Maps whose names have one hash are apart, also when their blocks are moved.
// Compact moves all of named maps: leaves, nodes, and their records.
// A backup has maps without entries, and so has a difference. A difference drops a map
// before it makes one of the other kind.
func TestDifferenceOfKinds(t *testing.T) {
	s := fileStore(t, nil)
	require.NoError(t, s.Map("x").Set([]byte("key"), []byte("hash")))
	require.NoError(t, s.Map("y").Set([]byte("key"), []byte("hash")))
	require.NoError(t, s.Map("empty").Set([]byte("key"), nil))
	_, err := s.Map("empty").Delete([]byte("key"))
	require.NoError(t, err)
	dir := t.TempDir()
	require.NoError(t, s.Backup(t.Context(), dir+"/backup"))
	b, err := shm.Open(dir+"/backup", &shm.Options{ReadOnly: true})
	require.NoError(t, err)
	defer func() { require.NoError(t, b.Close()) }()
	base, err := b.Snapshot()
	require.NoError(t, err)
	defer func() { require.NoError(t, base.Close()) }()
	infos, err := base.Maps()
	require.NoError(t, err)
	require.Equal(t, []shm.MapInfo{{"empty", shm.KindHash, 0, 0}, {"x", shm.KindHash, 1, 7}, {"y", shm.KindHash, 1, 7}}, infos)
	for _, name := range []string{"x", "y"} {
		existed, err := s.DropMap(name)
		require.NoError(t, err)
		require.True(t, existed)
	}
	require.NoError(t, s.Ordered("x").Set([]byte("key"), []byte("ordered")))
	require.NoError(t, s.Ordered("z").Set([]byte("key"), nil))
	_, err = s.Ordered("z").Delete([]byte("key"))
	require.NoError(t, err)

	var diff bytes.Buffer
	require.NoError(t, s.View(func(sn *shm.Snapshot) error {
		_, err := sn.BackupSince(t.Context(), base, &diff, nil)
		return err
	}))
	require.NoError(t, shm.Restore(t.Context(), dir+"/backup", dir+"/made", []io.Reader{&diff}, nil))
	made, err := shm.Open(dir+"/made", nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, made.Close()) }()
	infos, err = made.Maps()
	require.NoError(t, err)
	require.Equal(t, []shm.MapInfo{{"empty", shm.KindHash, 0, 0}, {"x", shm.KindOrdered, 1, 10}, {"z", shm.KindOrdered, 0, 0}}, infos)
	sound(t, made)
}

// Within a transaction too, a name is that of a map of one kind.
func TestKindsInATransaction(t *testing.T) {
	s := fileStore(t, nil)
	key := []byte("key")
	require.NoError(t, s.Ordered("there").Set(key, nil))
	require.NoError(t, s.Update(func(tx *shm.Tx) error {
		h, o := tx.Map("new"), tx.Ordered("new")
		_, err := o.Get(key) // a lookup makes no map
		require.ErrorIs(t, err, shm.ErrNotFound)
		require.NoError(t, h.Set(key, []byte("h")))
		require.ErrorIs(t, o.Set(key, []byte("o")), shm.ErrKind)
		got, err := h.Get(key)
		require.NoError(t, err)
		require.Equal(t, "h", string(got))
		_, err = o.Get(key)
		require.ErrorIs(t, err, shm.ErrKind)
		_, err = tx.Map("there").Delete(key)
		require.ErrorIs(t, err, shm.ErrKind)
		require.Zero(t, tx.Map("there").Len())
		require.Equal(t, 1, tx.Ordered("there").Len())
		return nil
	}))
	require.ErrorIs(t, s.Update(func(tx *shm.Tx) error {
		for range tx.Map("there").All() {
			t.Error("found an entry of an ordered map in a hash map")
		}
		require.ErrorIs(t, tx.Err(), shm.ErrKind)
		return nil
	}), shm.ErrKind)
	infos, err := s.Maps()
	require.NoError(t, err)
	require.Equal(t, []shm.MapInfo{{"new", shm.KindHash, 1, 4}, {"there", shm.KindOrdered, 1, 3}}, infos)
	sound(t, s)
}
