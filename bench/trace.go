package main

import (
	"fmt"
	"math"
	"slices"
	"sort"
)

// A trace is a sequence of accesses to a cache, the same for all peers.
type trace struct {
	key  func(i uint64) uint64 // index of the key of access i
	size func(k uint64) int    // bytes of the value of key k
}

// The traces, in the order of the report. Each of them has t.n keys, of which a scan and a shifting working set use more.
var traceNames = []string{"Zipf 0.8", "Zipf 0.99", "Zipf 1.2", "Zipf 0.99 and a scan", "loop", "shifting Zipf 0.99", "mixed sizes"}

const (
	// loopPercent is the bytes of the keys of a loop, in percent of the bound.
	loopPercent = 110
	// Every scanEvery'th access of a scan is to a key that nobody has used before.
	scanEvery = 3
	// The working set is another one after each shifts'th part of the accesses.
	shifts = 5
	// Mixed sizes are between these, each power of two as often as the others.
	leastMixed, mostMixed = 64, 8192
)

// newTrace returns the trace of a task.
func newTrace(t task) (trace, error) {
	n := uint64(t.n)
	tr := trace{size: func(uint64) int { return t.value }}
	zipf := func(exponent float64) func(i uint64) uint64 {
		ranks := newRanks(exponent, t.n)
		return func(i uint64) uint64 { return permute(ranks.draw(splitmix64(t.seed+i)), n) }
	}
	switch t.trace {
	case "Zipf 0.8":
		tr.key = zipf(0.8)
	case "Zipf 0.99":
		tr.key = zipf(0.99)
	case "Zipf 1.2":
		tr.key = zipf(1.2)
	case "Zipf 0.99 and a scan":
		draw := zipf(0.99)
		tr.key = func(i uint64) uint64 {
			if i%scanEvery == 0 {
				return n + i
			}
			return draw(i)
		}
	case "loop":
		keys := uint64(t.capacity) * loopPercent / 100 / uint64(keyBytes+t.value)
		tr.key = func(i uint64) uint64 { return i % keys }
	case "shifting Zipf 0.99":
		draw := zipf(0.99)
		part := uint64(max(t.ops/shifts, 1))
		tr.key = func(i uint64) uint64 { return draw(i) + i/part*n }
	case "mixed sizes":
		tr.key = zipf(0.99)
		tr.size = mixedSize
	default:
		return tr, fmt.Errorf("trace %q is none of %q", t.trace, traceNames)
	}
	return tr, nil
}

// mixedSize returns the size of a key's value, whose logarithm is uniform.
func mixedSize(k uint64) int {
	u := float64(splitmix64(^k)>>11) / (1 << 53)
	return int(leastMixed * math.Pow(mostMixed/leastMixed, u))
}

// mixedMean is the mean of mixedSize.
var mixedMean = (mostMixed - leastMixed) / math.Log(mostMixed/leastMixed)

// ranks draws ranks below their number by Zipf's law, from the sums of the probabilities.
type ranks []float64

func newRanks(exponent float64, n int) ranks {
	r, sum := make(ranks, n), 0.0
	for i := range r {
		sum += math.Pow(float64(i+1), -exponent)
		r[i] = sum
	}
	return r
}

// draw converts random bits to a rank.
func (r ranks) draw(x uint64) uint64 {
	u := float64(x>>11) / (1 << 53) * r[len(r)-1]
	return uint64(min(sort.SearchFloat64s(r, u), len(r)-1))
}

// largest returns the size of the largest value of a trace.
func (t task) largest() int { return slices.Max([]int{t.value, mostMixed}) }
