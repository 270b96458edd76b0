package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime/metrics"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/seed-869cc763/shmkv/shm"
)

// A table is a peer written in Go, as its child uses it. Many goroutines may call its methods at the same time. The
// interfaces below contain the methods of some peers only.
type table interface {
	read(dst, key []byte) ([]byte, error) // appends the value to dst, or returns errAbsent
	write(key, value []byte) error        // one commit, if the peer has commits
	remove(key []byte) error
	close() error
}

// A viewer can show one version of all entries.
type viewer interface {
	// view returns a function that finds values without copying them. It works until the call of end.
	view() (find func(key []byte) ([]byte, error), end func() error, err error)
}

// A manyReader reads many keys in one version, faster than one by one. A value is valid only until each returns.
type manyReader interface {
	readMany(keys [][]byte, each func(j int, value []byte) error) error
}

// A batcher can make many writes in one commit.
type batcher interface {
	writeMany(n int, entry func(j int) (key, value []byte)) error
}

// A syncer can make all earlier commits durable.
type syncer interface {
	sync() error
}

// A scanner can visit all entries.
type scanner interface {
	scan(each func(key, value []byte) error) error
}

// A goPeer is a peer written in Go.
type goPeer struct {
	open     func(task) (table, error)
	volatile bool // the table ends with its process, so each child fills its own
	// serve runs the server of a table until the gate opens. It is nil for most peers.
	serve func(t task, gate func() error) error
	// stats returns the counters of a store. It is nil for peers without counters.
	stats func(path string) (shm.Stats, error)
	// cache opens the peer as a cache with a bound. It is nil for peers that are none.
	cache func(task) (boundedTable, error)
	// rewrite rewrites a store that nobody has open, densely and in the order of a scan.
	rewrite func(ctx context.Context, path string) error
}

var (
	errAbsent      = errors.New("key not found")
	errFull        = errors.New("no room left")
	errUnsupported = errors.New("this peer cannot do that")
)

// goChild executes one task on a table. It is the main function of the bench's binary as a child.
func goChild(name string, args []string, in io.Reader, out io.Writer) error {
	t, err := parseTask(args)
	if err != nil {
		return err
	}
	lines := json.NewEncoder(out)
	r, err := runGo(name, t, func() error {
		if err := lines.Encode(result{Ready: true}); err != nil {
			return err
		}
		_, err := in.Read(make([]byte, 1)) // a line, or the end
		if errors.Is(err, io.EOF) {
			return nil
		}
		return err
	})
	if errors.Is(err, errUnsupported) {
		return lines.Encode(result{Unsupported: true})
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w", name, t.work, err)
	}
	return lines.Encode(r)
}

// runGo executes a task in this process. It calls gate between the preparations and the timed work.
func runGo(name string, t task, gate func() error) (r result, err error) {
	p := goPeers[name]
	r.Peer = name
	switch t.work {
	case "serve":
		return r, p.serve(t, gate)
	case "open":
		return p.openToFirstRead(t, gate)
	}
	if isServerWork(t.work) {
		r, err = runLoad(t, gate)
		r.Peer = name
		return r, err
	}
	if isCacheWork(t.work) {
		r, err = p.runCache(t, gate)
		r.Peer = name
		return r, err
	}
	tab, err := p.open(t)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, tab.close()) }()

	if _, ok := tab.(batcher); !ok && t.batch > 1 && (t.work == "load" || t.work == "set") {
		return r, errUnsupported
	}
	w := newWorker(tab, t, 0)
	switch t.work {
	case "hold":
		return r, w.hold(gate)
	case "load", "chase":
	default:
		if err := w.prepare(p.volatile); err != nil {
			return r, fmt.Errorf("preparing: %w", err)
		}
	}
	r, err = together(tab, t, gate)
	r.Peer = name
	time.Sleep(time.Duration(t.quiet * float64(time.Second)))
	if errors.Is(err, errFull) {
		r.Full, err = true, nil
	}
	return r, err
}

// openToFirstRead measures the time to open an existing store and to read one key.
func (p goPeer) openToFirstRead(t task, gate func() error) (r result, err error) {
	if p.volatile {
		return r, errUnsupported
	}
	if err := gate(); err != nil {
		return r, err
	}
	start := time.Now()
	tab, err := p.open(t)
	if err != nil {
		return r, err
	}
	w := newWorker(tab, t, 0)
	err = w.get(0)
	r = result{Ops: 1, Nanos: int64(time.Since(start)), Sum: w.keys.sum}
	return r, errors.Join(err, tab.close())
}

// together runs the task's workers and writers at the same time, and returns the sum of the workers' results.
func together(tab table, t task, gate func() error) (sum result, err error) {
	var (
		running, beside sync.WaitGroup
		stop            atomic.Bool
		started         = make(chan struct{})
		results         = make([]result, t.workers)
		errs            = make([]error, t.workers+t.writers)
	)
	for i := range t.workers {
		w := newWorker(tab, t, i)
		opsPerCall, op, end, failed := w.operation()
		if failed != nil {
			return sum, failed
		}
		defer func() { err = errors.Join(err, end()) }()
		running.Go(func() {
			<-started
			results[i], errs[i] = t.loop(opsPerCall, op)
			results[i].Sum = w.keys.sum
			results[i].Latencies = pairsOf(w.latencies)
			results[i].batchRuns = w.runs
		})
	}
	for i := t.workers; i < t.workers+t.writers; i++ {
		w := newWorker(tab, t, i)
		beside.Go(func() {
			<-started
			for j := uint64(0); !stop.Load() && errs[i] == nil; j++ {
				errs[i] = w.set(j)
			}
		})
	}
	err = gate()
	before, allocsBefore := processTime(), allocs()
	close(started)
	running.Wait()
	sum.CPUNanos, sum.Allocs = processTime()-before, allocs()-allocsBefore
	stop.Store(true)
	beside.Wait()
	for _, r := range results {
		sum.Ops += r.Ops
		sum.Nanos = max(sum.Nanos, r.Nanos)
		sum.Sum += r.Sum
		sum.Latencies = append(sum.Latencies, r.Latencies...)
		sum.batchRuns.add(r.batchRuns)
	}
	return sum, errors.Join(append(errs, err)...)
}

// processTime returns the CPU time of this process so far, in nanoseconds.
func processTime() int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

// allocs returns the number of objects that this process has allocated on its heap so far.
func allocs() uint64 {
	count := []metrics.Sample{{Name: "/gc/heap/allocs:objects"}}
	metrics.Read(count)
	return count[0].Value.Uint64()
}
