package count

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/internal/testdir"
	"github.com/seed-869cc763/shmkv/internal/testproc"
	"github.com/seed-869cc763/shmkv/server/count/countclient"
	"github.com/seed-869cc763/shmkv/shm"
)

// children are what the test binary may be as a child.
var children = map[string]func(){}

func TestMain(m *testing.M) {
	testproc.RunChild(children)
	os.Exit(testdir.Main(m))
}

// A served is a server in this process, on two unix sockets.
type served struct {
	*Server
	t          testing.TB
	store      *shm.Store
	adds, rows string
	log        *lockedBuffer
}

// A lockedBuffer is what a logger has written so far.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// serving starts a server of a new store, unless opts has one.
func serving(t testing.TB, opts Options) *served {
	t.Helper()
	dir := t.TempDir()
	v := &served{t: t, store: opts.Store, adds: filepath.Join(dir, "adds"), rows: filepath.Join(dir, "rows"), log: &lockedBuffer{}}
	if v.store == nil {
		s, err := shm.Open(filepath.Join(dir, "store"), &shm.Options{Checkpoint: shm.OnSync()})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, s.Close()) })
		v.store, opts.Store = s, s
	}
	opts.Log = slog.New(slog.NewTextHandler(v.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	var err error
	v.Server, err = New(&opts)
	require.NoError(t, err)
	for path, serve := range map[string]func(net.Listener) error{v.adds: v.ServeIncrements, v.rows: v.ServeRows} {
		l, err := net.Listen("unix", path)
		require.NoError(t, err)
		go func() {
			if err := serve(l); err != ErrServerClosed {
				t.Error(err)
			}
		}()
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		require.NoError(t, v.Shutdown(ctx))
	})
	return v
}

func (v *served) adder(opts *countclient.Options) *countclient.Adder {
	v.t.Helper()
	a, err := countclient.DialAdder("unix", v.adds, opts)
	require.NoError(v.t, err)
	v.t.Cleanup(func() { _ = a.Close() })
	return a
}

func (v *served) reader(opts *countclient.Options) *countclient.Reader {
	v.t.Helper()
	r, err := countclient.DialReader("unix", v.rows, opts)
	require.NoError(v.t, err)
	v.t.Cleanup(func() { _ = r.Close() })
	return r
}

// raw connects without a client.
func (v *served) raw(path string) net.Conn {
	v.t.Helper()
	c, err := net.Dial("unix", path)
	require.NoError(v.t, err)
	v.t.Cleanup(func() { _ = c.Close() })
	require.NoError(v.t, c.SetDeadline(time.Now().Add(60*time.Second)))
	return c
}

// says waits until the log has a text.
func (v *served) says(text string) {
	v.t.Helper()
	require.Eventually(v.t, func() bool { return bytes.Contains([]byte(v.log.String()), []byte(text)) }, 30*time.Second, time.Millisecond, "%s: %s", text, v.log)
}

// wins requires that n answers and nothing else arrive.
func wins(t testing.TB, c net.Conn, n int) {
	t.Helper()
	b := make([]byte, 3*n)
	_, err := io.ReadFull(c, b)
	require.NoError(t, err)
	require.Equal(t, n, bytes.Count(b, []byte("WIN")))
}
