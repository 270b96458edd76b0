package shm

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/seed-869cc763/shmkv/alloc"
)

// RewriteOptions are for Rewrite; nil means the defaults.
type RewriteOptions struct {
	// Progress is called now and then with the number of entries that have been
	// dealt with and their sum.
	Progress func(done, total int64)
	// MaxSize is the store's from now on, as in Options; 0 means what it was.
	MaxSize int64
}

// Rewrite makes a new store of the current version of the one at path, and puts it
// in its place, when nobody has it open: else the error matches ErrInUse and names
// the processes. The new one is dense and has no garbage, and its file is as short
// as can be. So Rewrite is a compaction; it changes MaxSize; and it mends what Check
// may find wrong with bitmaps, lists and writers' slots, even where a writable Open
// is refused because of it, for of all that it follows nothing.
//
// It copies as Backup does, and every entry is proved to be where it belongs: damage
// among them ends it with ErrCorrupt. After any error, too little space (ErrFull) and
// ctx's own among them, the store is what it was; but for that of a disk at the very
// end, which says so. The new one takes its place, in one
// step, when it is on disk: who dies meanwhile leaves the old one or the new one
// there, and perhaps a hidden directory beside it, which the next Rewrite removes.
// Both take space for a while. Who opens the store meanwhile waits for up to a
// second, and then gets ErrInUse.
//
// It stays the same store: with its id, hash, owner and permission bits, with its
// Origin and as base or target of BackupSince; a backup stays a backup. The version goes on from what it was:
// a greater one than before shows the same, and Wait returns. Counters begin anew,
// with the commits of the copying.
// Access control lists and other attributes of files are lost.
//
// It takes write permission on the store's files, on its directory path, which must
// not be a mount point, and on the directory that holds path. Nor may the store's
// directory be mounted elsewhere, as into a container: such a mount goes on to lead
// to the old directory, which is empty then, and opening a store there fails until it
// is mounted again. Rewrite cannot see the mounts of other containers. Mount the
// directory that holds the store instead. Handles without write permission on procs
// do not keep it off; from then on they get ErrClosed.
func Rewrite(ctx context.Context, path string, opts *RewriteOptions) error {
	if opts == nil {
		opts = &RewriteOptions{}
	}
	if err := rewrite(ctx, path, (*BackupOptions)(opts)); err != nil {
		return fmt.Errorf("shm: rewriting %s: %w", path, err)
	}
	return nil
}

func rewrite(ctx context.Context, path string, opts *BackupOptions) error {
	if err := opts.check(); err != nil {
		return err
	}
	path, err := filepath.EvalSymlinks(path) // a link stays
	if err == nil {
		path, err = filepath.Abs(path)
	}
	if err != nil {
		return err
	}
	a, err := alloc.Open(path, alloc.Options{ReadOnly: true})
	if err != nil {
		return err
	}
	defer func() { _ = a.Close() }()
	if err := a.Alone(); err != nil {
		return err
	}
	return newStore(a, path).View(func(sn *Snapshot) error { return sn.replace(ctx, opts) })
}

// replace puts a copy of the snapshot in the place of its store.
func (sn *Snapshot) replace(ctx context.Context, opts *BackupOptions) error {
	draft, err := alloc.NewReplacement(sn.s.path, sn.draftMode())
	if err != nil {
		return err
	}
	at, err := sn.fill(ctx, draft.Path(), alloc.Options{Successor: sn.s.a}, opts, func(s *Store) error {
		if was, is := sn.s.rootWord(sn.pin.Off, rootData), uint64(s.Stats().DataBytes); was != is {
			return alloc.Corrupt(sn.pin.Off, "bytes of data in the root node", int64(was), int64(is))
		}
		return ctx.Err()
	})
	if err != nil {
		draft.Discard()
		return err
	}
	origin := sn.s.a.Origin()
	if origin.At == sn.Version() {
		origin.At = at // nothing has been written since
	}
	return draft.Replace(sn.s.a, origin)
}
