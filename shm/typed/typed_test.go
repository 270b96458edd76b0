package typed

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/internal/testdir"
	"github.com/seed-869cc763/shmkv/shm"
	"github.com/seed-869cc763/shmkv/shm/codec"
)

func TestMain(m *testing.M) { os.Exit(testdir.Main(m)) }

func open(t *testing.T) *shm.Store {
	t.Helper()
	s, err := shm.Open(testdir.Memory(t)+"/store", nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

type point struct{ X, Y int }

// The unnamed map, a hash map and an ordered one have the same calls.
func TestMap(t *testing.T) {
	s := open(t)
	keys, values := codec.String[string]{}, codec.JSON[point]{}
	for name, m := range map[string]*Map[string, point]{
		"unnamed": New(s, keys, values),
		"hash":    New(s.Map("hash"), keys, values),
		"ordered": &NewOrdered(s.Ordered("ordered"), keys, values).Map,
	} {
		t.Run(name, func(t *testing.T) {
			_, err := m.Get("a")
			require.Equal(t, shm.ErrNotFound, err)
			require.NoError(t, m.Set("a", point{}))
			p, err := m.Get("a")
			require.NoError(t, err)
			require.Zero(t, p)
			require.NoError(t, m.Update("a", func(p *point) error { p.Y++; return nil }))
			require.NoError(t, m.Update("b", func(p *point) error { p.X--; return nil }))
			all, err := m.GetMany([]string{"a", "b", "c"})
			require.NoError(t, err)
			require.Equal(t, map[string]point{"a": {0, 1}, "b": {-1, 0}}, all)
			require.Equal(t, 2, m.Len())
			for key, want := range map[string]bool{"a": true, "c": false} {
				ok, err := m.Has(key)
				require.NoError(t, err)
				require.Equal(t, want, ok)
			}

			// What fails changes nothing.
			refused := errors.New("refused")
			version := s.Version()
			require.ErrorIs(t, m.Update("a", func(p *point) error { p.X = 9; return refused }), refused)
			require.Equal(t, version, s.Version())

			existed, err := m.Delete("b")
			require.NoError(t, err)
			require.True(t, existed)
			existed, err = m.Delete("b")
			require.NoError(t, err)
			require.False(t, existed)
		})
	}
}

func TestUpdateLosesNothing(t *testing.T) {
	s := open(t)
	m := New(s.Map("m"), codec.Int[int]{}, codec.JSON[map[string]int]{})
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for range 100 {
				if err := m.Update(1, func(v *map[string]int) error {
					if *v == nil {
						*v = map[string]int{}
					}
					(*v)[fmt.Sprint(g)]++
					return nil
				}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	got, err := m.Get(1)
	require.NoError(t, err)
	require.Equal(t, map[string]int{"0": 100, "1": 100, "2": 100, "3": 100}, got)
}

func TestErrors(t *testing.T) {
	s := open(t)
	m := New(s.Map("m"), codec.Int[int16]{}, codec.JSON[point]{})
	raw := s.Map("m")
	require.NoError(t, m.Set(1, point{1, 2}))
	require.NoError(t, raw.Set([]byte{0x80, 7}, []byte(`"text"`)))
	check := func(got point, err error) {
		t.Helper()
		require.ErrorIs(t, err, codec.ErrDecode)
		require.ErrorContains(t, err, "typed: decoding the value of 7: found bytes that are not of the type typed.point: json: ")
		require.Zero(t, got)
	}
	check(m.Get(7))
	check(point{}, m.Update(7, func(*point) error { return nil }))
	all, err := m.GetMany([]int16{1, 7})
	check(point{}, err)
	require.Equal(t, map[int16]point{1: {1, 2}}, all)
	require.NoError(t, s.View(func(sn *shm.Snapshot) error {
		check(m.At(sn.Map("m")).Get(7))
		return nil
	}))

	require.NoError(t, raw.Set([]byte("odd"), nil))
	require.NoError(t, s.View(func(sn *shm.Snapshot) error {
		var good, bad []string
		for e, err := range m.Entries(sn.Map("m").All()) {
			if err != nil {
				bad = append(bad, err.Error())
			} else {
				good = append(good, fmt.Sprint(e))
			}
		}
		slices.Sort(bad)
		require.Equal(t, []string{"{1 {1 2}}"}, good)
		require.Len(t, bad, 2)
		require.Equal(t, `typed: decoding the key "odd": found bytes that are not of the type int16: found 3 bytes, expected 2`, bad[0])
		return nil
	}))

	odd := New(s.Map("m"), codec.JSON[string]{}, codec.JSON[func()]{})
	require.ErrorContains(t, odd.Set("k", nil), `typed: encoding the value of "k" as func(): json: `)
	require.ErrorContains(t, odd.Update("k", func(*func()) error { return nil }), `typed: encoding the value of "k" as func(): json: `)
}

// A transaction spans two views, and a snapshot is of one version.
func TestTx(t *testing.T) {
	s := open(t)
	accounts := New(s.Map("accounts"), codec.String[string]{}, codec.Int[int]{})
	log := NewOrdered(s.Ordered("log"), codec.Int[int64]{}, codec.String[string]{})
	require.NoError(t, accounts.Set("a", 10))
	poor := errors.New("too little")
	move := func(amount int) error {
		return s.Update(func(tx *shm.Tx) error {
			in, lines := accounts.In(tx.Map("accounts")), log.In(tx.Ordered("log"))
			if err := in.Update("b", func(n *int) error { *n += amount; return nil }); err != nil {
				return err
			}
			if err := in.Update("a", func(n *int) error {
				if *n -= amount; *n < 0 {
					return poor
				}
				return nil
			}); err != nil {
				return err
			}
			return lines.Set(int64(lines.Len()), fmt.Sprint("moved ", amount))
		})
	}
	sn, err := s.Snapshot()
	require.NoError(t, err)
	defer func() { require.NoError(t, sn.Close()) }()
	require.NoError(t, move(4))
	require.ErrorIs(t, move(7), poor)
	require.NoError(t, move(6))

	all, err := accounts.GetMany([]string{"a", "b"})
	require.NoError(t, err)
	require.Equal(t, map[string]int{"a": 0, "b": 10}, all)
	last, err := log.Max()
	require.NoError(t, err)
	require.Equal(t, Entry[int64, string]{1, "moved 6"}, last)

	old := accounts.At(sn.Map("accounts"))
	n, err := old.Get("a")
	require.NoError(t, err)
	require.Equal(t, 10, n)
	has, err := old.Has("b")
	require.NoError(t, err)
	require.False(t, has)
	require.Equal(t, 1, old.Len())

	// The unnamed map too.
	plain := New(s, codec.String[string]{}, codec.Int[int]{})
	require.NoError(t, s.Update(func(tx *shm.Tx) error {
		in := plain.In(tx)
		require.NoError(t, in.Set("x", 1))
		existed, err := in.Delete("x")
		require.NoError(t, err)
		require.True(t, existed)
		_, err = in.Get("x")
		require.Equal(t, shm.ErrNotFound, err)
		return in.Set("y", 2)
	}))
	require.NoError(t, s.View(func(sn *shm.Snapshot) error {
		n, err := plain.At(sn).Get("y")
		require.Equal(t, 2, n)
		return err
	}))
}

// The ordered calls are those of a sorted slice of numbers.
func TestOrdered(t *testing.T) {
	s := open(t)
	o := NewOrdered(s.Ordered("o"), codec.Int[int32]{}, codec.Int[int32]{})
	_, err := o.Min()
	require.Equal(t, shm.ErrNotFound, err)
	all := []int32{math.MinInt32, -1, 0, 1, math.MaxInt32}
	for range 500 {
		all = append(all, rand.Int32N(2000)-1000)
	}
	for _, n := range all {
		require.NoError(t, o.Set(n, -n))
	}
	slices.Sort(all)
	all = slices.Compact(all)

	is := func(i int) func(e Entry[int32, int32], err error) {
		return func(e Entry[int32, int32], err error) {
			t.Helper()
			if i < 0 || i >= len(all) {
				require.Equal(t, shm.ErrNotFound, err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, Entry[int32, int32]{all[i], -all[i]}, e)
		}
	}
	is(0)(o.Min())
	is(len(all) - 1)(o.Max())
	for range 500 {
		n := rand.Int32N(2100) - 1050
		i, found := slices.BinarySearch(all, n)
		rank, has, err := o.Rank(n)
		require.NoError(t, err)
		require.Equal(t, i, rank)
		require.Equal(t, found, has)
		is(i)(o.At(i))
		is(i)(o.Ceil(n))
		is(i - 1)(o.Lower(n))
		if found {
			is(i)(o.Floor(n))
			is(i + 1)(o.Higher(n))
		} else {
			is(i - 1)(o.Floor(n))
			is(i)(o.Higher(n))
		}
	}

	from, to := int32(-100), int32(200)
	i, _ := slices.BinarySearch(all, from)
	j, _ := slices.BinarySearch(all, to)
	n, err := o.Count(from, to)
	require.NoError(t, err)
	require.Equal(t, j-i, n)
	first, last, err := o.Bounds(from, to)
	require.NoError(t, err)
	require.NoError(t, s.View(func(sn *shm.Snapshot) error {
		var got []int32
		for e, err := range o.Entries(sn.Ordered("o").Range(first, last)) {
			require.NoError(t, err)
			got = append(got, e.Key)
		}
		require.Equal(t, all[i:j], got)
		for range o.Entries(sn.Ordered("o").All()) {
			break
		}
		return sn.Err()
	}))
	n, err = o.DeleteRange(from, to)
	require.NoError(t, err)
	require.Equal(t, j-i, n)
	require.Equal(t, len(all)-n, o.Len())
}

// The empty key is a bound, and not an open end.
func TestEmptyBound(t *testing.T) {
	o := NewOrdered(open(t).Ordered("o"), codec.String[string]{}, codec.String[string]{})
	require.NoError(t, o.Set("a", ""))
	n, err := o.Count("", "")
	require.NoError(t, err)
	require.Zero(t, n)
	n, err = o.DeleteRange("", "")
	require.NoError(t, err)
	require.Zero(t, n)
}
