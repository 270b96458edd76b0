// Package twemproxy_test runs the script cluster: servers of memcached's protocol behind
// nutcracker, one of which is killed, starts again, and is stopped for a while.
package twemproxy_test

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/internal/testdir"
)

func TestMain(m *testing.M) { os.Exit(testdir.Main(m)) }

// patience is how long a test waits for what should happen soon.
const patience = 30 * time.Second

const keys = 300

func key(i int) string { return fmt.Sprintf("page:%d", i) }

// A server that is killed takes its keys with it, while the others keep theirs and no client
// fails. With its store it comes back warm.
func TestKilledServer(t *testing.T) {
	// A busy machine must not make a live server look dead. A killed one is seen without it.
	c := start(t, 20*time.Second)
	cl := c.dial(t)
	for i := range keys {
		require.Equal(t, "STORED", cl.set(key(i), "first"))
	}
	owner := c.owners(t)
	count := map[int]int{}
	for i := range keys {
		require.NotZero(t, owner[i], "no server has %s", key(i))
		count[owner[i]]++
	}
	t.Logf("keys of the servers: %v", count)
	for n := 1; n <= 3; n++ {
		require.Greater(t, count[n], keys/10, "server %d has too few of the keys", n)
	}

	// Clients go on while the server is killed, and until it was tried again and ejected
	// again.
	stop := c.traffic(t)
	c.signal(t, 2, syscall.SIGKILL)
	require.Eventually(t, func() bool {
		for i := range keys {
			if got := cl.get(key(i)); owner[i] != 2 {
				assert.Equal(t, "first", got, key(i))
			} else if got != "" {
				return false
			}
		}
		return true
	}, patience, 10*time.Millisecond, "the keys of the killed server do not miss")
	for range 3 {
		time.Sleep(time.Second)
		require.Equal(t, "STORED", cl.set("now", "now"))
	}
	stop()

	// While it is away, one of its keys is set, which another server gets.
	away := -1
	for i := range keys {
		if owner[i] == 2 {
			away = i
			break
		}
	}
	require.Equal(t, "STORED", cl.set(key(away), "second"))
	require.Equal(t, "second", cl.get(key(away)))

	// It comes back with all that it had, also with the value that is old by now.
	stop = c.traffic(t)
	c.run(t, "start")
	require.Eventually(t, func() bool {
		for i := range keys {
			if cl.get(key(i)) != "first" {
				return false
			}
		}
		return true
	}, patience, 10*time.Millisecond, "the server does not come back warm")
	stop()
}

// Of a server that answers no more, each request takes the time-out at most, and is a miss when it
// is repeated.
func TestStoppedServer(t *testing.T) {
	c := start(t, 400*time.Millisecond)
	cl := c.dial(t)
	for i := range keys {
		require.Equal(t, "STORED", cl.set(key(i), "first"))
	}
	owner := c.owners(t)
	stop := c.traffic(t)
	c.signal(t, 3, syscall.SIGSTOP)
	require.Eventually(t, func() bool {
		missed := false
		for i := range keys {
			got := cl.get(key(i))
			missed = missed || owner[i] == 3 && got == ""
		}
		return missed
	}, patience, 10*time.Millisecond, "no key of the stopped server misses")
	c.signal(t, 3, syscall.SIGCONT)
	require.Eventually(t, func() bool {
		for i := range keys {
			if cl.get(key(i)) != "first" {
				return false
			}
		}
		return true
	}, patience, 10*time.Millisecond, "the server does not come back")
	stop()
}

// A cluster is what the script has started.
type cluster struct {
	dir, shmctl string
	timeout     time.Duration
	port        int
}

var build = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "shmctl")
	if err != nil {
		return "", err
	}
	cmd := exec.Command("go", "build", "-o", filepath.Join(dir, "shmctl"), "../../cmd/shmctl")
	cmd.Env = testdir.GoEnv()
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w: %s", err, out)
	}
	return filepath.Join(dir, "shmctl"), nil
})

func start(t *testing.T, timeout time.Duration) *cluster {
	t.Helper()
	if testing.Short() {
		t.Skip("runs programs that are built without the race detector, and takes seconds")
	}
	if _, err := exec.LookPath("nutcracker"); err != nil {
		t.Skipf("nutcracker is not installed: %v", err)
	}
	shmctl, err := build()
	require.NoError(t, err)
	c := &cluster{dir: t.TempDir(), shmctl: shmctl, timeout: timeout}
	t.Cleanup(func() { c.run(t, "stop") })
	for try := 0; ; try++ {
		c.port = freePorts(t, 5)
		out, err := c.script("start")
		if err == nil {
			return c
		}
		// Another process may have taken one of the ports.
		require.Less(t, try, 5, "%v: %s", err, out)
		c.run(t, "stop")
	}
}

func (c *cluster) script(verb string) (string, error) {
	// The daemons keep standard output open, so it is a file.
	out, err := os.CreateTemp("", "cluster")
	if err != nil {
		return "", err
	}
	defer func() { _ = out.Close(); _ = os.Remove(out.Name()) }()
	cmd := exec.Command("./cluster", verb, c.dir, strconv.Itoa(c.port))
	cmd.Env = append(os.Environ(), "SHMCTL="+c.shmctl, "TIMEOUT="+strconv.FormatInt(c.timeout.Milliseconds(), 10))
	cmd.Stdout, cmd.Stderr = out, out
	err = cmd.Run()
	text, _ := os.ReadFile(out.Name())
	return string(text), err
}

func (c *cluster) run(t *testing.T, verb string) {
	t.Helper()
	out, err := c.script(verb)
	require.NoError(t, err, out)
}

// freePorts returns the first of n ports in a row that nobody listens on, below those that the
// system gives to clients.
func freePorts(t *testing.T, n int) int {
	t.Helper()
	for base := 20000 + os.Getpid()*7%10000; base < 32000; base += n {
		free := 0
		for ; free < n; free++ {
			l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(base+free))
			if err != nil {
				break
			}
			_ = l.Close()
		}
		if free == n {
			return base
		}
	}
	require.FailNow(t, "no free ports")
	return 0
}

// signal sends a signal to server n.
func (c *cluster) signal(t *testing.T, n int, sig syscall.Signal) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("%s/server%d.pid", c.dir, n))
	require.NoError(t, err)
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	require.NoError(t, err)
	require.NoError(t, syscall.Kill(pid, sig))
}

// owners says which server has each key, asking the servers themselves.
func (c *cluster) owners(t *testing.T) (owner [keys]int) {
	t.Helper()
	for n := 1; n <= 3; n++ {
		server := &client{t: t, address: "127.0.0.1:" + strconv.Itoa(c.port+n)}
		for i := range keys {
			if server.get(key(i)) != "" {
				require.Zero(t, owner[i], "two servers have %s", key(i))
				owner[i] = n
			}
		}
		server.close()
	}
	return owner
}

// traffic lets clients set and get keys of their own until stop is called. None fails.
func (c *cluster) traffic(t *testing.T) (stop func()) {
	t.Helper()
	var wg sync.WaitGroup
	var done atomic.Bool
	clients := make([]*client, 4)
	for n := range clients {
		cl := &client{t: t, address: "127.0.0.1:" + strconv.Itoa(c.port)}
		clients[n] = cl
		wg.Go(func() {
			defer cl.close()
			for i := 0; !done.Load(); i++ {
				k := fmt.Sprintf("client%d:%d", n, i%100)
				cl.set(k, "v")
				// Between set and get the key may have got another server.
				assert.Contains(t, []string{"v", ""}, cl.get(k))
				time.Sleep(time.Millisecond)
			}
		})
	}
	stop = sync.OnceFunc(func() {
		done.Store(true)
		wg.Wait()
		var requests, repeated, longest int64
		for _, cl := range clients {
			requests += cl.requests
			repeated += cl.repeated
			longest = max(longest, cl.longest)
		}
		t.Logf("%d requests, %d repetitions, of one request at most %d", requests, repeated, longest)
	})
	t.Cleanup(stop)
	return stop
}

// A client repeats a request that was answered with SERVER_ERROR: that is how nutcracker says
// that a server has failed, which it ejects then. The connection to nutcracker stays.
type client struct {
	t       *testing.T
	address string
	nc      net.Conn
	r       *bufio.Reader

	requests, repeated, longest int64 // longest are the most repetitions of one request
}

// tries is far beyond the one repetition that is needed as a rule.
const tries = 20

func (c *cluster) dial(t *testing.T) *client {
	cl := &client{t: t, address: "127.0.0.1:" + strconv.Itoa(c.port)}
	t.Cleanup(cl.close)
	return cl
}

func (cl *client) close() {
	if cl.nc != nil {
		_ = cl.nc.Close()
	}
}

// set returns the answer.
func (cl *client) set(key, value string) string {
	answer, _ := cl.do(fmt.Sprintf("set %s 0 0 %d\r\n%s\r\n", key, len(value), value))
	assert.Equal(cl.t, "STORED", answer)
	return answer
}

// get returns the value, or "" for a miss.
func (cl *client) get(key string) string {
	answer, value := cl.do("get " + key + "\r\n")
	if answer != "END" {
		assert.True(cl.t, strings.HasPrefix(answer, "VALUE "+key+" "), answer)
	}
	return value
}

func (cl *client) do(request string) (answer, value string) {
	cl.requests++
	for try := range int64(tries) {
		var err error
		answer, value, err = cl.try(request)
		if !assert.NoError(cl.t, err, request) {
			return "", ""
		}
		if !strings.HasPrefix(answer, "SERVER_ERROR ") {
			cl.longest = max(cl.longest, try)
			return answer, value
		}
		cl.repeated++
		time.Sleep(10 * time.Millisecond)
	}
	assert.Fail(cl.t, "a request fails again and again", "%s%s", request, answer)
	return answer, ""
}

func (cl *client) try(request string) (answer, value string, err error) {
	if cl.nc == nil {
		if cl.nc, err = net.Dial("tcp", cl.address); err != nil {
			return "", "", err
		}
		cl.r = bufio.NewReader(cl.nc)
	}
	if err = cl.nc.SetDeadline(time.Now().Add(patience)); err == nil {
		_, err = cl.nc.Write([]byte(request))
	}
	if err == nil {
		answer, err = cl.line()
	}
	if err == nil && strings.HasPrefix(answer, "VALUE ") {
		if value, err = cl.line(); err == nil {
			_, err = cl.line() // END
		}
	}
	return answer, value, err
}

func (cl *client) line() (string, error) {
	line, err := cl.r.ReadString('\n')
	return strings.TrimSuffix(line, "\r\n"), err
}
