package memcache

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/internal/testdir"
)

// A load is what the clients of a benchmark send: write appends requests for n items, and
// read reads the answers to one write.
type load struct {
	name  string
	conns int
	batch int // items of one write
	write func(w []byte, r *rand.Rand) []byte
	lines int  // that each write is answered with, at least
	get   bool // the answer has ends instead
}

const (
	benchKeys  = 100_000
	benchValue = 100
)

func benchKey(n int) string { return fmt.Sprintf("key-%012d", n) }

var benchBlock = strings.Repeat("v", benchValue)

func appendGet(w []byte, r *rand.Rand) []byte {
	return fmt.Appendf(w, "get key-%012d\r\n", r.IntN(benchKeys))
}

func appendSet(w []byte, r *rand.Rand) []byte {
	return fmt.Appendf(w, "set key-%012d 0 0 %d\r\n%s\r\n", r.IntN(benchKeys), benchValue, benchBlock)
}

func repeat(n int, one func([]byte, *rand.Rand) []byte) func([]byte, *rand.Rand) []byte {
	return func(w []byte, r *rand.Rand) []byte {
		for range n {
			w = one(w, r)
		}
		return w
	}
}

func appendMultiGet(w []byte, r *rand.Rand) []byte {
	w = append(w, "get"...)
	for range 32 {
		w = fmt.Appendf(w, " key-%012d", r.IntN(benchKeys))
	}
	return append(w, "\r\n"...)
}

var loads = []load{
	{"get/1", 1, 1, appendGet, 1, true},
	{"get/8", 8, 1, appendGet, 1, true},
	{"get/64", 64, 1, appendGet, 1, true},
	{"set/1", 1, 1, appendSet, 1, false},
	{"set/8", 8, 1, appendSet, 1, false},
	{"set/64", 64, 1, appendSet, 1, false},
	{"get-pipelined-64/1", 1, 64, repeat(64, appendGet), 64, true},
	{"get-pipelined-64/8", 8, 64, repeat(64, appendGet), 64, true},
	{"set-pipelined-64/1", 1, 64, repeat(64, appendSet), 64, false},
	{"get-32-keys/1", 1, 32, appendMultiGet, 1, true},
	{"get-32-keys/8", 8, 32, appendMultiGet, 1, true},
}

// BenchmarkPeers compares a server in a process of its own with the memcached of this
// machine, on unix sockets. An operation is an item.
func BenchmarkPeers(b *testing.B) {
	const bytes = 256 << 20
	peers := []struct{ name, socket string }{
		{"shmkv", startServer(b, testdir.Memory(b)+"/store", bytes).socket},
		{"memcached", memcached(b, "-m 256", "-c 2000")},
	}
	for _, p := range peers {
		nc := dial(b, p.socket)
		for n := range benchKeys {
			fmt.Fprintf(nc, "set %s 0 0 %d noreply\r\n%s\r\n", benchKey(n), benchValue, benchBlock)
		}
		_, _ = io.WriteString(nc, "version\r\n")
		_, err := bufio.NewReader(nc).ReadString('\n')
		require.NoError(b, err)
	}
	for _, l := range loads {
		for _, p := range peers {
			b.Run(l.name+"/"+p.name, func(b *testing.B) { l.run(b, p.socket) })
		}
	}
}

func (l load) run(b *testing.B, socket string) {
	var left atomic.Int64
	left.Store(int64(b.N))
	var group sync.WaitGroup
	conns := make([]net.Conn, l.conns)
	for i := range conns {
		conns[i] = dial(b, socket)
	}
	b.ResetTimer()
	for i, nc := range conns {
		group.Go(func() {
			random := rand.New(rand.NewPCG(1, uint64(i)))
			r := bufio.NewReaderSize(nc, 64<<10)
			var w []byte
			for left.Add(-int64(l.batch)) > -int64(l.batch) {
				w = l.write(w[:0], random)
				if _, err := nc.Write(w); err != nil {
					b.Error(err)
					return
				}
				for n := 0; n < l.lines; {
					line, err := r.ReadSlice('\n')
					if err != nil {
						b.Error(err)
						return
					}
					if !l.get || string(line) == "END\r\n" {
						n++
					}
				}
			}
		})
	}
	group.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds()/1000, "kitems/s")
	for _, nc := range conns {
		nc.Close()
	}
}
