//go:build !race

package memcache

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/internal/testdir"
)

// A server is killed while clients write. The next server of the store has all that was
// acknowledged, and of each key at most the write more that was on its way.
func TestKilledServerLosesNothing(t *testing.T) {
	t.Parallel()
	store := testdir.Memory(t) + "/store"
	const clients, rounds = 4, 5
	acknowledged := make([]int, clients) // the last number of each client's key; 0 is none
	sent := make([]int, clients)
	for round := range rounds {
		s := startServer(t, store, 64<<20)
		var all sync.WaitGroup
		for i := range clients {
			nc := dial(t, s.socket)
			all.Go(func() {
				r := bufio.NewReader(nc)
				for {
					sent[i]++
					if _, err := fmt.Fprintf(nc, "set key%d 0 0 %d\r\n%0*d\r\n", i, 10+sent[i]%1000, 10+sent[i]%1000, sent[i]); err != nil {
						return
					}
					line, err := r.ReadString('\n')
					if err != nil {
						return
					}
					if line != "STORED\r\n" {
						t.Errorf("got %q", line)
						return
					}
					acknowledged[i] = sent[i]
				}
			})
		}
		time.Sleep(time.Duration(20+rand.IntN(60)) * time.Millisecond)
		s.Kill(t)
		all.Wait()

		s = startServer(t, store, 64<<20)
		nc := dial(t, s.socket)
		for i := range clients {
			n := valueOf(t, nc, fmt.Sprintf("key%d", i))
			require.GreaterOrEqual(t, n, acknowledged[i], "round %d", round)
			require.LessOrEqual(t, n, sent[i], "round %d", round)
		}
		s.Kill(t)
	}
	for i := range clients {
		require.NotZero(t, acknowledged[i])
	}
}

// Two servers of one store serve the same items.
func TestTwoServersOfAStore(t *testing.T) {
	store := testdir.Memory(t) + "/store"
	one, two := startServer(t, store, 16<<20), startServer(t, store, 16<<20)
	a, b := dial(t, one.socket), dial(t, two.socket)
	for n := 1; n <= 200; n++ {
		require.Equal(t, []string{"STORED"}, ask(t, a, fmt.Sprintf("set key 0 0 5\r\n%05d", n)))
		require.Equal(t, n, valueOf(t, b, "key"))
		require.Equal(t, []string{"DELETED"}, ask(t, b, "delete key"))
		require.Equal(t, 0, valueOf(t, a, "key"))
	}
}
