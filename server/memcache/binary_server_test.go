package memcache

import (
	"bufio"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/internal/testdir"
	"github.com/seed-869cc763/shmkv/shm/cache"
)

// TestBinaryOfFirstByte checks which protocol a connection speaks: the first byte or an option
// decides, and nothing changes it afterwards.
func TestBinaryOfFirstByte(t *testing.T) {
	packet := string(req{op: opNoop}.packet(t, nil, 1))
	answer := "\x81\x0a" + strings.Repeat("\x00", 13) + "\x01" + strings.Repeat("\x00", 8)
	for _, c := range []struct {
		name, send, want string
		o                Options
	}{
		{"packets", packet + packet, answer + answer, Options{}},
		{"text", "version\r\n", "VERSION 1.6.18\r\n", Options{}},
		{"packets, then text", packet + "version\r\n" + packet, answer, Options{}},
		{"text, then a packet", "version\r\n" + "\x80\r\nversion\r\n", "VERSION 1.6.18\r\nERROR\r\nVERSION 1.6.18\r\n", Options{}},
		{"packets, where text is spoken", "\x80\r\nversion\r\n", "ERROR\r\nVERSION 1.6.18\r\n", Options{Text: true}},
		{"text, where packets are spoken", "version\r\n" + packet + packet, "", Options{Binary: true}},
		{"packets, where packets are spoken", packet, answer, Options{Binary: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, path := serve(t, c.o)
			require.Equal(t, c.want, talk(t, dial(t, path), c.send))
		})
	}
}

// TestBinaryWithoutUniqueNumbers: a server with -C shows 0, and takes a number for one that no
// item has, or ignores it.
func TestBinaryWithoutUniqueNumbers(t *testing.T) {
	const n = "987654321"
	_, path := serve(t, Options{NoCAS: true})
	binaryStory{steps: []step{
		{req{op: 0x01, key: "a", extras: keep, value: "1"}, done0},
		{req{op: 0x00, key: "a"}, item(0, "1", "")},
		{req{op: 0x01, key: "a", extras: keep, value: "2", unique: n}, done0},
		{req{op: 0x02, key: "a", extras: keep, value: "3", unique: n}, exist},
		{req{op: 0x03, key: "b", extras: keep, value: "3", unique: n}, miss},
		{req{op: 0x0e, key: "a", value: "3", unique: n}, done0},
		{req{op: 0x00, key: "a"}, item(0, "23", "")},
		{req{op: 0x05, key: "a", extras: counting(1, 0, 0), unique: n}, exist},
		{req{op: 0x05, key: "a", extras: counting(1, 0, 0)}, count(24, "")},
		{req{op: 0x1c, key: "a", extras: touching(0)}, []ans{{extras: flags(0)}}},
		{req{op: 0x04, key: "a", unique: n}, exist},
		{req{op: 0x04, key: "a"}, done0},
	}}.tell(t, dial(t, path), whole)
}

func TestBinaryFlushIsRefused(t *testing.T) {
	s, path := serve(t, Options{NoFlush: true})
	nc := dial(t, path)
	r := bufio.NewReader(nc)
	for i, st := range []step{
		{req{op: 0x01, key: "a", extras: keep, value: "1"}, stored1},
		{req{op: 0x08}, text(0x20)},
		{req{op: 0x18}, text(0x20)},
		{req{op: 0x08, extras: touching(10)}, text(0x20)},
		{req{op: 0x00, key: "a"}, item(0, "1", "*")},
	} {
		_, err := nc.Write(st.packet(t, nil, uint32(i)))
		require.NoError(t, err)
		uniques{}.check(t, st, st.answers[0], uint32(i), r)
	}
	require.Zero(t, s.count(cmdFlush))
}

// TestBinaryTimes moves the clock: items expire and a flush comes when it is time.
func TestBinaryTimes(t *testing.T) {
	clock := &Clock{}
	clock.Pause()
	items, err := cache.Open(testdir.Memory(t)+"/store", &cache.Options{Bytes: 16 << 20, Now: clock.Now})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, items.Close()) })
	_, path := serve(t, Options{Cache: items, Clock: clock})
	nc := dial(t, path)
	r := bufio.NewReader(nc)
	u := uniques{}
	opaque := uint32(0)
	say := func(st step) {
		opaque++
		_, err := nc.Write(st.packet(t, u, opaque))
		require.NoError(t, err)
		for _, a := range st.answers {
			u.check(t, st, a, opaque, r)
		}
	}
	at := uint32(clock.Now().Unix())
	say(step{req{op: 0x01, key: "relative", extras: storing(0, 10), value: "v"}, stored1})
	say(step{req{op: 0x01, key: "absolute", extras: storing(0, at+20), value: "v"}, stored1})
	say(step{req{op: 0x05, key: "count", extras: counting(1, 5, 30)}, count(5, "*")})
	say(step{req{op: 0x01, key: "touched", extras: storing(0, 10), value: "v"}, stored1})
	say(step{req{op: 0x1d, key: "touched", extras: touching(40)}, item(0, "v", "*")})
	say(step{req{op: 0x01, key: "never", extras: keep, value: "v"}, stored1})
	say(step{req{op: 0x08, extras: touching(50)}, done0})
	keys := []string{"relative", "absolute", "count", "touched", "never"}
	for i := range keys {
		clock.Advance(9 * time.Second)
		for j, k := range keys {
			if want := item(0, "v", "*"); j >= i {
				if k == "count" {
					want = item(0, "5", "*")
				}
				say(step{req{op: 0x00, key: k}, want})
			} else {
				say(step{req{op: 0x00, key: k}, miss})
			}
		}
		clock.Advance(time.Second)
		say(step{req{op: 0x00, key: keys[i]}, miss})
	}
	say(step{req{op: 0x01, key: "later", extras: keep, value: "v"}, stored1})
	say(step{req{op: 0x00, key: "later"}, item(0, "v", "*")})
}

// stats returns the answers to a stat, until the one without a key.
func stats(t *testing.T, nc net.Conn, group string) map[string]string {
	_, err := nc.Write(req{op: opStat, key: group}.packet(t, nil, 5))
	require.NoError(t, err)
	r := bufio.NewReader(nc)
	all := map[string]string{}
	for {
		a, err := readAnswer(r)
		require.NoError(t, err)
		require.Equal(t, got{op: opStat, key: a.key, value: a.value, opaque: 5}, a)
		if a.key == "" {
			require.Empty(t, a.value)
			return all
		}
		all[a.key] = a.value
	}
}

// TestBinaryStats compares the statistics with those of the text protocol, and looks at the
// counts of a few requests.
func TestBinaryStats(t *testing.T) {
	s, path := serve(t, Options{})
	nc := dial(t, path)
	for _, group := range []string{"", "settings", "items", "slabs", "sizes"} {
		want := map[string]string{}
		require.True(t, s.Stats(group, func(name, value string) { want[name] = value }))
		found := stats(t, nc, group)
		for name := range want {
			require.Contains(t, found, name, "stat %s", group)
		}
		require.Len(t, found, len(want), "stat %s", group)
	}
	require.Equal(t, stats(t, nc, "settings"), stats(t, nc, "settings and more"))
	require.Empty(t, stats(t, nc, "reset"))
	require.Empty(t, stats(t, nc, "detail on"))
	binaryStory{steps: []step{
		{req{op: 0x01, key: "a:1", extras: keep, value: "1"}, stored1},
		{req{op: 0x00, key: "a:1"}, item(0, "1", "*")},
		{req{op: 0x0d, key: "a:2"}, silent},
		{req{op: 0x1d, key: "a:1", extras: touching(0)}, item(0, "1", "*")},
		{req{op: 0x1c, key: "a:2", extras: touching(0)}, miss},
		{req{op: 0x03, key: "b:1", extras: keep, value: "1", unique: "987654321"}, miss},
		{req{op: 0x01, key: "a:1", extras: keep, value: "1", unique: "987654321"}, exist},
		{req{op: 0x0e, key: "a:1", value: "1"}, stored1},
		{req{op: 0x05, key: "a:1", extras: counting(1, 0, 0)}, count(12, "*")},
		{req{op: 0x05, key: "n:1", extras: counting(1, 0, 0)}, count(0, "*")},
		{req{op: 0x06, key: "n:2", extras: counting(1, 0, 0xffffffff)}, miss},
		{req{op: 0x04, key: "a:1", unique: "987654321"}, exist},
		{req{op: 0x04, key: "a:1"}, done0},
		{req{op: 0x04, key: "a:1"}, miss},
		{req{op: 0x01, key: "big", extras: keep, value: strings.Repeat("x", 1<<20)}, text(0x03)},
		{req{op: 0x10, key: "nothing"}, miss},
		{req{op: 0x10, key: "conns"}, miss},
		{req{op: 0x10, key: "detail"}, miss},
		{req{op: 0x10, key: "detail o"}, miss},
	}}.tell(t, dial(t, path), whole)
	found := stats(t, nc, "")
	for name, want := range map[string]int{
		"cmd_get": 2, "get_hits": 1, "get_misses": 1, "cmd_touch": 2, "touch_hits": 1, "touch_misses": 1, "cmd_set": 4,
		"cas_misses": 1, "cas_badval": 1, "cas_hits": 0, "incr_hits": 1, "incr_misses": 0, "decr_misses": 1, "delete_hits": 1,
		"delete_misses": 1, "cmd_flush": 1, "store_too_large": 1, "total_items": 3,
	} {
		require.Equal(t, strconv.Itoa(want), found[name], name)
	}
	dump := stats(t, nc, "detail dump")["detailed"]
	require.Contains(t, dump, "PREFIX a get 4 hit 2 set 3 del 3\r\n")
	require.True(t, strings.HasSuffix(dump, "END\r\n"), dump)
	require.Empty(t, stats(t, nc, "detail off"))
}

// TestBinaryRequestBehindATouch: memcached does not look at the length of the value of a touch
// or a stat, and reads a request there.
func TestBinaryRequestBehindATouch(t *testing.T) {
	noop := string(req{op: opNoop}.packet(t, nil, 2))
	_, path := serve(t, Options{})
	nc := dial(t, path)
	b := req{op: opTouch, key: "k", extras: touching(0), value: noop}.packet(t, nil, 1)
	_, err := nc.Write(append(b, req{op: opStat, key: "reset", value: noop}.packet(t, nil, 3)...))
	require.NoError(t, err)
	r := bufio.NewReader(nc)
	for _, opaque := range []uint32{1, 2, 3, 2} {
		a, err := readAnswer(r)
		require.NoError(t, err)
		require.Equal(t, opaque, a.opaque)
	}
}

// TestBinaryManyGets asks for many items at once, large ones among them, while it does not read.
func TestBinaryManyGets(t *testing.T) {
	_, path := serve(t, Options{})
	nc := dial(t, path)
	require.NoError(t, nc.SetDeadline(time.Now().Add(20*time.Second)))
	value := func(i int) string { return strings.Repeat(strconv.Itoa(i%10), i*i*3) }
	var requests []byte
	for i := range 200 {
		requests = append(requests, req{op: opSetQ, key: strconv.Itoa(i), extras: keep, value: value(i)}.packet(t, nil, 1)...)
	}
	for i := range 300 {
		requests = append(requests, req{op: []byte{opGetKQ, opGetQ}[i%2], key: strconv.Itoa(i)}.packet(t, nil, uint32(i))...)
	}
	requests = append(requests, req{op: opGetK, key: "end"}.packet(t, nil, 1000)...)
	go func() { _, _ = nc.Write(requests) }()
	r := bufio.NewReader(nc)
	for i := range 200 {
		a, err := readAnswer(r)
		require.NoError(t, err)
		require.Equal(t, uint32(i), a.opaque)
		require.True(t, a.value == value(i), "item %d", i)
		require.Equal(t, map[bool]string{true: strconv.Itoa(i)}[i%2 == 0], a.key)
	}
	a, err := readAnswer(r)
	require.NoError(t, err)
	require.Equal(t, got{op: opGetK, status: statusNotFound, key: "end", opaque: 1000}, a)
}

// A number that was made was not read, whatever was read under the key before.
func TestBinaryNumberThatWasMade(t *testing.T) {
	_, path := serve(t, Options{})
	nc := dial(t, path)
	require.Equal(t, "STORED\r\nVA 1\r\nx\r\nDELETED\r\n", talk(t, dial(t, path), "set n 0 0 1\r\nx\r\nmg n v\r\ndelete n\r\n"))
	binaryStory{steps: []step{{req{op: opIncrement, key: "n", extras: counting(1, 5, 0)}, count(5, "*")}}}.tell(t, nc, whole)
	require.Equal(t, "HD h0\r\n", talk(t, dial(t, path), "mg n h\r\n"))
}
