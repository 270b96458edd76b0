package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/examples/internal/exampletest"
	"github.com/seed-869cc763/shmkv/shm"
	"github.com/seed-869cc763/shmkv/shm/cache"
)

func TestMain(m *testing.M) { exampletest.Main(m, main) }

// A site is a server that runs, and its clients. Each request is a connection of its own,
// so that any worker may get it.
type site struct {
	t   *testing.T
	p   *exampletest.Process
	url string
	dir string
	c   http.Client
}

func serve(t *testing.T, args ...string) *site {
	s := &site{t: t, p: exampletest.Start(t, append([]string{"-addr", "127.0.0.1:0"}, args...)...)}
	var procs int
	_, err := fmt.Sscanf(strings.ReplaceAll(s.p.Line(), ",", " "), "serving %s in %d processes store %s", &s.url, &procs, &s.dir)
	require.NoError(t, err)
	s.c = http.Client{Timeout: exampletest.Patience, Transport: &http.Transport{DisableKeepAlives: true}}
	return s
}

// get returns what the server answers, which worker did, and which has made the page. It
// asks again if the connection was closed without an answer, as clients do for a GET: a worker
// that ends may have accepted a connection that its http.Server does not know of yet.
func (s *site) get(path string) (body string, worker, maker int, err error) {
	r, err := s.c.Get(s.url + path)
	if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
		r, err = s.c.Get(s.url + path)
	}
	if err != nil {
		return "", 0, 0, err
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err == nil && r.StatusCode != http.StatusOK {
		err = errors.New(r.Status)
	}
	worker, _ = strconv.Atoi(r.Header.Get("Worker"))
	maker, _ = strconv.Atoi(r.Header.Get("Made-By"))
	return string(b), worker, maker, err
}

// pages gets pages at the same time, and returns the workers that have answered, and those
// that have made the pages, by the names of the pages.
func (s *site) pages(names ...string) (workers []int, makers map[string]int) {
	makers = map[string]int{}
	var wg sync.WaitGroup
	var mu sync.Mutex
	for _, name := range names {
		wg.Go(func() {
			body, worker, maker, err := s.get("/page/" + name)
			mu.Lock()
			defer mu.Unlock()
			if err != nil || body != "<h1>"+name+"</h1>\n" {
				s.t.Errorf("page %s: %q, %v", name, body, err)
			}
			workers = append(workers, worker)
			if was, ok := makers[name]; ok && was != maker {
				s.t.Errorf("page %s was made by %d and by %d", name, was, maker)
			}
			makers[name] = maker
		})
	}
	wg.Wait()
	return workers, makers
}

// requireMisses waits until that many misses have been counted, and at least as many hits.
// The counts of other workers come late.
func (s *site) requireMisses(misses, hits int) {
	s.t.Helper()
	var got struct{ Hits, Misses int }
	end := time.Now().Add(exampletest.Patience)
	for ; got.Misses < misses || got.Hits < hits; time.Sleep(10 * time.Millisecond) {
		body, _, _, err := s.get("/stats")
		require.NoError(s.t, err)
		require.NoError(s.t, json.Unmarshal([]byte(body), &got), body)
		require.True(s.t, time.Now().Before(end), "%s, expected %d misses and %d hits", body, misses, hits)
	}
	require.Equal(s.t, misses, got.Misses, "misses")
}

func (s *site) stop() {
	s.t.Helper()
	s.p.Signal(syscall.SIGTERM)
	require.Empty(s.t, s.p.End())
	require.Empty(s.t, s.p.Stderr())
}

func TestRollingRestart(t *testing.T) {
	exampletest.LeavesNothing(t, "/dev/shm/shmkv-prefork-*")
	s := serve(t, "-workers", "3")
	names := strings.Fields("a b c d e f g h i j")
	before, makers := s.pages(names...)
	for _, maker := range makers {
		require.Contains(t, before, maker)
	}
	s.requireMisses(10, 0)

	// New pages are asked for all the time, and each is answered.
	stop, asked := make(chan struct{}), make(chan int)
	go func() {
		for n := 0; ; n += 2 {
			select {
			case <-stop:
				asked <- n
				return
			default:
				s.pages("new"+strconv.Itoa(n), "new"+strconv.Itoa(n+1))
			}
		}
	}()
	s.p.Signal(syscall.SIGHUP)
	require.Equal(t, "restarted the workers", s.p.Line())
	close(stop)
	n := <-asked

	// The workers are others, and the pages are those of the workers before.
	after, same := s.pages(names...)
	require.Equal(t, makers, same)
	for _, worker := range after {
		require.NotContains(t, before, worker)
	}
	s.requireMisses(10+n, 10)
	require.DirExists(t, s.dir)
	s.stop()
	require.NoDirExists(t, s.dir)
}

// Many who ask for a page at the same time get the one that one worker has made.
func TestMadeOnce(t *testing.T) {
	s := serve(t, "-workers", "3")
	names := slices.Repeat([]string{"a"}, 60)
	workers, makers := s.pages(names...)
	require.Len(t, workers, 60)
	require.Len(t, makers, 1) // pages looks whether all have the same maker
	s.stop()
}

// A worker that dies is replaced, and its pages are there.
func TestDeath(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	s := serve(t, "-workers", "1", "-store", dir)
	workers, _ := s.pages("a")
	first := workers[0]
	require.NoError(t, syscall.Kill(first, syscall.SIGKILL))
	workers, makers := s.pages("a")
	require.NotEqual(t, first, workers[0])
	require.Equal(t, first, makers["a"])
	s.p.Signal(syscall.SIGINT)
	require.Empty(t, s.p.End())
	require.Contains(t, s.p.Stderr(), fmt.Sprintf("worker %d died: signal: killed", first))
	require.DirExists(t, dir, "a store that was named is kept")
}

// A page whose time is over is made again.
func TestExpiry(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	s := serve(t, "-workers", "2", "-store", dir)
	c, err := cache.Open(dir, nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, c.Close()) }()
	s.pages("a", "b")
	item := func(name string) cache.Item {
		it, err := c.Get([]byte(name))
		require.NoError(t, err)
		require.False(t, it.Expires.IsZero())
		return it
	}
	a, b := item("a"), item("b")
	require.NoError(t, c.Touch([]byte("a"), 1))
	s.pages("a", "b")
	require.NotEqual(t, a.Token, item("a").Token)
	require.Equal(t, b.Token, item("b").Token)
	s.stop()
}

// A full cache takes new pages, and stays within its bytes.
func TestFull(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	s := serve(t, "-workers", "2", "-store", dir, "-bytes", strconv.Itoa(cache.MinBytes))
	c, err := cache.Open(dir, &cache.Options{Bytes: cache.MinBytes})
	require.NoError(t, err)
	defer func() { require.NoError(t, c.Close()) }()
	page, err := json.Marshal(Page{HTML: strings.Repeat("x", 1000)})
	require.NoError(t, err)
	for n := range 3000 {
		require.NoError(t, c.Set(fmt.Appendf(nil, "page %d", n), page, 0))
	}
	_, first := s.pages("a")
	_, again := s.pages("a")
	require.Equal(t, first, again)
	require.Positive(t, c.Stats().All.Evictions)
	require.LessOrEqual(t, c.Stats().FileBytes, int64(cache.MinBytes))
	s.stop()
}

// If the parent is killed its workers end too.
func TestDeathOfParent(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	s := serve(t, "-workers", "2", "-store", dir)
	s.p.Signal(syscall.SIGKILL)
	s.p.Fail()
	store, err := shm.Open(dir, nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, store.Close()) }()
	require.Eventually(t, func() bool {
		all, err := store.Inspect().Processes()
		return err == nil && len(all) == 1
	}, exampletest.Patience, 10*time.Millisecond)
}
