package memcache

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/internal/testdir"
)

// A load is what the clients of a benchmark send. All keys are there, so that the length of
// the answer to a write is known, and a client does little but wait.
type load struct {
	name   string
	conns  int
	batch  int // items of one write
	write  func(w []byte, r *rand.Rand) []byte
	answer int // bytes
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

func appendMetaGet(w []byte, r *rand.Rand) []byte {
	return fmt.Appendf(w, "mg key-%012d k f v\r\n", r.IntN(benchKeys))
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

var (
	lenItem   = len("VALUE key-000000000000 0 100\r\n") + benchValue + 2
	lenGet    = lenItem + len("END\r\n")
	lenStored = len("STORED\r\n")
	lenMeta   = len("VA 100 kkey-000000000000 f0\r\n") + benchValue + 2
)

var loads = []load{
	{"get/1", 1, 1, appendGet, lenGet},
	{"get/8", 8, 1, appendGet, lenGet},
	{"get/64", 64, 1, appendGet, lenGet},
	{"set/1", 1, 1, appendSet, lenStored},
	{"set/8", 8, 1, appendSet, lenStored},
	{"set/64", 64, 1, appendSet, lenStored},
	{"get-pipelined-64/1", 1, 64, repeat(64, appendGet), 64 * lenGet},
	{"get-pipelined-64/8", 8, 64, repeat(64, appendGet), 64 * lenGet},
	{"set-pipelined-64/1", 1, 64, repeat(64, appendSet), 64 * lenStored},
	{"set-pipelined-64/8", 8, 64, repeat(64, appendSet), 64 * lenStored},
	{"mg/1", 1, 1, appendMetaGet, lenMeta},
	{"mg/8", 8, 1, appendMetaGet, lenMeta},
	{"mg-pipelined-64/1", 1, 64, repeat(64, appendMetaGet), 64 * lenMeta},
	{"mg-pipelined-64/8", 8, 64, repeat(64, appendMetaGet), 64 * lenMeta},
	{"get-32-keys/1", 1, 32, appendMultiGet, 32*lenItem + len("END\r\n")},
	{"get-32-keys/8", 8, 32, appendMultiGet, 32*lenItem + len("END\r\n")},
}

// A peer is a server that is measured.
type peer struct {
	name, socket string
	pid          int
	rates        []float64 // items a second, of each round
	cpu          time.Duration
}

// BenchmarkPeers compares a server in a process of its own with the memcached of this
// machine, on unix sockets: in turns, so that both find the same machine. It reports the
// median of the ratios of their rates, and how much processor time each took for an item.
func BenchmarkPeers(b *testing.B) {
	const bytes = 256 << 20
	ours := startServer(b, testdir.Memory(b)+"/store", bytes)
	socket, pid := memcached(b, "-m 256", "-c 2000")
	peers := []*peer{
		{name: "shmkv", socket: ours.socket, pid: ours.Process.Pid},
		{name: "memcached", socket: socket, pid: pid},
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
		b.Run(l.name, func(b *testing.B) {
			const rounds = 10
			for _, p := range peers {
				p.rates, p.cpu = nil, 0
			}
			n := max(b.N/rounds, l.conns*l.batch)
			for range rounds {
				for _, p := range peers {
					before := cpuOf(b, p.pid)
					p.rates = append(p.rates, float64(n)/l.run(b, p.socket, n).Seconds())
					p.cpu += cpuOf(b, p.pid) - before
				}
			}
			ratios := make([]float64, rounds)
			for i := range ratios {
				ratios[i] = peers[0].rates[i] / peers[1].rates[i]
			}
			slices.Sort(ratios)
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(ratios[rounds/2], "ratio")
			for _, p := range peers {
				slices.Sort(p.rates)
				b.ReportMetric(p.rates[rounds/2]/1000, p.name+"-k/s")
				b.ReportMetric(float64(p.cpu.Microseconds())/float64(n*rounds), p.name+"-cpu-us")
			}
		})
	}
}

// cpuOf returns the processor time that a process has taken.
func cpuOf(b *testing.B, pid int) time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	require.NoError(b, err)
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+2:]))
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond
}

// run sends requests for n items over the connections of the load.
func (l load) run(b *testing.B, socket string, n int) time.Duration {
	var left atomic.Int64
	left.Store(int64(n))
	var group sync.WaitGroup
	begin := make(chan struct{})
	for i := range l.conns {
		group.Go(func() {
			nc, err := net.Dial("unix", socket)
			if err != nil {
				b.Error(err)
				return
			}
			defer nc.Close()
			random := rand.New(rand.NewPCG(1, uint64(i)))
			requests := make([][]byte, 256)
			for i := range requests {
				requests[i] = l.write(nil, random)
			}
			answer := make([]byte, l.answer)
			<-begin
			for n := i; left.Add(-int64(l.batch)) >= 0; n++ {
				if _, err := nc.Write(requests[n%len(requests)]); err != nil {
					b.Error(err)
					return
				}
				if _, err := io.ReadFull(nc, answer); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	began := time.Now()
	close(begin)
	group.Wait()
	return time.Since(began)
}
