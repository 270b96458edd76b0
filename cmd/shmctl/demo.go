package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/seed-869cc763/shmkv/cmd/shmctl/internal/text"
	"github.com/seed-869cc763/shmkv/internal/tempdir"
	"github.com/seed-869cc763/shmkv/shm"
)

// sharedMemory is where stores are by default.
const sharedMemory = "/dev/shm"

// Bounds of the demo beside those that its flags give.
const (
	holdTime  = 100 * time.Millisecond // how long the victim hangs in its transaction before it is killed
	graceTime = time.Minute            // for all but the work itself
	maxOfEach = 32                     // writers, readers
)

// demoOptions are the flags of demo.
type demoOptions struct {
	dir              string
	keep, asJSON     bool
	writers, readers int
	seconds          float64
	rounds, records  int
}

func newDemo() *cobra.Command {
	var o demoOptions
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Load real data with many processes, kill one, and prove that nothing is lost",
		Long: `demo loads the package index of this Debian machine (or else the sources of the
Go installation) into a new store. Several writer processes work at once, each
on its share, in transactions and single writes, round after round with a new
revision of each record, while reader processes read and verify every value.
In the second round one writer is killed with SIGKILL in the middle of a
transaction; what it left behind is adopted, and another one takes its share
over. In the end demo compares each record with the source, proves the ledger
as check does, prints what happened, and removes the store.

It takes about as many seconds as --seconds says, and exits with a code other
than 0 if anything was wrong.`,
		Example: "  shmctl demo\n  shmctl demo --keep --dir /dev/shm/demo && shmctl stat /dev/shm/demo",
		Args:    arguments("no arguments", 0, 0),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.validate(); err != nil {
				return err
			}
			interrupt, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			limit := time.Duration(o.seconds*float64(time.Second)) + graceTime
			ctx, cancel := context.WithTimeoutCause(interrupt, limit, fmt.Errorf("it took more than %v", limit.Round(time.Second)))
			defer cancel()
			err := runDemo(ctx, o, cmd.OutOrStdout(), cmd.ErrOrStderr())
			switch {
			case err == nil:
				return nil
			case interrupt.Err() != nil:
				return fmt.Errorf("demo: %w", errInterrupted)
			case ctx.Err() != nil:
				return fmt.Errorf("demo: %w", context.Cause(ctx))
			}
			return fmt.Errorf("demo: %w", err)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.dir, "dir", "", "`STORE` to create, which must not exist (default a new one under /dev/shm, or else the temporary directory)")
	f.BoolVar(&o.keep, "keep", false, "leave the store there")
	f.IntVar(&o.writers, "writers", 3, "writer processes at a time")
	f.IntVar(&o.readers, "readers", 2, "reader processes")
	f.Float64Var(&o.seconds, "seconds", 5, "how long to write; the first round is finished in any case")
	f.IntVar(&o.rounds, "rounds", 0, "stop after that many rounds, if that is sooner (0 = no bound)")
	f.IntVar(&o.records, "records", 0, "use no more of the data set than that many records (0 = all, up to 64 MiB)")
	jsonFlag(cmd, &o.asJSON)
	return cmd
}

func (o demoOptions) validate() error {
	switch {
	case o.writers < 1 || o.writers > maxOfEach:
		return usagef("demo: found --writers %d, expected 1 to %d", o.writers, maxOfEach)
	case o.readers < 0 || o.readers > maxOfEach:
		return usagef("demo: found --readers %d, expected 0 to %d", o.readers, maxOfEach)
	case !(o.seconds > 0 && o.seconds <= 3600):
		return usagef("demo: found --seconds %v, expected more than 0 and at most 3600", o.seconds)
	case o.rounds < 0:
		return usagef("demo: found --rounds %d, expected 0 or more", o.rounds)
	case o.records < 0 || o.records > 0 && o.records < 10*o.writers:
		return usagef("demo: found --records %d, expected 0, or 10 or more for each writer", o.records)
	}
	return nil
}

// demo is a run of the demo.
type demo struct {
	demoOptions
	out    demoPrinter
	stderr io.Writer

	data   *dataSet
	shared *os.File // the same, for the processes
	s      *shm.Store

	temporary *tempdir.Dir // that holds the store, if its place was not chosen

	events    chan event
	processes []*process
	begin     time.Time // when the processes were released; zero before
	report    demoReport
}

// runDemo returns an error if anything was wrong, after it has printed what
// happened, ended its processes and removed the store.
func runDemo(ctx context.Context, o demoOptions, stdout, stderr io.Writer) (err error) {
	// The processes die with this thread (Pdeathsig): it must be there until
	// they have ended.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	d := &demo{demoOptions: o, stderr: &sharedWriter{w: stderr}, events: make(chan event, 64)}
	d.out = demoPrinter{w: stdout, silent: o.asJSON}
	start := time.Now()
	limit := o.records
	if limit == 0 {
		limit = -1
	}
	parent, dataMax := storeParent()
	if o.dir != "" {
		dataMax = dataBytes
	}
	if d.data, err = findData(ctx, limit, dataMax); err != nil {
		return err
	}
	if len(d.data.records) < 10*o.writers {
		return fmt.Errorf("found %s in %s, expected 10 or more for each writer", text.Things(len(d.data.records), "record", "records"), d.data.origin)
	}
	if d.shared, err = d.data.share(); err != nil {
		return err
	}
	defer func() { _ = d.shared.Close() }()

	if err := d.createStore(parent); err != nil {
		return err
	}
	defer func() {
		if e := d.s.Close(); err == nil {
			err = e
		}
		if !o.keep {
			if e := d.removeStore(); err == nil {
				err = e
			}
		}
	}()
	d.out.opening(d)

	if err := d.work(ctx); err != nil {
		return err
	}
	wrong := d.prove(ctx)
	d.report.Seconds = time.Since(start).Seconds()
	if err := d.out.closing(d); err != nil {
		return err
	}
	return wrong
}

// createStore makes the store's directory, in parent if no other was asked for, so
// that it is the demo's to remove, and the store in it.
func (d *demo) createStore(parent string) error {
	var err error
	switch {
	case d.dir != "":
		err = os.Mkdir(d.dir, 0o700)
	case d.keep:
		d.dir, err = os.MkdirTemp(parent, "shmctl-demo-")
	default: // should this process be killed, the next demo removes it
		if d.temporary, err = tempdir.Make(parent, "shmctl-demo.tmp-"); err == nil {
			d.dir = d.temporary.Path
		}
	}
	if err != nil {
		return err
	}
	d.s, err = shm.Open(d.dir, &shm.Options{Exclusive: true, MaxSize: max(256<<20, 16*d.data.bytes)})
	if err != nil {
		return errors.Join(err, d.removeStore())
	}
	return nil
}

func (d *demo) removeStore() error {
	if d.temporary != nil {
		return d.temporary.Remove()
	}
	return os.RemoveAll(d.dir)
}

// storeParent chooses a directory for the store, and says how many bytes of data
// it has room for, if fewer than a data set has at most. That is shared memory, a
// tmpfs with enough room, else the directory of temporary files. Where that is on
// overlay, as in a container, stores are refused there, and the data has to fit into
// shared memory.
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

// work runs the processes until all have ended, and finds out what they did.
func (d *demo) work(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer func() {
		cancel()
		for d.running(func(*process) bool { return true }) > 0 { // they are killed now, if they are there yet
			if e := <-d.events; e.ended {
				e.p.running = false
			}
		}
	}()
	for i := range d.writers {
		p := &process{name: fmt.Sprintf("writer %d", i+1), place: 2 * i, victim: i == min(1, d.writers-1)}
		p.share = share{i, d.writers, len(d.data.records)}
		if err := d.launchWriter(ctx, p, progress{Round: 1}, d.seconds); err != nil {
			return err
		}
	}
	for i := range d.readers {
		p := &process{name: fmt.Sprintf("reader %d", i+1), place: 2*maxOfEach + i}
		if err := d.launch(ctx, p, "demo-reader", d.dir, "--shares", fmt.Sprint(d.writers), "--seed", fmt.Sprint(i+1),
			"--time", (time.Duration(d.seconds*float64(time.Second)) + graceTime).String()); err != nil {
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
		if d.rounds == 1 {
			hold = 1
		}
	}
	return d.launch(ctx, p, "demo-writer", d.dir,
		"--first", fmt.Sprint(p.share.first), "--of", fmt.Sprint(p.share.of),
		"--round", fmt.Sprint(from.Round), "--at", fmt.Sprint(from.At),
		"--rounds", fmt.Sprint(d.rounds), "--least", fmt.Sprint(max(from.Round, hold)),
		"--time", time.Duration(seconds*float64(time.Second)).String(), "--hold", fmt.Sprint(hold))
}

func (d *demo) launch(ctx context.Context, p *process, args ...string) error {
	if err := launch(ctx, p, d.events, d.shared, d.stderr, args...); err != nil {
		return err
	}
	d.processes = append(d.processes, p)
	return nil
}

// running counts the processes that have not ended, of some kind.
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

// handle takes the next step of the run.
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

// ready releases all processes at once, and later ones when they come.
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

// kill leaves the victim in its transaction for a while, to see that nobody
// waits for it, and kills it.
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

// ended looks at how a process came to its end.
func (d *demo) ended(ctx context.Context, p *process, err error) error {
	if p.victim && p.last.Holding && p.killed() {
		return d.takeOver(ctx, p)
	}
	if err != nil {
		return fmt.Errorf("%s (pid %d): %w", p.name, p.pid(), err)
	}
	if !p.last.Done {
		return fmt.Errorf("%s (pid %d) ended without a word", p.name, p.pid())
	}
	return nil
}

// takeOver adopts what the victim left, verifies that its share is what it had
// committed and not a record more, and starts another writer on it.
func (d *demo) takeOver(ctx context.Context, victim *process) error {
	k := &d.report.Killed
	k.Process, k.Pid = victim.name, victim.pid()
	k.Committed, k.Written = victim.last.Progress, victim.last.Written
	found, err := d.s.Processes()
	if err != nil {
		return err
	}
	for _, p := range found {
		if p.Pid == victim.pid() && !p.Alive {
			k.FoundDead, k.Slots, k.Pins = true, p.Writers, len(p.Pins)
		}
	}
	if k.Adopted, err = d.s.Adopt(); err != nil {
		return err
	}
	k.ByAnother = k.Adopted == 0 // by a writer that needed what it held
	if err := d.s.View(func(sn *shm.Snapshot) (wrong error) {
		k.Verified, wrong = verifyShare(sn, d.data.records, victim.share, victim.last.Progress)
		return wrong
	}); err != nil {
		return fmt.Errorf("the share of %s after it was killed: %w", victim.name, err)
	}
	d.out.killed(k)
	p := &process{name: victim.name + " again", place: victim.place + 1, share: victim.share}
	victim.share = share{first: 0, of: 1} // nothing: it is the other's now
	left := d.seconds - time.Since(d.begin).Seconds()
	return d.launchWriter(ctx, p, victim.last.Progress, max(left, 0))
}

// prove verifies the store at the end, when nobody else uses it, and fills the
// report. It returns the first thing that is wrong.
func (d *demo) prove(ctx context.Context) error {
	r := &d.report
	var wrong error
	note := func(err error) {
		if err != nil {
			r.Problems = append(r.Problems, text.OneLine(err))
			if wrong == nil {
				wrong = err
			}
		}
	}
	slices.SortStableFunc(d.processes, func(a, b *process) int { return cmp.Compare(a.place, b.place) })
	for _, p := range d.processes {
		r.Processes = append(r.Processes, processReport{p.name, p.pid(), p.writer, p.victim, p.last.Progress, p.last.Work.operations(), p.last.Work.perSecond(), p.last.Work})
	}
	note(d.s.View(func(sn *shm.Snapshot) error {
		if sn.Len() != len(d.data.records) {
			note(fmt.Errorf("found %d entries, expected %d", sn.Len(), len(d.data.records)))
		}
		r.Versions = sn.Version() - r.FirstVersion
		for _, p := range d.processes {
			if !p.writer {
				continue
			}
			right, err := verifyShare(sn, d.data.records, p.share, p.last.Progress)
			r.Verified += right
			note(err)
		}
		return nil
	}))
	if r.Killed.Process == "" {
		note(errors.New("no writer was killed"))
	}
	late, err := d.s.Adopt()
	note(err)
	if late > 0 {
		note(fmt.Errorf("found %s at the end, expected none", text.Things(late, "dead process", "dead processes")))
	}
	ledger, err := d.s.Check(ctx, nil)
	note(err)
	if ledger != nil {
		r.Ledger = *ledger
		if ledger.LeakedBytes != 0 || ledger.InFlightBytes != 0 {
			note(fmt.Errorf("%w: found %d bytes leaked and %d in flight at the end, expected none", shm.ErrCorrupt, ledger.LeakedBytes, ledger.InFlightBytes))
		}
	}
	r.Stats = d.s.Stats()
	r.Store, r.Kept = filepath.Clean(d.dir), d.keep
	r.Data, r.DataBytes, r.Records = d.data.origin, d.data.bytes, len(d.data.records)
	r.Sound = wrong == nil
	return wrong
}
