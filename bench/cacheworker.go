package main

import (
	"errors"
	"fmt"
	"strings"
)

// cacheCounts are the results of cache-trace and of the works that compare two operations.
type cacheCounts struct {
	Reads int   `json:"reads,omitempty"` // that were counted
	Hits  int   `json:"hits,omitempty"`  // of these
	Held  int64 `json:"held,omitempty"`  // bytes that the bound counts, at the end
	// Ratio is the time of an operation, divided by that of the one that it is compared with.
	Ratio float64 `json:"ratio,omitempty"`
}

// isCacheWork reports whether a work of a child is for caches.
func isCacheWork(work string) bool { return strings.HasPrefix(work, "cache-") }

// runCache executes a task on a peer as a cache. It calls gate between the preparations and the timed work.
func (p goPeer) runCache(t task, gate func() error) (r result, err error) {
	if p.cache == nil {
		return r, errUnsupported
	}
	if do, ok := besideWorks[t.work]; ok {
		return do(t, gate)
	}
	tab, err := p.cache(t)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, tab.close()) }()
	w := cacheWorker{task: t, table: tab, value: make([]byte, t.largest()), read: make([]byte, 0, t.largest()+64)}
	switch t.work {
	case "cache-trace":
		return w.run(gate)
	case "cache-get":
		for k := range uint64(t.n) {
			if err := w.put(k, t.value); err != nil {
				return r, err
			}
		}
		keys := sequence{seed: t.seed, n: uint64(t.n)}
		return w.timed(gate, func(i uint64) error {
			hit, err := w.get(keys.draw(i))
			if err == nil && !hit {
				err = errAbsent
			}
			return err
		})
	case "cache-set":
		next := splitmix64(t.seed) // no other process sets the same keys
		put := func(uint64) error {
			next++
			return w.put(next, t.value)
		}
		for i := range uint64(t.warm) {
			if err := put(i); err != nil {
				return r, err
			}
		}
		return w.timed(gate, put)
	}
	return r, fmt.Errorf("no such work")
}

// A cacheWorker is one client of a cache.
type cacheWorker struct {
	task
	table boundedTable
	key   [keyBytes]byte
	value []byte
	read  []byte
}

// get reads key k, and checks the index in its value.
func (w *cacheWorker) get(k uint64) (hit bool, err error) {
	putKey(w.key[:], k)
	w.read, err = w.table.read(w.read[:0], w.key[:])
	switch {
	case err == errAbsent:
		return false, nil
	case err != nil:
		return false, err
	}
	return true, checkValue(w.read, k, len(w.read))
}

func (w *cacheWorker) put(k uint64, size int) error {
	putKey(w.key[:], k)
	putValue(w.value[:size], k, 0)
	return w.table.write(w.key[:], w.value[:size])
}

// timed does the work of the task.
func (w *cacheWorker) timed(gate func() error, op func(i uint64) error) (result, error) {
	if err := gate(); err != nil {
		return result{}, err
	}
	return w.loop(1, op)
}

// warmPart is the part of the accesses of a trace that fills the cache, and is not counted.
const warmPart = 5

// run makes the accesses of a trace. A key that the cache does not have is set.
func (w *cacheWorker) run(gate func() error) (result, error) {
	var counts cacheCounts
	tr, err := newTrace(w.task)
	if err != nil {
		return result{}, err
	}
	r, err := w.timed(gate, func(i uint64) error {
		k := tr.key(i)
		hit, err := w.get(k)
		if err != nil {
			return err
		}
		if i >= uint64(w.ops/warmPart) {
			counts.Reads++
			if hit {
				counts.Hits++
			}
		}
		if hit {
			return nil
		}
		return w.put(k, tr.size(k))
	})
	if err == nil {
		counts.Held, err = w.table.held()
	}
	r.cacheCounts = counts
	return r, err
}
