package count

import (
	"bytes"
	"io"
	"math"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/shm/counter"
)

// A client may send any number of increments before it reads an answer. Each of these is sent
// for itself, so that the answers are many small ones, of which a unix socket takes few.
func TestSentAhead(t *testing.T) {
	v := serving(t, Options{})
	c := v.raw(v.adds)
	m := message(t, "pages", "a", 1)
	const sent = 20_000
	for i := range sent {
		_, err := c.Write(m)
		require.NoError(t, err, i)
	}
	require.NoError(t, c.(*net.UnixConn).CloseWrite())
	answers, err := io.ReadAll(c)
	require.NoError(t, err)
	require.Equal(t, strings.Repeat("WIN", sent), string(answers))
}

// What is owed is written from the middle of an answer on, if a socket has taken a part of it.
func TestNext(t *testing.T) {
	want := bytes.Repeat([]byte("WIN"), 3*len(manyWins))
	for step := range 8 {
		a, got := adder{owed: len(want)}, []byte{}
		for a.owed > 0 {
			b := a.next()
			b = b[:min(len(b), 1+step*1000)]
			got = append(got, b...)
			a.owed -= len(b)
		}
		require.True(t, bytes.Equal(want, got))
	}
}

// A client that has sent much behind a refused increment, and reads late, finds all answers
// before it and then their end.
func TestAnswersBeforeRefusal(t *testing.T) {
	v := serving(t, Options{Patience: time.Minute})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	go func() { _ = v.ServeIncrements(l) }()
	_, err = counter.Open(v.store, "pages").Add([]byte("full"), math.MaxInt64)
	require.NoError(t, err)
	good, bad := message(t, "pages", "a", 1), message(t, "pages", "full", 1)
	const before = 10_000
	sent := slices.Concat(bytes.Repeat(good, before), bad, bytes.Repeat(good, 4000))
	for _, at := range []net.Addr{l.Addr(), &net.UnixAddr{Name: v.adds, Net: "unix"}} {
		c, err := net.Dial(at.Network(), at.String())
		require.NoError(t, err)
		require.NoError(t, c.SetDeadline(time.Now().Add(60*time.Second)))
		_, err = c.Write(sent)
		require.NoError(t, err)
		answers, err := io.ReadAll(c)
		require.NoError(t, err)
		require.Equal(t, before, bytes.Count(answers, []byte("WIN")))
		require.NoError(t, c.Close())
	}
}
