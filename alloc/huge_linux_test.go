package alloc

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/alloc/layout"
)

// A round of huge pages follows commits. Without one it follows a round that missed
// something, a few times.
func TestHugeRoundsFollow(t *testing.T) {
	h, err := NewHeap(layout.MinSize)
	require.NoError(t, err)
	a, _, err := h.Attach(nil)
	require.NoError(t, err)
	r := hugeRound{data: os.Stdin}
	now := uint64(time.Now().UnixNano())
	begins := func(after time.Duration, quiet bool) bool {
		r.going = false
		now += uint64(after)
		r.begin(a, now, quiet)
		return r.going
	}
	require.True(t, begins(0, false))
	r.going = true
	r.begin(a, now+uint64(hugePause), true)
	require.Equal(t, now, r.began, "one was going on")
	require.False(t, begins(hugePause, true), "nothing was committed")

	commit(t, a)
	r.began = now
	require.False(t, begins(hugePause/2, false), "too soon")
	require.True(t, begins(0, true), "the store has become quiet")
	for range hugeRetries {
		r.missed = true
		require.False(t, begins(hugePause/2, true), "too soon")
		require.True(t, r.mayRetry(a))
		require.True(t, begins(hugePause/2, true))
	}
	r.missed = true
	require.False(t, r.mayRetry(a), "that often is enough")
	require.False(t, begins(hugePause, true))
	commit(t, a)
	require.True(t, begins(hugePause, false))
	r.missed = true
	require.True(t, r.mayRetry(a))
	r.least = a.end.Load() + 1
	require.False(t, r.mayRetry(a), "the store is too small")
	require.False(t, begins(hugePause, true))
}
