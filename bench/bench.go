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

// A config is what the flags ask for.
type config struct {
	works      []string // names of measurements, "values" and "size"
	ns         []int    // entries, for speed
	values     []int    // bytes of values, for "values"
	sizes      []int    // entries, for file sizes
	quiet      float64  // seconds that the store gets after it was filled, and before its space is taken
	overwrites int      // for file sizes
	rounds     int
	seconds    float64 // a timed read lasts this long
	seed       uint64
	peers      []string // beside the store
	dir        string   // where the stores are made
	batch      int      // keys in a call of get-many and set, for a profile

	crowdNs      []int   // entries, for crowd
	crowdSeconds float64 // each measurement of crowd lasts this long
	processes    []int   // that write together in crowd
	goroutines   []int   // that write together in crowd, of one process

	progress io.Writer
}

// A bench is one run: its peers, the store first, and what they have shown so far.
type bench struct {
	config
	peers  []peer
	dir    string // holds everything the run makes, and goes with it
	stores map[storeKey]*filledStore
	meter  *meter
	report report
}

// runBench makes all the measurements that a config asks for. When its context ends before that, the report has what
// was measured until then, and says so.
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

// parts are what the works ask for, in the order of a round.
func (b *bench) parts() (parts []part) {
	add := func(all []measurement, ns []int) {
		all = slices.DeleteFunc(slices.Clone(all), func(m measurement) bool { return !b.wants(m.work) })
		for _, n := range ns {
			parts = append(parts, part{all, n})
		}
	}
	add(measurements, b.ns)
	add(b.crowdMeasurements(), b.crowdNs)
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

// fail notes why a task of a peer has failed, if that is news: it is not when the peer cannot do that or when the run
// was interrupted.
func (b *bench) fail(ctx context.Context, p peer, t task, err error) {
	if interrupted(err) {
		// The child was not yet in a process group of its own when the signal came. The bench gets it too, perhaps later.
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
	if ctx.Err() == nil && !errors.Is(err, errUnsupported) {
		b.report.fail(p, t, err)
	}
}

// gather builds the peers. One that cannot be built is left out, and the report says why.
func (b *bench) gather(ctx context.Context) error {
	store, err := buildGo(storeName, peer{keepsHouse: true})(ctx, b.dir)
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

// task returns a task on a peer's store of n entries, which lies in a directory of the peer's own.
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

// quietAfter has a task's process stay for a while after its work, if it then keeps house.
func (b *bench) quietAfter(p peer, t task) task {
	if p.keepsHouse {
		t.quiet = b.quiet
	}
	return t
}

// capacity is room for what a store of n entries may grow to.
func capacity(n, valueBytes int) int64 { return max(4<<30, 8*payload(n, valueBytes)) }

// makeStore starts what a peer's store needs before it is loaded. The function that it returns ends that, and
// removes the store; it must be called also after an error.
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
