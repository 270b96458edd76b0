package shm

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/seed-869cc763/shmkv/alloc"
	"github.com/seed-869cc763/shmkv/alloc/layout"
	"github.com/seed-869cc763/shmkv/alloc/region"
	"github.com/seed-869cc763/shmkv/hamt"
	"github.com/seed-869cc763/shmkv/node"
)

// A Recovery tells what was done after a crash of the system. Later commits get the numbers
// of the versions that were lost. So what a program has kept elsewhere of a later version
// than this one, such as a result of GetVersion, means nothing any more. Backups and
// differences are never of such a version.
type Recovery struct {
	Version  uint64        `json:"version"`  // that the store went back to
	Records  int           `json:"records"`  // of the journal, by which the checkpoint was brought to that version
	Age      time.Duration `json:"age"`      // of that version, since it was made durable, when it was recovered
	Entries  int64         `json:"entries"`  // of all maps
	Changed  int64         `json:"changed"`  // of these, how many have a wrong checksum; Check names them
	Bytes    int64         `json:"bytes"`    // of the blocks that were traced
	Duration time.Duration `json:"duration"` // of the recovery
	// Distrust is why the newest version was not trusted, if that was asked for (see
	// Recover); empty otherwise.
	Distrust string `json:"distrust,omitempty"`
}

// Recovery returns what the opening of this handle has recovered, or nil if it has not.
func (s *Store) Recovery() *Recovery { return recoveryOf(s.a) }

func recoveryOf(a *alloc.Arena) *Recovery {
	r := a.Recovered()
	if r == nil {
		return nil
	}
	rec := &Recovery{Version: r.Version, Records: r.Records, Age: r.Age, Entries: r.Entries, Changed: r.Changed, Bytes: r.Bytes, Duration: r.Duration}
	if r.Distrust != nil {
		rec.Distrust = r.Distrust.Error()
	}
	return rec
}

// RecoverOptions are the options of Recover; nil means the defaults.
type RecoverOptions struct {
	// DryRun finds out what a recovery would do, and leaves the data as it is. It visits what
	// the checkpoint reaches, and counts the records of the journal.
	DryRun bool
	// Newest tries the newest version first, which is not older than the checkpoint. It is
	// trusted if it is proved to be whole: see Recover.
	Newest bool
	// Progress is called now and then, by the goroutine of the caller, with how much of
	// the work is done and how much it is: here, in bytes of blocks.
	Progress func(done, total int64)
	// Logger is that of Options.
	Logger *slog.Logger
}

// Recover recovers the store at path after a crash of the system, as Open does. It returns
// nil if the store needs no recovery: it was closed, or the system has not crashed since it
// was opened.
//
// With Newest, Recover tries the newest version before it goes back to the checkpoint. The
// system may have written its blocks to the disk by itself, all or some of them. Memory that
// was used again since the checkpoint may show what it contained before, and nothing in it
// tells. So the newest version is proved by a digest of all its entries, which each commit
// keeps up to date: all entries must have a checksum (Options.Checksums), and none may have
// changed. Otherwise the store goes back to the checkpoint, and Recovery.Distrust tells why.
func Recover(path string, opts *RecoverOptions) (*Recovery, error) {
	if opts == nil {
		opts = &RecoverOptions{}
	}
	o := alloc.Options{
		MustExist:   true,
		ReadOnly:    opts.DryRun,
		DryRecovery: opts.DryRun,
		Logger:      opts.Logger,
		Trace:       tracer(opts.Progress),
	}
	if opts.Newest {
		o.ProveNewest = proveNewest
	}
	a, err := alloc.Open(path, o)
	if err != nil {
		return nil, fmt.Errorf("shm: recovering %s: %w", path, err)
	}
	r := recoveryOf(a)
	if err := a.Close(); err != nil {
		return r, fmt.Errorf("shm: recovering %s: %w", path, err)
	}
	return r, nil
}

// tracer returns the alloc.Tracer that a recovery goes back to a checkpoint with. An entry
// whose checksum is wrong is kept, for Check to name it.
func tracer(progress func(done, total int64)) alloc.Tracer {
	return func(a *alloc.Arena, root alloc.Root, found func(off, size uint64) error) (t alloc.Traced, err error) {
		t.Entries = readRoot(a.Mem(), root.Off).all().entries
		_, err = traceVersion(a, root, progress, found, func(error) { t.Changed++ })
		return t, err
	}
}

// proveNewest is the alloc.Tracer that proves the newest version.
func proveNewest(a *alloc.Arena, root alloc.Root, found func(off, size uint64) error) (t alloc.Traced, err error) {
	p, err := traceVersion(a, root, nil, found, nil)
	stated := readRoot(a.Mem(), root.Off).digest
	switch {
	case err != nil:
	case p.without > 0:
		err = fmt.Errorf("found %d entries without a checksum, expected none", p.without)
	case p.digest != stated:
		err = region.Corrupt(root.Off, "digest of all entries", fmt.Sprintf("%#x", p.digest), fmt.Sprintf("%#x", stated))
	}
	return t, err
}

// traceVersion proves a version and calls found for all its blocks but the root node.
func traceVersion(a *alloc.Arena, root alloc.Root, progress func(done, total int64), found func(off, size uint64) error, changed func(error)) (p prover, err error) {
	total := readRoot(a.Mem(), root.Off).liveBytes
	var bytes, blocks int64
	p = prover{s: newStore(a, ""), r: hamt.NewReader(a.Mem(), a.Known()), at: root, changed: changed, visit: func(_ *target, n node.Node) error {
		bytes += int64(layout.BlockSize(n.Size))
		if blocks++; progress != nil && blocks%4096 == 0 {
			progress(bytes, total)
		}
		return found(n.Ref.Off(), n.Size)
	}}
	if guarded(func() { _, err = p.run() }) {
		err = errNoMemory
	}
	if err == nil {
		err = checkTotal(root.Off, "bytes of live blocks stated in the root node", total, bytes)
	}
	return p, err
}
