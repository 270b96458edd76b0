package shm

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/seed-869cc763/shmkv/alloc"
)

// Rewrite replaces the store at path by a dense copy of its current version. The copy has
// no garbage, and its file is as short as possible. Rewrite is the most thorough
// compaction, the way to change MaxSize, and the repair of damage that Check finds in
// bitmaps, lists and writers' slots: it does not read them, so it works even if a
// writable Open refuses the store because of them.
//
// No process may have the store open, or a snapshot of a Store that it has closed.
// Otherwise the error matches ErrInUse and names the processes. A process that opens the
// store while Rewrite runs waits for up to a second, then gets ErrInUse.
//
// Rewrite proves that every entry is where it belongs, and verifies its checksum, as
// Backup does. A damaged entry ends it with ErrCorrupt, and too little space with ErrFull; both stores take space for a
// while. After any error the store is unchanged, except a failed final sync, which is
// reported as such. The copy takes the place of the store in one step, after it is on
// disk. A process that dies during Rewrite leaves the old store or the new one, and perhaps
// a hidden directory beside it, which the next Rewrite removes.
//
// The store keeps its id, hash, owner, permission bits and Origin. It can still be the
// base or the target of BackupSince, and a backup is still a backup. The version rises, so
// Wait returns, unless the store is empty. The new version has the same contents. The Counters start again
// from the commits of the copying. Access control lists and extended attributes are lost.
//
// The directory must hold nothing but the store, not even a hidden file, because Rewrite
// removes it. The caller needs write permission on the store's files, on the directory
// path, and on the directory that holds path. The directory path must not be a mount point, and must
// not be mounted elsewhere, for example into a container. Such a mount would lead to the
// old directory, which is empty then, and a store could not be opened there until it is
// mounted again. Rewrite cannot see the mounts of other containers, so mount the directory
// that holds the store instead. A handle without write permission on procs does not
// prevent Rewrite. Its calls return ErrClosed from then on.
func Rewrite(ctx context.Context, path string, opts *CopyOptions) error {
	if opts == nil {
		opts = &CopyOptions{}
	}
	if err := rewrite(ctx, path, opts); err != nil {
		return fmt.Errorf("shm: rewriting %s: %w", path, err)
	}
	return nil
}

func rewrite(ctx context.Context, path string, opts *CopyOptions) error {
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
	if err := a.LockExclusive(); err != nil {
		return err
	}
	if err := a.Replaceable(); err != nil {
		return err
	}
	return newStore(a, path).View(func(sn *Snapshot) error { return sn.replace(ctx, opts) })
}

// replace puts a copy of the snapshot in the place of its store.
func (sn *Snapshot) replace(ctx context.Context, opts *CopyOptions) error {
	draft, err := alloc.NewReplacement(sn.s.path, sn.draftMode())
	if err != nil {
		return err
	}
	at, err := sn.fill(ctx, draft.Path(), alloc.Options{Successor: sn.s.a}, opts, func(*Store) error {
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
