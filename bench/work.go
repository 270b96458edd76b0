package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// A table is a peer written in Go, as its child uses it. All of its methods may be called by many goroutines at
// once. What only some peers can do is in the interfaces below.
type table interface {
	read(dst, key []byte) ([]byte, error) // appends the value to dst, or returns errAbsent
	write(key, value []byte) error        // one commit, where there are commits
	remove(key []byte) error
	close() error
}

// A viewer shows one version of everything.
type viewer interface {
	// view returns a function that finds values without copying them, until end is called.
	view() (find func(key []byte) ([]byte, error), end func() error, err error)
}

// A manyReader reads many keys in one version faster than one by one. Its values are each's only until it returns.
type manyReader interface {
	readMany(keys [][]byte, each func(j int, value []byte) error) error
}

// A batcher makes many writes one commit.
type batcher interface {
	writeMany(n int, entry func(j int) (key, value []byte)) error
}

// A scanner goes through all entries.
type scanner interface {
	scan(each func(key, value []byte) error) error
}

// A goPeer is a peer written in Go.
type goPeer struct {
	open     func(task) (table, error)
	volatile bool // the table is gone when its process ends, so that every child has to fill its own
	// serve does what tables need in a process of its own, until the gate opens. Most need nothing.
	serve func(t task, gate func() error) error
}

var (
	errAbsent      = errors.New("key not found")
	errFull        = errors.New("no room left")
	errUnsupported = errors.New("this peer cannot do that")
)

// goChild carries out one task on a table: it is the main function of the bench's binary when the bench runs it
// as a child.
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

// runGo carries out a task in this process. It calls gate between what is not timed and what is.
func runGo(name string, t task, gate func() error) (r result, err error) {
	p := goPeers[name]
	r.Peer = name
	switch t.work {
	case "serve":
		return r, p.serve(t, gate)
	case "open":
		return p.openToFirstRead(t, gate)
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
	if errors.Is(err, errFull) {
		r.Full, err = true, nil
	}
	return r, err
}

// openToFirstRead opens a store that is there and reads one key, against the clock.
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

// together lets the task's workers and writers work at the same time, and adds up what the workers did.
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
	close(started)
	running.Wait()
	stop.Store(true)
	beside.Wait()
	for _, r := range results {
		sum.Ops += r.Ops
		sum.Nanos = max(sum.Nanos, r.Nanos)
		sum.Sum += r.Sum
		sum.Latencies = append(sum.Latencies, r.Latencies...)
	}
	return sum, errors.Join(append(errs, err)...)
}

// A worker is one goroutine at work on a table, with the buffers that its operations use again and again.
type worker struct {
	task
	table     table
	keys      sequence
	key       [keyBytes]byte
	value     []byte // written
	copied    []byte // read
	indices   []uint64
	many      [][]byte // keys, for readMany
	latencies *hdrhistogram.Histogram
}

// newWorker returns one of a task's workers, each of which draws other keys.
func newWorker(tab table, t task, number int) *worker {
	seed := t.seed
	if number > 0 {
		seed = splitmix64(t.seed + uint64(number))
	}
	w := &worker{
		task: t, table: tab, keys: sequence{seed: seed, n: uint64(t.n), zipf: t.zipf},
		value: make([]byte, t.value), copied: make([]byte, 0, t.value), indices: make([]uint64, t.batch),
	}
	for range t.batch {
		w.many = append(w.many, make([]byte, keyBytes))
	}
	return w
}

// operation returns what the worker does again and again, and how many keys each call is for. After the last call
// end must follow.
func (w *worker) operation() (opsPerCall int, op func(i uint64) error, end func() error, err error) {
	opsPerCall, end = 1, func() error { return nil }
	switch w.work {
	case "load":
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
	case "latency":
		w.latencies = newHistogram()
		op = w.getTimed
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

// as returns a table as one that can do more, if it can.
func as[T any](tab table) (T, error) {
	t, ok := tab.(T)
	if !ok {
		return t, errUnsupported
	}
	return t, nil
}

// prepare brings a store into this process, by a scan and then reads, and makes the first sets; none of it timed.
// A table that is gone with its process it fills first.
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

// untimed calls op so many times, in no more than the task's seconds.
func (w *worker) untimed(ops int, op func(i uint64) error) error {
	if ops == 0 {
		return nil
	}
	t := w.task
	t.ops = ops
	_, err := t.loop(1, op)
	return err
}

// hold keeps a snapshot while the gate is shut.
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
	w.keys.sum += i
	return w.put(i, 0)
}

// loadMany inserts the next batch, or what is left of it.
func (w *worker) loadMany(i uint64) error {
	first := i * uint64(w.batch)
	n := min(uint64(w.batch), uint64(w.n)-first)
	for j := range n {
		w.indices[j] = first + j
		w.keys.sum += first + j
	}
	return w.putMany(int(n), 0)
}

func (w *worker) set(i uint64) error { return w.put(w.keys.draw(i), i) }

func (w *worker) setMany(i uint64) error {
	w.drawMany(i)
	return w.putMany(w.batch, i)
}

func (w *worker) get(i uint64) error { return w.take(w.keys.draw(i)) }

// getDependent mixes the last byte of the value read before into the draw. It is always 0, but the CPU has to
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

// scan touches each page of every value, which also brings them into this process.
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

func (w *worker) getTimed(i uint64) error {
	start := time.Now()
	err := w.get(i)
	w.latencies.RecordValue(int64(time.Since(start)))
	return err
}

func (w *worker) drawMany(i uint64) {
	first := i * uint64(w.batch)
	for j := range w.indices {
		w.indices[j] = w.keys.draw(first + uint64(j))
	}
}

// take reads the value of key k, copied.
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

// putMany writes the first n of the worker's indices.
func (w *worker) putMany(n int, stamp uint64) error {
	return w.table.(batcher).writeMany(n, func(j int) (key, value []byte) {
		putKey(w.key[:], w.indices[j])
		putValue(w.value, w.indices[j], stamp)
		return w.key[:], w.value
	})
}
