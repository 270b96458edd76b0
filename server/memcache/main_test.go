package memcache

import (
	"fmt"
	"net"
	"os"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/internal/testdir"
	"github.com/seed-869cc763/shmkv/internal/testproc"
	"github.com/seed-869cc763/shmkv/shm/cache"
)

// children are what the test binary may be as a child.
var children = map[string]func(){
	"server": func() {
		fmt.Fprintln(os.Stderr, serveChild(os.Args[1], os.Args[2], os.Args[3]))
		os.Exit(3)
	},
}

func TestMain(m *testing.M) {
	testproc.RunChild(children)
	os.Exit(testdir.Main(m))
}

// serveChild serves a store on a socket, with a bound in bytes.
func serveChild(store, socket, bound string) error {
	runtime.GOMAXPROCS(runtime.NumCPU() + 1) // see Options.Threads
	bytes, err := strconv.ParseInt(bound, 10, 64)
	if err != nil {
		return err
	}
	c, err := cache.Open(store, &cache.Options{Bytes: bytes})
	if err != nil {
		return err
	}
	s, err := New(&Options{Cache: c, MaxConns: 20_000})
	if err != nil {
		return err
	}
	_ = os.Remove(socket)
	l, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	return s.Serve(l)
}

// A serverChild is a server in a process of its own. It dies with its parent.
type serverChild struct {
	*testproc.Child
	socket string
}

func startServer(t testing.TB, store string, bytes int64) *serverChild {
	socket := t.TempDir() + "/socket"
	cmd := testproc.Command(t, "server", store, socket, strconv.FormatInt(bytes, 10))
	cmd.Stderr = os.Stderr
	c := &serverChild{testproc.StartChild(t, cmd), socket}
	await(t, c.socket)
	return c
}

// await waits until somebody listens on a socket.
func await(t testing.TB, socket string) {
	require.Eventually(t, func() bool {
		nc, err := net.Dial("unix", socket)
		if err == nil {
			nc.Close()
		}
		return err == nil
	}, 30*time.Second, 5*time.Millisecond, "nobody listens")
}
