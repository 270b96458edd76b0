package main

import (
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// Additions at one time are all there in the end.
func TestIncrLosesNothing(t *testing.T) {
	s := newStore(t)
	const writers, each = 4, 200
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for range each {
				if _, err := incr(s, []byte("n"), 1); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	value, err := s.Get([]byte("n"))
	require.NoError(t, err)
	require.Equal(t, strconv.Itoa(writers*each), string(value))
}
