package main

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/examples/internal/exampletest"
	"github.com/seed-869cc763/shmkv/shm"
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

// get returns what the server answers, and which worker did.
func (s *site) get(path string) (body string, worker int, err error) {
	r, err := s.c.Get(s.url + path)
	if err != nil {
		return "", 0, err
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err == nil && r.StatusCode != http.StatusOK {
		err = errors.New(r.Status)
	}
	worker, _ = strconv.Atoi(r.Header.Get("Worker"))
	return string(b), worker, err
}

// pages gets pages at the same time and returns the workers that have answered.
func (s *site) pages(names ...string) (workers []int) {
	var wg sync.WaitGroup
	var mu sync.Mutex
	for _, name := range names {
		wg.Go(func() {
			body, worker, err := s.get("/page/" + name)
			mu.Lock()
			defer mu.Unlock()
			if err != nil || body != "<h1>"+name+"</h1>\n" {
				s.t.Errorf("page %s: %q, %v", name, body, err)
			}
			workers = append(workers, worker)
		})
	}
	wg.Wait()
	return workers
}

func (s *site) requireStats(hits, misses int) {
	s.t.Helper()
	var got struct{ Hits, Misses int }
	body, _, err := s.get("/stats")
	require.NoError(s.t, err)
	require.NoError(s.t, json.Unmarshal([]byte(body), &got), body)
	require.Equal(s.t, []int{hits, misses}, []int{got.Hits, got.Misses}, "hits and misses")
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
	s.requireStats(0, 0)
	before := s.pages(names...)
	s.requireStats(0, 10)

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

	// The workers are others, and the cache is what it was.
	s.requireStats(0, 10+n)
	after := s.pages(names...)
	s.requireStats(10, 10+n)
	for _, worker := range after {
		require.NotContains(t, before, worker)
	}
	require.DirExists(t, s.dir)
	s.stop()
	require.NoDirExists(t, s.dir)
}

// A worker that dies is replaced, and its pages are there.
func TestDeath(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	s := serve(t, "-workers", "1", "-store", dir)
	first := s.pages("a")[0]
	require.NoError(t, syscall.Kill(first, syscall.SIGKILL))
	require.NotEqual(t, first, s.pages("a")[0])
	s.requireStats(1, 1)
	s.p.Signal(syscall.SIGINT)
	require.Empty(t, s.p.End())
	require.Contains(t, s.p.Stderr(), fmt.Sprintf("worker %d died: signal: killed", first))
	require.DirExists(t, dir, "a store that was named is kept")
}

// setExpiry changes until when a page is fresh.
func setExpiry(t *testing.T, store *shm.Store, name string, expires time.Time) {
	require.NoError(t, store.Modify([]byte("page/"+name), func(old []byte, exists bool) ([]byte, bool) {
		entry := binary.LittleEndian.AppendUint64(nil, uint64(expires.UnixNano()))
		if exists {
			entry = append(entry, old[8:]...)
		}
		return entry, true
	}))
}

func TestExpiry(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	s := serve(t, "-workers", "2", "-store", dir)
	store, err := shm.Open(dir, nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, store.Close()) }()
	s.pages("a", "b")
	setExpiry(t, store, "a", time.Now().Add(-time.Second))
	s.pages("a", "b")
	s.requireStats(1, 3)
	s.pages("a", "b")
	s.requireStats(3, 3)
	s.stop()
}

// In a full store old pages make room for new ones.
func TestFull(t *testing.T) {
	store, err := shm.Open(t.TempDir(), &shm.Options{MaxSize: 1 << 20})
	require.NoError(t, err)
	defer func() { require.NoError(t, store.Close()) }()
	c := cache{store}
	c.count("hits")
	setExpiry(t, store, "fresh", time.Now().Add(time.Hour))
	old := make([]byte, 1000)
	for n := 0; err == nil; n++ {
		err = store.Set(fmt.Appendf(nil, "page/%d", n), old)
	}
	require.ErrorIs(t, err, shm.ErrFull)

	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodGet, "/page/large", nil)
	r.SetPathValue("name", strings.Repeat("large", 1000))
	c.page(w, r)
	require.Contains(t, w.Body.String(), "largelarge")
	require.Equal(t, 4, store.Len(), "two pages and two counts")
	for _, key := range []string{"page/fresh", "page/" + r.PathValue("name"), "count/hits", "count/misses"} {
		ok, err := store.Has([]byte(key))
		require.NoError(t, err)
		require.True(t, ok, "%.20s", key)
	}
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
