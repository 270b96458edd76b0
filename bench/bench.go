package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/seed-869cc763/shmkv/internal/tempdir"
)

// A config contains the values of the flags.
type config struct {
	works      []string // names of measurements, "values" and "size"
	ns         []int    // entries, for speed
	values     []int    // bytes of values, for "values"
	sizes      []int    // entries, for file sizes
	quiet      float64  // seconds to wait after a fill, and before space is measured
	overwrites int      // for file sizes
	rounds     int
	seconds    float64 // duration of a timed read
	seed       uint64
	peers      []string // beside the store
	dir        string   // directory of the stores
	batch      int      // keys in a get-many or in a commit of set, for a profile

	orderedNs []int  // entries, for ordered
	profiled  string // peer, for a profile

	crowdNs      []int   // entries, for crowd
	crowdSeconds float64 // duration of each measurement of crowd
	processes    []int   // numbers of writing processes in crowd
	goroutines   []int   // numbers of writing goroutines in crowd

	durableNs      []int   // entries, for durable
	durableSeconds float64 // duration of each measurement of durable

	cacheNs    []int // entries, for cache
	cacheBytes int64 // of all keys and values of a trace
	cacheReads int   // reads of a trace for each key

	serverNs        []int  // entries, for server
	connections     []int  // numbers of clients of a server
	idleConnections int    // for server-idle
	restartItems    int    // for server-restart
	serverWrites    int64  // bytes that server-memory writes
	shmctl          string // the program that has the store's server; empty builds it

	counterNs []int // counters, for counter
	recordNs  []int // records, for record

	progress io.Writer
}

// A bench is one run: its peers, with the store first, and its results so far.
type bench struct {
	config
	peers  []peer
	dir    string // contains all files of the run, and is removed at its end
	stores map[storeKey]*filledStore
	meter  *meter
	report report
}

// runBench makes all measurements of a config. If its context ends earlier, the report contains the completed
// measurements and is marked as incomplete.
func runBench(ctx context.Context, cfg config) (_ *report, err error) {
	tmp, err := tempdir.Make(cfg.dir, "shmkv-bench.tmp-")
	if err != nil {
		return nil, err
	}
	defer tmp.Remove()
	dir := tmp.Path

	b := &bench{
		config: cfg, dir: dir, report: report{Machine: describeMachine(cfg.dir)},
		stores: map[storeKey]*filledStore{}, meter: newMeter(cfg.progress, cfg.rounds),
	}
	defer b.dropStores()
	if err := b.gather(ctx); err != nil {
		return nil, err
	}
	b.run(ctx)
	b.report.Machine.LoadAfter = loadAverage()
	return &b.report, nil
}

// A part is the measurements of one size in each round.
type part struct {
	measurements []measurement
	n            int
}

// parts returns the parts of a round for the works, in order.
func (b *bench) parts() (parts []part) {
	add := func(all []measurement, ns []int) {
		all = slices.DeleteFunc(slices.Clone(all), func(m measurement) bool { return !b.wants(m.work) })
		for _, n := range ns {
			parts = append(parts, part{all, n})
		}
	}
	add(measurements, b.ns)
	add(orderedMeasurements, b.orderedNs)
	add(b.crowdMeasurements(), b.crowdNs)
	add(durableMeasurements, b.durableNs)
	add(cacheMeasurements, b.cacheNs)
	add(b.serverMeasurements(), b.serverNs)
	add(counterMeasurements, b.counterNs)
	add(recordMeasurements, b.recordNs)
	return parts
}

func (b *bench) run(ctx context.Context) {
	parts := b.parts()
	b.expectMeasurements(parts)
	values, sizes := b.config.values, b.config.sizes
	if !b.wants("values") {
		values = nil
	}
	if !b.wants("size") {
		sizes = nil
	}
	b.expectValues(values)
	b.expectSizes(sizes)
	for round := range b.rounds {
		b.report.round = round
		for _, part := range parts {
			b.measure(ctx, part.measurements, part.n, round)
		}
		for _, bytes := range values {
			b.values(ctx, bytes, round)
		}
		if ctx.Err() != nil {
			b.report.Incomplete = fmt.Sprintf("interrupted in round %d of %d", round+1, b.rounds)
			return
		}
	}
	for _, n := range sizes {
		b.sizes(ctx, n)
	}
	if ctx.Err() != nil {
		b.report.Incomplete = "interrupted after the rounds, while file sizes were taken"
	}
}

// fail notes the error of a task, unless the peer cannot do the task or the run was interrupted.
func (b *bench) fail(ctx context.Context, p peer, t task, err error) {
	if interrupted(err) {
		// The child got the signal before it had its own process group. The bench gets the signal too, maybe later.
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
	if ctx.Err() == nil && !errors.Is(err, errUnsupported) {
		b.report.fail(p, t, err)
	}
}

// gather builds the peers. It omits a peer that it cannot build, and the report states the reason.
func (b *bench) gather(ctx context.Context) error {
	store, err := buildGo(storeName, ourPeer)(ctx, b.dir)
	if err != nil {
		return err
	}
	b.peers = []peer{store}
	for _, builder := range peerBuilders {
		if !slices.Contains(b.config.peers, builder.name) {
			continue
		}
		p, err := builder.build(ctx, b.dir)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			b.report.Skipped = append(b.report.Skipped, fmt.Sprintf("%s: %v", builder.name, err))
			continue
		}
		b.peers = append(b.peers, p)
	}
	for _, p := range b.peers {
		b.report.Peers = append(b.report.Peers, p.name)
	}
	return nil
}

func (b *bench) wants(work string) bool { return slices.Contains(b.works, work) }

// task returns a task on a peer's store of n entries. Each peer has its own directory.
func (b *bench) task(p peer, work string, n int) task {
	return task{
		work:     work,
		n:        n,
		value:    valueBytes,
		seed:     b.seed,
		path:     filepath.Join(b.dir, p.name+"-store"),
		capacity: capacity(n, valueBytes),
	}
}

// quietAfter makes the process of a task stay for a while after its work, if its peer works in the background.
func (b *bench) quietAfter(p peer, t task) task {
	if p.keepsHouse {
		t.quiet = b.quiet
	}
	return t
}

// capacity returns the largest size in bytes to which a store of n entries may grow.
func capacity(n, valueBytes int) int64 { return max(4<<30, 8*payload(n, valueBytes)) }

// makeStore starts the server of a peer that needs one. It returns a function that stops the server and removes the
// store. Call this function even after an error.
func (b *bench) makeStore(ctx context.Context, p peer, t task) (drop func(), err error) {
	drop = func() { os.RemoveAll(t.path) }
	if !p.serves {
		return drop, nil
	}
	t.work = "serve"
	server, err := start(ctx, p, t)
	if err != nil {
		return drop, err
	}
	return func() {
		server.release()
		_, err := server.wait()
		if err != nil {
			b.fail(ctx, p, t, errors.Join(errors.New("while it served"), err))
		}
		os.RemoveAll(t.path)
	}, nil
}
