package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/examples/internal/exampletest"
	"github.com/seed-869cc763/shmkv/shm"
)

func TestMain(m *testing.M) { exampletest.Main(m, main) }

// A source is a server with a bucket.
type source struct {
	t       *testing.T
	url     string
	address string
	js      jetstream.JetStream
	kv      jetstream.KeyValue
}

func newSource(t *testing.T) *source {
	t.Helper()
	s, err := StartServer("127.0.0.1", -1, t.TempDir())
	require.NoError(t, err)
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	kv, nc, err := Bucket(t.Context(), s.ClientURL(), "settings")
	require.NoError(t, err)
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	require.NoError(t, err)
	return &source{t, s.ClientURL(), s.Addr().String(), js, kv}
}

func (s *source) set(key, value string) {
	s.t.Helper()
	_, err := s.kv.PutString(s.t.Context(), key, value)
	require.NoError(s.t, err)
}

func (s *source) delete(key string) {
	s.t.Helper()
	require.NoError(s.t, s.kv.Delete(s.t.Context(), key))
}

// all returns what the bucket has.
func (s *source) all() map[string]string {
	s.t.Helper()
	w, err := s.kv.WatchAll(s.t.Context(), jetstream.IgnoreDeletes())
	require.NoError(s.t, err)
	defer func() { require.NoError(s.t, w.Stop()) }()
	all := map[string]string{}
	for e := range w.Updates() {
		if e == nil {
			return all
		}
		all[e.Key()] = string(e.Value())
	}
	require.FailNow(s.t, "the watch has ended")
	return nil
}

// A copyOf is a host: a process that follows the bucket into a store, through a cable that can
// be cut.
type copyOf struct {
	t   *testing.T
	dir string
	*cable
	*exampletest.Process
}

func (s *source) host() *copyOf {
	s.t.Helper()
	h := &copyOf{t: s.t, dir: filepath.Join(s.t.TempDir(), "copy"), cable: newCable(s.t, s.address)}
	h.start()
	return h
}

func (h *copyOf) start() {
	h.Process = exampletest.Start(h.t, "-store", h.dir, "-url", "nats://"+h.cable.address, "follow")
}

// kill ends the process as a crash does.
func (h *copyOf) kill() {
	h.t.Helper()
	h.Signal(syscall.SIGKILL)
	h.Fail()
}

// hears reads the log of the process until it has a message.
func (h *copyOf) hears(message string) (before []string) {
	h.t.Helper()
	for {
		line := h.Line()
		if strings.Contains(line, message) {
			return before
		}
		before = append(before, line)
	}
}

// all returns what processes of the host read.
func (h *copyOf) all() map[string]string {
	h.t.Helper()
	store, err := shm.Open(h.dir, &shm.Options{ReadOnly: true, Create: true}) // the process may have died before it made the store
	require.NoError(h.t, err)
	defer func() { require.NoError(h.t, store.Close()) }()
	all := map[string]string{}
	require.NoError(h.t, store.View(func(sn *shm.Snapshot) error {
		for key, value := range sn.Map(valuesMap).All() {
			all[string(key)] = string(value)
		}
		return sn.Err()
	}))
	return all
}

// becomeEqual waits until each host has exactly what the bucket has.
func (s *source) becomeEqual(hosts ...*copyOf) {
	s.t.Helper()
	want := s.all()
	for i, h := range hosts {
		end := time.Now().Add(exampletest.Patience)
		for !maps.Equal(want, h.all()) && time.Now().Before(end) {
			time.Sleep(5 * time.Millisecond)
		}
		require.Equal(s.t, want, h.all(), "host %d", i)
	}
}

// A host whose connection is cut, and one that is killed: each then has exactly what the bucket
// has, and gets only what has changed.
func TestCutAndRestart(t *testing.T) {
	s := newSource(t)
	for i := range 300 {
		s.set(fmt.Sprintf("key.%d", i), "first")
	}
	s.delete("key.299")
	a, b := s.host(), s.host()
	for _, h := range []*copyOf{a, b} {
		h.hears("compares in full")
		h.hears("is up to date")
	}
	s.becomeEqual(a, b)
	require.Len(t, a.all(), 299)

	// A change reaches both.
	s.set("key.0", "second")
	s.set("new", "empty value next")
	s.set("empty", "")
	s.delete("key.1")
	s.becomeEqual(a, b)
	before := a.all()

	// What happens while one is cut off, and the other one is dead as well for a while.
	a.cut()
	a.hears("no connection")
	s.set("key.0", "third")
	s.delete("key.2")
	s.becomeEqual(b)
	b.kill()
	s.delete("key.3")
	s.set("key.4", "comes and goes")
	s.delete("key.4")
	s.delete("key.5")
	s.set("key.5", "back")
	require.Equal(t, before, a.all(), "the copy stays as it was")
	require.Contains(t, b.all(), "key.3", "the store of a dead process can be read")

	b.start()
	a.mend()
	for _, h := range []*copyOf{a, b} {
		h.hears("resumes")
		require.Empty(t, h.hears("is up to date"), "the changes are enough")
	}
	s.becomeEqual(a, b)
}

// The bucket has forgotten deletions that a host has not seen: all is compared.
func TestForgottenDeletions(t *testing.T) {
	s := newSource(t)
	for i := range 50 {
		s.set(fmt.Sprintf("key.%d", i), "first")
	}
	h := s.host()
	h.hears("is up to date")
	for _, last := range []string{"a deletion", "a value"} { // is the last change
		h.cut()
		h.hears("no connection")
		s.delete("key.7")
		s.delete("key.8")
		require.NoError(t, s.kv.PurgeDeletes(t.Context(), jetstream.DeleteMarkersOlderThan(-1)))
		if last == "a value" {
			s.set("key.9", "second")
			s.set("key.50", "as many as before")
		}
		h.mend()
		h.hears("resumes")
		h.hears("compares in full")
		h.hears("is up to date")
		s.becomeEqual(h)
		require.NotContains(t, h.all(), "key.7")
		s.set("key.7", "again")
		s.set("key.8", "again")
		s.becomeEqual(h)
	}

	// When nothing was missed, the copy finds that it is whole.
	h.cut()
	h.hears("no connection")
	h.mend()
	h.hears("resumes")
	require.Empty(t, h.hears("is up to date"))
	s.becomeEqual(h)
}

// Another bucket of the same name has nothing to do with the first one.
func TestAnotherBucket(t *testing.T) {
	s := newSource(t)
	s.set("old", "first")
	s.set("both", "first")
	h := s.host()
	h.hears("is up to date")
	s.becomeEqual(h)
	h.cut()
	h.hears("no connection")
	require.NoError(t, s.js.DeleteKeyValue(t.Context(), "settings"))
	kv, err := s.js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "settings"})
	require.NoError(t, err)
	s.kv = kv
	s.set("both", "second")
	s.set("new", "second")
	s.set("new", "third")
	h.mend()
	h.hears("compares in full")
	h.hears("is up to date")
	s.becomeEqual(h)
}

// Random changes while hosts are cut off, killed and started again, and while the bucket
// forgets deletions.
func TestRandomFaults(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	s := newSource(t)
	hosts := []*copyOf{s.host(), s.host()}
	for range 6 {
		for range 150 {
			key := fmt.Sprintf("key.%d", r.IntN(60))
			switch r.IntN(100) {
			case 0:
				require.NoError(t, s.kv.PurgeDeletes(t.Context(), jetstream.DeleteMarkersOlderThan(-1)))
			case 1:
				hosts[r.IntN(2)].cut()
			case 2:
				hosts[r.IntN(2)].mend()
			case 3:
				h := hosts[r.IntN(2)]
				h.kill()
				h.start()
			default:
				if r.IntN(3) == 0 {
					s.delete(key)
				} else {
					s.set(key, fmt.Sprint(r.Uint64()))
				}
			}
		}
		for _, h := range hosts {
			h.cut() // so that it looks again whether it has missed a deletion
			h.mend()
		}
		s.becomeEqual(hosts...)
	}
}

// One process of a host follows.
func TestOneFollower(t *testing.T) {
	s := newSource(t)
	h := s.host()
	h.hears("is up to date")
	second := exampletest.Start(t, "-store", h.dir, "-url", s.url, "follow")
	require.Contains(t, second.Fail(), "a process follows the bucket into "+h.dir+" already")
	h.kill()
	h.start()
	h.hears("is up to date")
	h.Signal(syscall.SIGTERM)
	h.End()
}

// A watch does not tell which values have ended by time.
func TestBucketWithTTL(t *testing.T) {
	s := newSource(t)
	_, err := s.js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "sessions", TTL: time.Hour})
	require.NoError(t, err)
	c, err := OpenCopy(filepath.Join(t.TempDir(), "copy"), "sessions", slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	defer func() { require.NoError(t, c.Close()) }()
	require.ErrorContains(t, c.Follow(t.Context(), s.url), "found a bucket sessions with a TTL of 1h0m0s")
}

// The commands, as the README shows them.
func TestCommands(t *testing.T) {
	srv := exampletest.Start(t, "-port", "-1", "-data", t.TempDir(), "server")
	url, ok := strings.CutPrefix(srv.Line(), "serves ")
	require.True(t, ok)
	dir := filepath.Join(t.TempDir(), "copy")
	exampletest.Run(t, "-url", url, "set", "mode", "dark")
	f := exampletest.Start(t, "-url", url, "-store", dir, "follow")
	require.Contains(t, f.Line(), "compares in full")
	require.Contains(t, f.Line(), "is up to date")
	require.Equal(t, "dark\n", exampletest.Run(t, "-store", dir, "get", "mode"))
	exampletest.Run(t, "-url", url, "delete", "mode")
	store, err := shm.Open(dir, nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, store.Close()) }()
	ctx, cancel := context.WithTimeout(t.Context(), exampletest.Patience)
	defer cancel()
	for range store.Watch(ctx).Versions() {
		if ok, err := store.Map(valuesMap).Has([]byte("mode")); err == nil && !ok {
			break
		}
	}
	require.NoError(t, ctx.Err())
	require.Contains(t, exampletest.Start(t, "-store", dir, "get", "mode").Fail(), shm.ErrNotFound.Error())
	srv.Signal(syscall.SIGTERM)
	srv.End()
}

// A cable leads to the server, and can be cut.
type cable struct {
	address string // where clients connect
	to      string

	mu      sync.Mutex
	severed bool
	ends    map[net.Conn]bool
}

func newCable(t *testing.T, to string) *cable {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	c := &cable{address: l.Addr().String(), to: to, ends: map[net.Conn]bool{}}
	t.Cleanup(func() { _ = l.Close(); c.cut() })
	go func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			go c.carry(near)
		}
	}()
	return c
}

func (c *cable) carry(near net.Conn) {
	far, err := net.Dial("tcp", c.to)
	if err != nil {
		_ = near.Close()
		return
	}
	c.mu.Lock()
	severed := c.severed
	if !severed {
		c.ends[near], c.ends[far] = true, true
	}
	c.mu.Unlock()
	if !severed {
		go func() {
			_, _ = io.Copy(far, near)
			_ = far.Close()
			_ = near.Close()
		}()
		_, _ = io.Copy(near, far)
	}
	_ = near.Close()
	_ = far.Close()
	c.mu.Lock()
	delete(c.ends, near)
	delete(c.ends, far)
	c.mu.Unlock()
}

// cut ends all connections, and lets no new one through.
func (c *cable) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.severed = true
	for end := range c.ends {
		_ = end.Close()
	}
}

func (c *cable) mend() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.severed = false
}
