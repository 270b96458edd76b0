package shm_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/internal/testdir"
	"github.com/seed-869cc763/shmkv/shm"
)

// With Options.Apart each write of many goroutines is a commit of its own, and none is lost.
func TestApart(t *testing.T) {
	s, err := shm.Open(testdir.Memory(t)+"/store", &shm.Options{Apart: true})
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	const writers, writes = 16, 500
	before := s.Stats().Commits
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range writes {
				key := fmt.Appendf(nil, "%d %d", w, i%100)
				if err := s.Map("m").Set(key, fmt.Appendf(nil, "%d", i)); err != nil {
					panic(err)
				}
				if err := s.Set(key, fmt.Appendf(nil, "%d", i)); err != nil {
					panic(err)
				}
			}
		})
	}
	wg.Wait()
	require.EqualValues(t, 2*writers*writes, s.Stats().Commits-before)
	for w := range writers {
		for i := range 100 {
			key := fmt.Appendf(nil, "%d %d", w, i)
			for _, get := range []func([]byte) ([]byte, error){s.Get, s.Map("m").Get} {
				value, err := get(key)
				require.NoError(t, err)
				require.Equal(t, fmt.Sprint(writes-100+i), string(value))
			}
		}
	}
}
