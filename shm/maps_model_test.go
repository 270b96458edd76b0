package shm_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
	"sort"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/internal/testdir"
	"github.com/seed-869cc763/shmkv/shm"
)

// A modelMap is what a map should hold. The model of a store has one for each map that is
// there, by name; the unnamed map is "" there, and named maps have the prefix "/".
type modelMap struct {
	kind    shm.Kind
	entries map[string]string
}

type modelStore map[string]*modelMap

func (m modelStore) clone() modelStore {
	c := modelStore{}
	for name, mm := range m {
		c[name] = &modelMap{mm.kind, maps.Clone(mm.entries)}
	}
	return c
}

// at returns the map of a name, and makes it if it is not there.
func (m modelStore) at(name string, kind shm.Kind) *modelMap {
	mm := m[name]
	if mm == nil {
		mm = &modelMap{kind, map[string]string{}}
		m[name] = mm
	}
	return mm
}

// get returns the entries of a map, none if it is not there.
func (m modelStore) get(name string) map[string]string {
	if mm := m[name]; mm != nil {
		return mm.entries
	}
	return nil
}

// mapCalls are the calls that Store, Map and Ordered share.
type mapCalls interface {
	Get(key []byte) ([]byte, error)
	Has(key []byte) (bool, error)
	Set(key, value []byte) error
	Delete(key []byte) (bool, error)
	Swap(key, value []byte) ([]byte, bool, error)
	CompareAndSwap(key, old, new []byte) (bool, error)
	Add(key []byte, n int64) (int64, error)
	GetMany(keys [][]byte, fn func(i int, value []byte, ok bool)) error
	Len() int
}

// viewCalls are the calls that Snapshot, MapView and OrderedView share.
type viewCalls interface {
	Get(key []byte) ([]byte, error)
	Len() int
	Bytes() int64
	All() iter.Seq2[[]byte, []byte]
	GetMany(keys [][]byte) iter.Seq2[int, []byte]
}

// txCalls are the calls that Tx, TxMap and TxOrdered share.
type txCalls interface {
	Get(key []byte) ([]byte, error)
	Set(key, value []byte) error
	Delete(key []byte) (bool, error)
	Len() int
	All() iter.Seq2[[]byte, []byte]
}

// queries are the calls that need an order.
type queries interface {
	Min() (key, value []byte, err error)
	Max() (key, value []byte, err error)
	Floor(key []byte) ([]byte, []byte, error)
	Lower(key []byte) ([]byte, []byte, error)
	Ceil(key []byte) ([]byte, []byte, error)
	Higher(key []byte) ([]byte, []byte, error)
	At(i int) (key, value []byte, err error)
	Rank(key []byte) (int, bool, error)
	Count(from, to []byte) (int, error)
}

// loops are the loops that need an order.
type loops interface {
	Range(from, to []byte) iter.Seq2[[]byte, []byte]
	Backward(from, to []byte) iter.Seq2[[]byte, []byte]
	Prefix(p []byte) iter.Seq2[[]byte, []byte]
}

// mapsModel runs operations on a store and on a model of it.
type mapsModel struct {
	t     *testing.T
	all   []*shm.Store // handles, of which each step uses one
	s     *shm.Store   // the one that is in use
	rnd   *rand.Rand
	model modelStore
	names []string // of the maps that are used; "" is the unnamed one
	kept  []keptMaps
	value int
}

type keptMaps struct {
	sn    *shm.Snapshot
	model modelStore
}

func kindOf(name string) shm.Kind {
	if name != "" && name[1] == 'o' {
		return shm.KindOrdered
	}
	return shm.KindHash
}

func (m *mapsModel) calls(name string) mapCalls {
	switch {
	case name == "":
		return m.s
	case kindOf(name) == shm.KindOrdered:
		return m.s.Ordered(name[1:])
	}
	return m.s.Map(name[1:])
}

func viewOf(sn *shm.Snapshot, name string) viewCalls {
	switch {
	case name == "":
		return sn
	case kindOf(name) == shm.KindOrdered:
		return sn.Ordered(name[1:])
	}
	return sn.Map(name[1:])
}

func txOf(tx *shm.Tx, name string) txCalls {
	switch {
	case name == "":
		return tx
	case kindOf(name) == shm.KindOrdered:
		return tx.Ordered(name[1:])
	}
	return tx.Map(name[1:])
}

func (m *mapsModel) key() string {
	switch n := m.rnd.IntN(60); {
	case n == 0:
		return ""
	case n < 8:
		return string(bytes.Repeat([]byte("a"), m.rnd.IntN(20)))
	case n < 12:
		return string([]byte{0xff, 0xff, byte(m.rnd.IntN(256))}[:m.rnd.IntN(4)])
	}
	return fmt.Sprint("key", m.rnd.IntN(300))
}

func (m *mapsModel) fresh() string {
	m.value++
	return fmt.Sprint(m.value)
}

func (m *mapsModel) name() string { return m.names[m.rnd.IntN(len(m.names))] }

// step makes one change by a call of one key, a transaction over several maps, or a drop.
func (m *mapsModel) step() {
	m.s = m.all[m.rnd.IntN(len(m.all))]
	t, name, key := m.t, m.name(), m.key()
	c := m.calls(name)
	was, there := m.model.get(name)[key]
	switch n := m.rnd.IntN(100); {
	case n < 35:
		v := m.fresh()
		require.NoError(t, c.Set([]byte(key), []byte(v)))
		m.model.at(name, kindOf(name)).entries[key] = v
	case n < 60:
		existed, err := c.Delete([]byte(key))
		require.NoError(t, err)
		require.Equal(t, there, existed)
		delete(m.model.get(name), key)
	case n < 64:
		v := m.fresh()
		old, existed, err := c.Swap([]byte(key), []byte(v))
		require.NoError(t, err)
		require.Equal(t, there, existed)
		require.Equal(t, was, string(old))
		m.model.at(name, kindOf(name)).entries[key] = v
	case n < 68:
		v := m.fresh()
		old := []byte(was)
		if !there {
			old = nil
		}
		if wrong := m.rnd.IntN(3) == 0; wrong {
			swapped, err := c.CompareAndSwap([]byte(key), []byte("wrong"), []byte(v))
			require.NoError(t, err)
			require.False(t, swapped)
			return
		}
		swapped, err := c.CompareAndSwap([]byte(key), old, []byte(v))
		require.NoError(t, err)
		require.True(t, swapped)
		m.model.at(name, kindOf(name)).entries[key] = v
	case n < 95:
		m.update()
	case n < 97:
		if name != "" {
			existed, err := m.s.DropMap(name[1:])
			require.NoError(t, err)
			require.Equal(t, m.model[name] != nil, existed)
			delete(m.model, name)
		}
	default:
		if name != "" && kindOf(name) == shm.KindOrdered {
			from, to := m.bound(), m.bound()
			n, err := m.s.Ordered(name[1:]).DeleteRange(from, to)
			require.NoError(t, err)
			deleted := 0
			for key := range m.model.get(name) {
				if inside(key, from, to) {
					delete(m.model[name].entries, key)
					deleted++
				}
			}
			require.Equal(t, deleted, n)
		}
	}
}

func (m *mapsModel) bound() []byte {
	if m.rnd.IntN(5) == 0 {
		return nil
	}
	return []byte(m.key())
}

func inside(key string, from, to []byte) bool {
	return (from == nil || key >= string(from)) && (to == nil || key < string(to))
}

var errGivenUp = errors.New("given up")

// update makes a transaction over several maps, and gives some of them up.
func (m *mapsModel) update() {
	t := m.t
	var after modelStore
	giveUp := m.rnd.IntN(6) == 0
	err := m.s.Update(func(tx *shm.Tx) error {
		after = m.model.clone() // it runs again when the keeper's commit comes first
		for range m.rnd.IntN(30) {
			name, key := m.name(), m.key()
			c := txOf(tx, name)
			was, there := after.get(name)[key]
			switch m.rnd.IntN(8) {
			case 0, 1, 2:
				v := m.fresh()
				require.NoError(t, c.Set([]byte(key), []byte(v)))
				after.at(name, kindOf(name)).entries[key] = v
			case 3, 4:
				existed, err := c.Delete([]byte(key))
				require.NoError(t, err)
				require.Equal(t, there, existed)
				delete(after.get(name), key)
			case 5:
				got, err := c.Get([]byte(key))
				require.Equal(t, !there, errors.Is(err, shm.ErrNotFound))
				require.Equal(t, was, string(got))
				require.Equal(t, len(after.get(name)), c.Len())
			case 6: // an entry moves to another map
				to := m.name()
				if there && to != name {
					_, err := c.Delete([]byte(key))
					require.NoError(t, err)
					require.NoError(t, txOf(tx, to).Set([]byte(key), []byte(was)))
					delete(after.get(name), key)
					after.at(to, kindOf(to)).entries[key] = was
				}
			case 7: // a loop that writes to what it loops over, and to another map
				seen := map[string]string{}
				before := maps.Clone(after.get(name))
				for key, value := range c.All() {
					seen[string(key)] = string(value)
					if m.rnd.IntN(10) == 0 {
						_, err := c.Delete(key)
						require.NoError(t, err)
						delete(after.get(name), string(key))
						other := m.name()
						require.NoError(t, txOf(tx, other).Set(key, value))
						after.at(other, kindOf(other)).entries[string(key)] = string(value)
					}
				}
				require.Equal(t, len(before), len(seen))
				for key, value := range before {
					require.Equal(t, value, seen[key])
				}
			}
			if o, ok := c.(queries); ok && m.rnd.IntN(4) == 0 {
				m.askOrdered(o, o.(loops), after.get(name))
			}
		}
		if giveUp {
			return errGivenUp
		}
		return nil
	})
	if giveUp {
		require.ErrorIs(t, err, errGivenUp)
		return
	}
	require.NoError(t, err)
	m.model = after
}

// askOrdered compares the answers of an ordered map with those of a sorted slice.
func (m *mapsModel) askOrdered(o queries, l loops, entries map[string]string) {
	t := m.t
	keys := slices.Sorted(maps.Keys(entries))
	expect := func(what string, i int, key, value []byte, err error) {
		if i < 0 || i >= len(keys) {
			require.ErrorIs(t, err, shm.ErrNotFound, what)
			return
		}
		require.NoError(t, err, what)
		require.Equal(t, keys[i], string(key), what)
		require.Equal(t, entries[keys[i]], string(value), what)
	}
	key, value, err := o.Min()
	expect("min", 0, key, value, err)
	key, value, err = o.Max()
	expect("max", len(keys)-1, key, value, err)
	for range 3 {
		k := m.key()
		at := sort.SearchStrings(keys, k)
		_, found := entries[k]
		past := at
		if found {
			past++
		}
		key, value, err = o.Lower([]byte(k))
		expect("lower", at-1, key, value, err)
		key, value, err = o.Floor([]byte(k))
		expect("floor", past-1, key, value, err)
		key, value, err = o.Ceil([]byte(k))
		expect("ceil", at, key, value, err)
		key, value, err = o.Higher([]byte(k))
		expect("higher", past, key, value, err)
		i, ok, err := o.Rank([]byte(k))
		require.NoError(t, err)
		require.Equal(t, at, i)
		require.Equal(t, found, ok)
		i = m.rnd.IntN(len(keys)+3) - 1
		key, value, err = o.At(i)
		expect("at", i, key, value, err)
	}
	from, to := m.bound(), m.bound()
	var want []string
	for _, k := range keys {
		if inside(k, from, to) {
			want = append(want, k)
		}
	}
	n, err := o.Count(from, to)
	require.NoError(t, err)
	require.Equal(t, len(want), n)
	most := m.rnd.IntN(len(keys) + 2)
	sameLoop := func(what string, want []string, loop iter.Seq2[[]byte, []byte]) {
		i := 0
		for key, value := range loop {
			require.Less(t, i, len(want), what)
			require.Equal(t, want[i], string(key), what)
			require.Equal(t, entries[want[i]], string(value), what)
			if i++; i > most {
				return
			}
		}
		require.Equal(t, len(want), i, what)
	}
	sameLoop("range", want, l.Range(from, to))
	slices.Reverse(want)
	sameLoop("backward", want, l.Backward(from, to))
	p := m.key()
	want = nil
	for _, k := range keys {
		if len(k) >= len(p) && k[:len(p)] == p {
			want = append(want, k)
		}
	}
	sameLoop("prefix "+p, want, l.Prefix([]byte(p)))
}

// verify compares a snapshot with a model of it.
func (m *mapsModel) verify(sn *shm.Snapshot, model modelStore) {
	t := m.t
	infos, err := sn.Maps()
	require.NoError(t, err)
	var expected []shm.MapInfo
	for name, mm := range model {
		if name != "" {
			expected = append(expected, shm.MapInfo{Name: name[1:], Kind: mm.kind, Entries: int64(len(mm.entries)), DataBytes: dataOf(mm.entries)})
		}
	}
	slices.SortFunc(expected, func(a, b shm.MapInfo) int { return bytes.Compare([]byte(a.Name), []byte(b.Name)) })
	require.Equal(t, expected, infos)
	for _, name := range m.names {
		entries := model.get(name)
		v := viewOf(sn, name)
		require.Equal(t, len(entries), v.Len(), name)
		require.Equal(t, dataOf(entries), v.Bytes(), name)
		seen := 0
		var keys [][]byte
		for key, value := range v.All() {
			require.Equal(t, entries[string(key)], string(value), "%s of %s", key, name)
			keys = append(keys, key)
			seen++
		}
		require.Equal(t, len(entries), seen)
		keys = append(keys, []byte("not there"))
		for i, value := range v.GetMany(keys) {
			want, there := entries[string(keys[i])]
			require.Equal(t, there, value != nil)
			require.Equal(t, want, string(value))
		}
		if o, ok := v.(*shm.OrderedView); ok {
			m.askOrdered(o, o, entries)
		}
	}
	require.NoError(t, sn.Err())
}

func dataOf(entries map[string]string) (n int64) {
	for key, value := range entries {
		n += int64(len(key) + len(value))
	}
	return n
}

// verifyDiff compares the difference of two snapshots with that of their models.
func (m *mapsModel) verifyDiff(older, newer keptMaps) {
	t := m.t
	changed := map[string]bool{}
	for info := range newer.sn.ChangedMaps(older.sn) {
		require.False(t, changed[info.Name])
		changed["/"+info.Name] = true
	}
	require.NoError(t, newer.sn.Err())
	for _, name := range m.names {
		past, now := older.model.get(name), newer.model.get(name)
		var diff iter.Seq2[[]byte, shm.Change]
		switch {
		case name == "":
			diff = newer.sn.Diff(older.sn)
		case kindOf(name) == shm.KindOrdered:
			diff = newer.sn.Ordered(name[1:]).Diff(older.sn.Ordered(name[1:]))
		default:
			diff = newer.sn.Map(name[1:]).Diff(older.sn.Map(name[1:]))
		}
		n := 0
		var last []byte
		for key, c := range diff {
			was, had := past[string(key)]
			is, has := now[string(key)]
			require.True(t, had != has || was != is)
			require.Equal(t, had, c.Old != nil)
			require.Equal(t, has, c.New != nil)
			require.Equal(t, was, string(c.Old))
			require.Equal(t, is, string(c.New))
			if kindOf(name) == shm.KindOrdered {
				require.True(t, n == 0 || bytes.Compare(last, key) < 0)
				last = key
			}
			n++
		}
		require.NoError(t, newer.sn.Err())
		want := 0
		for key, value := range now {
			if was, had := past[key]; !had || was != value {
				want++
			}
		}
		for key := range past {
			if _, has := now[key]; !has {
				want++
			}
		}
		require.Equal(t, want, n, name)
		if name != "" {
			differs := n > 0 || (older.model[name] == nil) != (newer.model[name] == nil)
			require.Equal(t, differs, changed[name], name)
		}
	}
}

// All maps of a store beside a model, through calls of one key, transactions over several
// maps, drops, and snapshots that are kept. Some handles write checksums.
func TestMapsModel(t *testing.T) {
	t.Parallel()
	steps := 1500
	if testing.Short() {
		steps = 300
	}
	for seed := range uint64(3) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			path := testdir.Memory(t)
			var all []*shm.Store
			for _, checksums := range [][]bool{{false}, {true}, {false, true}}[seed] {
				s, err := shm.Open(path, &shm.Options{Checksums: checksums})
				require.NoError(t, err)
				defer func() { require.NoError(t, s.Close()) }()
				all = append(all, s)
			}
			s := all[0]
			m := &mapsModel{t: t, all: all, s: s, rnd: rand.New(rand.NewPCG(seed, 15)), model: modelStore{"": {shm.KindHash, map[string]string{}}},
				names: []string{"", "/h1", "/h2", "/o1", "/o2", "/o" + string(bytes.Repeat([]byte{0}, 254))}}
			for i := range steps {
				m.step()
				if i%20 == 0 {
					m.keep()
				}
				if i%100 == 0 {
					sound(t, s)
					copyMaps(m)
				}
			}
			for _, k := range m.kept {
				require.NoError(t, k.sn.Close())
			}
			sound(t, s)
		})
	}
}

// keep keeps a snapshot, verifies an older one, and what differs between the two.
func (m *mapsModel) keep() {
	sn, err := m.s.Snapshot()
	require.NoError(m.t, err)
	k := keptMaps{sn, m.model.clone()}
	m.verify(sn, k.model)
	if len(m.kept) > 0 {
		other := m.kept[m.rnd.IntN(len(m.kept))]
		m.verify(other.sn, other.model)
		m.verifyDiff(other, k)
	}
	if m.kept = append(m.kept, k); len(m.kept) > 5 {
		i := m.rnd.IntN(len(m.kept))
		require.NoError(m.t, m.kept[i].sn.Close())
		m.kept = slices.Delete(m.kept, i, i+1)
	}
}

// copyMaps makes a backup, a later difference, and a store of the two, and verifies them.
func copyMaps(m *mapsModel) {
	t, ctx := m.t, context.Background()
	dir := t.TempDir()
	k := m.kept[m.rnd.IntN(len(m.kept))]
	require.NoError(t, k.sn.Backup(ctx, dir+"/backup"))
	b, err := shm.Open(dir+"/backup", &shm.Options{ReadOnly: true})
	require.NoError(t, err)
	defer func() { require.NoError(t, b.Close()) }()
	base, err := b.Snapshot()
	require.NoError(t, err)
	defer func() { require.NoError(t, base.Close()) }()
	m.verify(base, k.model)
	sound(t, b)

	last := m.kept[len(m.kept)-1]
	for i, from := range []*shm.Snapshot{base, k.sn} {
		var diff bytes.Buffer
		_, err = last.sn.BackupSince(ctx, from, &diff, nil)
		require.NoError(t, err)
		made := fmt.Sprintf("%s/made%d", dir, i)
		require.NoError(t, shm.Restore(ctx, dir+"/backup", made, []io.Reader{&diff}, nil))
		r, err := shm.Open(made, nil)
		require.NoError(t, err)
		require.NoError(t, r.View(func(sn *shm.Snapshot) error {
			m.verify(sn, last.model)
			return nil
		}))
		sound(t, r)
		require.NoError(t, r.Close())
		// A process that another test is starting has the files of this one until its exec.
		require.Eventually(t, func() bool {
			err := shm.Rewrite(ctx, made, nil)
			if !errors.Is(err, shm.ErrInUse) {
				require.NoError(t, err)
			}
			return err == nil
		}, 10*time.Second, 10*time.Millisecond)
		r, err = shm.Open(made, nil)
		require.NoError(t, err)
		require.NoError(t, r.View(func(sn *shm.Snapshot) error {
			m.verify(sn, last.model)
			return nil
		}))
		sound(t, r)
		require.NoError(t, r.Close())
	}
}
