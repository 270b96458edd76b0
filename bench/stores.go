package main

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// A storeUse is the way in which a measurement uses a peer's store.
type storeUse int

const (
	readsStore   storeUse = iota // reads, and shares the filled store
	writesStore                  // writes to a copy of the filled store, which is dropped afterwards
	writesDisk                   // writes to such a copy on a disk, which has no holes
	emptiesStore                 // deletes all entries of such a copy
	makesStore                   // makes its own store
)

// A filledStore is a peer's store with entries that were inserted one a commit.
type filledStore struct {
	path string
	drop func()
	err  error // why it could not be filled

	round         int // in which it was filled
	aged, emptied bool
}

// use notes the use of the store by a measurement. Measurements that write use the store itself if the peer has a
// server, because such a store cannot be copied.
func (s *filledStore) use(use storeUse, p peer) {
	s.aged = s.aged || p.serves && use != readsStore
	s.emptied = s.emptied || p.serves && use == emptiesStore
}

// stale reports whether the store must be filled again for a round.
func (s *filledStore) stale(round int) bool { return s.emptied || s.aged && s.round != round }

type storeKey struct {
	peer string
	n    int
}

// needsFilled reports whether a measurement of a peer needs a filled store.
func (m measurement) needsFilled(p peer) bool {
	return m.use != makesStore && !p.fleeting && (p.durable || !isDurable(m.work))
}

const (
	titleFill   = "fill"
	titleRefill = "fill again" // after a measurement has deleted everything
)

// titleOfFill returns the title of the step that makes a store or replaces a stale one.
func titleOfFill(stale *filledStore) string {
	if stale != nil && stale.emptied {
		return titleRefill
	}
	return titleFill
}

// filled returns the filled store of a peer for a task. It fills the store for the first task, and fills it again in
// the next round if it was written to. The store exists until the run ends.
func (b *bench) filled(ctx context.Context, p peer, t task, round int) *filledStore {
	key := storeKey{p.name, t.n}
	s := b.stores[key]
	if s != nil && !s.stale(round) {
		return s
	}
	if s != nil {
		s.drop()
	}
	defer b.meter.begin(ctx, stepOf(p, titleOfFill(s), t), round)()
	t.work, t.ops, t.path = "load", t.n, filepath.Join(b.dir, p.name+"-filled-"+strconv.Itoa(t.n))
	s = &filledStore{path: t.path, round: round}
	b.stores[key] = s
	s.drop, s.err = b.makeStore(ctx, p, t)
	if s.err == nil {
		_, s.err = runWhole(ctx, p, b.quietAfter(p, t))
	}
	if s.err != nil {
		b.fail(ctx, p, t, s.err)
	}
	return s
}

// storeFor returns the path of a store for a measurement of a peer, and a function to call after the measurement.
func (b *bench) storeFor(s *filledStore, use storeUse, p peer) (path string, drop func(), err error) {
	s.use(use, p)
	if use == readsStore || p.serves {
		return s.path, func() {}, nil
	}
	path = filepath.Join(b.dir, p.name+"-copy")
	return path, func() { os.RemoveAll(path) }, copyFiles(path, s.path, use == writesDisk)
}

// dropStores ends the servers and removes the stores.
func (b *bench) dropStores() {
	for _, s := range b.stores {
		s.drop()
	}
	clear(b.stores)
}

// mostHoles is the size of a file from which it keeps its holes on a disk, too.
const mostHoles = 1 << 30

// copyFiles copies a directory of files, which nobody may have open. Holes remain holes. If fill is set, holes of
// smaller files become zeros: the first write to a hole makes the file system write its journal, so the commits in a
// copy with holes take many times as long as those in the store.
func copyFiles(to, from string, fill bool) error {
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
			return copyFile(target, path, info, fill && info.Size() < mostHoles)
		}
		return &fs.PathError{Op: "copy", Path: path, Err: errors.New("neither a file nor a directory")}
	})
}

// Values of whence for lseek on Linux, which find data and holes.
const (
	seekData = 3
	seekHole = 4
)

func copyFile(to, from string, info fs.FileInfo, fill bool) (err error) {
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
	if fill {
		_, err := io.Copy(out, in)
		return err
	}
	if err := out.Truncate(info.Size()); err != nil {
		return err
	}
	buffer := make([]byte, 1<<20)
	for at := int64(0); at < info.Size(); {
		start, err := in.Seek(at, seekData)
		if errors.Is(err, syscall.ENXIO) {
			return nil // only a hole remains
		}
		if err != nil {
			return err
		}
		end, err := in.Seek(start, seekHole)
		if err != nil {
			return err
		}
		from, to := io.NewSectionReader(in, start, end-start), io.NewOffsetWriter(out, start)
		// Without these wrappers the kernel would copy through a pipe, on a tmpfs.
		if _, err := io.CopyBuffer(struct{ io.Writer }{to}, struct{ io.Reader }{from}, buffer); err != nil {
			return err
		}
		at = end
	}
	return nil
}
