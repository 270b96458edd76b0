package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// A worker is one goroutine that works on a table, with buffers that its operations reuse.
type worker struct {
	task
	table     table
	keys      sequence
	key       [keyBytes]byte
	value     []byte // to write
	copied    []byte // read value
	indices   []uint64
	many      [][]byte // keys, for readMany
	order     []uint64 // indices to load, or nil for 0, 1, 2, …
	found     []byte   // entry that was looked up by its place
	words     uint64   // sum of words of the values visited
	latencies *hdrhistogram.Histogram
	runs      batchRuns
}

// newWorker returns a worker of a task. Each worker draws other keys.
func newWorker(tab table, t task, number int) *worker {
	seed := t.seed
	if number > 0 {
		seed = splitmix64(t.seed + uint64(number))
	}
	w := &worker{
		task: t, table: tab, keys: sequence{seed: seed, n: uint64(t.n), zipf: t.zipf},
		value: make([]byte, t.value), copied: make([]byte, 0, t.value), indices: make([]uint64, t.batch),
		found: make([]byte, 0, keyBytes+t.value),
	}
	for range t.batch {
		w.many = append(w.many, make([]byte, keyBytes))
	}
	return w
}

// operation returns the worker's operation and the number of keys of each call. Call end after the last call.
func (w *worker) operation() (opsPerCall int, op func(i uint64) error, end func() error, err error) {
	opsPerCall, end = 1, func() error { return nil }
	switch w.work {
	case "load":
		if w.task.order == ascending {
			w.order = ascendingIndices(w.n)
		}
		op = w.load
		if w.batch > 1 {
			opsPerCall, op = w.batch, w.loadMany
		}
	case "get":
		op = w.get
	case "get-dependent":
		w.copied = w.copied[:w.task.value]
		op = w.getDependent
	case "get-absent":
		op = w.getAbsent
	case "get-many":
		opsPerCall, op = w.batch, w.getMany
		if m, ok := w.table.(manyReader); ok {
			op = func(i uint64) error { return w.getManyAtOnce(m, i) }
		}
	case "get-snapshot", "get-in-place":
		var v viewer
		if v, err = as[viewer](w.table); err != nil {
			break
		}
		var find func(key []byte) ([]byte, error)
		find, end, err = v.view()
		op = func(i uint64) error { return w.find(find, i) }
	case "set":
		op = w.set
		if w.batch > 1 {
			opsPerCall, op = w.batch, w.setMany
		}
	case "mixed":
		op = w.mixed
	case "delete":
		op = w.delete
	case "scan":
		var s scanner
		s, err = as[scanner](w.table)
		opsPerCall, op = w.n, func(uint64) error { return w.scan(s) }
	case "range", "scan-ordered", "min", "higher", "floor", "at", "rank":
		opsPerCall, op, err = w.orderedOperation()
	case "latency":
		op = w.timed(w.get)
	case "latency-set":
		op = w.timed(w.set)
	case "latency-sync":
		var s syncer
		s, err = as[syncer](w.table)
		sync := w.timed(func(uint64) error { return s.sync() })
		opsPerCall, op = w.batch, func(i uint64) error { return errors.Join(w.setEach(i), sync(i)) }
	case "chase":
		var m *memoryTable
		if m, err = as[*memoryTable](w.table); err != nil {
			break
		}
		opsPerCall, op, end, err = m.chase(w.task)
	default:
		err = errors.New("no such work")
	}
	return opsPerCall, op, end, err
}

// as converts a table to an interface with more methods, if the table has them.
func as[T any](tab table) (T, error) {
	t, ok := tab.(T)
	if !ok {
		return t, errUnsupported
	}
	return t, nil
}

// prepare maps a store's pages by a scan, reads for a while, and makes the warm-up sets, all untimed. It first fills a
// table that ends with its process.
func (w *worker) prepare(fill bool) error {
	if fill {
		for i := range uint64(w.n) {
			if err := w.put(i, 0); err != nil {
				return err
			}
		}
	}
	if s, ok := w.table.(scanner); ok {
		if err := w.scan(s); err != nil {
			return err
		}
	}
	if err := w.untimed(min(w.n, 100_000), func(i uint64) error { return w.get(^i) }); err != nil {
		return err
	}
	if w.batch > 1 {
		return w.untimed(w.warm/w.batch, func(i uint64) error { return w.setMany(^i) })
	}
	return w.untimed(w.warm, func(i uint64) error { return w.put(w.keys.draw(^i), i) })
}

// untimed calls op a number of times, for at most the task's seconds.
func (w *worker) untimed(ops int, op func(i uint64) error) error {
	if ops == 0 {
		return nil
	}
	t := w.task
	t.ops = ops
	_, err := t.loop(1, op)
	return err
}

// hold keeps a snapshot until the gate opens.
func (w *worker) hold(gate func() error) error {
	v, err := as[viewer](w.table)
	if err != nil {
		return err
	}
	_, end, err := v.view()
	if err != nil {
		return err
	}
	return errors.Join(gate(), end())
}

func (w *worker) load(i uint64) error {
	k := w.inserted(i)
	w.keys.sum += k
	return w.put(k, 0)
}

// inserted returns the i-th index to load.
func (w *worker) inserted(i uint64) uint64 {
	if w.order != nil {
		return w.order[i]
	}
	return i
}

// loadMany inserts the next batch, which is smaller at the end.
func (w *worker) loadMany(i uint64) error {
	first := i * uint64(w.batch)
	n := min(uint64(w.batch), uint64(w.n)-first)
	for j := range n {
		w.indices[j] = w.inserted(first + j)
		w.keys.sum += w.indices[j]
	}
	return w.putMany(int(n), 0)
}

func (w *worker) set(i uint64) error { return w.put(w.keys.draw(i), i) }

func (w *worker) setMany(i uint64) error {
	w.drawMany(i)
	return w.putMany(w.batch, i)
}

// setEach sets a batch of keys, one a commit.
func (w *worker) setEach(i uint64) error {
	for j := range uint64(w.batch) {
		if err := w.set(i*uint64(w.batch) + j); err != nil {
			return err
		}
	}
	return nil
}

func (w *worker) get(i uint64) error { return w.take(w.keys.draw(i)) }

// getDependent mixes the last byte of the previous value into the next draw. The byte is always 0, but the CPU has to
// wait for it.
func (w *worker) getDependent(i uint64) error {
	return w.take(w.keys.draw(i + uint64(w.copied[len(w.copied)-1])))
}

func (w *worker) getAbsent(i uint64) error {
	k := w.keys.draw(i)
	putKey(w.key[:], uint64(w.n)+k)
	if _, err := w.table.read(w.copied[:0], w.key[:]); err != errAbsent {
		return fmt.Errorf("absent key: %v", err)
	}
	return nil
}

func (w *worker) getMany(i uint64) error {
	w.drawMany(i)
	for _, k := range w.indices {
		if err := w.take(k); err != nil {
			return err
		}
	}
	return nil
}

func (w *worker) getManyAtOnce(m manyReader, i uint64) error {
	w.drawMany(i)
	for j, k := range w.indices {
		putKey(w.many[j], k)
	}
	return m.readMany(w.many, func(j int, value []byte) error {
		w.copied = append(w.copied[:0], value...)
		return checkValue(w.copied, w.indices[j], w.task.value)
	})
}

func (w *worker) find(find func(key []byte) ([]byte, error), i uint64) error {
	k := w.keys.draw(i)
	putKey(w.key[:], k)
	value, err := find(w.key[:])
	if err != nil {
		return err
	}
	if w.work == "get-snapshot" {
		w.copied = append(w.copied[:0], value...)
		value = w.copied
	}
	return checkValue(value, k, w.task.value)
}

func (w *worker) mixed(i uint64) error {
	if splitmix64(^(w.keys.seed+i))%20 == 0 {
		return w.set(i)
	}
	return w.get(i)
}

func (w *worker) delete(i uint64) error {
	k := permute(i, w.keys.n)
	w.keys.sum += k
	putKey(w.key[:], k)
	return w.table.remove(w.key[:])
}

// scan reads a byte of each page of every value, which also maps the pages.
func (w *worker) scan(s scanner) error {
	entries, last := 0, byte(0)
	err := s.scan(func(key, value []byte) error {
		entries++
		for at := 0; at < len(value); at += 4096 {
			last |= value[at]
		}
		i := indexOf(key)
		w.keys.sum += i
		return checkValue(value, i, w.task.value)
	})
	w.copied = append(w.copied[:0], last)
	if err == nil && entries != w.n {
		err = fmt.Errorf("%d entries instead of %d", entries, w.n)
	}
	return err
}

// timed returns an operation that measures the time of each call of op.
func (w *worker) timed(op func(i uint64) error) func(i uint64) error {
	w.latencies = newHistogram()
	return func(i uint64) error {
		start := time.Now()
		err := op(i)
		w.latencies.RecordValue(int64(time.Since(start)))
		return err
	}
}

func (w *worker) drawMany(i uint64) {
	first := i * uint64(w.batch)
	for j := range w.indices {
		w.indices[j] = w.keys.draw(first + uint64(j))
	}
}

// take copies the value of key k.
func (w *worker) take(k uint64) (err error) {
	putKey(w.key[:], k)
	if w.copied, err = w.table.read(w.copied[:0], w.key[:]); err != nil {
		return err
	}
	return checkValue(w.copied, k, w.task.value)
}

func (w *worker) put(k, stamp uint64) error {
	putKey(w.key[:], k)
	putValue(w.value, k, stamp)
	return w.table.write(w.key[:], w.value)
}

// putMany writes the first n of the worker's indices. It counts the runs of the batch by the requests for its first
// entry, because a table that runs a batch again requests the entry again.
func (w *worker) putMany(n int, stamp uint64) error {
	runs := 0
	err := w.table.(batcher).writeMany(n, func(j int) (key, value []byte) {
		if j == 0 {
			runs++
		}
		putKey(w.key[:], w.indices[j])
		putValue(w.value, w.indices[j], stamp)
		return w.key[:], w.value
	})
	w.runs.add(batchRuns{1, runs, runs})
	return err
}
