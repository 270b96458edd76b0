package main

import (
	"context"
	"slices"
)

// The work "ordered" measures ordered maps. It consists of all works whose names begin with "ordered-". Ratios and
// goals of its rows are about the peer orderedName.
const ordered = "ordered"

// rangeOf is the number of entries of a range.
const rangeOf = 100

const (
	titleOrderedGet    = "ordered: get, copied"
	titleOrderedAllocs = "ordered: allocations a get"
	titleOrderedInsert = "ordered: insert, one a commit"
	titleAscending     = "ordered: insert in ascending order, one a commit"
	titleMin           = "ordered: Min"
	titleHigher        = "ordered: Higher"
	titleFloor         = "ordered: Floor"
	titleAt            = "ordered: At"
	titleRank          = "ordered: Rank"
)

// orderedMeasurements are the measurements of the work "ordered" in order.
var orderedMeasurements = []measurement{
	{ordered + "-load", titleOrderedInsert, makesStore, measureOrderedLoad},
	{ordered + "-get", titleOrderedGet, readsStore, measureOrderedGet},
	aimed(sets(ordered+"-set", "ordered: overwrite, one a commit", 1), goal{AtLeast: 1.3, Peer: "lmdb"}),
	aimed(sets(ordered+"-batch", "ordered: overwrite, 1000 a commit", 1000), goal{AtLeast: 2, Peer: "lmdb"}),
	aimed(reads(ordered+"-range", "ordered: range of 100 entries", task{work: "range", batch: rangeOf}), asLMDB),
	aimed(reads(ordered+"-scan", "ordered: scan", task{work: "scan-ordered"}), asLMDB),
	toGet(reads(ordered+"-near", titleMin, task{work: "min"})),
	toGet(reads(ordered+"-near", titleHigher, task{work: "higher"})),
	toGet(reads(ordered+"-near", titleFloor, task{work: "floor"})),
	atAMillion(reads(ordered+"-at", titleAt, task{work: "at"}), goal{AtMost: 3000}),
	atAMillion(reads(ordered+"-at", titleRank, task{work: "rank"}), goal{AtMost: 3000}),
}

// asLMDB is the goal of at most one and a half times LMDB's time.
var asLMDB = goal{AtLeast: 1 / 1.5, Peer: "lmdb"}

// orderedWorks returns the names of the parts of ordered for -work.
func orderedWorks() []string { return worksOf(orderedMeasurements) }

// isOrdered reports whether a work is a part of ordered.
func isOrdered(work string) bool { return slices.Contains(orderedWorks(), work) }

// aimed returns a measurement whose row is about ordered maps, with these goals.
func aimed(m measurement, goals ...goal) measurement {
	measure := m.measure
	m.measure = func(ctx context.Context, b *bench, p peer, t task) error {
		err := measure(ctx, b, p, t)
		b.report.aimOrdered(m.title, t.n, goals...)
		return err
	}
	return m
}

// atAMillion returns a measurement whose row is about ordered maps, with a goal among a million entries.
func atAMillion(m measurement, g goal) measurement {
	measure := m.measure
	m.measure = func(ctx context.Context, b *bench, p peer, t task) error {
		err := measure(ctx, b, p, t)
		if t.n == 1_000_000 {
			b.report.aimOrdered(m.title, t.n, g)
		} else {
			b.report.aimOrdered(m.title, t.n)
		}
		return err
	}
	return m
}

// toGet returns a measurement whose row is about ordered maps, and that adds the ratio to a get of the same peer.
func toGet(m measurement) measurement {
	measure := m.measure
	m.measure = func(ctx context.Context, b *bench, p peer, t task) error {
		if err := measure(ctx, b, p, t); err != nil {
			return err
		}
		b.report.aimOrdered(m.title, t.n)
		b.addToOther(m.title, titleOrderedGet, m.title+": to a get", timesAGet, p, t.n)
		return nil
	}
	return m
}

// aimOrdered makes a row one about ordered maps, and sets its goals.
func (r *report) aimOrdered(title string, n int, goals ...goal) {
	if row := r.row(title, n); row != nil {
		row.Of = orderedName
		r.aim(title, n, goals...)
	}
}

// addToOther adds how many times as fast as in the row other a peer is in the row title, in this round.
func (b *bench) addToOther(title, other, ratio, unit string, p peer, n int) {
	nanos, ok := b.report.inThisRound(title, n, p)
	nanosOfOther, okOther := b.report.inThisRound(other, n, p)
	if ok && okOther {
		b.report.add(ratio, n, unit, p, nanosOfOther/nanos)
		b.report.aimOrdered(ratio, n, goal{AtLeast: 1})
	}
}

// measureOrderedLoad fills a store in random order and another one in ascending order.
func measureOrderedLoad(ctx context.Context, b *bench, p peer, t task) error {
	if err := inserts(titleOrderedInsert, 1)(ctx, b, p, t); err != nil {
		return err
	}
	t.order = ascending
	if err := inserts(titleAscending, 1)(ctx, b, p, t); err != nil {
		return err
	}
	b.report.aimOrdered(titleOrderedInsert, t.n)
	b.report.aimOrdered(titleAscending, t.n)
	b.addToOther(titleAscending, titleOrderedInsert, titleAscending+": to random order", timesRandom, p, t.n)
	return nil
}

// measureOrderedGet measures gets, and how many objects each of them allocates.
func measureOrderedGet(ctx context.Context, b *bench, p peer, t task) error {
	t.work, t.seconds = "get", b.seconds
	r, err := runWhole(ctx, p, t)
	if err != nil {
		return err
	}
	b.report.add(titleOrderedGet, t.n, nanosPerOp, p, r.nanosPerOp())
	b.report.aimOrdered(titleOrderedGet, t.n,
		goal{AtLeast: 1.3, Peer: "lmdb"}, goal{AtLeast: 1 / 1.5, Peer: storeName}, goal{AtLeast: 1 / 1.5, Peer: namedName})
	if goPeers[p.name].open != nil {
		b.report.add(titleOrderedAllocs, t.n, count, p, float64(r.Allocs)/float64(r.Ops))
		b.report.aimOrdered(titleOrderedAllocs, t.n, goal{AtMost: 0.01})
	}
	return nil
}

// goalOfSpace returns the goal of the space of a peer in one state of size, or nil.
func goalOfSpace(p peer, state string, n int) *goal {
	if p.name != orderedName || n < 100_000 {
		return nil
	}
	switch state {
	case stateLoaded:
		return &goal{AtMost: 1.6}
	case stateOverwritten:
		return &goal{AtMost: 1.8}
	}
	return nil
}

// verdict returns the goal of the space and whether the store has reached it.
func (r spaceRow) verdict() string {
	if r.Goal == nil {
		return ""
	}
	return r.Goal.verdict(summarize([]float64{r.perByte(r.Allocated)}), true)
}
