package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/seed-869cc763/shmkv/shm"
	"github.com/seed-869cc763/shmkv/shm/record"
)

// The work "record" measures records of package shm/record, in a Go process and through "shmctl serve durus". It
// consists of all works whose names begin with "record-". There is no peer: Durus's own server cannot be had as a package.
const recordWork = "record"

const (
	recordChildren = 10  // records that each record refers to, as long as there are some
	recordData     = 100 // bytes
	recordPool     = 32  // ids that a client asks for at once, as those of Durus do
	recordsOfBulk  = 100

	titleRecordOpen   = "record, open and load the root: in a process that has done so before"
	titleRecordServe  = "record, start of the server to its answer to a load"
	titleRecordEmpty  = titleRecordServe + ", an empty store"
	titleRecordLoad   = "record, %s: loads"
	titleRecordBulk   = "record, %s: loads, 100 at once"
	titleRecordCommit = "record, %s: commits of %s"
	titleRecordPack   = "record, unix socket, %s: %s"
)

var recordMeasurements = []measurement{
	{"record-go", "record, in Go", makesStore, ofServers(measureRecordsInGo)},
	{"record-server", "record, a server", makesStore, ofServers(measureRecordsOfServer)},
	{"record-open", "record, open", makesStore, ofServers(measureRecordOpen)},
	{"record-pack", "record, a collection", makesStore, ofServers(measureRecordPack)},
}

func recordWorks() []string { return worksOf(recordMeasurements) }

// treeOfRecords yields n records. All are reachable from the root.
func treeOfRecords(n int) func(yield func(record.Record, error) bool) {
	return func(yield func(record.Record, error) bool) {
		for i := range n {
			r := record.Record{ID: record.ID(i), Data: make([]byte, recordData)}
			for child := recordChildren*i + 1; child <= recordChildren*(i+1) && child < n; child++ {
				r.Refs = append(r.Refs, record.ID(child))
			}
			if !yield(r, nil) {
				return
			}
		}
	}
}

// withRecords makes a store of n records, calls use with its path, and removes it.
func (b *bench) withRecords(ctx context.Context, t task, use func(path string) error) (err error) {
	defer func() { err = errors.Join(err, os.RemoveAll(t.path)) }()
	st, err := record.Open(t.path, &record.Options{Store: shm.Options{MaxSize: 4<<30 + 8*payload(t.n, t.value)}})
	if err != nil {
		return err
	}
	_, err = st.Import(ctx, treeOfRecords(t.n), nil)
	if err = errors.Join(err, st.Close()); err != nil {
		return err
	}
	return use(t.path)
}

func measureRecordsInGo(ctx context.Context, b *bench, t task) error {
	return b.withRecords(ctx, t, func(path string) (err error) {
		st, err := record.Open(path, nil)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, st.Close()) }()
		s, err := st.Session()
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, s.Close()) }()
		return b.measureRecords(ctx, t, "in Go", &recordSession{s: s})
	})
}

func measureRecordsOfServer(ctx context.Context, b *bench, t task) error {
	return b.withRecords(ctx, t, func(path string) (err error) {
		v, err := b.serveRecords(ctx, path)
		if err != nil {
			return err
		}
		defer v.end()
		c, err := v.dial()
		if err != nil {
			return err
		}
		defer c.nc.Close()
		return b.measureRecords(ctx, t, "unix socket", c)
	})
}

// A recordServer is a run of shmctl serve durus.
type recordServer struct {
	cmd    *exec.Cmd
	socket string
}

func (b *bench) serveRecords(ctx context.Context, path string) (*recordServer, error) {
	program, err := b.buildShmctl(ctx)
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(b.dir, "durus") // of its own, as this process has locked the other one
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	v := &recordServer{socket: filepath.Join(dir, "socket")}
	v.cmd = exec.CommandContext(ctx, program, "serve", "durus", "--file", path, "--address", v.socket, "--logginglevel", "30")
	v.cmd.Stderr = os.Stderr
	v.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	return v, v.cmd.Start()
}

func (v *recordServer) dial() (*recordConn, error) {
	if err := waitForSocket(v.socket); err != nil {
		return nil, err
	}
	return dialRecords("unix", v.socket)
}

func (v *recordServer) end() {
	v.cmd.Process.Kill()
	v.cmd.Wait() // returns an error because it was killed
}

// A recordMix draws what a client loads and commits.
type recordMix struct {
	u     recordUser
	draws *draws
	pool  []record.ID
	data  []byte
}

func newRecordMix(u recordUser, t task) *recordMix {
	return &recordMix{u: u, draws: newDraws(t, false), data: make([]byte, recordData)}
}

func (m *recordMix) id() record.ID { return record.ID(m.draws.next()) }

func (m *recordMix) load() error { return m.u.load(m.id()) }

func (m *recordMix) loadMany() error {
	ids := make([]record.ID, recordsOfBulk)
	for i := range ids {
		ids[i] = m.id()
	}
	return m.u.loadMany(ids)
}

// change returns a commit that changes the data of k records without references of their own.
func (m *recordMix) change(n, k int) func() error {
	records := make([]record.Record, k)
	leaves := uint64(n - n/recordChildren - 1)
	return func() error {
		at := uint64(m.id())
		m.data[at%recordData]++
		for i := range records {
			records[i] = record.Record{ID: record.ID(uint64(n) - 1 - (at+uint64(i))%leaves), Data: m.data}
		}
		return m.u.commit(records)
	}
}

// create returns a commit of k new records. If they are linked, it also stores a record that is there, which then
// refers to them.
func (m *recordMix) create(n, k int, linked bool) func() error {
	var parent uint64
	leaves := uint64(n - n/recordChildren - 1)
	return func() (err error) {
		for len(m.pool) < k {
			if m.pool, err = m.u.newIDs(m.pool, recordPool); err != nil {
				return err
			}
		}
		var records []record.Record
		for _, id := range m.pool[:k] {
			records = append(records, record.Record{ID: id, Data: m.data})
		}
		if linked {
			at := record.ID(uint64(n) - 1 - parent%leaves)
			records = append(records, record.Record{ID: at, Data: m.data, Refs: append([]record.ID(nil), m.pool[:k]...)})
			parent++
		}
		m.pool = m.pool[:copy(m.pool, m.pool[k:])]
		return m.u.commit(records)
	}
}

// measureRecords measures loads and commits of one client.
func (b *bench) measureRecords(ctx context.Context, t task, where string, u recordUser) error {
	m := newRecordMix(u, t)
	type work struct {
		title string
		unit  string
		times float64 // records or commits of a call
		step  func() error
	}
	works := []work{
		{fmt.Sprintf(titleRecordLoad, where), thousandsPerSecond, 1e-3, m.load},
		{fmt.Sprintf(titleRecordBulk, where), thousandsPerSecond, recordsOfBulk * 1e-3, m.loadMany},
	}
	for _, k := range []int{1, 10, 100} {
		of := func(what string) string { return fmt.Sprintf(titleRecordCommit, where, fmt.Sprintf(what, k)) }
		works = append(works,
			work{of("%d changed"), perSecond, 1, m.change(t.n, k)},
			work{of("%d new, and what refers to them"), perSecond, 1, m.create(t.n, k, true)},
			work{of("%d new, to which nothing refers"), perSecond, 1, m.create(t.n, k, false)},
		)
	}
	for _, w := range works {
		nanos, err := b.byTurns(ctx, []func() error{w.step})
		if err != nil {
			return fmt.Errorf("%s: %w", w.title, err)
		}
		b.report.add(w.title, t.n, w.unit, b.peers[0], w.times*1e9/nanos[0])
	}
	return nil
}

// measureRecordOpen measures how long it takes until a store answers.
func measureRecordOpen(ctx context.Context, b *bench, t task) error {
	if _, err := b.buildShmctl(ctx); err != nil {
		return err
	}
	return b.withRecords(ctx, t, func(path string) error {
		for _, of := range []struct{ title, path string }{{titleRecordServe, path}, {titleRecordEmpty, path + "-empty"}} {
			took, err := b.timeRecordServer(ctx, of.path)
			if err != nil {
				return err
			}
			b.report.add(of.title, t.n, nanosPerOp, b.peers[0], float64(took))
		}
		open := func() (err error) {
			st, err := record.Open(path, nil)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, st.Close()) }()
			s, err := st.Session()
			if err == nil {
				_, err = s.Load(0)
			}
			return err
		}
		if err := open(); err != nil { // once before
			return err
		}
		nanos, err := b.byTurns(ctx, []func() error{open})
		if err != nil {
			return err
		}
		b.report.add(titleRecordOpen, t.n, nanosPerOp, b.peers[0], nanos[0])
		b.report.aim(titleRecordOpen, t.n, goal{AtMost: float64(50 * time.Millisecond)})
		return os.RemoveAll(path + "-empty")
	})
}

// timeRecordServer returns the time from the start of a server to its answer to a load.
func (b *bench) timeRecordServer(ctx context.Context, path string) (time.Duration, error) {
	began := time.Now()
	v, err := b.serveRecords(ctx, path)
	if err != nil {
		return 0, err
	}
	defer v.end()
	c, err := v.dial()
	if err != nil {
		return 0, err
	}
	defer c.nc.Close()
	if _, err := c.ask(append([]byte{'L'}, make([]byte, 8)...), 1); err != nil { // O or K
		return 0, err
	}
	return time.Since(began), nil
}

// measureRecordPack measures the latency of a client without and with a collection beside it, by turns.
func measureRecordPack(ctx context.Context, b *bench, t task) error {
	return b.withRecords(ctx, t, func(path string) error {
		v, err := b.serveRecords(ctx, path)
		if err != nil {
			return err
		}
		defer v.end()
		c, err := v.dial()
		if err != nil {
			return err
		}
		defer c.nc.Close()
		packer, err := v.dial()
		if err != nil {
			return err
		}
		defer packer.nc.Close()
		m := newRecordMix(c, t)
		kinds := []struct {
			what string
			step func() error
		}{{"load", m.load}, {"commit of 1 changed", m.change(t.n, 1)}, {"commit of 10 new, and what refers to them", m.create(t.n, 10, true)}}
		alone, beside := make([]*hdrhistogram.Histogram, len(kinds)), make([]*hdrhistogram.Histogram, len(kinds))
		for i := range kinds {
			alone[i], beside[i] = newHistogram(), newHistogram()
		}
		measure := func(to []*hdrhistogram.Histogram, until time.Time) error {
			for ctx.Err() == nil && time.Now().Before(until) {
				for i, k := range kinds {
					began := time.Now()
					if err := k.step(); err != nil {
						return err
					}
					to[i].RecordValue(int64(time.Since(began)))
				}
			}
			return ctx.Err()
		}
		slice := time.Duration(b.seconds * float64(time.Second))
		for range turnsOfServers {
			if err := measure(alone, time.Now().Add(slice)); err != nil {
				return err
			}
			packed, stop := make(chan error, 1), make(chan struct{})
			go func() { // P is answered after a second, and the next one joins the collection that runs
				for {
					if err := packer.pack(); err != nil {
						packed <- err
						return
					}
					select {
					case <-stop:
						packed <- nil
						return
					default:
					}
				}
			}()
			err := measure(beside, time.Now().Add(slice))
			close(stop)
			if err := errors.Join(err, <-packed); err != nil {
				return err
			}
			if err := awaitCollection(ctx, path); err != nil {
				return err
			}
		}
		for i, k := range kinds {
			for _, q := range []struct {
				title string
				at    float64
			}{{"p50", 50}, {"p99", 99}} {
				title := fmt.Sprintf(titleRecordPack, k.what, q.title)
				without, with := float64(alone[i].ValueAtQuantile(q.at)), float64(beside[i].ValueAtQuantile(q.at))
				b.report.add(title, t.n, nanosPerOp, b.peers[0], without)
				b.report.add(title+", beside a collection", t.n, nanosPerOp, b.peers[0], with)
				b.report.add(title+", divided by that alone", t.n, timesAlone, b.peers[0], with/without)
				b.report.aim(title+", divided by that alone", t.n, goal{AtMost: 2})
			}
		}
		return nil
	})
}

// awaitCollection waits for the end of a collection.
func awaitCollection(ctx context.Context, path string) (err error) {
	st, err := record.Open(path, &record.Options{Store: shm.Options{ReadOnly: true}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	for ctx.Err() == nil {
		if packing, err := st.Packing(); err != nil || !packing {
			return err
		}
		time.Sleep(time.Millisecond)
	}
	return ctx.Err()
}
