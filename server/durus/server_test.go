package durus

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/internal/testdir"
	"github.com/seed-869cc763/shmkv/shm/record"
)

func TestMain(m *testing.M) { os.Exit(testdir.Main(m)) }

var errDeadline = os.ErrDeadlineExceeded

// A world is a store with a server on a unix socket and on TCP.
type world struct {
	t        testing.TB
	dir      string
	st       *record.Storage
	srv      *Server
	unix     string
	tcp      string
	stopped  chan struct{}
	serveErr sync.Map
}

func serve(t testing.TB, dir string, opts Options, storage *record.Options) *world {
	t.Helper()
	w := &world{t: t, dir: dir, stopped: make(chan struct{})}
	var err error
	w.st, err = record.Open(filepath.Join(dir, "store"), storage)
	require.NoError(t, err)
	opts.Storage, opts.Stop = w.st, func() { close(w.stopped) }
	w.srv, err = New(&opts)
	require.NoError(t, err)
	sockets, err := os.MkdirTemp("", "durus")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(sockets) })
	w.unix = filepath.Join(sockets, "sock")
	u, err := net.Listen("unix", w.unix)
	require.NoError(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	w.tcp = l.Addr().String()
	var serving sync.WaitGroup
	for _, l := range []net.Listener{u, l} {
		serving.Go(func() { w.serveErr.Store(l, w.srv.Serve(l)) })
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		require.NoError(t, w.srv.Shutdown(ctx))
		serving.Wait()
		w.serveErr.Range(func(_, err any) bool {
			require.ErrorIs(t, err.(error), ErrServerClosed)
			return true
		})
		require.NoError(t, w.st.Close())
	})
	return w
}

func (w *world) dial(network string) *client {
	w.t.Helper()
	address := w.unix
	if network == "tcp" {
		address = w.tcp
	}
	nc, err := net.Dial(network, address)
	require.NoError(w.t, err)
	w.t.Cleanup(func() { _ = nc.Close() })
	c := &client{w.t, nc}
	c.send([]byte{'V'}, be4(1))
	require.Equal(w.t, 1, c.number())
	return c
}

// The story that Durus tells its own clients, on both kinds of sockets.
func TestStory(t *testing.T) {
	for _, network := range []string{"unix", "tcp"} {
		t.Run(network, func(t *testing.T) {
			w := serve(t, t.TempDir(), Options{}, nil)
			b, c := w.dial(network), w.dial(network)
			for i := range 3 {
				b.send([]byte{'N'})
				require.Equal(t, []record.ID{record.ID(i)}, b.ids(1))
			}
			b.fails(0, 'K')
			b.commits(rec(0, "ok"))
			b.loads(rec(0, "ok"))
			require.Empty(t, b.sync())
			b.commits(rec(1, "no"))
			b.send([]byte{'B'}, be4(3), be8(0, 1, 2))
			for _, want := range "OOK" {
				status, _ := b.answer()
				require.Equal(t, string(want), string(status))
			}
			b.pack()
			c.fails(0, 'I')
			c.fails(0, 'I')
			require.ElementsMatch(t, []record.ID{0, 1}, c.sync())
			c.loads(rec(0, "ok"))
			_, status := c.commit()
			require.Zero(t, status)
			require.Equal(t, []record.ID{3, 4}, c.newIDs(2))
			require.Empty(t, c.newIDs(0))
		})
	}
}

// A client has read what another one changes between the two halves of its commit.
func TestConflict(t *testing.T) {
	w := serve(t, t.TempDir(), Options{}, nil)
	a, b := w.dial("unix"), w.dial("unix")
	x := a.newIDs(3)
	a.commits(rec(0, "", x[1], x[2]), rec(x[1], "1"), rec(x[2], "2"))
	require.Len(t, b.sync(), 3)
	b.loads(rec(x[1], "1"))
	b.send([]byte{'C'})
	require.Zero(t, b.number())
	a.commits(rec(x[1], "one"))
	one := entries(rec(x[2], "two"))
	b.send(be4(len(one)), one)
	require.Equal(t, "I", string(b.read(1)))
	require.Equal(t, []record.ID{x[1]}, b.sync())
	require.Empty(t, a.sync())
	b.loads(rec(x[2], "2"))
	// What it has not read is no conflict.
	b.send([]byte{'C'})
	require.Zero(t, b.number())
	a.commits(rec(x[1], "uno"))
	b.send(be4(len(one)), one)
	require.Equal(t, "O", string(b.read(1)))
	require.Equal(t, []record.ID{x[1]}, b.sync())
	require.Equal(t, Stats{Connections: 2, Accepted: 2, Loads: 2, Commits: 4, Conflicts: 1}, w.srv.Stats())
}

// What a collection has removed is reported to all, and its ids are given again after that.
func TestPack(t *testing.T) {
	w := serve(t, t.TempDir(), Options{}, nil)
	a, b := w.dial("unix"), w.dial("tcp")
	x := a.newIDs(4)
	a.commits(rec(0, "", 1, 3), rec(1, "", 2), rec(2, "", 1), rec(3, ""))
	require.Len(t, b.sync(), 4)
	b.loads(rec(2, "", 1))
	a.commits(rec(0, "", 3))
	a.pack()
	require.ElementsMatch(t, x[1:3], a.sync())
	require.Equal(t, []record.ID{4}, a.newIDs(1), "b was not told")
	b.fails(1, 'I')
	invalid, status := b.commit(rec(3, "three"))
	require.ElementsMatch(t, []record.ID{0, 1, 2}, invalid)
	require.Equal(t, "O", string(status))
	b.fails(1, 'K')
	require.Equal(t, []record.ID{1, 2, 5}, b.newIDs(3))
	require.NoError(t, w.st.Check(t.Context()))
}

// Several servers work on one store.
func TestTwoServers(t *testing.T) {
	dir := t.TempDir()
	a, b := serve(t, dir, Options{}, nil).dial("unix"), serve(t, dir, Options{}, nil).dial("unix")
	a.newIDs(2)
	a.commits(rec(0, "", 1), rec(1, "1"))
	require.ElementsMatch(t, []record.ID{0, 1}, b.sync())
	b.loads(rec(1, "1"))
	b.commits(rec(1, "2"))
	_, status := a.commit(rec(0, "root", 1))
	require.Equal(t, "O", string(status), "a was told in its commit")
	require.Equal(t, []record.ID{0}, b.sync())
	require.Equal(t, []record.ID{2}, b.newIDs(1))
}

// Malformed commits and other nonsense close the connection, and change nothing.
func TestMalformed(t *testing.T) {
	w := serve(t, t.TempDir(), Options{MaxCommit: 1000, MaxLoad: 10}, nil)
	good := w.dial("unix")
	good.newIDs(2)
	good.commits(rec(0, "root", 1), rec(1, "one"))
	ok := entries(rec(0, "changed"))
	long := slices.Clone(ok)
	long[3] += 9
	other := slices.Clone(ok)
	other[4+7] = 1
	badData := slices.Clone(ok)
	badData[4+8+8] = 0xff
	for name, data := range map[string][]byte{
		"an entry longer than the commit": long,
		"bytes too many":                  append(slices.Clone(ok), 0, 0, 0),
		"a length and nothing else":       append(slices.Clone(ok), be4(0)...),
		"an entry that is short":          append(slices.Clone(ok), append(be4(3), 1, 2, 3, 4, 5, 6, 7, 8, 9, 10)...),
		"a record without its header":     append(slices.Clone(ok), append(be4(8), be8(1)...)...),
		"two ids in an entry":             other,
		"data longer than the record":     badData,
		"half a reference":                append(slices.Clone(ok), append(be4(8+12+4), append(rec(1, "").Append(be8(1)), 1, 2, 3, 4)...)...),
		"an id that nobody was given":     append(slices.Clone(ok), entry(rec(77, "x"))...),
		"an id of another client":         append(slices.Clone(ok), entry(rec(good.newIDs(1)[0], "x"))...),
	} {
		t.Run(name, func(t *testing.T) {
			c := w.dial("unix")
			c.send([]byte{'C'})
			c.ids(c.number())
			c.send(be4(len(data)), data)
			c.isClosed()
			good.loads(rec(0, "root", 1))
			require.Empty(t, good.sync())
		})
	}
	for name, bytes := range map[string][]byte{
		"an unknown command":   []byte("GET / HTTP/1.0\r\n\r\n"),
		"another version":      append([]byte{'V'}, be4(2)...),
		"too large a commit":   append([]byte{'C'}, be4(1001)...),
		"too many ids to load": append([]byte{'B'}, be4(11)...),
	} {
		t.Run(name, func(t *testing.T) {
			nc, err := net.Dial("unix", w.unix)
			require.NoError(t, err)
			c := &client{t, nc}
			c.send(bytes)
			switch bytes[0] {
			case 'C':
				require.Zero(t, c.number())
			case 'V':
				require.Equal(t, 1, c.number())
			}
			c.isClosed()
		})
	}
	good.loads(rec(0, "root", 1))
	require.NoError(t, w.st.Check(t.Context()))
}

// Clients that stop in the middle of something keep nobody waiting.
func TestSlowClients(t *testing.T) {
	w := serve(t, t.TempDir(), Options{}, nil)
	good := w.dial("unix")
	big := rec(0, string(make([]byte, 1<<20)))
	good.newIDs(1)
	good.commits(big)
	half := entries(rec(0, "never"))
	for _, slow := range []func(c *client){
		func(c *client) { c.send([]byte{'C'}) },
		func(c *client) { c.send([]byte{'C'}, be4(len(half)), half[:len(half)-1]) },
		func(c *client) { c.send([]byte{'B'}, be4(100), be8(0, 1)) },
		func(c *client) { // it never reads
			for range 50 {
				c.send([]byte{'L'}, be8(0))
			}
		},
		func(c *client) { c.send([]byte{'L', 0}) },
	} {
		c := w.dial("unix")
		c.sync()
		slow(c)
		for i := range 20 {
			big.Data = append(big.Data[:0:0], byte(i))
			good.commits(big)
			good.loads(big)
		}
	}
}

// Clients that send parts of large commits take bounded memory together, and leave room for small commits.
func TestArriving(t *testing.T) {
	w := serve(t, t.TempDir(), Options{MaxArriving: 300_000}, nil)
	good := w.dial("unix")
	good.newIDs(1)
	big := rec(0, string(make([]byte, 200_000)))
	all := entries(big)
	part := all[:len(all)-1]
	first, second := w.dial("unix"), w.dial("unix")
	first.send([]byte{'C'})
	require.Zero(t, first.number())
	first.send(be4(len(all)), part)
	require.Eventually(t, func() bool { return w.srv.arrived.Load() == int64(len(part)) }, time.Minute, time.Millisecond)
	second.send([]byte{'C'})
	require.Zero(t, second.number())
	_, _ = second.nc.Write(append(be4(len(all)), part...))
	second.isClosed()
	third := w.dial("unix")
	_, _ = third.nc.Write(slices.Concat([]byte{'B'}, be4(30_000), make([]byte, 8*30_000-1)))
	third.isClosed()
	good.commits(rec(0, "small"))
	require.NoError(t, first.nc.Close())
	require.Eventually(t, func() bool { return w.srv.arrived.Load() == 0 }, time.Minute, time.Millisecond)
	good.commits(big)
}

// A client that was not told for too long is closed.
func TestLagged(t *testing.T) {
	w := serve(t, t.TempDir(), Options{}, &record.Options{MaxChanges: 10})
	good, lagging := w.dial("unix"), w.dial("unix")
	good.newIDs(50)
	for i := range 50 {
		good.commits(rec(record.ID(i), "x"))
	}
	lagging.isClosed()
	w.dial("unix").loads(rec(0, "x"))
}

// Q ends the server, and the address can be used at once.
func TestQuit(t *testing.T) {
	w := serve(t, t.TempDir(), Options{}, nil)
	nc, err := net.Dial("tcp", w.tcp)
	require.NoError(t, err)
	c := &client{t, nc}
	c.send([]byte{'Q'})
	c.isClosed()
	<-w.stopped
	l, err := net.Listen("tcp", w.tcp)
	require.NoError(t, err)
	require.NoError(t, l.Close())
}

func TestOptions(t *testing.T) {
	for _, o := range []Options{{}, {Storage: new(record.Storage), MaxConns: -1}} {
		_, err := New(&o)
		require.Error(t, err)
	}
	w := serve(t, t.TempDir(), Options{MaxConns: 1}, nil)
	w.dial("unix")
	nc, err := net.Dial("unix", w.unix)
	require.NoError(t, err)
	(&client{t, nc}).isClosed()
}

// Clients that add to one counter, with conflicts, add up.
func TestContention(t *testing.T) {
	w := serve(t, t.TempDir(), Options{}, nil)
	w2 := serve(t, w.dir, Options{}, nil)
	first := w.dial("unix")
	first.newIDs(1)
	first.commits(rec(0, "0"))
	const clients, each = 6, 30
	var all sync.WaitGroup
	errs := make(chan error, clients)
	for i := range clients {
		c := []*world{w, w2}[i%2].dial("unix")
		all.Go(func() { reports(errs, func() error { return c.count(each) }) })
	}
	all.Wait()
	for range clients {
		require.NoError(t, <-errs)
	}
	first.sync()
	first.loads(rec(0, fmt.Sprint(clients*each)))
}

// reports sends what f returns, or an error if f fails the test.
func reports(errs chan<- error, f func() error) {
	err := errors.New("a client has failed")
	defer func() { errs <- err }()
	err = f()
}

func (c *client) count(n int) error {
	for n > 0 {
		c.sync()
		status, r := c.load(0)
		if status == 'I' {
			continue
		}
		if status != 'O' {
			return errors.New("no root")
		}
		var at int
		if _, err := fmt.Sscan(string(r.Data), &at); err != nil {
			return err
		}
		c.send([]byte{'C'})
		invalid := c.ids(c.number())
		b := entries(rec(0, fmt.Sprint(at+1)))
		if len(invalid) > 0 {
			b = nil
		}
		c.send(be4(len(b)), b)
		if len(b) > 0 && c.read(1)[0] == 'O' {
			n--
		}
	}
	return nil
}
