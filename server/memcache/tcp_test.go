package memcache

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A server serves TCP and unix sockets at once.
func TestTCPBesideUnixSocket(t *testing.T) {
	s, path := serve(t, Options{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		require.NoError(t, s.Shutdown(ctx))
		require.Equal(t, ErrServerClosed, <-ended)
	})
	tcp, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	defer tcp.Close()
	unix := dial(t, path)
	require.Equal(t, []string{"STORED"}, ask(t, tcp, "set a 0 0 1\r\n1"))
	require.Equal(t, 1, valueOf(t, unix, "a"))

	all := map[string]int{}
	for _, value := range statsOf(t, tcp, "conns") {
		all[value]++
	}
	require.Equal(t, 1, all["tcp:"+tcp.LocalAddr().String()])
	require.Equal(t, 2, all["tcp:"+l.Addr().String()]) // the listener, and the end here of the connection
	require.Equal(t, 2, all["unix:"+path])
	require.Equal(t, 2, all["conn_listening"])
	require.GreaterOrEqual(t, all["conn_parse_cmd"], 1) // the other one may just come to rest
	require.Equal(t, 2, all["conn_parse_cmd"]+all["conn_read"])

	for _, one := range stories(t, "text") {
		if len(one.options) > 0 {
			continue
		}
		require.Equal(t, []string{"OK"}, ask(t, tcp, "flush_all"))
		nc, err := net.Dial("tcp", l.Addr().String())
		require.NoError(t, err)
		one.play(t, nc, byteByByte)
		nc.Close()
	}
}
