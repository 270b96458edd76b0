package main

import (
	"net"
	"testing"

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
