package memcache

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// ask sends a request, and returns the lines of the answer up to one that ends it.
func ask(t testing.TB, nc net.Conn, request string) (lines []string) {
	t.Helper()
	require.NoError(t, nc.SetDeadline(time.Now().Add(20*time.Second)))
	_, err := io.WriteString(nc, request+"\r\n")
	require.NoError(t, err)
	r := bufio.NewReader(nc)
	for {
		line, err := r.ReadString('\n')
		require.NoError(t, err, "after %q", lines)
		lines = append(lines, strings.TrimRight(line, "\r\n"))
		if !strings.HasPrefix(line, "STAT ") && !strings.HasPrefix(line, "key=") && !strings.HasPrefix(line, "mg ") && !strings.HasPrefix(line, "ITEM ") {
			return lines
		}
	}
}

// statsOf returns a group of statistics.
func statsOf(t testing.TB, nc net.Conn, group string) map[string]string {
	all := map[string]string{}
	lines := ask(t, nc, strings.TrimSpace("stats "+group))
	require.Equal(t, "END", lines[len(lines)-1])
	for _, line := range lines[:len(lines)-1] {
		name, value, _ := strings.Cut(strings.TrimPrefix(line, "STAT "), " ")
		all[name] = value
	}
	return all
}

// valueOf returns the number that is the value of a key; 0 if there is none.
func valueOf(t *testing.T, nc net.Conn, key string) (n int) {
	require.NoError(t, nc.SetDeadline(time.Now().Add(20*time.Second)))
	_, err := io.WriteString(nc, "get "+key+"\r\n")
	require.NoError(t, err)
	r := bufio.NewReader(nc)
	line, err := r.ReadString('\n')
	require.NoError(t, err)
	if line == "END\r\n" {
		return 0
	}
	_, err = fmt.Fscanf(r, "%d\r\n", &n)
	require.NoError(t, err)
	line, err = r.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "END\r\n", line)
	return n
}

// isClosed checks that the server closes a connection, and returns what came before that.
func isClosed(t testing.TB, nc net.Conn) string {
	t.Helper()
	require.NoError(t, nc.SetDeadline(time.Now().Add(20*time.Second)))
	b, err := io.ReadAll(nc)
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded, "the connection stays open")
	return string(b)
}

func TestLinesThatCloseTheConnection(t *testing.T) {
	_, path := serve(t, Options{})
	for line, want := range map[string]string{
		"quit\r\n":                       "",
		"version\r\nquit\r\nversion\r\n": "VERSION 1.6.18\r\n",
		"GET / HTTP/1.0\r\n\r\n":         "",
		"DELETE HTTP/1.1\r\n":            "",
		"POST /asdf/asd/fasdfasdf/sadf HTTP/1.1\r\nset a 0 0 1\r\n": "",
		strings.Repeat("x", maxLine+1) + "\r\n":                     "CLIENT_ERROR line too long\r\n",
		"get " + strings.Repeat("x ", maxGetLine/2) + "\r\n":        "CLIENT_ERROR line too long\r\n",
	} {
		nc := dial(t, path)
		_, err := io.WriteString(nc, line)
		require.NoError(t, err)
		require.Equal(t, want, isClosed(t, nc), "%.50q", line)
	}
}

// A get may have more keys than other lines have bytes.
func TestGetOfManyKeys(t *testing.T) {
	_, path := serve(t, Options{})
	nc := dial(t, path)
	ask(t, nc, "set foobarbaz 0 0 2\r\nhi")
	const keys = 18_725
	go func() { _, _ = io.WriteString(nc, "get "+strings.Repeat("foobarbaz ", keys)+"\r\n") }()
	want := strings.Repeat("VALUE foobarbaz 0 2\r\nhi\r\n", keys) + "END\r\n"
	got := make([]byte, len(want))
	_, err := io.ReadFull(nc, got)
	require.NoError(t, err)
	require.True(t, want == string(got))
}

func TestLargeValues(t *testing.T) {
	_, path := serve(t, Options{})
	nc := dial(t, path)
	for _, n := range []int{0, 1, inputBytes - 20, inputBytes, inputBytes + 1, 100_000, 1_048_064} {
		value := strings.Repeat("v", n)
		require.Equal(t, []string{"STORED"}, ask(t, nc, fmt.Sprintf("set large 0 0 %d\r\n%s", n, value)), n)
		_, err := io.WriteString(nc, "get large large\r\n")
		require.NoError(t, err)
		one := fmt.Sprintf("VALUE large 0 %d\r\n%s\r\n", n, value)
		got := make([]byte, 2*len(one)+len("END\r\n"))
		_, err = io.ReadFull(nc, got)
		require.NoError(t, err)
		require.True(t, one+one+"END\r\n" == string(got), n)
	}
	require.Equal(t, []string{"SERVER_ERROR object too large for cache"},
		ask(t, nc, "set large 0 0 1048577\r\n"+strings.Repeat("v", 1048577)))
	require.Equal(t, []string{"END"}, ask(t, nc, "get large"))
}

// A client that sends requests and never reads stops being read from, and harms nobody.
func TestClientThatNeverReads(t *testing.T) {
	s, path := serve(t, Options{})
	other := dial(t, path)
	ask(t, other, fmt.Sprintf("set big 0 0 100000\r\n%s", strings.Repeat("v", 100_000)))
	var deaf []net.Conn
	for i := range 20 {
		nc := dial(t, path)
		deaf = append(deaf, nc)
		request := "get big\r\n"
		if i%2 == 0 {
			request = "get" + strings.Repeat(" big", 100) + "\r\n"
		}
		_, err := io.WriteString(nc, request)
		require.NoError(t, err)
		_ = nc.SetWriteDeadline(time.Now().Add(20 * time.Millisecond))
		for range 10_000 {
			if _, err := io.WriteString(nc, request); err != nil {
				break
			}
		}
	}
	require.Eventually(t, func() bool {
		return strings.Count(fmt.Sprint(statsOf(t, other, "conns")), "conn_mwrite") == len(deaf)
	}, 20*time.Second, 10*time.Millisecond)
	require.Equal(t, []string{"STORED"}, ask(t, other, "set a 0 0 1\r\n1"))
	require.Less(t, buffered(s, stateWrites), 20*(512<<10))

	// One that reads after all gets its answers.
	nc := deaf[1]
	require.NoError(t, nc.SetReadDeadline(time.Now().Add(20*time.Second)))
	line, err := bufio.NewReader(nc).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "VALUE big 0 100000\r\n", line)
}

// A value that was sent by half takes memory for what was sent, not for what was announced.
func TestHalfSentValues(t *testing.T) {
	s, path := serve(t, Options{ItemSize: 8 << 20})
	for i := range 50 {
		nc := dial(t, path)
		_, err := fmt.Fprintf(nc, "set key%d 0 0 %d\r\n%s", i, 4<<20, strings.Repeat("v", 40_000))
		require.NoError(t, err)
	}
	other := dial(t, path)
	require.Eventually(t, func() bool {
		return strings.Count(fmt.Sprint(statsOf(t, other, "conns")), "conn_nread") == 50
	}, 20*time.Second, 10*time.Millisecond)
	require.LessOrEqual(t, buffered(s, stateAwaitsValue), 50*(128<<10))
}

// Connections that are idle have no buffers, and no goroutine.
func TestIdleConnections(t *testing.T) {
	s, path := serve(t, Options{})
	var conns []net.Conn
	for range 100 {
		nc := dial(t, path)
		ask(t, nc, "get a")
		conns = append(conns, nc)
	}
	require.Eventually(t, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		n := 0
		for c := range s.conns {
			n += index(c.state.Load() == idle)
		}
		return n == len(conns)
	}, 10*time.Second, time.Millisecond)
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		require.True(t, c.state.CompareAndSwap(idle, running))
		require.Nil(t, c.work)
		require.Nil(t, c.in.buf)
		require.Nil(t, c.out)
		require.True(t, c.state.CompareAndSwap(running, idle))
	}
}

func TestShutdown(t *testing.T) {
	s, path := serve(t, Options{})
	idleOne, half, watcher, deaf := dial(t, path), dial(t, path), dial(t, path), dial(t, path)
	ask(t, idleOne, fmt.Sprintf("set big 0 0 100000\r\n%s", strings.Repeat("v", 100_000)))
	_, err := io.WriteString(half, "set a 0 0 100\r\nabc")
	require.NoError(t, err)
	require.Equal(t, []string{"OK"}, ask(t, watcher, "watch evictions"))
	_, err = io.WriteString(deaf, strings.Repeat("get big\r\n", 100))
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		all := fmt.Sprint(statsOf(t, idleOne, "conns"))
		return strings.Contains(all, "conn_mwrite") && strings.Contains(all, "conn_nread") && strings.Contains(all, "conn_watch")
	}, 10*time.Second, time.Millisecond)

	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, s.Shutdown(ctx), context.DeadlineExceeded) // because of the deaf one
	for _, nc := range []net.Conn{idleOne, half, watcher} {
		require.Empty(t, isClosed(t, nc))
	}
	isClosed(t, deaf)
	_, err = net.Dial("unix", path)
	require.Error(t, err)
	require.NoError(t, s.Shutdown(t.Context()))
	require.Equal(t, ErrServerClosed, s.Serve(closedListener{}))
}

// A client that never stops sending does not keep the server from ending.
func TestShutdownWithBusyClients(t *testing.T) {
	s, path := serve(t, Options{})
	var all sync.WaitGroup
	for i := range 4 {
		nc := dial(t, path)
		requests := []byte(strings.Repeat("get a b c\r\nset a 0 0 1\r\n1\r\n", 200))
		if i%2 == 0 {
			requests = []byte("lru_crawler metadump all\r\n")
		}
		all.Go(func() {
			for {
				if _, err := nc.Write(requests); err != nil {
					return
				}
			}
		})
		all.Go(func() { _, _ = io.Copy(io.Discard, nc) })
	}
	time.Sleep(10 * time.Millisecond)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_ = s.Shutdown(ctx)
	all.Wait()
}

// A closedListener is one that is only closed.
type closedListener struct{ net.Listener }

func (closedListener) Close() error { return nil }

// What has arrived before Shutdown is answered.
func TestShutdownAnswers(t *testing.T) {
	for range 20 {
		s, path := serve(t, Options{})
		var all sync.WaitGroup
		stored := make([]int, 4)
		for i := range stored {
			nc := dial(t, path)
			all.Go(func() {
				for n := 0; ; n++ {
					if _, err := fmt.Fprintf(nc, "set k%d 0 0 5\r\n%05d\r\n", i, n); err != nil {
						return
					}
					answer := make([]byte, len("STORED\r\n"))
					if _, err := io.ReadFull(nc, answer); err != nil {
						return
					}
					stored[i] = n
				}
			})
		}
		time.Sleep(2 * time.Millisecond)
		require.NoError(t, s.Shutdown(t.Context()))
		all.Wait()
		for i, n := range stored {
			it, err := s.cache.Get(fmt.Appendf(nil, "k%d", i))
			if err == nil {
				got := 0
				_, err = fmt.Sscanf(string(it.Value), "%05d", &got)
				require.NoError(t, err)
				require.GreaterOrEqual(t, got, n)
			}
		}
	}
}

func TestConnectionLimit(t *testing.T) {
	_, path := serve(t, Options{MaxConns: 3})
	var conns []net.Conn
	for range 3 {
		nc := dial(t, path)
		ask(t, nc, "version")
		conns = append(conns, nc)
	}
	require.Equal(t, "ERROR Too many open connections\r\n", isClosed(t, dial(t, path)))
	require.Equal(t, "1", statsOf(t, conns[0], "")["rejected_connections"])
	conns[2].Close()
	require.Eventually(t, func() bool {
		nc := dial(t, path)
		_, _ = io.WriteString(nc, "version\r\n")
		line, _ := bufio.NewReader(nc).ReadString('\n')
		return line == "VERSION 1.6.18\r\n"
	}, 10*time.Second, 10*time.Millisecond)
}

func TestConnectionsThatWait(t *testing.T) {
	_, path := serve(t, Options{MaxConns: 2, MaxConnsWait: true})
	one, two, three := dial(t, path), dial(t, path), net.Conn(nil)
	ask(t, one, "version")
	ask(t, two, "version")
	require.Equal(t, "1", statsOf(t, one, "")["accepting_conns"])
	three = dial(t, path)
	_, err := io.WriteString(three, "version\r\n")
	require.NoError(t, err)
	require.Eventually(t, func() bool { return statsOf(t, one, "")["accepting_conns"] == "0" }, 10*time.Second, time.Millisecond)
	two.Close()
	require.NoError(t, three.SetDeadline(time.Now().Add(20*time.Second)))
	line, err := bufio.NewReader(three).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "VERSION 1.6.18\r\n", line)
	require.Equal(t, "1", statsOf(t, one, "")["listen_disabled_num"])
}

// Connections are closed when their clients have done nothing for the idle time-out, wherever in a
// request they are. A client that asks, and a watcher, are not.
func TestIdleTimeout(t *testing.T) {
	t.Parallel()
	for !closesIdle(t) {
		t.Log("again: the busy client was not running for so long that it was idle")
	}
}

// closesIdle reports false if the busy client may have been taken for an idle one.
func closesIdle(t *testing.T) bool {
	s, path := serve(t, Options{IdleTimeout: time.Second})
	quiet, busy, deaf, watcher := dial(t, path), dial(t, path), dial(t, path), dial(t, path)
	ask(t, quiet, fmt.Sprintf("set big 0 0 100000\r\n%s", strings.Repeat("v", 100_000)))
	closed := []net.Conn{quiet}
	for _, part := range []string{"get ", "set a 0 0 100\r\nabc", "set a 0 0 10000000\r\nabc", "ms a 100\r\n", "\x80", "\x80\x01\x00"} {
		nc := dial(t, path)
		_, err := io.WriteString(nc, part)
		require.NoError(t, err)
		closed = append(closed, nc)
	}
	_, err := io.WriteString(deaf, strings.Repeat("get big\r\n", 100))
	require.NoError(t, err)
	require.Equal(t, []string{"OK"}, ask(t, watcher, "watch evictions"))
	closed = append(closed, deaf)

	require.NoError(t, busy.SetDeadline(time.Now().Add(30*time.Second)))
	pause := time.Duration(0) // the longest between two requests of the busy client
	last := time.Now()
	for more := 5; more > 0; time.Sleep(20 * time.Millisecond) { // the last requests come after all is closed
		if s.count(idleKicks) >= uint64(len(closed)) {
			more--
		}
		_, err := io.WriteString(busy, "version\r\n")
		if err == nil {
			_, err = bufio.NewReader(busy).ReadString('\n')
		}
		pause = max(pause, time.Since(last))
		if err != nil && pause > 500*time.Millisecond {
			return false
		}
		require.NoError(t, err, "after a pause of %v, closed %d", pause, s.count(idleKicks))
		last = time.Now()
	}
	for _, nc := range closed {
		isClosed(t, nc)
	}
	require.NoError(t, watcher.SetReadDeadline(time.Now().Add(time.Millisecond)))
	_, err = watcher.Read(make([]byte, 1))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded, "the watcher was closed")
	return true
}

// The output of a connection is written in the order of its requests, whatever their sizes.
func TestPipelinedAnswersOfAllSizes(t *testing.T) {
	t.Parallel()
	_, path := serve(t, Options{})
	nc := dial(t, path)
	var requests, want bytes.Buffer
	for i := range 300 {
		n := i * i % 70_000
		value := strings.Repeat(string(rune('a'+i%26)), n)
		fmt.Fprintf(&requests, "set k%d 0 0 %d\r\n%s\r\nget k%d\r\nget k%d k%d nothing\r\n", i, n, value, i, i, i)
		one := fmt.Sprintf("VALUE k%d 0 %d\r\n%s\r\n", i, n, value)
		want.WriteString("STORED\r\n" + one + "END\r\n" + one + one + "END\r\n")
	}
	go func() { _, _ = nc.Write(requests.Bytes()) }()
	got := make([]byte, want.Len())
	_, err := io.ReadFull(nc, got)
	require.NoError(t, err)
	require.True(t, bytes.Equal(want.Bytes(), got))
}

// A client whose requests take long does not keep the others of its loop waiting until all are
// done.
func TestRequestsThatTakeLong(t *testing.T) {
	t.Parallel()
	_, path := serve(t, Options{Threads: 1})
	slow, other := dial(t, path), dial(t, path)
	ask(t, slow, "set big 0 0 1000000\r\n"+strings.Repeat("v", 1_000_000))
	ask(t, other, "set a 0 0 1\r\n1")
	require.NoError(t, slow.SetDeadline(time.Now().Add(60*time.Second)))
	touches := 750
	if testing.Short() {
		touches = 75 // with the race detector each takes a tenth of a second
	}
	_, err := io.WriteString(slow, "touch big 0\r\n"+strings.Repeat("touch big 0 noreply\r\n", touches)+"mn\r\n")
	require.NoError(t, err)
	done := make(chan string)
	go func() {
		b := make([]byte, len("TOUCHED\r\nMN\r\n"))
		_, _ = io.ReadFull(slow, b)
		done <- string(b)
	}()
	require.Equal(t, []string{"1"}, ask(t, other, "incr a 0"))
	select {
	case <-done:
		t.Fatal("the other client was answered after the slow one")
	default:
	}
	require.Equal(t, "TOUCHED\r\nMN\r\n", <-done)
}
