package main

import (
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Of the clients of a bounded listener some are served, and others when those have gone.
func TestBoundedListener(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	b := newBounded(l, 2)
	accepted := make(chan net.Conn, 10)
	ended := make(chan error)
	go func() {
		for {
			c, err := b.Accept()
			if err != nil {
				ended <- err
				return
			}
			accepted <- c
		}
	}()
	for range 5 {
		c, err := net.Dial("tcp", l.Addr().String())
		require.NoError(t, err)
		defer c.Close()
	}
	first, second := <-accepted, <-accepted
	require.Empty(t, accepted)
	require.NoError(t, first.Close())
	require.Error(t, first.Close())
	third := <-accepted
	require.Empty(t, accepted)
	require.NoError(t, b.Close()) // while Accept waits for a place
	require.ErrorIs(t, <-ended, net.ErrClosed)
	require.NoError(t, b.Close())
	require.NoError(t, second.Close())
	require.NoError(t, third.Close())
}

// What goes wrong with a client of metrics is in the log of the server.
func TestMetricsLog(t *testing.T) {
	var log lockedBuffer
	r := newServerRun(logTo(&log, levelOf(0)), http.ErrServerClosed)
	require.NoError(t, r.listenMetrics("127.0.0.1:0", func() []metric { panic("of a test") }))
	_, err := r.begin()
	require.NoError(t, err)
	_, err = http.Get("http://" + r.services[0].Addr().String() + "/metrics")
	require.Error(t, err)
	require.Eventually(t, func() bool { return strings.Contains(log.String(), "of a test") }, 30*time.Second, time.Millisecond)
	require.NoError(t, r.close())
}
