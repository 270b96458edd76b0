package count

import (
	"io"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Stats count what is done, and what is refused.
func TestStats(t *testing.T) {
	v := serving(t, Options{MaxConns: 2, Patience: time.Minute})
	require.Zero(t, v.Stats())
	a := v.adder(nil)
	for range 3 {
		require.NoError(t, a.Add([]byte("pages"), []byte("a"), 1))
	}
	c := v.raw(v.adds)
	_, err := c.Write(slicesOf(message(t, "pages", "b", math.MaxInt64), message(t, "pages", "b", 1), message(t, "pages", "c", 1)))
	require.NoError(t, err)
	wins(t, c, 1)
	require.Error(t, v.adder(nil).Add(nil, nil, 1)) // c is not closed yet
	_, err = io.Copy(io.Discard, c)
	require.NoError(t, err)
	require.NoError(t, c.Close())
	require.Eventually(t, func() bool { return v.Stats().Connections == 1 }, 30*time.Second, time.Millisecond)
	r := v.reader(nil)
	for range 2 {
		_, err = r.Range([]byte("pages"), 0, 1)
		require.NoError(t, err)
	}
	got := v.Stats()
	require.GreaterOrEqual(t, got.Commits, uint64(4))
	require.LessOrEqual(t, got.Commits, uint64(6)) // the three of c in one round, or in as many
	require.LessOrEqual(t, uint64(1), got.Unanswered)
	require.LessOrEqual(t, got.Unanswered, uint64(2)) // the last one may have come after the refusal
	got.Commits, got.Unanswered = 0, 0
	require.Equal(t, Stats{Connections: 2, Accepted: 3, Refused: 1, Increments: 4, Reads: 2}, got)
}
