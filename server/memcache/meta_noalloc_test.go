//go:build !race

package memcache

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/internal/testdir"
	"github.com/seed-869cc763/shmkv/shm/cache"
)

// Requests of the meta protocol allocate nothing.
func TestMetaDoesNotAllocate(t *testing.T) {
	c, err := cache.Open(testdir.Memory(t)+"/store", &cache.Options{Bytes: 8 << 20})
	require.NoError(t, err)
	defer func() { require.NoError(t, c.Close()) }()
	s, err := New(&Options{Cache: c})
	require.NoError(t, err)
	for _, requests := range []string{
		"ms key 5 T100 c k Oxyz\r\nvalue\r\n",
		"mg key s v c t f k h l Oxyz q\r\n",
		"mg key v\r\n",
		"mg none v q\r\n",
		"mg key v k\r\nmg none v k\r\nmg key v k\r\nmg key v k\r\nmn\r\n",
		"mg viv N9 v\r\nmg none N9 v\r\nmd viv\r\nmd none\r\n",
		"mg a2V5 b k v\r\n",
		"mg key T100 v u\r\n",
		"mg viv N100 v\r\nmd viv\r\n",
		"md key I\r\nmg key v\r\n",
		"ms key 5 E7\r\nvalue\r\nms key 5 C7 E7\r\nvalue\r\n",
		"ms key 5 MA\r\nvalue\r\nms key 5\r\nvalue\r\n",
		"ma number N0 v t c\r\n",
		"me key\r\n",
	} {
		run := executor(t, s, requests)
		run()
		require.Zero(t, testing.AllocsPerRun(200, run), "%q", requests)
	}
}

// executor returns a function that executes requests of a connection without a socket.
func executor(t testing.TB, s *Server, requests string) func() {
	cn := &conn{srv: s, counts: &s.counts[0]}
	cn.in.c = cn
	cn.begin()
	return func() {
		cn.out = cn.out[:0]
		cn.in.r, cn.in.w = 0, copy(cn.in.buf, requests)
		for cn.in.r < cn.in.w {
			require.NoError(t, cn.request())
		}
	}
}
