package shm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/seed-869cc763/shmkv/alloc"
	"github.com/seed-869cc763/shmkv/alloc/layout"
	"github.com/seed-869cc763/shmkv/hamt"
	"github.com/seed-869cc763/shmkv/node"
)

// CopyOptions are the options of Backup, BackupSince, Restore and Rewrite. nil means the
// defaults.
type CopyOptions struct {
	// Progress is called now and then, by the goroutine of the caller, with how much
	// of the work is done and how much it is: here, in entries.
	Progress func(done, total int64)
	// MaxSize is that of the new store, as in Options; 0 means that of the store that
	// is copied.
	MaxSize int64
}

func (o *CopyOptions) progress(done, total int64) {
	if o.Progress != nil {
		o.Progress(done, total)
	}
}

// Origin is the version of another store that Backup or Restore has copied.
// Info.Backup tells which of the two.
type Origin struct {
	ID      string `json:"id"`      // of the store that was copied
	Version uint64 `json:"version"` // of that store
	At      uint64 `json:"at"`      // the copy's version that shows it; a copy with a greater one was written to
}

// Backup copies the entries of the current version to a new store in the directory dir,
// which must not exist (ErrExist). The backup appears there as a whole or not at all, and
// is on disk by then. A process that dies during a Backup leaves a hidden directory beside
// dir, which the next Backup to dir removes. Other processes read and write the store at
// the same time. The version is pinned, as by a Snapshot.
//
// A backup is a store that cannot be written to, because it is the base of differences
// (BackupSince). Open needs Options.ReadOnly for it. Restore makes a store of it that can
// be written to. The backup has the MaxSize, hash and permission bits of the store, before
// umask, and no garbage. Its Info tells that it is a backup, and of which store and
// version.
//
// Backup proves that every entry is where it belongs, and verifies its checksum if it has
// one. A damaged entry ends it with ErrCorrupt, too little space at dir with ErrFull, and
// the end of ctx with the error of ctx. The error of a wrong checksum names the key: a Set
// or a Delete of it mends the store. At most one CopyOptions may be given.
func (s *Store) Backup(ctx context.Context, dir string, opts ...*CopyOptions) error {
	return s.View(func(sn *Snapshot) error { return sn.Backup(ctx, dir, opts...) })
}

// Backup is Store.Backup for the version of the snapshot.
func (sn *Snapshot) Backup(ctx context.Context, dir string, opts ...*CopyOptions) error {
	var o *CopyOptions
	switch len(opts) {
	case 0:
	case 1:
		o = opts[0]
	default:
		return sn.fail("copying", fmt.Errorf("found %d CopyOptions, expected at most one", len(opts)))
	}
	return sn.makeStore(ctx, dir, nil, o, true)
}

// Restore makes a new store in dir, as Backup does, that can be written to. It copies
// the store or backup at base, which it opens read-only, and applies the differences,
// which BackupSince has written, one after the other. The base of the first difference
// must be the version of base, and the base of each other one the target of the
// difference before it (ErrUnrelated). A damaged or incomplete difference is refused with
// ErrCorrupt.
//
// Until the new store is written to, it can be used like a backup of the target of the
// last difference: as a base of BackupSince, and as the base of later differences. After
// that it is a store of its own.
func Restore(ctx context.Context, base, dir string, differences []io.Reader, opts *CopyOptions) error {
	s, err := Open(base, &Options{ReadOnly: true})
	if err != nil {
		return err
	}
	defer func() { _ = s.Close() }()
	return s.View(func(sn *Snapshot) error { return sn.makeStore(ctx, dir, differences, opts, false) })
}

// makeStore makes a backup, or else a store that can be written to.
func (sn *Snapshot) makeStore(ctx context.Context, dir string, differences []io.Reader, opts *CopyOptions, backup bool) error {
	err := sn.hold(func() error { return sn.fillDraft(ctx, dir, differences, opts, backup) })
	if err != nil {
		if errors.Is(err, fs.ErrExist) {
			err = ErrExist
		}
		return sn.fail(fmt.Sprintf("making %s of", dir), err)
	}
	return nil
}

func (sn *Snapshot) fillDraft(ctx context.Context, dir string, differences []io.Reader, opts *CopyOptions, backup bool) error {
	if opts == nil {
		opts = &CopyOptions{}
	}
	if err := opts.check(); err != nil {
		return err
	}
	sn.s.keepVersion(sn.Version())
	draft, err := alloc.NewDraft(dir, sn.draftMode())
	if err != nil {
		return err
	}
	shows := sn.shows()
	shows.At, err = sn.fill(ctx, draft.Path(), alloc.Options{Seed: &[2]uint64{sn.s.k0, sn.s.k1}}, opts, func(s *Store) error {
		for i, r := range differences {
			var err error
			if shows, err = s.apply(ctx, shows, r); err != nil {
				return fmt.Errorf("difference %d: %w", i+1, err)
			}
		}
		return nil
	})
	if err != nil {
		draft.Discard()
		return err
	}
	shows.Backup = backup
	return draft.Publish(shows)
}

func (o *CopyOptions) check() error {
	return checkMaxSize("MaxSize", o.MaxSize)
}

// draftMode is the permission bits of a copy that is being made.
func (sn *Snapshot) draftMode() fs.FileMode { return sn.s.a.Mode() | 0o600 }

// fill makes the copy, changes it, and returns its version.
func (sn *Snapshot) fill(ctx context.Context, path string, o alloc.Options, opts *CopyOptions, change func(*Store) error) (version uint64, err error) {
	o.Mode, o.MaxSize = sn.draftMode(), uint64(opts.MaxSize)
	if o.MaxSize == 0 {
		o.MaxSize = sn.s.a.MaxSize()
	}
	a, err := alloc.Open(path, o)
	if err != nil {
		return 0, err
	}
	s := newStore(a, path)
	s.hostile = sn.s.hostile
	if err = sn.copyTo(ctx, s, opts); err == nil {
		err = change(s)
	}
	version = s.Version()
	if e := s.Close(); err == nil {
		err = e
	}
	return version, err
}

// shows returns the version that the snapshot shows: of its store, or of the store that it
// is an unchanged copy of.
func (sn *Snapshot) shows() layout.Origin {
	if o := sn.s.a.Origin(); o.At == sn.Version() {
		return o
	}
	return layout.Origin{Store: sn.s.a.ID(), Version: sn.Version()}
}

// The bounds of the transactions that fill a new store. Entries in the order of the trie
// make little garbage, a few branches each time.
const (
	fillEntries = 4096
	fillBytes   = 1 << 20
)

// A copied is an entry that is to be copied, or a named map that is to be made: then the
// leaf is the zero Leaf.
type copied struct {
	to   *target
	leaf node.Leaf
}

// copyTo writes all entries of the snapshot to an empty store, in the order of the trees.
func (sn *Snapshot) copyTo(ctx context.Context, to *Store, opts *CopyOptions) error {
	r := sn.s.reader()
	var batch []copied
	var bytes uint64
	var done int64
	commit := func() error {
		if err := cmp.Or(ctx.Err(), sn.check()); err != nil {
			return err
		}
		err := to.Update(func(tx *Tx) error { return tx.take(r, batch) })
		done += int64(len(batch))
		batch, bytes = batch[:0], 0
		total := sn.root().all().entries
		opts.progress(min(done, total), total)
		return err
	}
	add := func(c copied, size uint64) error {
		batch = append(batch, c)
		if bytes += size; len(batch) < fillEntries && bytes < fillBytes {
			return nil
		}
		return commit()
	}
	p := prover{s: sn.s, r: r, at: sn.pin.Root,
		visit: func(to *target, n node.Node) error {
			if n.Leaf == (node.Leaf{}) {
				return nil
			}
			return add(copied{to, n.Leaf}, n.Size)
		},
		enter: func(to *target) error { return add(copied{to: to}, 0) },
	}
	_, err := p.run()
	if err == nil {
		err = commit()
	}
	return cmp.Or(err, sn.check())
}

// take writes a part of another store of the same hash.
func (tx *Tx) take(r hamt.Reader, batch []copied) error {
	in := &tx.txKeyed
	for _, c := range batch {
		if c.to != in.to {
			in = &txKeyed{tx: tx, to: c.to}
		}
		if c.leaf == (node.Leaf{}) {
			if err := in.create(); err != nil {
				return err
			}
			continue
		}
		tx.w.setSums(c.leaf.Flags() & node.HasSum)
		if err := in.Set(r.Key(c.leaf), r.Value(c.leaf)); err != nil {
			return err
		}
	}
	return nil
}
