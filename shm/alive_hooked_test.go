//go:build shmhook

package shm

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/alloc"
	"github.com/seed-869cc763/shmkv/alloc/region"
	"github.com/seed-869cc763/shmkv/internal/testdir"
)

// An adopter that is stopped, wherever, does not make the dead handle seem alive once it
// has said that the handle is dead, which it does before anything else (rule D9).
func TestStoppedAdopterHidesNoDeath(t *testing.T) {
	t.Parallel()
	base, err := alloc.NewHeap(1 << 20)
	require.NoError(t, err)
	for _, takes := range []bool{false, true} {
		unsure := 0
		for stopAt := 1; ; stopAt++ {
			h := base.Clone()
			dead, kill := attachPlain(t, h)
			require.NoError(t, dead.Set([]byte("k"), []byte("v")))
			name, err := dead.Owner()
			require.NoError(t, err)
			asker, _ := attachPlain(t, h)

			on, accesses := takes, 0
			stopped, goOn, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
			hook := func(region.Op, uint64) {
				if !on {
					return
				}
				if accesses++; accesses == stopAt {
					close(stopped)
					<-goOn
				}
			}
			if takes {
				kill()
				go func() {
					_, _, err := h.Attach(hook)
					done <- err
				}()
			} else {
				adopter, _, err := h.Attach(hook)
				require.NoError(t, err)
				kill()
				on = true
				go func() {
					_, err := adopter.AdoptDead()
					done <- err
				}()
			}
			ended := false
			select {
			case <-stopped:
			case err := <-done:
				require.NoError(t, err)
				ended = true
			}
			alive, err := asker.Alive(name)
			require.NoError(t, err)
			if alive {
				unsure++
			}
			if ended {
				require.Greater(t, stopAt, 30, "accesses of an adopter")
				require.False(t, alive)
				break
			}
			close(goOn)
			require.NoError(t, <-done)
			if stopAt > 100 && !testdir.Long() { // it has said so long ago
				stopAt += rand.IntN(15)
			}
		}
		t.Logf("stopped before %d accesses it hides the death, taking the proc: %v", unsure, takes)
		// It looks whether the system has crashed since, and whether the proc was taken.
		require.LessOrEqual(t, unsure, 8)
	}
}
