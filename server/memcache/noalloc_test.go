//go:build !race

package memcache

import (
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// In the steady state no request allocates, whatever its command and its protocol: not for
// itself, and not for its connection.
func TestRequestsDoNotAllocate(t *testing.T) {
	_, path := serve(t, Options{})
	nc := dial(t, path)
	value := strings.Repeat("v", 100)
	large := strings.Repeat("l", 300_000)
	ask(t, nc, "set n 0 0 2\r\n10")
	ask(t, nc, "set a 0 0 100\r\n"+value)
	ask(t, nc, "set large 0 0 300000\r\n"+large)
	item := "VALUE a 0 100\r\n" + value + "\r\n"
	for _, c := range []struct{ name, request, answer string }{
		{"get", "get a\r\n", item + "END\r\n"},
		{"miss", "get none\r\n", "END\r\n"},
		{"get of keys", "get a a none a\r\n", item + item + item + "END\r\n"},
		{"pipelined gets", strings.Repeat("get a\r\n", 100), strings.Repeat(item+"END\r\n", 100)},
		{"large get", "get large\r\n", "VALUE large 0 300000\r\n" + large + "\r\nEND\r\n"},
		{"set", "set a 0 0 100\r\n" + value + "\r\n", "STORED\r\n"},
		{"set with an end", "set e 0 100 100\r\n" + value + "\r\n", "STORED\r\n"},
		{"pipelined sets", strings.Repeat("set a 0 0 100\r\n"+value+"\r\n", 100), strings.Repeat("STORED\r\n", 100)},
		{"replace", "replace a 0 0 100\r\n" + value + "\r\n", "STORED\r\n"},
		{"touch", "touch a 0\r\n", "TOUCHED\r\n"},
		{"gat", "gat 0 a a\r\n", item + item + "END\r\n"},
		{"incr", "incr n 0\r\n", "10\r\n"},
		{"append", "append a 0 0 0\r\n\r\n", "STORED\r\n"},
		{"delete", "delete none\r\n", "NOT_FOUND\r\n"},
		{"version", "version\r\n", "VERSION 1.6.18\r\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			request, answer := []byte(c.request), make([]byte, len(c.answer))
			one := func() {
				if _, err := nc.Write(request); err != nil {
					t.Fatal(err)
				}
				if _, err := io.ReadFull(nc, answer); err != nil {
					t.Fatal(err)
				}
			}
			for range 50 {
				one()
			}
			require.Equal(t, c.answer, string(answer))
			// One write in 64 looks for items that have expired, which allocates. Others
			// allocate too, so the least of some rounds counts.
			const rounds, requests = 10, 100
			least := uint64(requests)
			for range rounds {
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				for range requests {
					one()
				}
				runtime.ReadMemStats(&after)
				least = min(least, after.Mallocs-before.Mallocs)
			}
			lines := max(1, strings.Count(c.answer, "STORED\r\n")) * requests
			require.LessOrEqual(t, least, uint64(lines/10), fmt.Sprintf("%d allocations by %d requests", least, lines))
		})
	}
}
