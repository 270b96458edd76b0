package memcache

import (
	"context"
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/internal/testdir"
	"github.com/seed-869cc763/shmkv/shm/cache"
)

// serve starts a server of a new cache, and returns the address of its socket.
func serve(t testing.TB, o Options) (*Server, string) {
	if o.Cache == nil {
		c, err := cache.Open(testdir.Memory(t)+"/store", &cache.Options{Bytes: 64 << 20})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, c.Close()) })
		o.Cache = c
	}
	s, err := New(&o)
	require.NoError(t, err)
	path := t.TempDir() + "/socket"
	l, err := net.Listen("unix", path)
	require.NoError(t, err)
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = s.Shutdown(ctx)
		require.Equal(t, ErrServerClosed, <-ended)
	})
	return s, path
}

func dial(t testing.TB, path string) net.Conn {
	nc, err := net.Dial("unix", path)
	require.NoError(t, err)
	t.Cleanup(func() { nc.Close() })
	return nc
}

// talk sends requests, and returns all that the server answers until it closes.
func talk(t testing.TB, nc net.Conn, requests string) string {
	_, err := io.WriteString(nc, requests)
	require.NoError(t, err)
	require.NoError(t, nc.(interface{ CloseWrite() error }).CloseWrite())
	b, err := io.ReadAll(nc)
	require.NoError(t, err)
	return string(b)
}

func TestSetAndGet(t *testing.T) {
	_, path := serve(t, Options{})
	require.Equal(t, "STORED\r\nVALUE a 7 3\r\nabc\r\nEND\r\nEND\r\n",
		talk(t, dial(t, path), "set a 7 0 3\r\nabc\r\nget a b\r\nget c\r\n"))
}
