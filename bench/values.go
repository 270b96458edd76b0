package main

import (
	"context"
	"fmt"
)

// valuesWorks are the works of values in order, and the titles of their steps.
var valuesWorks = []string{"get", "set"}

// valuesTask returns a task with values of one size, in a store of up to 256 MiB.
func (b *bench) valuesTask(p peer, work string, bytes, round int) task {
	n := min(max((256<<20)/bytes, 16), 100_000)
	t := b.speedTask(p, work, n, round)
	t.value, t.capacity = bytes, capacity(n, bytes)
	return t
}

// values makes one round with values of one size: gets and sets. The copy of memory limits both for large values. The
// peer "memory" does only this copy. Stores are filled in each round, because copies of them would take as long.
func (b *bench) values(ctx context.Context, bytes, round int) {
	loaded := map[string]bool{}
	for i := range b.peers {
		p := b.peers[(i+round)%len(b.peers)]
		drop := b.fillValues(ctx, p, bytes, round, loaded)
		defer drop()
	}
	for _, work := range valuesWorks {
		for i := range b.peers {
			p := b.peers[(i+round)%len(b.peers)]
			t := b.valuesTask(p, work, bytes, round)
			if loaded[p.name] {
				b.measureValues(ctx, p, t, round)
			} else {
				b.meter.skip(stepOf(p, work, t))
			}
		}
	}
}

// fillValues fills a peer's store. The returned function drops the store.
func (b *bench) fillValues(ctx context.Context, p peer, bytes, round int, loaded map[string]bool) (drop func()) {
	t := b.valuesTask(p, "load", bytes, round)
	t.ops = t.n
	defer b.meter.begin(ctx, stepOf(p, titleFill, t), round)()
	drop, err := b.makeStore(ctx, p, t)
	if err == nil {
		_, err = runWhole(ctx, p, t)
	}
	if err != nil {
		b.fail(ctx, p, t, err)
		return drop
	}
	loaded[p.name] = true
	return drop
}

func (b *bench) measureValues(ctx context.Context, p peer, t task, round int) {
	defer b.meter.begin(ctx, stepOf(p, t.work, t), round)()
	t.seconds = b.seconds
	if t.work == "set" {
		t.warm = t.n / 4
	}
	r, err := runWhole(ctx, p, t)
	if err != nil {
		b.fail(ctx, p, t, err)
		return
	}
	b.report.add(fmt.Sprintf("%s, values of %s", t.work, byteSize(t.value)), t.n, nanosPerOp, p, r.nanosPerOp())
}

// expectValues tells the meter the steps of values in all rounds.
func (b *bench) expectValues(sizes []int) {
	for _, bytes := range sizes {
		for _, p := range b.peers {
			for _, title := range append([]string{titleFill}, valuesWorks...) {
				b.meter.expect(stepOf(p, title, b.valuesTask(p, title, bytes, 0)), b.rounds)
			}
		}
	}
}

// byteSize formats a number of bytes in the largest unit that gives an integer.
func byteSize(bytes int) string {
	switch {
	case bytes >= 1<<20 && bytes%(1<<20) == 0:
		return fmt.Sprintf("%d MiB", bytes>>20)
	case bytes >= 1<<10 && bytes%(1<<10) == 0:
		return fmt.Sprintf("%d KiB", bytes>>10)
	}
	return fmt.Sprintf("%d B", bytes)
}
