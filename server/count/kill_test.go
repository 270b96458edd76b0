// The race detector sees nothing of a mapping, and slows processes down.

//go:build !race

package count

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/internal/testproc"
	"github.com/seed-869cc763/shmkv/server/count/countclient"
	"github.com/seed-869cc763/shmkv/shm"
	"github.com/seed-869cc763/shmkv/shm/counter"
)

func init() { children["server"] = runServer }

// runServer serves a store on a unix socket until it is killed.
func runServer() {
	must := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, "server:", err)
			os.Exit(3)
		}
	}
	s, err := shm.Open(os.Args[1], nil)
	must(err)
	srv, err := New(&Options{Store: s})
	must(err)
	l, err := net.Listen("unix", os.Args[2])
	must(err)
	must(srv.ServeIncrements(l))
}

// Two servers of one store are killed again and again while clients send increments ahead of
// their answers. Each answered increment counts once, and each other one once or not at all.
func TestKilledServers(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "store")
	s, err := shm.Open(path, nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	rounds := 6
	if testing.Short() {
		rounds = 2
	}
	type sender struct {
		key            string
		sent, answered int64
	}
	var all []*sender
	for round := range rounds {
		var wg sync.WaitGroup
		for server := range 2 {
			socket := filepath.Join(dir, fmt.Sprint("sock", round, server))
			cmd := startServer(t, path, socket)
			for c := range 4 {
				x := &sender{key: fmt.Sprint("sender ", round, server, c)}
				all = append(all, x)
				var nc net.Conn
				require.Eventually(t, func() bool {
					nc, err = net.Dial("unix", socket)
					return err == nil
				}, 30*time.Second, time.Millisecond)
				wg.Go(func() { // what it sends
					a := countclient.NewAdder(writeOnly{nc}, nil)
					for {
						x.sent += 2
						if a.Send([]byte("pages"), []byte("hot"), 1) != nil || a.Send([]byte("pages"), []byte(x.key), 1) != nil {
							return
						}
					}
				})
				wg.Go(func() { // and what comes back
					defer func() { _ = nc.Close() }()
					n, _ := io.Copy(io.Discard, nc)
					x.answered = n / 3
				})
			}
			time.AfterFunc(time.Duration(50+30*round)*time.Millisecond, func() { _ = cmd.Process.Kill() })
		}
		wg.Wait()
	}
	set := counter.Open(s, "pages")
	require.NoError(t, set.Check(t.Context()))
	answered, sent, own := int64(0), int64(0), int64(0)
	for _, x := range all {
		n, err := set.Get([]byte(x.key))
		if err != shm.ErrNotFound {
			require.NoError(t, err)
		}
		require.LessOrEqual(t, x.answered/2, n, x.key)
		require.LessOrEqual(t, n, x.sent/2, x.key)
		answered += x.answered
		sent += x.sent
		own += n
	}
	hot, err := set.Get([]byte("hot"))
	require.NoError(t, err)
	require.Positive(t, answered)
	require.LessOrEqual(t, answered-own, hot)
	sum, err := set.Sum()
	require.NoError(t, err)
	require.Equal(t, own+hot, sum)
	require.LessOrEqual(t, answered, sum)
	require.LessOrEqual(t, sum, sent)
	t.Logf("%d sent, %d answered, %d counted", sent, answered, sum)
}

// writeOnly is a connection that answers each increment at once, so that an Adder sends on.
type writeOnly struct{ net.Conn }

func (writeOnly) Read(p []byte) (int, error) {
	n := len(p) / 3 * 3
	for i := range n {
		p[i] = "WIN"[i%3]
	}
	return n, nil
}

// startServer starts a server that dies with its parent.
func startServer(t *testing.T, store, socket string) *exec.Cmd {
	cmd := testproc.Command(t, "server", store, socket)
	cmd.Stderr = os.Stderr
	testproc.Start(t, cmd)
	return cmd
}
