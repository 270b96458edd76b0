package counter

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"math"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/shm"
)

// A model is a keyspace that is a map of Go.
type model map[string]int64

// sorted returns the counters in the order of Range.
func (m model) sorted() []Count {
	all := []Count{}
	for key, n := range m {
		all = append(all, Count{[]byte(key), n})
	}
	slices.SortFunc(all, func(a, b Count) int {
		return cmp.Or(cmp.Compare(b.N, a.N), bytes.Compare(a.Key, b.Key))
	})
	return all
}

// shown returns counters as text, of which a failing test prints the difference. Long keys are
// shortened.
func shown(all []Count) (lines []string) {
	for _, a := range all {
		lines = append(lines, fmt.Sprintf("%d %.80q and %d bytes", a.N, a.Key, len(a.Key)))
	}
	return lines
}

// add adds as Add does, and reports whether the count can have the sum.
func (m model) add(key []byte, n int64) bool {
	sum := new(big.Int).Add(big.NewInt(m[string(key)]), big.NewInt(n))
	if !sum.IsInt64() {
		return false
	}
	m[string(key)] = sum.Int64()
	return true
}

// requireSame requires that all reads of a set find what the model has.
func (m model) requireSame(t *testing.T, c *Set) {
	t.Helper()
	require.NoError(t, c.Check(t.Context()))
	all := m.sorted()
	found, err := c.Range(0, math.MaxInt)
	require.NoError(t, err)
	require.Equal(t, shown(all), shown(found))
	require.Equal(t, len(all), c.Len())
	sum := new(big.Int)
	for i, want := range all {
		sum.Add(sum, big.NewInt(want.N))
		n, err := c.Get(want.Key)
		require.NoError(t, err)
		require.Equal(t, want.N, n)
		rank, err := c.Rank(want.Key)
		require.NoError(t, err)
		require.Equal(t, i, rank)
	}
	if n, err := c.Sum(); sum.IsInt64() {
		require.NoError(t, err)
		require.Equal(t, sum.Int64(), n)
	} else {
		require.ErrorIs(t, err, ErrOverflow)
		require.ErrorContains(t, err, "found a sum of "+sum.String())
	}
	for offset := range len(all) + 2 {
		for length := range 4 {
			part, err := c.Range(offset, length)
			require.NoError(t, err)
			from := min(offset, len(all))
			require.Equal(t, shown(all[from:min(from+length, len(all))]), shown(part))
		}
	}
}

// Random calls on several keyspaces find what a model finds. Counts are such that they tie, are
// 0 and negative, and overflow.
func TestModel(t *testing.T) {
	s, rng := newStore(t), newRand(t)
	names := []string{"", "pages", strings.Repeat("x", shortName), strings.Repeat("x", shortName+1), strings.Repeat("y", 256), "a\x00b"}
	keys := [][]byte{{}, {0}, {0, 0}, {0xff}, []byte("a"), []byte("a\x00"), []byte("ab"), []byte("b"), bytes.Repeat([]byte("k"), 256), bytes.Repeat([]byte{0xff}, MaxKey)}
	models := map[string]model{}
	for _, name := range names {
		models[name] = model{}
	}
	amount := func() int64 {
		return [...]int64{0, 1, -1, rng.Int64N(5) - 2, math.MaxInt64, math.MinInt64, rng.Int64() - rng.Int64()}[rng.IntN(7)]
	}
	b := NewBatch(s)
	for step := range 1500 {
		name, key := names[rng.IntN(len(names))], keys[rng.IntN(len(keys))]
		c, m := Open(s, name), models[name]
		version := s.Version()
		switch rng.IntN(8) {
		case 0, 1, 2:
			n := amount()
			now, err := c.Add(key, n)
			if !m.add(key, n) {
				require.ErrorIs(t, err, ErrOverflow)
				require.Equal(t, version, s.Version())
				break
			}
			require.NoError(t, err)
			require.Equal(t, m[string(key)], now)
		case 3: // all or nothing
			var all []Count
			after, fits := model{}, true
			for key, n := range m {
				after[key] = n
			}
			for range rng.IntN(6) {
				a := Count{keys[rng.IntN(len(keys))], amount()}
				all = append(all, a)
				fits = fits && after.add(a.Key, a.N)
			}
			if err := c.AddMany(all); fits {
				require.NoError(t, err)
				models[name] = after
			} else {
				require.ErrorIs(t, err, ErrOverflow)
				require.Equal(t, version, s.Version())
			}
		case 4: // each for itself, in many keyspaces
			type result struct {
				now int64
				ok  bool
			}
			var want []result
			for range rng.IntN(200) {
				name, key, n := names[rng.IntN(len(names))], keys[rng.IntN(len(keys))], amount()
				_, there := models[name][string(key)]
				ok := models[name].add(key, n)
				want = append(want, result{models[name][string(key)], ok})
				require.Equal(t, len(want)-1, b.Add([]byte(name), key, n))
				if !ok && !there {
					require.Fail(t, "the model added a counter for what it refused")
				}
			}
			require.NoError(t, b.Commit())
			require.Equal(t, len(want), b.Len())
			for i, w := range want {
				now, err := b.Result(i)
				require.Equal(t, w.now, now)
				require.Equal(t, !w.ok, b.Refused(i))
				if !w.ok {
					require.ErrorIs(t, err, ErrOverflow)
				}
			}
			b.Reset()
		case 5, 6:
			_, want := m[string(key)]
			existed, err := c.Remove(key)
			require.NoError(t, err)
			require.Equal(t, want, existed)
			delete(m, string(key))
		case 7:
			if rng.IntN(10) == 0 {
				_, err := c.Drop()
				require.NoError(t, err)
				models[name] = model{}
			}
		}
		if step%50 == 0 {
			models[name].requireSame(t, c)
		}
	}
	all, err := Keyspaces(s)
	require.NoError(t, err)
	for _, name := range names {
		models[name].requireSame(t, Open(s, name))
		if i := slices.IndexFunc(all, func(i Info) bool { return i.Keyspace == name }); i >= 0 {
			require.Equal(t, len(models[name]), all[i].Counters)
		} else {
			require.Empty(t, models[name])
		}
	}
	report, err := s.Check(context.Background(), nil)
	require.NoError(t, err)
	require.Empty(t, report.Problems)
}

// Many counters are in order through all sizes of the tree.
func TestManyCounters(t *testing.T) {
	s, rng := newStore(t), newRand(t)
	c, m := Open(s, "many"), model{}
	for range 60 {
		var all []Count
		for range 500 {
			key := []byte{byte(rng.IntN(40)), byte(rng.IntN(256))}
			a := Count{key, rng.Int64N(4) - 1}
			all = append(all, a)
			require.True(t, m.add(a.Key, a.N))
		}
		require.NoError(t, c.AddMany(all))
	}
	require.NoError(t, c.Check(t.Context()))
	all := m.sorted()
	for range 200 {
		offset, length := rng.IntN(len(all)+10), rng.IntN(300)
		found, err := c.Range(offset, length)
		require.NoError(t, err)
		from := min(offset, len(all))
		require.Equal(t, shown(all[from:min(from+length, len(all))]), shown(found))
	}
	for i, a := range all {
		rank, err := c.Rank(a.Key)
		require.NoError(t, err)
		require.Equal(t, i, rank)
	}
}

// What cannot be is refused, with an error that names it, and changes nothing.
func TestRefused(t *testing.T) {
	s := newStore(t)
	c, large := Open(s, "pages"), make([]byte, MaxKey+1)
	version := s.Version()
	_, err := c.Add(large, 1)
	require.ErrorIs(t, err, shm.ErrTooLarge)
	require.ErrorContains(t, err, "found a key of 65528 bytes, expected at most 65527")
	require.ErrorIs(t, c.AddMany([]Count{{[]byte("a"), 1}, {large, 1}}), shm.ErrTooLarge)
	_, err = c.Get(large)
	require.ErrorIs(t, err, shm.ErrNotFound)
	existed, err := c.Remove(large)
	require.NoError(t, err)
	require.False(t, existed)
	for _, bad := range [][2]int{{-1, 1}, {0, -1}} {
		_, err = c.Range(bad[0], bad[1])
		require.ErrorContains(t, err, "expected 0 or more")
	}

	nowhere := Open(s, strings.Repeat("x", MaxKeyspace+1))
	calls := map[string]func() error{
		"Add":     func() error { _, err := nowhere.Add(nil, 1); return err },
		"AddMany": func() error { return nowhere.AddMany([]Count{{nil, 1}}) },
		"Get":     func() error { _, err := nowhere.Get(nil); return err },
		"Range":   func() error { _, err := nowhere.Range(0, 1); return err },
		"Rank":    func() error { _, err := nowhere.Rank(nil); return err },
		"Sum":     func() error { _, err := nowhere.Sum(); return err },
		"Remove":  func() error { _, err := nowhere.Remove(nil); return err },
		"Drop":    func() error { _, err := nowhere.Drop(); return err },
		"Check":   func() error { return nowhere.Check(t.Context()) },
		"Changes": func() error {
			u := nowhere.Subscribe(t.Context())
			for range u.Changes() {
			}
			return u.Err()
		},
		"Batch": func() error {
			b := NewBatch(s)
			b.Add([]byte(nowhere.Keyspace()), nil, 1)
			return b.Commit()
		},
	}
	for name, call := range calls {
		require.ErrorIs(t, call(), shm.ErrTooLarge, name)
	}
	require.Equal(t, version, s.Version())
	require.Zero(t, nowhere.Len())

	require.NoError(t, s.Close())
	_, err = c.Add(nil, 1)
	require.ErrorIs(t, err, shm.ErrClosed)
	_, err = c.Range(0, 1)
	require.ErrorIs(t, err, shm.ErrClosed)
}
