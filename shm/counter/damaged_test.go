package counter

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/shm"
)

// Each damage of the maps of a keyspace makes Check fail, and the calls that meet it. None of
// them changes anything.
func TestDamage(t *testing.T) {
	long := strings.Repeat("n", 300)
	place := func(n int64, key string) []byte { return appendPlace(nil, n, []byte(key)) }
	for name, c := range map[string]struct {
		damage func(counts *shm.TxMap, order *shm.TxOrdered) error
		found  string
		calls  string // those that fail
	}{
		"a short count": {func(counts *shm.TxMap, _ *shm.TxOrdered) error { return counts.Set([]byte("a"), []byte("1234567")) },
			"found a count of 7 bytes, expected 8", "get rank add remove"},
		"another count": {func(counts *shm.TxMap, _ *shm.TxOrdered) error { return counts.Set([]byte("a"), appendCount(nil, 6)) },
			"with the count 5, expected 6", "rank add remove"},
		"a count without a place": {func(_ *shm.TxMap, order *shm.TxOrdered) error { _, err := order.Delete(place(5, "a")); return err },
			"found 1 places in the order, expected 2", "rank add remove"},
		"a place without a count": {func(_ *shm.TxMap, order *shm.TxOrdered) error { return order.Set(place(7, "c"), nil) },
			`found the place of "c" with the count 7`, ""},
		"a short place": {func(_ *shm.TxMap, order *shm.TxOrdered) error { return order.Set([]byte{0}, nil) },
			"found 00 of 1 bytes as a place, expected a count and a key", "range"},
		"a short summary": {func(_ *shm.TxMap, order *shm.TxOrdered) error { return order.Set(nil, make([]byte, 15)) },
			"found a summary of 15 bytes, expected 16 or more", "range sum add remove keyspaces"},
		"no summary": {func(_ *shm.TxMap, order *shm.TxOrdered) error { _, err := order.Delete(nil); return err },
			"found 2 places in the order and no summary", "rank range sum add remove keyspaces"},
		"another sum": {func(_ *shm.TxMap, order *shm.TxOrdered) error {
			return order.Set(nil, summary{total{}.plus(9), []byte(long)}.append(nil))
		}, "found 9 as the sum in the summary, expected 8", ""},
		"another name": {func(_ *shm.TxMap, order *shm.TxOrdered) error {
			return order.Set(nil, summary{total{}.plus(8), []byte("other")}.append(nil))
		}, `found "other" as the name in the summary`, "range sum add remove keyspaces"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			set := Open(s, long)
			require.NoError(t, set.AddMany([]Count{{[]byte("a"), 5}, {[]byte("b"), 3}}))
			require.NoError(t, s.Update(func(tx *shm.Tx) error {
				return c.damage(tx.Map(set.countsMap), tx.Ordered(set.orderMap))
			}))
			err := set.Check(t.Context())
			require.ErrorIs(t, err, shm.ErrCorrupt)
			require.ErrorContains(t, err, c.found)
			version, a := s.Version(), []byte("a")
			for name, call := range map[string]func() error{
				"get":       func() error { _, err := set.Get(a); return err },
				"rank":      func() error { _, err := set.Rank(a); return err },
				"range":     func() error { _, err := set.Range(0, 9); return err },
				"sum":       func() error { _, err := set.Sum(); return err },
				"add":       func() error { _, err := set.Add(a, 1); return err },
				"remove":    func() error { _, err := set.Remove(a); return err },
				"keyspaces": func() error { _, err := Keyspaces(s); return err },
			} {
				if strings.Contains(c.calls, name) {
					require.ErrorIs(t, call(), shm.ErrCorrupt, name)
					require.Equal(t, version, s.Version(), name)
				} else if name != "add" && name != "remove" {
					require.NoError(t, call(), name)
				}
			}
			_, err = set.Drop()
			require.NoError(t, err)
			require.NoError(t, set.Check(t.Context()))
		})
	}
}

// Keyspaces whose names cannot be read do not keep others from being listed.
func TestDamagedNames(t *testing.T) {
	s := newStore(t)
	for _, name := range []string{"a", strings.Repeat("b", 300), strings.Repeat("c", 300), strings.Repeat("d", 300), "e"} {
		_, err := Open(s, name).Add([]byte("key"), 1)
		require.NoError(t, err)
	}
	var orders []string
	for _, name := range []string{"b", "d"} {
		order := Open(s, strings.Repeat(name, 300)).orderMap
		orders = append(orders, strings.TrimPrefix(order, longOrderPrefix))
		require.NoError(t, s.Ordered(order).Set(nil, nil))
	}
	all, err := Keyspaces(s)
	require.Equal(t, []Info{{"a", 1}, {strings.Repeat("c", 300), 1}, {"e", 1}}, all)
	require.ErrorIs(t, err, shm.ErrCorrupt)
	for _, digits := range orders {
		require.ErrorContains(t, err, digits[:20])
	}
}

// A map of another kind is no keyspace.
func TestAnotherKind(t *testing.T) {
	s := newStore(t)
	require.NoError(t, s.Ordered(countsPrefix+"pages").Set([]byte("a"), nil))
	_, err := Open(s, "pages").Add([]byte("a"), 1)
	require.ErrorIs(t, err, shm.ErrKind)
	_, err = Open(s, "pages").Get([]byte("a"))
	require.ErrorIs(t, err, shm.ErrKind)
}
