package alloc

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/alloc/layout"
)

// A clock is at most a tick behind, and needs no timer while nobody asks.
func TestClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c clock
		c.start()
		now := func() uint64 { return uint64(time.Now().UnixNano()) }
		first := now()
		require.Equal(t, first, c.now())
		time.Sleep(clockTick / 2)
		require.Equal(t, first, c.now())
		time.Sleep(clockTick)
		require.Equal(t, now(), c.now())
		time.Sleep(time.Hour)
		require.Equal(t, now(), c.now())
	})
}

// Each pin has a word of its own in the table, and not in the line of the next.
func TestPinTable(t *testing.T) {
	seen := map[uint64]bool{}
	for i := range layout.MaxSnapPins {
		at := usersOf(i)
		require.Less(t, at, uint64(layout.MaxSnapPins*8))
		require.False(t, seen[at])
		seen[at] = true
		if i > 0 {
			require.NotEqual(t, usersOf(i-1)/64, at/64)
		}
	}
}
