package counter

import (
	"bytes"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/shm"
)

// The bytes of places are in the order of counts, and of the keys of one count, and a place
// gives back what it was made of.
func FuzzPlace(f *testing.F) {
	f.Add(int64(0), []byte{}, int64(-1), []byte{0})
	f.Add(int64(math.MinInt64), []byte("a"), int64(math.MaxInt64), []byte("b"))
	f.Add(int64(256), []byte("a\x00"), int64(256), []byte("a"))
	f.Fuzz(func(t *testing.T, n int64, key []byte, m int64, other []byte) {
		a, b := appendPlace(nil, n, key), appendPlace([]byte("before"), m, other)[len("before"):]
		want := bytes.Compare(key, other)
		switch {
		case n > m:
			want = -1
		case n < m:
			want = 1
		}
		require.Equal(t, want, bytes.Compare(a, b))
		k, count, err := placed(a)
		require.NoError(t, err)
		require.Equal(t, n, count)
		require.True(t, bytes.Equal(key, k))
		require.Negative(t, bytes.Compare(nil, a), "the summary is before all places")
	})
}

// Whatever is taken for a place is refused, or the one place of its counter.
func FuzzPlaced(f *testing.F) {
	f.Add([]byte("\x7e\xfekey"))
	f.Add([]byte("\x82\x00\xff"))
	f.Fuzz(func(t *testing.T, place []byte) {
		key, n, err := placed(place)
		if err != nil {
			require.ErrorIs(t, err, shm.ErrCorrupt)
			return
		}
		require.True(t, bytes.Equal(place, appendPlace(nil, n, key)))
	})
}

// The golden bytes of the format.
func TestFormat(t *testing.T) {
	for n, place := range map[int64]string{
		0: "\x7fkey", 1: "\x7e\xfekey", 255: "\x7e\x00key", 256: "\x7d\xfe\xffkey", math.MaxInt64: "\x77\x80\x00\x00\x00\x00\x00\x00\x00key",
		-1: "\x80key", -2: "\x81\x01key", -256: "\x81\xffkey", -257: "\x82\x01\x00key", math.MinInt64: "\x88\x7f\xff\xff\xff\xff\xff\xff\xffkey",
	} {
		require.Equal(t, place, string(appendPlace(nil, n, []byte("key"))), n)
	}
	for _, bad := range []string{"", "\x76", "\x76\x00\x00\x00\x00\x00\x00\x00\x00\x00", "\x00", "\xff", "\x89", "\x7e", "\x7e\xff", "\x81\x00", "\x7d\xff\x00",
		"\x82\x00\xff", "\x77\x7f\xff\xff\xff\xff\xff\xff\xff", "\x88\x80\x00\x00\x00\x00\x00\x00\x00"} {
		_, _, err := placed([]byte(bad))
		require.ErrorIs(t, err, shm.ErrCorrupt, "%x", bad)
	}
	require.Equal(t, "\x02\x01\x00\x00\x00\x00\x00\x00", string(appendCount(nil, 258)))
	m := summary{total: total{}.minus(2), name: []byte("name")}
	require.Equal(t, "\xfe\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xffname", string(m.append(nil)))
	counts, order := mapNames("pages")
	require.Equal(t, "counter.counts:pages", counts)
	require.Equal(t, "counter.order:pages", order)
	counts, order = mapNames(string(make([]byte, 256)))
	require.Equal(t, "counter.counts#5341e6b2646979a70e57653007a1f310169421ec9bdd9f1a5648f75ade005af1", counts)
	require.Equal(t, "counter.order#5341e6b2646979a70e57653007a1f310169421ec9bdd9f1a5648f75ade005af1", order)
}
