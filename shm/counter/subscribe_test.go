package counter

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// A follower has all counters at the end, and each change begins where the one before ended.
func TestSubscribe(t *testing.T) {
	s := newStore(t)
	c := Open(s, "pages")
	_, err := c.Add([]byte("before"), 3)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var wg sync.WaitGroup
	for g := range 3 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(g), 1))
			for i := range 400 {
				key := fmt.Append(nil, rng.IntN(20))
				var err error
				switch {
				case i == 200 && g == 0:
					_, err = c.Drop()
				case rng.IntN(10) == 0:
					_, err = c.Remove(key)
				default:
					_, err = c.Add(key, rng.Int64N(5)-2)
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	go func() {
		wg.Wait()
		_, err := c.Add([]byte("the end"), 1)
		if err != nil {
			t.Error(err)
			cancel()
		}
	}()
	copied, u := model{}, c.Subscribe(ctx)
	for ch := range u.Changes() {
		old, existed := copied[string(ch.Key)]
		require.Equal(t, existed, ch.Existed)
		require.Equal(t, old, ch.Old)
		if ch.Exists {
			copied[string(ch.Key)] = ch.New
		} else {
			delete(copied, string(ch.Key))
		}
		// The last difference is that of one counter, so all others are done with then.
		if string(ch.Key) == "the end" && ch.New == 1 {
			_, err := c.Add(ch.Key, 1)
			require.NoError(t, err)
		}
		if string(ch.Key) == "the end" && ch.New == 2 {
			break
		}
	}
	require.NoError(t, u.Err())
	require.NotZero(t, u.Version())
	copied.requireSame(t, c)

	cancel()
	for range u.Changes() {
	}
	require.ErrorIs(t, u.Err(), context.Canceled)
}
