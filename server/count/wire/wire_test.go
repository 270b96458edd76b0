package wire

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// Names keep all bytes but NULs at their end, whatever their length.
func TestTrim(t *testing.T) {
	for n := range 40 {
		for pad := range 20 {
			b := make([]byte, n+pad)
			for i := range n {
				b[i] = byte(i % 3) // NULs inside and at the beginning
			}
			if n > 0 {
				b[n-1] = 7
			}
			require.Equal(t, b[:n], Trim(b))
		}
	}
}

func FuzzIncrement(f *testing.F) {
	f.Add(int64(-1), []byte("pages"), []byte("\x00a"), 8, 8)
	f.Fuzz(func(t *testing.T, n int64, keyspace, key []byte, most, mostKey int) {
		l := Layout{1 + most&0xfff, 1 + mostKey&0xfff}
		b, err := l.AppendIncrement([]byte("before"), n, keyspace, key)
		fits := len(keyspace) <= l.Keyspace && len(key) <= l.Key && len(Trim(keyspace)) == len(keyspace) && len(Trim(key)) == len(key)
		if !fits {
			require.Error(t, err)
			return
		}
		require.NoError(t, err)
		m := b[len("before"):]
		require.Len(t, m, l.IncrementSize())
		gotN, gotKeyspace, gotKey := l.Increment(m)
		require.Equal(t, n, gotN)
		require.Equal(t, string(keyspace), string(gotKeyspace))
		require.Equal(t, string(key), string(gotKey))
	})
}
