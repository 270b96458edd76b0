package count

import (
	"bytes"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/server/count/countclient"
	"github.com/seed-869cc763/shmkv/shm"
	"github.com/seed-869cc763/shmkv/shm/counter"
)

// In a store that is almost full, an increment that it has no room for does not fail those of
// other clients in its round.
func TestFullForOne(t *testing.T) {
	for range 10 {
		if fullForOne(t) {
			return
		}
	}
	t.Error("found room for a large counter in each of 10 stores")
}

// fullForOne reports whether there was never room for a large counter. The keeper may make some.
func fullForOne(t *testing.T) bool {
	s, err := shm.Open(t.TempDir(), &shm.Options{MaxSize: 1 << 20, Checkpoint: shm.OnSync()})
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	const keyBytes = 60_000
	v := serving(t, Options{Store: s, KeyBytes: keyBytes})
	set, spare := counter.Open(s, "pages"), counter.Open(s, "spare")
	_, err = spare.Add(make([]byte, keyBytes/2), 1)
	require.NoError(t, err)
	for i := 0; err == nil; i++ {
		_, err = set.Add(fmt.Append(nil, i), 1)
	}
	require.ErrorIs(t, err, shm.ErrFull)
	_, err = spare.Drop() // now there is room for small increments
	require.NoError(t, err)
	add := func() error { _, err := set.Add([]byte("0"), 1); return err }
	require.Eventually(t, func() bool { return add() == nil }, 30*time.Second, time.Millisecond)

	opts := &countclient.Options{KeyBytes: keyBytes}
	stop := make(chan struct{})
	var room atomic.Bool
	var wg sync.WaitGroup
	for g := range 4 {
		large := bytes.Repeat([]byte{byte('a' + g)}, keyBytes)
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				a, err := countclient.DialAdder("unix", v.adds, opts)
				if err != nil {
					t.Error(err)
					return
				}
				if a.Add([]byte("pages"), large, 1) == nil {
					room.Store(true)
				}
				_ = a.Close()
			}
		})
	}
	small := v.adder(opts)
	for i := range 200 {
		if err = small.Add([]byte("pages"), []byte("0"), 1); err != nil {
			err = fmt.Errorf("increment %d: %w", i, err)
			break
		}
	}
	close(stop)
	wg.Wait()
	require.NoError(t, v.Shutdown(t.Context()))
	if room.Load() {
		return false
	}
	require.NoError(t, err)
	return true
}
