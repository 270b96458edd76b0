package main

import (
	"context"
	"os"
)

// The measurements of speed. Each takes a peer whose store is loaded and adds samples to the report.
var speedWorks = []struct {
	name    string
	measure func(ctx context.Context, b *bench, p peer, t task) error
}{
	{"get", measureGets},
	{"readers", measureReaders},
	{"set", measureSets}, // last: it changes the store
}

// speed is one round at one size: every peer's store is filled anew, one key a commit, and then each measurement
// goes from peer to peer before the next one starts, so that a slow minute of the machine hits all of them. The
// rounds take turns in who comes first.
func (b *bench) speed(ctx context.Context, n, round int) {
	var loaded []peer
	for i := range b.peers {
		p := b.peers[(i+round)%len(b.peers)]
		progress(ctx, "round %d of %d, %d entries: %s: load", round+1, b.rounds, n, p.name)
		t := b.speedTask(p, "load", n, round)
		defer os.RemoveAll(t.path)
		if err := measureLoad(ctx, b, p, t); err != nil {
			b.report.fail(p, t, err)
			continue
		}
		loaded = append(loaded, p)
	}
	for _, w := range speedWorks {
		if !b.wants(w.name) {
			continue
		}
		for _, p := range loaded {
			progress(ctx, "round %d of %d, %d entries: %s: %s", round+1, b.rounds, n, p.name, w.name)
			t := b.speedTask(p, w.name, n, round)
			if err := w.measure(ctx, b, p, t); err != nil {
				b.report.fail(p, t, err)
			}
		}
	}
}

// speedTask is the task of one round, which draws other keys than the rounds before.
func (b *bench) speedTask(p peer, work string, n, round int) task {
	t := b.task(p, work, n)
	t.seed = splitmix64(b.seed + uint64(round))
	return t
}

func measureLoad(ctx context.Context, b *bench, p peer, t task) error {
	t.ops = t.n
	r, err := runWhole(ctx, p, t)
	if err == nil && b.wants("set") {
		b.report.add("insert, one a commit", t.n, nanosPerOp, p, r.nanosPerOp())
	}
	return err
}

func measureGets(ctx context.Context, b *bench, p peer, t task) error {
	t.seconds = b.seconds
	for _, w := range []struct{ work, title string }{
		{"get", "get"},
		{"get-dependent", "get, dependent"},
		{"get-snapshot", "get, one snapshot"},
	} {
		t.work = w.work
		r, err := run(ctx, p, t)
		if err != nil {
			return err
		}
		b.report.add(w.title, t.n, nanosPerOp, p, r.nanosPerOp())
	}
	return nil
}

// measureReaders compares one process that reads with two at the same time.
func measureReaders(ctx context.Context, b *bench, p peer, t task) error {
	t.work, t.seconds = "get", b.seconds
	one, err := readersInSum(ctx, p, t, 1)
	if err != nil {
		return err
	}
	two, err := readersInSum(ctx, p, t, 2)
	if err != nil {
		return err
	}
	b.report.add("get, 1 process", t.n, nanosPerOp, p, one)
	b.report.add("get, 2 processes in sum", t.n, nanosPerOp, p, two)
	b.report.add("2 processes to 1", t.n, timesAsFast, p, one/two)
	return nil
}

// readersInSum lets so many readers run at the same time and returns the nanoseconds per get of all together.
func readersInSum(ctx context.Context, p peer, t task, readers int) (float64, error) {
	ctx, stop := context.WithCancel(ctx) // after an error, the other readers end too
	defer stop()
	var children []*child
	for i := range readers {
		t.seed = splitmix64(t.seed + uint64(i))
		c, err := start(ctx, p, t)
		if err != nil {
			return 0, err
		}
		children = append(children, c)
	}
	for _, c := range children {
		c.release()
	}
	var getsPerNano float64
	for _, c := range children {
		r, err := c.wait()
		if err != nil {
			return 0, err
		}
		getsPerNano += 1 / r.nanosPerOp()
	}
	return 1 / getsPerNano, nil
}

// measureSets overwrites after a quarter as many sets that are not timed, by which the store has settled into
// reusing what it replaces.
func measureSets(ctx context.Context, b *bench, p peer, t task) error {
	t.ops = min(max(t.n, 500_000), 2_000_000)
	t.warm = t.ops / 4
	r, err := runWhole(ctx, p, t)
	if err == nil {
		b.report.add("overwrite, one a commit", t.n, nanosPerOp, p, r.nanosPerOp())
	}
	return err
}

// runWhole carries out a task and takes it for an error when the store was full before the end.
func runWhole(ctx context.Context, p peer, t task) (result, error) {
	r, err := run(ctx, p, t)
	if err == nil && r.Full {
		err = fullError{r.Ops}
	}
	return r, err
}
