package memcache

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"net"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/internal/testdir"
)

// A talker sends the same requests as others to a server of its own. Where a request has {key},
// it sends the unique number that the server has told last of this key.
type talker struct {
	nc     net.Conn
	r      *bufio.Reader
	unique map[string]string
}

func newTalker(t testing.TB, path string) *talker {
	nc := dial(t, path)
	require.NoError(t, nc.SetDeadline(time.Now().Add(60*time.Second)))
	return &talker{nc, bufio.NewReader(nc), map[string]string{}}
}

var (
	uniqueOf = regexp.MustCompile(`\bc([1-9]\d*)`)
	endOf    = regexp.MustCompile(`\bt(\d+)`)
	endsAt   = regexp.MustCompile("(?m)^MN\r\n$")
)

// send sends requests about a key, and mn. It returns the answer without what differs between
// servers: each unique number is c#, and the seconds until an item ends are rounded.
func (k *talker) send(t testing.TB, key, requests string) string {
	number := k.unique[key]
	if number == "" {
		number = "1"
	}
	_, err := k.nc.Write([]byte(strings.ReplaceAll(requests, "{"+key+"}", number) + "mn\r\n"))
	require.NoError(t, err)
	var answer strings.Builder
	for !endsAt.MatchString(answer.String()) {
		line, err := k.r.ReadString('\n')
		require.NoError(t, err, "%q is answered with %q", requests, answer.String())
		answer.WriteString(line)
	}
	if found := uniqueOf.FindAllStringSubmatch(answer.String(), -1); found != nil {
		k.unique[key] = found[len(found)-1][1]
	}
	plain := uniqueOf.ReplaceAllString(answer.String(), "c#")
	return endOf.ReplaceAllStringFunc(plain, func(s string) string {
		n, _ := strconv.Atoi(s[1:])
		if n > 1<<31 { // memcached has no number for what has passed
			n = 0
		}
		return fmt.Sprint("t", (n+50)/100*100)
	})
}

// randomRequest returns a request and the key that it is about. Keys with numbers, which are
// counted, are not made stale, their values are not shown, and counting does not change when they
// end: memcached sometimes makes a new item of a number that it has counted, without blanks
// behind it, without marks and with the old end, and sometimes not.
func randomRequest(r *rand.Rand) (key, request string) {
	number := r.IntN(4) == 0
	key = fmt.Sprint("key", r.IntN(6))
	value := [...]string{"", "a", "text", "more text"}[r.IntN(4)]
	if number {
		key = fmt.Sprint("num", r.IntN(3))
		value = strconv.Itoa(10000 + r.IntN(2000))
	}
	flag := func(words ...string) string {
		if r.IntN(3) != 0 {
			return ""
		}
		return " " + strings.ReplaceAll(words[r.IntN(len(words))], "{}", "{"+key+"}")
	}
	ttl := func() string { return flag("T0", "T1000", "T2000", "T-1", "Tx") }
	line := func(command string, flags ...string) string {
		both := flag("k") + flag("Oab", "O") + flag("q") + flag("c")
		return command + " " + key + strings.Join(flags, "") + both + "\r\n"
	}
	switch n := r.IntN(14); {
	case n < 4 && number:
		return key, line("mg", flag("t"), ttl(), flag("f"))
	case n < 4:
		return key, line("mg", flag("v"), flag("t"), ttl(), flag("s", "f", "v s"), flag("N0", "N1000", "N-1"), flag("R30", "R1500", "R0"), flag("t", "t f"))
	case n < 8:
		mode := flag("ME", "MA", "MP", "MR", "MS", "MX") + flag("I")
		if number {
			mode = flag("ME", "MR", "MS")
		}
		return key, line("ms", " "+strconv.Itoa(len(value)), mode, flag("C{}", "C{}", "C1", "C0"), flag("F7", "F4294967295", "F4294967296"), ttl()) + value + "\r\n"
	case n < 10 && number:
		return key, line("md", flag("C{}", "C1"))
	case n < 10:
		return key, line("md", flag("I", "I T500"), flag("C{}", "C1"))
	case n < 12 && number:
		return key, line("ma", flag("t"), flag("D10", "D18446744073709551615", "Dx"), flag("M+", "M-", "MI", "MD"), flag("C{}", "C1"))
	case n < 12:
		return key, line("ma", flag("v", "t v"), flag("D10"), flag("C{}", "C1"))
	}
	text := []string{
		"set {} 5 0 5\r\n10000\r\n", "delete {}\r\n", "touch {} 1000\r\n", "incr {} 1\r\nset {} 0 0 5\r\n10001\r\n",
		"add {} 3 1000 5\r\n10000\r\n", "replace {} 4 0 5\r\n70000\r\n",
	}
	if !number {
		text = []string{
			"set {} 5 0 4\r\ntext\r\n", "delete {}\r\n", "touch {} 1000\r\n", "incr {} 1\r\n", "decr {} 5\r\n", "get {}\r\n", "gat 0 {}\r\n",
			"append {} 0 0 1\r\nz\r\n", "prepend {} 0 0 1\r\nz\r\n", "add {} 3 1000 1\r\nz\r\n", "replace {} 4 0 1\r\nz\r\n",
		}
	}
	return key, strings.ReplaceAll(text[r.IntN(len(text))], "{}", key)
}

// Random requests are answered as memcached answers them.
func TestRandomMetaBesideMemcached(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a memcached")
	}
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	_, path := serve(t, Options{})
	beside, _ := memcached(t)
	ours, theirs := newTalker(t, path), newTalker(t, beside)
	for _, k := range []*talker{ours, theirs} { // so that 1 is the unique number of no other item
		k.send(t, "first", "set first 0 0 0\r\n\r\n")
	}
	history := map[string][]string{}
	for range testdir.Scale(5000, 20_000) {
		key, request := randomRequest(r)
		history[key] = append(history[key], request)
		want := theirs.send(t, key, request)
		require.Equal(t, want, ours.send(t, key, request), "seed %d, after %q", seed, history[key][max(0, len(history[key])-12):])
	}
}
