package main

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
)

// A storeUse is how a measurement uses a peer's store.
type storeUse int

const (
	readsStore  storeUse = iota // it reads: all such share the filled store
	writesStore                 // it writes: it gets a copy of the filled store, which is dropped afterwards
	makesStore                  // it makes a store of its own
)

// A filledStore is a peer's store of so many entries that were inserted one a commit.
type filledStore struct {
	path  string
	drop  func()
	err   error
	round int  // that it was filled in
	aged  bool // it has been written to since
}

type storeKey struct {
	peer string
	n    int
}

// storeFor returns a task with the store that a measurement of a peer works on, and a function that must be called
// after the measurement.
func (b *bench) storeFor(ctx context.Context, use storeUse, p peer, t task) (task, func(), error) {
	none := func() {}
	if use == makesStore || p.fleeting {
		return t, none, nil
	}
	s := b.filled(ctx, p, t)
	if s.err != nil {
		return t, none, s.err
	}
	t.path = s.path
	if use == readsStore {
		return t, none, nil
	}
	if p.serves {
		s.aged = true
		return t, none, nil
	}
	t.path = filepath.Join(b.dir, p.name+"-copy")
	drop := func() { os.RemoveAll(t.path) }
	if err := copyFiles(t.path, s.path); err != nil {
		drop()
		return t, none, err
	}
	return t, drop, nil
}

// filled returns the filled store of a peer for a task. It is filled for the first task, and stays until the run ends.
// That of a peer with a server cannot be copied, so the works that write use it itself, and it is filled again for the
// next round.
func (b *bench) filled(ctx context.Context, p peer, t task) *filledStore {
	key := storeKey{p.name, t.n}
	s := b.stores[key]
	if s != nil && !(s.aged && s.round != b.report.round) {
		return s
	}
	if s != nil {
		s.drop()
	}
	t.work, t.path = "load", filepath.Join(b.dir, p.name+"-filled-"+strconv.Itoa(t.n))
	s = &filledStore{path: t.path, round: b.report.round}
	b.stores[key] = s
	progress(ctx, "%d entries: %s: fill", t.n, p.name)
	s.drop, s.err = b.makeStore(ctx, p, t)
	if s.err != nil {
		return s
	}
	t.ops = t.n
	_, s.err = runWhole(ctx, p, t)
	return s
}

// dropStores ends the servers and removes the stores.
func (b *bench) dropStores() {
	for _, s := range b.stores {
		s.drop()
	}
	clear(b.stores)
}

// copyFiles copies a directory of files, which nobody has open. Holes stay holes.
func copyFiles(to, from string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		switch {
		case d.IsDir():
			return os.Mkdir(target, info.Mode().Perm())
		case d.Type().IsRegular():
			return copyFile(target, path, info)
		}
		return &fs.PathError{Op: "copy", Path: path, Err: errors.New("neither a file nor a directory")}
	})
}

// Where lseek finds data and holes, on Linux.
const (
	seekData = 3
	seekHole = 4
)

func copyFile(to, from string, info fs.FileInfo) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, info.Mode().Perm())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	if err := out.Truncate(info.Size()); err != nil {
		return err
	}
	buffer := make([]byte, 1<<20)
	for at := int64(0); at < info.Size(); {
		start, err := in.Seek(at, seekData)
		if errors.Is(err, syscall.ENXIO) {
			return nil // only a hole is left
		}
		if err != nil {
			return err
		}
		end, err := in.Seek(start, seekHole)
		if err != nil {
			return err
		}
		from, to := io.NewSectionReader(in, start, end-start), io.NewOffsetWriter(out, start)
		// Without these wrappers the kernel would copy, page by page on a tmpfs.
		if _, err := io.CopyBuffer(struct{ io.Writer }{to}, struct{ io.Reader }{from}, buffer); err != nil {
			return err
		}
		at = end
	}
	return nil
}

// measure makes measurements of one size in one round. Each goes from peer to peer before the next one starts, so that
// a slow minute of the machine hits all of them. The rounds take turns in who comes first.
func (b *bench) measure(ctx context.Context, ms []measurement, n, round int) {
	first := round % len(b.peers)
	peers := slices.Concat(b.peers[first:], b.peers[:first])
	for _, m := range ms {
		if !b.wants(m.work) {
			continue
		}
		for _, p := range peers {
			b.step(ctx, m, p, n, round)
		}
	}
}

// step makes one measurement of one peer, if the peer can do it.
func (b *bench) step(ctx context.Context, m measurement, p peer, n, round int) {
	t := b.speedTask(p, m.work, n, round)
	t, drop, err := b.storeFor(ctx, m.use, p, t)
	defer drop()
	if err == nil {
		progress(ctx, "round %d of %d, %d entries: %s: %s", round+1, b.rounds, n, p.name, m.title)
		err = m.measure(ctx, b, p, t)
	}
	if err != nil && !errors.Is(err, errUnsupported) {
		b.report.fail(p, t, err)
	}
}
