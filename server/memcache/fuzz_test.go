package memcache

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/internal/testdir"
	"github.com/seed-869cc763/shmkv/shm/cache"
)

// fuzzServer starts a server for all inputs of a fuzz target.
func fuzzServer(f *testing.F) (s *Server, path string) {
	c, err := cache.Open(testdir.Memory(f)+"/store", &cache.Options{Bytes: 16 << 20})
	require.NoError(f, err)
	f.Cleanup(func() { require.NoError(f, c.Close()) })
	return serve(f, Options{Cache: c, ItemSize: 64 << 10, AllowShutdown: true, Stop: func(bool) {}})
}

// exchange sends bytes in pieces, closes its half, and returns all that is answered.
func exchange(t *testing.T, path string, pieces ...[]byte) []byte {
	nc, err := net.Dial("unix", path)
	require.NoError(t, err)
	defer nc.Close()
	require.NoError(t, nc.SetDeadline(time.Now().Add(20*time.Second)))
	go func() {
		for _, b := range pieces {
			if _, err := nc.Write(b); err != nil {
				break
			}
		}
		_ = nc.(*net.UnixConn).CloseWrite()
	}()
	got, err := io.ReadAll(nc)
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded, "the connection hangs")
	return got
}

// variable finds commands whose answers differ from one time to the next, or by how requests
// come together.
var variable = regexp.MustCompile(`stats|watch|lru_crawler|gets|gats|cas|flush|m[gsade]|\x80|cache_memlimit|verbosity|shutdown`)

// FuzzBytes sends any bytes. The server neither panics nor hangs, goes on to serve others, and
// answers the same however the bytes are cut into pieces.
func FuzzBytes(f *testing.F) {
	_, path := fuzzServer(f)
	paths, err := filepath.Glob("testdata/text/*.txt")
	require.NoError(f, err)
	for _, p := range paths {
		var b bytes.Buffer
		for _, step := range readStory(f, p).steps {
			b.WriteString(step.send)
		}
		f.Add(b.Bytes(), uint16(b.Len()/2))
	}
	f.Add([]byte("set a 0 0 4294967295\r\nabc\r\nset b 0 0 2147483645\r\n"), uint16(3))
	f.Add([]byte("get a\x00b c\r\nGET / HTTP/1.1\r\n"), uint16(3))
	f.Add(bytes.Repeat([]byte("get a b c "), 1000), uint16(900))
	f.Add([]byte("\x80\x01\x00\x03\x08\x00\x00\x00\x00\x00\x00\x10\x00\x00\x00\x00"), uint16(5))
	f.Fuzz(func(t *testing.T, b []byte, cut uint16) {
		if len(b) > 64<<10 {
			return
		}
		require.Equal(t, "OK\r\n", string(exchange(t, path, []byte("flush_all\r\n"))))
		got := exchange(t, path, b)
		if !variable.Match(b) {
			require.Equal(t, "OK\r\n", string(exchange(t, path, []byte("flush_all\r\n"))))
			n := int(cut) % (len(b) + 1)
			require.Equal(t, string(got), string(exchange(t, path, b[:n], b[n:])))
		}
		require.Equal(t, "VERSION 1.6.18\r\n", string(exchange(t, path, []byte("version\r\n"))))
	})
}

// A modelItem is an item as the model of a session knows it.
type modelItem struct {
	value  string
	flags  uint32
	unique string // its number, once a gets has told it
	gone   bool   // it has an end in the past
}

// A model is the cache of a session, and says how each request is answered.
type model struct {
	items map[string]*modelItem
	lost  []string // numbers that items had
}

func (m *model) at(key string) *modelItem {
	if it := m.items[key]; it != nil && !it.gone {
		return it
	}
	return nil
}

// put writes an item anew.
func (m *model) put(key string, it modelItem) {
	if old := m.items[key]; old != nil && old.unique != "" {
		m.lost = append(m.lost, old.unique)
	}
	it.unique = ""
	m.items[key] = &it
}

// store returns the answer to a request to store an item.
func (m *model) store(verb, key, value string, flags uint32, gone bool, unique string) string {
	it := m.at(key)
	made := modelItem{value: value, flags: flags, gone: gone}
	switch verb {
	case "add":
		if it != nil {
			return "NOT_STORED\r\n"
		}
	case "replace", "append", "prepend":
		if it == nil {
			return "NOT_STORED\r\n"
		}
		made2 := *it
		switch verb {
		case "append":
			made2.value = it.value + value
			made = made2
		case "prepend":
			made2.value = value + it.value
			made = made2
		}
	case "cas":
		if it == nil {
			return "NOT_FOUND\r\n"
		}
		if it.unique == "" || it.unique != unique {
			return "EXISTS\r\n"
		}
	}
	m.put(key, made)
	return "STORED\r\n"
}

// count returns the answer to incr or decr.
func (m *model) count(up bool, key string, delta uint64) string {
	it := m.at(key)
	if it == nil {
		return "NOT_FOUND\r\n"
	}
	n, ok := parseStored([]byte(it.value))
	if !ok {
		return notNumber + "\r\n"
	}
	if up {
		n += delta
	} else {
		n -= min(n, delta)
	}
	made := *it
	made.value = strconv.FormatUint(n, 10)
	for len(made.value) < len(it.value) {
		made.value += " "
	}
	m.put(key, made)
	return strconv.FormatUint(n, 10) + "\r\n"
}

// A script gives the choices of a session, from the bytes of a fuzzer.
type script struct{ b []byte }

func (s *script) next(n int) int {
	if len(s.b) == 0 {
		return 0
	}
	x := int(s.b[0])
	s.b = s.b[1:]
	return x % n
}

func pick[T any](s *script, from []T) T { return from[s.next(len(from))] }

// FuzzSession sends the requests that the input stands for, some together, and compares the
// answers with those of a model.
func FuzzSession(f *testing.F) {
	_, path := fuzzServer(f)
	for seed := range 20 {
		b := make([]byte, 600)
		x := uint32(seed)*2654435761 + 1
		for i := range b {
			x = x*1664525 + 1013904223
			b[i] = byte(x >> 24)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		require.Equal(t, "OK\r\n", string(exchange(t, path, []byte("flush_all\r\n"))))
		nc, err := net.Dial("unix", path)
		require.NoError(t, err)
		defer nc.Close()
		require.NoError(t, nc.SetDeadline(time.Now().Add(20*time.Second)))
		r := bufio.NewReader(nc)
		m := &model{items: map[string]*modelItem{}}
		s := &script{input}
		for len(s.b) > 0 {
			var send, want strings.Builder
			for range 1 + s.next(8) {
				m.step(s, &send, &want)
			}
			key := pick(s, sessionKeys)
			send.WriteString("gets " + key + "\r\n")
			go func() { _, _ = io.WriteString(nc, send.String()) }()
			got := make([]byte, want.Len())
			_, err := io.ReadFull(r, got)
			require.NoError(t, err, "after %.200q", send.String())
			require.Equal(t, want.String(), string(got), "after %.500q", send.String())
			m.learn(t, r, key)
		}
	})
}

var (
	sessionKeys   = []string{"a", "b", "c", strings.Repeat("k", maxKey)}
	sessionValues = []string{"", "1", "x", "99", "18446744073709551615", "\r\n", strings.Repeat("v", 100), strings.Repeat("w", 20_000), "7 "}
	sessionFlags  = []uint32{0, 1, math.MaxUint32}
	sessionDeltas = []uint64{0, 1, 10, math.MaxUint64}
)

// step makes one request, and adds its answer.
func (m *model) step(s *script, send, want *strings.Builder) {
	key := pick(s, sessionKeys)
	quiet := ""
	answer := ""
	if s.next(4) == 0 {
		quiet = " noreply"
	}
	switch what := s.next(12); what {
	case 0, 1, 2, 3, 4, 5:
		verb := verbs[what]
		value, flags := pick(s, sessionValues), pick(s, sessionFlags)
		exptime := pick(s, []int{0, 0, 100, -1, 1 << 30})
		unique := "5"
		if it := m.at(key); it != nil && it.unique != "" && s.next(2) == 0 {
			unique = it.unique
		} else if len(m.lost) > 0 {
			unique = m.lost[s.next(len(m.lost))]
		}
		last := ""
		if verb == "cas" {
			last = " " + unique
		}
		fmt.Fprintf(send, "%s %s %d %d %d%s%s\r\n%s\r\n", verb, key, flags, exptime, len(value), last, quiet, value)
		if it := m.at(key); it != nil && (verb == "append" || verb == "prepend") && len(key)+len(it.value)+len(value) > 63<<10 {
			// How much memcached adds to an item does not matter here.
			send.Reset()
			m.items = map[string]*modelItem{}
			want.Reset()
			send.WriteString("flush_all\r\n")
			want.WriteString("OK\r\n")
			return
		}
		answer = m.store(verb, key, value, flags, exptime == -1 || exptime == 1<<30, unique)
	case 6:
		fmt.Fprintf(send, "delete %s%s\r\n", key, quiet)
		answer = "NOT_FOUND\r\n"
		if it := m.at(key); it != nil {
			answer = "DELETED\r\n"
			m.put(key, modelItem{gone: true})
		}
	case 7, 8:
		delta := pick(s, sessionDeltas)
		fmt.Fprintf(send, "%s %s %d%s\r\n", []string{"incr", "decr"}[what-7], key, delta, quiet)
		answer = m.count(what == 7, key, delta)
	case 9:
		gone := s.next(4) == 0
		exptime := 1000
		if gone {
			exptime = -1
		}
		fmt.Fprintf(send, "touch %s %d%s\r\n", key, exptime, quiet)
		answer = "NOT_FOUND\r\n"
		if it := m.at(key); it != nil {
			answer = "TOUCHED\r\n"
			it.gone = gone
		}
	default:
		quiet = ""
		keys := []string{key}
		for range s.next(4) {
			keys = append(keys, pick(s, sessionKeys))
		}
		command := "get"
		if what == 11 {
			command = "gat 500"
		}
		fmt.Fprintf(send, "%s %s\r\n", command, strings.Join(keys, " "))
		for _, key := range keys {
			if it := m.at(key); it != nil {
				answer += fmt.Sprintf("VALUE %s %d %d\r\n%s\r\n", key, it.flags, len(it.value), it.value)
			}
		}
		answer += "END\r\n"
	}
	if quiet == "" {
		want.WriteString(answer)
	}
}

// learn reads the answer to gets of a key, and takes the number of the item from it.
func (m *model) learn(t *testing.T, r *bufio.Reader, key string) {
	it := m.at(key)
	if it != nil {
		line, err := r.ReadString('\n')
		require.NoError(t, err)
		head := fmt.Sprintf("VALUE %s %d %d ", key, it.flags, len(it.value))
		require.True(t, strings.HasPrefix(line, head), "got %q, expected %q", line, head)
		unique := strings.TrimSpace(line[len(head):])
		if it.unique != "" {
			require.Equal(t, it.unique, unique, "the number of %s has changed", key)
		}
		require.NotContains(t, m.lost, unique)
		it.unique = unique
		value := make([]byte, len(it.value)+2)
		_, err = io.ReadFull(r, value)
		require.NoError(t, err)
		require.Equal(t, it.value+"\r\n", string(value))
	}
	line, err := r.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "END\r\n", line)
}
