package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/seed-869cc763/shmkv/server/count/countclient"
	"github.com/seed-869cc763/shmkv/shm"
	"github.com/seed-869cc763/shmkv/shm/counter"
)

// The work "counter" measures sorted counters beside those of Redis. It consists of all works whose names begin with
// "counter-". The store's figures are those of a Go process, and in counter-server those of "shmctl serve countd".
const counterWork = "counter"

const (
	countersOfBatch = 1000 // increments of one AddMany
	countersOfRange = 100
	counterConns    = 8

	titleCounterServer = "counter, 8 connections that send without waiting: increments"
	titleCounterMany   = "counter, 1000 a commit: increments"
	titleCounterAdd    = "counter, one a commit: increments"
	titleCounterRange  = "counter, the first 100"
	titleCounterMiddle = "counter, 100 from the middle on"
)

// spreads are how keys are drawn.
var spreads = []struct {
	title string
	zipf  bool
}{{", Zipf 0.99", true}, {", random keys", false}}

// counterMeasurements are the measurements of the work "counter" in order.
var counterMeasurements = []measurement{
	{"counter-server", "counter, a server", makesStore, ofServers(measureCounterServer)},
	{"counter-many", titleCounterMany, makesStore, ofServers(measureCounters(countersOfBatch, titleCounterMany, goal{AtLeast: 1000}))},
	{"counter-add", titleCounterAdd, makesStore, ofServers(measureCounters(1, titleCounterAdd, goal{}))},
	{"counter-range", titleCounterRange, makesStore, ofServers(measureCounterRange)},
}

func counterWorks() []string { return worksOf(counterMeasurements) }

// A counting is a set of counters of one peer in a process of its own or in this one.
type counting struct {
	peer peer
	add  func(keys [][]byte) error // in one commit, or without waiting
	top  func(offset, length int) error
}

// counterKeys returns the keys of a task that its draws choose among.
func counterKeys(t task) [][]byte {
	keys := make([][]byte, t.n)
	for i := range keys {
		keys[i] = fmt.Appendf(nil, "/page/%016x", splitmix64(uint64(i)))
	}
	return keys
}

// withCountings makes n counters for each peer, each with a count of 1, and calls use with them.
func (b *bench) withCountings(t task, use func(keys [][]byte, all []counting) error) (err error) {
	s, err := shm.Open(t.path, &shm.Options{MaxSize: roomy(t)})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close(), os.RemoveAll(t.path)) }()
	set := counter.Open(s, "pages")
	var batch []counter.Count
	var rows []counter.Count
	all := []counting{{b.peers[0], func(keys [][]byte) error {
		if len(keys) == 1 {
			_, err := set.Add(keys[0], 1)
			return err
		}
		batch = batch[:0]
		for _, key := range keys {
			batch = append(batch, counter.Count{Key: key, N: 1})
		}
		return set.AddMany(batch)
	}, func(offset, length int) (err error) {
		rows, err = set.Range(offset, length)
		return checkRows(rows, length, err)
	}}}
	for _, p := range b.peers {
		if p.name != redisName {
			continue
		}
		r, err := startRedis(b.dir)
		if err != nil {
			return err
		}
		defer r.remove()
		c, err := r.dial()
		if err != nil {
			return err
		}
		defer c.Close()
		all = append(all, counting{p, c.increments, c.top})
	}
	keys := counterKeys(t)
	for _, c := range all {
		for rest := keys; len(rest) > 0; {
			k := min(len(rest), countersOfBatch)
			if err := c.add(rest[:k]); err != nil {
				return err
			}
			rest = rest[k:]
		}
	}
	return use(keys, all)
}

func checkRows(rows []counter.Count, length int, err error) error {
	if err == nil && len(rows) != length {
		err = fmt.Errorf("found %d counters, expected %d", len(rows), length)
	}
	for i := 1; i < len(rows) && err == nil; i++ {
		if rows[i].N > rows[i-1].N {
			err = errors.New("found counts that ascend, expected that they descend")
		}
	}
	return err
}

// byTurns calls each step for a share of -seconds, by turns, and returns the nanoseconds of a call.
func (b *bench) byTurns(ctx context.Context, steps []func() error) ([]float64, error) {
	nanos, calls := make([]float64, len(steps)), make([]float64, len(steps))
	slice := time.Duration(b.seconds * float64(time.Second) / turnsOfServers)
	for turn := range turnsOfServers {
		for i := range steps {
			j := (i + turn) % len(steps)
			for began := time.Now(); ; {
				if err := errors.Join(ctx.Err(), steps[j]()); err != nil {
					return nil, err
				}
				calls[j]++
				if took := time.Since(began); took >= slice {
					nanos[j] += float64(took)
					break
				}
			}
		}
	}
	for i := range nanos {
		nanos[i] /= calls[i]
	}
	return nanos, nil
}

// measureCounters measures increments in batches of a length. The goal is for draws by Zipf's law.
func measureCounters(length int, title string, aim goal) func(ctx context.Context, b *bench, t task) error {
	return func(ctx context.Context, b *bench, t task) error {
		return b.withCountings(t, func(keys [][]byte, all []counting) error {
			for _, s := range spreads {
				var steps []func() error
				for _, c := range all {
					draws := newDraws(t, s.zipf)
					batch := make([][]byte, length)
					steps = append(steps, func() error {
						for i := range batch {
							batch[i] = keys[draws.next()]
						}
						return c.add(batch)
					})
				}
				nanos, err := b.byTurns(ctx, steps)
				if err != nil {
					return err
				}
				for i, c := range all {
					b.report.add(title+s.title, t.n, thousandsPerSecond, c.peer, 1e6*float64(length)/nanos[i])
				}
				if s.zipf {
					b.report.aim(title+s.title, t.n, aim)
				}
			}
			return nil
		})
	}
}

// draws are keys that are drawn one after the other.
type draws struct {
	sequence
	i uint64
}

func newDraws(t task, zipf bool) *draws {
	d := &draws{sequence: sequence{seed: t.seed, n: uint64(t.n)}}
	if zipf {
		d.zipf = zipfTop(t.n)
	}
	return d
}

func (d *draws) next() uint64 {
	d.i++
	return d.draw(d.i)
}

// measureCounterRange measures the reading of counters in order, at the beginning and in the middle.
func measureCounterRange(ctx context.Context, b *bench, t task) error {
	return b.withCountings(t, func(keys [][]byte, all []counting) error {
		d := newDraws(t, true)
		batch := make([][]byte, countersOfBatch)
		for range 20 { // so that the first ones have counts of their own
			for i := range batch {
				batch[i] = keys[d.next()]
			}
			for _, c := range all {
				if err := c.add(batch); err != nil {
					return err
				}
			}
		}
		for _, r := range []struct {
			title  string
			offset int
		}{{titleCounterRange, 0}, {titleCounterMiddle, t.n / 2}} {
			var steps []func() error
			length := min(countersOfRange, t.n/2)
			for _, c := range all {
				steps = append(steps, func() error { return c.top(r.offset, length) })
			}
			nanos, err := b.byTurns(ctx, steps)
			if err != nil {
				return err
			}
			for i, c := range all {
				b.report.add(r.title, t.n, nanosPerOp, c.peer, nanos[i])
			}
		}
		b.report.aim(titleCounterRange, t.n, goal{AtMost: float64(60 * time.Microsecond)})
		return nil
	})
}

// measureCounterServer measures increments over several connections at once, each of which sends without waiting.
func measureCounterServer(ctx context.Context, b *bench, t task) error {
	program, err := b.buildShmctl(ctx)
	if err != nil {
		return err
	}
	dir := filepath.Join(b.dir, "countd")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	socket := filepath.Join(dir, "socket")
	cmd := exec.CommandContext(ctx, program, "serve", "countd", "--store", filepath.Join(dir, "store"), "-s", socket)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return err
	}
	defer func() {
		cmd.Process.Kill()
		cmd.Wait() // returns an error because it was killed
	}()
	if err := waitForSocket(socket); err != nil {
		return err
	}
	clients := []clientOf{{b.peers[0], func() (func([][]byte) error, func() error, error) {
		a, err := countclient.DialAdder("unix", socket, nil)
		if err != nil {
			return nil, nil, err
		}
		return func(keys [][]byte) error {
			for _, key := range keys {
				if err := a.Send([]byte("pages"), key, 1); err != nil {
					return err
				}
			}
			return a.Flush()
		}, a.Close, nil
	}}}
	for _, p := range b.peers {
		if p.name != redisName {
			continue
		}
		r, err := startRedis(b.dir)
		if err != nil {
			return err
		}
		defer r.remove()
		clients = append(clients, clientOf{p, func() (func([][]byte) error, func() error, error) {
			c, err := r.dial()
			if err != nil {
				return nil, nil, err
			}
			return c.increments, c.Close, nil
		}})
	}
	keys := counterKeys(t)
	for _, s := range spreads {
		var sums []int
		for _, c := range clients {
			_, err := c.run(ctx, b, t, keys, s.zipf) // warm
			if err == nil {
				var n int
				n, err = c.run(ctx, b, t, keys, s.zipf)
				sums = append(sums, n)
			}
			if err != nil {
				return err
			}
		}
		for i, c := range clients {
			b.report.add(titleCounterServer+s.title, t.n, thousandsPerSecond, c.peer, float64(sums[i])/b.seconds/1000)
		}
		if s.zipf {
			b.report.aim(titleCounterServer+s.title, t.n, goal{AtLeast: 300})
		}
	}
	return nil
}

// A clientOf makes connections with a server of counters.
type clientOf struct {
	peer peer
	dial func() (add func(keys [][]byte) error, end func() error, err error)
}

// run sends increments over all connections for -seconds, and returns how many were answered until then.
func (c clientOf) run(ctx context.Context, b *bench, t task, keys [][]byte, zipf bool) (sum int, err error) {
	var wg sync.WaitGroup
	counts, errs := make([]int, counterConns), make([]error, counterConns)
	end := time.Now().Add(time.Duration(b.seconds * float64(time.Second)))
	for i := range counterConns {
		add, closing, failed := c.dial()
		if failed != nil {
			errs[i] = failed
			continue
		}
		defer closing()
		t.seed = splitmix64(t.seed)
		d := newDraws(t, zipf)
		wg.Go(func() {
			batch := make([][]byte, countersOfBatch)
			for ctx.Err() == nil && errs[i] == nil {
				for j := range batch {
					batch[j] = keys[d.next()]
				}
				errs[i] = add(batch)
				if time.Now().After(end) {
					return
				}
				counts[i] += len(batch)
			}
		})
	}
	wg.Wait()
	for _, n := range counts {
		sum += n
	}
	return sum, errors.Join(errs...)
}
