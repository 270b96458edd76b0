package memcache

import (
	"bytes"
	"fmt"
	"hash/maphash"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/internal/testdir"
	"github.com/seed-869cc763/shmkv/shm/cache"
)

// askLines sends requests and returns the answer, which has so many lines.
func askLines(t testing.TB, nc net.Conn, request string, lines int) string {
	t.Helper()
	_, err := io.WriteString(nc, request)
	require.NoError(t, err)
	var got []byte
	b := make([]byte, 1<<16)
	require.NoError(t, nc.SetReadDeadline(time.Now().Add(20*time.Second)))
	for bytes.Count(got, []byte("\r\n")) < lines {
		n, err := nc.Read(b)
		require.NoError(t, err, "got %q", got)
		got = append(got, b[:n]...)
	}
	return string(got)
}

// Of all clients that ask for a key at once, also those of two servers of one store, one is told
// that it wins: where there is no item, where there is a stale one, and where there is one that
// ends soon.
func TestOneClientWins(t *testing.T) {
	store := testdir.Memory(t) + "/store"
	var paths [2]string
	for i := range paths {
		c, err := cache.Open(store, &cache.Options{Bytes: 8 << 20})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, c.Close()) })
		_, paths[i] = serve(t, Options{Cache: c})
	}
	const clients = 8
	var conns [clients]net.Conn
	for i := range conns {
		conns[i] = dial(t, paths[i%2])
	}
	rounds := testdir.Scale(100, 300)
	if testing.Short() {
		rounds = 30
	}
	for round := range rounds {
		key := fmt.Sprint("key", round)
		request := "mg " + key + " N30 v\r\n"
		switch round % 3 {
		case 1:
			require.Equal(t, "HD\r\nHD\r\n", askLines(t, conns[0], "ms "+key+" 0\r\n\r\nmd "+key+" I\r\n", 2))
		case 2:
			require.Equal(t, "HD\r\n", askLines(t, conns[0], "ms "+key+" 0 T50\r\n\r\n", 1))
			request = "mg " + key + " R100 v\r\n"
		}
		var answers [clients]string
		var all sync.WaitGroup
		for i, nc := range conns {
			all.Go(func() { answers[i] = askLines(t, nc, request, 2) })
		}
		all.Wait()
		won, told := 0, 0
		for _, a := range answers {
			line, _, _ := strings.Cut(a, "\r\n")
			switch {
			case strings.HasSuffix(line, " W"):
				won++
			case strings.Contains(line, " Z"):
				told++
			default:
				t.Fatalf("round %d: found the answer %q, expected one with W or Z", round, a)
			}
		}
		require.Equal(t, 1, won, "round %d", round)
		require.Equal(t, clients-1, told)
	}
}

// An item that a Go process has made stale is stale to clients too, and one of them wins.
func TestStaleByGo(t *testing.T) {
	c, err := cache.Open(testdir.Memory(t)+"/store", &cache.Options{Bytes: 8 << 20})
	require.NoError(t, err)
	defer func() { require.NoError(t, c.Close()) }()
	_, path := serve(t, Options{Cache: c})
	nc := dial(t, path)
	require.NoError(t, c.Set([]byte("key"), []byte("value"), 0))
	require.Equal(t, "VA 5\r\nvalue\r\n", askLines(t, nc, "mg key v\r\n", 2))
	require.NoError(t, c.Invalidate(true))
	require.Equal(t, "VA 5 X W\r\nvalue\r\n", askLines(t, nc, "mg key v\r\n", 2))
	require.Equal(t, "VA 5 Z X\r\nvalue\r\n", askLines(t, nc, "mg key v\r\n", 2))
	require.NoError(t, c.Set([]byte("key"), []byte("new"), 0))
	require.Equal(t, "HD\r\n", askLines(t, nc, "mg key\r\n", 1))
	// Go processes see the number that clients give, and that items are what clients stored.
	require.Equal(t, "HD c5\r\n", askLines(t, nc, "ms key 2 E5 F9 c\r\nab\r\n", 1))
	it, err := c.Get([]byte("key"))
	require.NoError(t, err)
	require.Equal(t, cache.Item{Value: []byte("ab"), Flags: 9, Token: 5}, it)
}

// Large values come whole, and those of several requests in their order.
func TestMetaLargeValues(t *testing.T) {
	_, path := serve(t, Options{})
	nc := dial(t, path)
	value := strings.Repeat("0123456789", 100_000)
	require.Equal(t, "HD s1000000\r\n", askLines(t, nc, "ms key 1000000 s\r\n"+value+"\r\n", 1))
	want := strings.Repeat("VA 1000000 kkey\r\n"+value+"\r\nEN\r\n", 3)
	ended := make(chan string)
	go func() {
		got := make([]byte, len(want))
		_, _ = io.ReadFull(nc, got)
		ended <- string(got)
	}()
	_, err := io.WriteString(nc, strings.Repeat("mg key v k\r\nmg none v\r\n", 3))
	require.NoError(t, err)
	require.True(t, want == <-ended)
	require.Equal(t, "HD s1000001\r\n", askLines(t, nc, "ms key 1 MA s\r\n+\r\n", 1))
	require.True(t, "VA 1000001\r\n"+value+"+\r\n" == askLines(t, nc, "mg key v\r\n", 2))
}

// A cache that is full answers so, and goes on.
func TestMetaInAFullCache(t *testing.T) {
	c, err := cache.Open(testdir.Memory(t)+"/store", &cache.Options{Bytes: 8 << 20, NoEvict: true})
	require.NoError(t, err)
	defer func() { require.NoError(t, c.Close()) }()
	_, path := serve(t, Options{Cache: c})
	nc := dial(t, path)
	value := strings.Repeat("v", 10_000)
	answer := "HD\r\n"
	for i := 0; answer == "HD\r\n"; i++ {
		answer = askLines(t, nc, fmt.Sprintf("ms key%d 10000\r\n%s\r\n", i, value), 1)
	}
	require.Equal(t, "SERVER_ERROR out of memory storing object\r\n", answer)
	require.Equal(t, "HD\r\nNS\r\nMN\r\n", askLines(t, nc, "mg key0\r\nms none 1 q MR\r\nx\r\nmn\r\n", 3))
	require.Equal(t, "HD\r\nHD\r\nHD X W\r\n", askLines(t, nc, "mg key0 T100\r\nmd key0 I\r\nmg key0\r\n", 3))
	require.Equal(t, "SERVER_ERROR object too large for cache\r\nEN\r\n",
		askLines(t, nc, fmt.Sprintf("ms key1 1000000\r\n%s\r\nmg key1\r\n", strings.Repeat("v", 1_000_000)), 2))
}

// keepApart lets a server know the last uses of n keys, of which none overwrites another.
func keepApart(s *Server, n int) {
	for {
		words := map[*atomic.Uint64]bool{}
		for i := range n {
			word, _ := s.recent.at(fmt.Appendf(nil, "key%d", i))
			words[word] = true
		}
		if len(words) == n {
			return
		}
		s.recent.seed = maphash.MakeSeed()
	}
}

// Requests that are the same but for their keys are executed together, when they come together.
// The answers are those of one request after the other.
func TestMetaRequestsTogether(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	one, together := serve(t, Options{})
	other, single := serve(t, Options{})
	keepApart(one, 60)
	keepApart(other, 60)
	fast, slow := dial(t, together), dial(t, single)
	large := strings.Repeat("0123456789", 2_000)
	rounds := testdir.Scale(30, 60)
	if testing.Short() {
		rounds = 10
	}
	for range rounds {
		var requests []string
		flags := [...]string{"", " v", " v k s f", " k q v", " N1000 v k", " R1500 k v", " h k v", " v N1000 R1500 q k", " v Oab"}[r.IntN(9)]
		for range 1 + r.IntN(200) {
			key := fmt.Sprint("key", r.IntN(60))
			switch r.IntN(30) {
			case 0:
				requests = append(requests, "md "+key+" I q\r\n")
			case 1:
				requests = append(requests, "md "+key+" q\r\n")
			case 2:
				requests = append(requests, "ms "+key+" 1 T1000 q\r\nx\r\n")
			case 3:
				requests = append(requests, fmt.Sprintf("ms %s %d q\r\n%s\r\n", key, len(large), large))
			case 4:
				requests = append(requests, "mg  "+key+flags+"\r\n")
			case 5:
				requests = append(requests, "mg "+key+flags+"\n")
			default:
				requests = append(requests, "mg "+key+flags+"\r\n")
			}
		}
		ended := make(chan error, 1)
		go func() {
			_, err := io.WriteString(fast, strings.Join(requests, "")+"mn\r\n")
			ended <- err
		}()
		got := readToNoop(t, fast)
		require.NoError(t, <-ended)
		var want strings.Builder
		for _, one := range requests {
			_, err := io.WriteString(slow, one+"mn\r\n")
			require.NoError(t, err)
			want.WriteString(strings.TrimSuffix(readToNoop(t, slow), "MN\r\n"))
		}
		want.WriteString("MN\r\n")
		require.True(t, want.String() == got, "seed %d, flags %q:\nfound    %.2000q\nexpected %.2000q", seed, flags, got, want.String())
	}
}

// readToNoop reads until the answer to mn.
func readToNoop(t testing.TB, nc net.Conn) string {
	t.Helper()
	require.NoError(t, nc.SetReadDeadline(time.Now().Add(20*time.Second)))
	var got []byte
	b := make([]byte, 1<<16)
	for !bytes.HasSuffix(got, []byte("MN\r\n")) {
		n, err := nc.Read(b)
		require.NoError(t, err)
		got = append(got, b[:n]...)
	}
	return string(got)
}

// The longest answer has room.
func TestLongestMetaAnswer(t *testing.T) {
	_, path := serve(t, Options{})
	nc := dial(t, path)
	flags := " k s c t f h l b T2000000000 N1 O" + strings.Repeat("o", maxOpaque) + " v\r\n"
	key := strings.Repeat("////", 62)
	require.Equal(t, "HD\r\n", askLines(t, nc, "ms "+key+" 1 b F4294967295 E18446744073709551615\r\nx\r\n", 1))
	require.Equal(t, "ERROR\r\n", askLines(t, nc, "x\r\n", 1))
	answer := askLines(t, nc, "mg "+key+flags, 2)
	require.Contains(t, answer, "f4294967295")
	require.Less(t, len(answer), maxMetaAnswer)
}

// FuzzMetaFlags looks whether any words can make the flags of a request what they cannot be.
func FuzzMetaFlags(f *testing.F) {
	for _, seed := range []string{"s v c t f h l k Oabc q u", "T30 N30 R30", "C1 E2 F3 J4 D5 MA", "O" + strings.Repeat("o", 40), "s s", "\x7f", "\xff b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, line string) {
		words := bytes.Fields([]byte(line))
		words = words[:min(len(words), maxMetaWords-2)]
		var m metaFlags
		wrong := m.parse(words)
		require.LessOrEqual(t, m.n, len(words))
		require.LessOrEqual(t, m.opaqueLen, maxOpaque)
		if wrong == "" {
			require.Equal(t, len(words), m.n)
			for i, w := range words {
				require.Equal(t, w[0], m.order[i])
				require.Equal(t, i, bytes.IndexByte(m.letters(), w[0]), "a letter comes twice")
			}
		} else {
			require.True(t, strings.HasPrefix(wrong, "CLIENT_ERROR "), "%q", wrong)
		}
	})
}

// Keys that are no text do not tear the lines of dumps.
func TestDumpsOfKeysInBase64(t *testing.T) {
	_, path := serve(t, Options{})
	nc := dial(t, path)
	require.Equal(t, "HD\r\n", askLines(t, nc, "ms DQoNCg== 1 b\r\nx\r\n", 1)) // two ends of lines
	require.Equal(t, "mg DQoNCg== b\r\nEN\r\n", askLines(t, nc, "lru_crawler mgdump all\r\n", 2))
	require.Equal(t, "END\r\n", askLines(t, nc, "stats cachedump 1 0\r\n", 1))
	line := askLines(t, nc, "lru_crawler metadump all\r\n", 1)
	require.Regexp(t, `^key=%0D%0A%0D%0A exp=-1 la=\d+ cas=\d+ fetch=no cls=1 size=64\nEND\r\n$`, line)
	require.Equal(t, "HD\r\n", askLines(t, nc, "mg DQoNCg== b\r\n", 1))
}

// What the server knows of the last use of items.
func TestRecent(t *testing.T) {
	c, err := cache.Open(testdir.Memory(t)+"/store", &cache.Options{Bytes: 8 << 20})
	require.NoError(t, err)
	defer func() { require.NoError(t, c.Close()) }()
	s, err := New(&Options{Cache: c})
	require.NoError(t, err)
	key := []byte("key")
	last := func(ago int64, read bool) {
		t.Helper()
		gotAgo, gotRead := s.lastUse(key)
		require.Equal(t, ago, gotAgo)
		require.Equal(t, read, gotRead)
	}
	last(0, false)
	s.seconds.Store(100)
	last(100, false) // as if it was stored when the server began
	s.noteStored(key)
	s.seconds.Store(110)
	last(10, false)
	s.noteRead(key)
	s.seconds.Store(113)
	last(3, true)
	s.noteStored(key)
	last(0, false)
	s.noteRead(key)
	// Others take its place, sooner or later, and are never taken for it.
	for i := range 40 * recentWords { // 4 would not be enough once in fifty times
		s.noteStored(fmt.Append(nil, i))
		if _, read := s.lastUse(key); !read {
			last(113, false)
			return
		}
	}
	t.Fatal("no other use has taken its place")
}
