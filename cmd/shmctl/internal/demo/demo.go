// Package demo loads real data into a store with many processes, kills one of them, and
// proves that no data is lost.
//
// A record of the data set has a key and a value. A revision of a record is its value
// followed by a number. A share is the part of the records that one writer writes. A
// round is one pass over a share, in which each record gets the next revision. The victim
// is the writer that Run kills.
//
// Run is the parent process. It shares the data set with its child processes, which
// execute this program with the verbs WriterVerb and ReaderVerb. It starts their work at
// the same time and handles their messages one after the other. In the second round the
// victim stops in the middle of a transaction, and Run kills it with SIGKILL, adopts its
// slots and pins, verifies its share, and starts another writer on the share. At the end
// Run compares each record with the source and accounts for every byte of the file. See
// plan.go for the invariants that readers and Run verify.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seed-869cc763/shmkv/cmd/shmctl/internal/text"
	"github.com/seed-869cc763/shmkv/internal/tempdir"
	"github.com/seed-869cc763/shmkv/shm"
)

// sharedMemory is the default directory for stores.
const sharedMemory = "/dev/shm"

// Limits of the demo that no flag sets.
const (
	holdTime  = 100 * time.Millisecond // from the victim's stop in its transaction to its SIGKILL
	graceTime = time.Minute            // limit for everything except the work itself
	maxOfEach = 32                     // most writers, and most readers
)

// Options are the options of a run.
type Options struct {
	Dir     string  // of the store, must not exist; "" means a new one in shared memory
	Keep    bool    // do not remove the store
	Writers int     // number of writer processes at a time
	Readers int     // number of reader processes
	Seconds float64 // time to write; the first round always ends
	Rounds  int     // most rounds; 0 means no limit
	Records int     // most records of the data set; 0 means all, up to 64 MiB
}

// Validate returns an error that names a flag of shmctl demo that is out of range, or nil.
func (o Options) Validate() error {
	switch {
	case o.Writers < 1 || o.Writers > maxOfEach:
		return fmt.Errorf("found --writers %d, expected 1 to %d", o.Writers, maxOfEach)
	case o.Readers < 0 || o.Readers > maxOfEach:
		return fmt.Errorf("found --readers %d, expected 0 to %d", o.Readers, maxOfEach)
	case !(o.Seconds > 0 && o.Seconds <= 3600):
		return fmt.Errorf("found --seconds %v, expected more than 0 and at most 3600", o.Seconds)
	case o.Rounds < 0:
		return fmt.Errorf("found --rounds %d, expected 0 or more", o.Rounds)
	case o.Records < 0 || o.Records > 0 && o.Records < 10*o.Writers:
		return fmt.Errorf("found --records %d, expected 0, or 10 or more for each writer", o.Records)
	}
	return nil
}

// Run runs the demo and prints its events to out. It returns an error if it found a
// problem, and a report if it reached the end. When Run returns, its processes have ended
// and the store is removed unless Keep is set.
func Run(ctx context.Context, o Options, out, stderr io.Writer) (*Report, error) {
	limit := time.Duration(o.Seconds*float64(time.Second)) + graceTime
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("it took more than %v", limit.Round(time.Second)))
	defer cancel()
	d := &demo{Options: o, out: printer{out}, stderr: &sharedWriter{w: stderr}, events: make(chan event, 64)}
	r, err := d.run(ctx)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return r, err
}

// demo is the state of a run.
type demo struct {
	Options
	out    printer
	stderr io.Writer

	data   *dataSet
	shared *os.File // the same data, for the child processes
	s      *shm.Store

	temporary *tempdir.Dir // contains the store if Options.Dir is empty

	events    chan event
	processes []*process
	begin     time.Time // when the processes began to work; zero before
	report    Report
}

func (d *demo) run(ctx context.Context) (r *Report, err error) {
	// The child processes die with this thread (Pdeathsig), so it must exist until they
	// have ended.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	start := time.Now()
	limit := d.Records
	if limit == 0 {
		limit = -1
	}
	parent, dataMax := storeParent()
	if d.Dir != "" {
		dataMax = dataBytes
	}
	if d.data, err = findData(ctx, limit, dataMax); err != nil {
		return nil, err
	}
	if len(d.data.records) < 10*d.Writers {
		return nil, fmt.Errorf("found %s in %s, expected 10 or more for each writer", text.Things(len(d.data.records), "record", "records"), d.data.origin)
	}
	if d.shared, err = d.data.share(); err != nil {
		return nil, err
	}
	defer func() { _ = d.shared.Close() }()

	if err := d.createStore(parent); err != nil {
		return nil, err
	}
	defer func() {
		if e := d.s.Close(); err == nil {
			err = e
		}
		if !d.Keep {
			if e := d.removeStore(); err == nil {
				err = e
			}
		}
	}()
	d.out.opening(d)

	if err := d.work(ctx); err != nil {
		return nil, err
	}
	wrong := d.prove(ctx)
	d.report.Seconds = time.Since(start).Seconds()
	return &d.report, wrong
}

// createStore creates the store and its directory, in parent if Options.Dir is empty. The
// demo may remove the directory, because it has created it.
func (d *demo) createStore(parent string) error {
	var err error
	switch {
	case d.Dir != "":
		err = os.Mkdir(d.Dir, 0o700)
	case d.Keep:
		d.Dir, err = os.MkdirTemp(parent, "shmctl-demo-")
	default: // if this process is killed, the next demo removes it
		if d.temporary, err = tempdir.Make(parent, "shmctl-demo.tmp-"); err == nil {
			d.Dir = d.temporary.Path
		}
	}
	if err != nil {
		return err
	}
	d.s, err = shm.Open(d.Dir, &shm.Options{Exclusive: true, MaxSize: max(256<<20, 16*d.data.bytes)})
	if err != nil {
		return errors.Join(err, d.removeStore())
	}
	return nil
}

func (d *demo) removeStore() error {
	if d.temporary != nil {
		return d.temporary.Remove()
	}
	return os.RemoveAll(d.Dir)
}

// storeParent returns a directory for the store and the largest data set in bytes, at most
// dataBytes. It prefers shared memory if it is a tmpfs with enough free space, else it
// returns the directory for temporary files. If that is on overlay, as in a container,
// Open would refuse the store, so the data must fit into shared memory.
func storeParent() (dir string, dataMax int64) {
	temp := os.TempDir()
	var st unix.Statfs_t
	if unix.Statfs(sharedMemory, &st) != nil || st.Type != unix.TMPFS_MAGIC || unix.Access(sharedMemory, unix.W_OK|unix.X_OK) != nil {
		return temp, dataBytes
	}
	room := int64(st.Bavail) * st.Bsize / 4
	if room < dataBytes && (unix.Statfs(temp, &st) != nil || st.Type != unix.OVERLAYFS_SUPER_MAGIC) {
		return temp, dataBytes
	}
	return sharedMemory, min(room, dataBytes)
}

// work runs the processes until all have ended and collects their results.
func (d *demo) work(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer func() {
		cancel()
		for d.running(func(*process) bool { return true }) > 0 { // the canceled context kills them
			if e := <-d.events; e.ended {
				e.p.running = false
			}
		}
	}()
	for i := range d.Writers {
		p := &process{name: fmt.Sprintf("writer %d", i+1), place: 2 * i, victim: i == min(1, d.Writers-1)}
		p.share = share{i, d.Writers, len(d.data.records)}
		if err := d.launchWriter(ctx, p, progress{Round: 1}, d.Seconds); err != nil {
			return err
		}
	}
	for i := range d.Readers {
		p := &process{name: fmt.Sprintf("reader %d", i+1), place: 2*maxOfEach + i}
		job := readerJob{Shares: d.Writers, Seed: uint64(i + 1), Time: time.Duration(d.Seconds*float64(time.Second)) + graceTime}
		if err := d.launch(ctx, p, ReaderVerb, job); err != nil {
			return err
		}
	}
	for d.running(func(*process) bool { return true }) > 0 {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case e := <-d.events:
			if err := d.handle(ctx, e); err != nil {
				return err
			}
		}
	}
	return nil
}

func (d *demo) launchWriter(ctx context.Context, p *process, from progress, seconds float64) error {
	p.writer = true
	hold := 0
	if p.victim {
		hold = 2
		if d.Rounds == 1 {
			hold = 1
		}
	}
	return d.launch(ctx, p, WriterVerb, writerJob{
		First: p.share.first, Of: p.share.of, From: from, Rounds: d.Rounds, Least: max(from.Round, hold),
		Time: time.Duration(seconds * float64(time.Second)), Hold: hold,
	})
}

func (d *demo) launch(ctx context.Context, p *process, verb string, job any) error {
	if err := launch(ctx, p, d.events, d.shared, d.stderr, verb, d.Dir, job); err != nil {
		return err
	}
	d.processes = append(d.processes, p)
	return nil
}

// running returns the number of processes of a kind that have not ended.
func (d *demo) running(kind func(*process) bool) int {
	n := 0
	for _, p := range d.processes {
		if p.running && kind(p) {
			n++
		}
	}
	return n
}

func isWriter(p *process) bool { return p.writer }

// handle handles a message or the end of a process.
func (d *demo) handle(ctx context.Context, e event) error {
	p := e.p
	switch {
	case e.ended:
		p.running = false
		if err := d.ended(ctx, p, e.err); err != nil {
			return err
		}
		if p.writer && d.running(isWriter) == 0 {
			d.report.Writes.Seconds = time.Since(d.begin).Seconds()
			for _, p := range d.processes {
				p.stop() // the readers
			}
		}
		return nil
	case e.message.Ready:
		p.last = e.message
		return d.ready(p)
	case e.message.Holding:
		p.last = e.message
		return d.kill(ctx, p)
	}
	p.last = e.message
	return nil
}

// ready starts the work of all processes when all are ready, and that of a later process
// at once.
func (d *demo) ready(p *process) error {
	if !d.begin.IsZero() {
		return p.release()
	}
	for _, p := range d.processes {
		if !p.last.Ready {
			return nil
		}
	}
	d.begin = time.Now()
	d.report.FirstVersion = d.s.Version()
	for _, p := range d.processes {
		if err := p.release(); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	return nil
}

// kill waits while the victim is in its transaction, to verify that others go on, and then
// kills it.
func (d *demo) kill(ctx context.Context, p *process) error {
	before := d.s.Version()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(holdTime):
	}
	d.report.Killed.OtherCommits = int64(d.s.Version() - before)
	return p.cmd.Process.Kill()
}

// ended handles the end of a process.
func (d *demo) ended(ctx context.Context, p *process, err error) error {
	if p.victim && p.last.Holding && p.killed() {
		return d.takeOver(ctx, p)
	}
	if err != nil {
		return fmt.Errorf("%s (pid %d): %w", p.name, p.pid(), err)
	}
	if !p.last.Done {
		return fmt.Errorf("%s (pid %d) ended without a report", p.name, p.pid())
	}
	return nil
}

// takeOver adopts the victim, verifies that its share contains exactly the records that it
// had committed, and starts another writer on the share.
func (d *demo) takeOver(ctx context.Context, victim *process) error {
	k := &d.report.Killed
	k.Process, k.Pid = victim.name, victim.pid()
	k.Committed, k.Written = victim.last.Progress, victim.last.Written
	found, err := d.s.Inspect().Processes()
	if err != nil {
		return err
	}
	for _, p := range found {
		if p.Pid == victim.pid() && !p.Alive {
			k.FoundDead, k.Slots, k.Pins = true, p.Writers, len(p.Pins)
		}
	}
	if k.Adopted, err = d.s.Inspect().Adopt(); err != nil {
		return err
	}
	k.ByAnother = k.Adopted == 0 // by a writer that needed its slots
	if err := d.s.View(func(sn *shm.Snapshot) (wrong error) {
		k.Verified, wrong = verifyShare(sn, d.data.records, victim.share, victim.last.Progress)
		return wrong
	}); err != nil {
		return fmt.Errorf("the share of %s after it was killed: %w", victim.name, err)
	}
	d.out.killed(k)
	p := &process{name: victim.name + " again", place: victim.place + 1, share: victim.share}
	victim.share = share{first: 0, of: 1} // empty: the share belongs to the new writer
	left := d.Seconds - time.Since(d.begin).Seconds()
	return d.launchWriter(ctx, p, victim.last.Progress, max(left, 0))
}
