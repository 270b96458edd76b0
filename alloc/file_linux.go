package alloc

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/seed-869cc763/shmkv/alloc/layout"
	"github.com/seed-869cc763/shmkv/alloc/region"
)

// files is the backing of a store in a directory.
type files struct {
	dir  *os.Root
	data *os.File
	maps *mappings

	path string // absolute, that led to dir

	writes bool
	disk   bool // a flush has a meaning
	bootAs layout.BootWord
	homeAs uint64
}

func openFiles(dir *os.Root, o Options) (*Arena, error) {
	data, err := dir.OpenFile(nameData, openFlag(o), 0)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		switch other := refuseOthers(dir, o); {
		case o.MustExist && (other == nil || errors.Is(other, fs.ErrPermission)):
			return nil, fmt.Errorf("no store in the directory: %w", err)
		case other != nil:
			return nil, other
		}
		made, err := create(dir, o)
		if err == nil {
			if !made && o.Exclusive {
				return nil, fs.ErrExist
			}
			data, err = dir.OpenFile(nameData, openFlag(o), 0)
		}
		if err != nil {
			return nil, fmt.Errorf("creating: %w", dirRemoved(err))
		}
	case errors.Is(err, syscall.EISDIR):
		return nil, &notStoreError{fmt.Sprintf("a directory %q", nameData), "a file", o.Exclusive}
	case err != nil:
		return nil, err
	case o.Exclusive:
		_ = data.Close()
		return nil, fs.ErrExist
	}
	a, err := mapFiles(dir, data, o)
	if err != nil {
		_ = data.Close()
		return nil, err
	}
	return a, nil
}

// openFlag never waits: not for the other end of a pipe in the place of data,
// nor for the holder of a lease.
func openFlag(o Options) int {
	if o.ReadOnly {
		return os.O_RDONLY | unix.O_NONBLOCK
	}
	return os.O_RDWR | unix.O_NONBLOCK
}

// mappedBytes is the address space that handles of this process take.
var mappedBytes atomic.Int64

func mapFiles(dir *os.Root, data *os.File, o Options) (*Arena, error) {
	if st, err := data.Stat(); err != nil {
		return nil, err
	} else if st.IsDir() {
		return nil, &notStoreError{fmt.Sprintf("a directory %q", nameData), "a file", o.Exclusive}
	} else if !st.Mode().IsRegular() || st.Size() < layout.OffTable {
		return nil, region.Corrupt(0, "size of data (not a store?)", st.Size(), fmt.Sprintf("at least %d", layout.OffTable))
	}
	head := make([]byte, layout.SuperSize)
	if _, err := data.ReadAt(head, 0); err != nil {
		return nil, err
	}
	super, err := layout.DecodeSuper(head)
	if err != nil {
		return nil, err
	}
	if super.Origin.Backup && !o.ReadOnly {
		return nil, fmt.Errorf("%w: found a backup, which Options.ReadOnly opens, and Restore (shmctl restore) makes a store of", ErrReadOnly)
	}
	// A closed handle's address space stays taken until the handle is garbage:
	// a reader may be in the middle of it. Many handles opened and closed in a
	// row would use it up before the collector sees a need.
	if mappedBytes.Load() > 16<<40 {
		runtime.GC()
	}
	f := &files{dir: dir, data: data, writes: !o.ReadOnly}
	if f.disk, err = onDisk(data); err != nil {
		return nil, err
	}
	if f.homeAs, err = homeOf(data); err != nil {
		return nil, err
	}
	boot, bootErr := bootOf(o.Boot)
	if f.bootAs = boot; bootErr != nil && f.disk {
		return nil, bootErr
	}
	a := &Arena{b: f, log: o.Logger, newer: o.Newer, trace: o.Trace, prove: o.ProveNewest, dryRecovery: o.DryRecovery}
	m := &mappings{}
	fail := func(err error) (*Arena, error) {
		m.unmap()
		return nil, err
	}
	views := 1
	if !o.ReadOnly {
		views = 2
	}
	room, err := region.Reserve(views, super.MaxSize)
	if err != nil {
		return fail(err)
	}
	m.add(room)
	if a.ro, err = room.Place(0, data, super.MaxSize, false); err != nil {
		return fail(err)
	}
	if !o.ReadOnly {
		if a.mem, err = room.Place(1, data, super.MaxSize, true); err != nil {
			return fail(err)
		}
	}
	slots, err := dir.OpenFile(nameProcs, os.O_RDWR|unix.O_NONBLOCK, 0)
	switch {
	case o.ReadOnly && (errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS)):
		// Get works without.
	case errors.Is(err, fs.ErrNotExist):
		return fail(fmt.Errorf("%w: there is data but no procs beside it", region.ErrCorrupt))
	case err != nil:
		return fail(err)
	default:
		defer func() { _ = slots.Close() }()
		if st, err := slots.Stat(); err != nil {
			return fail(err)
		} else if !st.Mode().IsRegular() || st.Size() < layout.ProcsSize {
			return fail(region.Corrupt(0, "size of procs", st.Size(), fmt.Sprintf("at least %d", layout.ProcsSize)))
		}
		if a.shared, err = region.Map(slots, layout.ProcsSize, true); err != nil {
			return fail(err)
		}
		m.add(a.shared)
		if w := layout.BootWord(a.shared.Load(layout.OffProcsBoot)); bootErr != nil && w != 0 {
			f.bootAs = w.Boot() // in memory, a boot is as good as another
		}
	}
	if err := a.attach(); err != nil {
		return fail(err)
	}
	switch o.HugePages {
	case HugePagesAuto:
		a.house.huge = hugeRound{data: data, least: hugeStore}
	case HugePagesOn:
		a.house.huge = hugeRound{data: data}
		makeAllHuge(a, data)
	}
	if o.Prefault {
		f.eachRange(a.ro.Size(), func(from, to uint64) {
			a.ro.Populate(from, to-from)
			if a.mem.Valid() {
				a.mem.Populate(from, to-from)
			}
		})
	}
	f.maps = m
	remember(f, a)
	runtime.AddCleanup(a, func(m *mappings) { m.unmap() }, m)
	return a, nil
}

// open keeps the handles that are not closed from being garbage: a user may have
// dropped the handle and still use values of a snapshot, which lie in its mappings
// and which its proc protects.
var open struct {
	sync.Mutex
	handles map[*files]*Arena
}

func remember(f *files, a *Arena) {
	open.Lock()
	defer open.Unlock()
	if open.handles == nil {
		open.handles = map[*files]*Arena{}
	}
	open.handles[f] = a
}

func forget(f *files) {
	open.Lock()
	defer open.Unlock()
	delete(open.handles, f)
}

func (f *files) lasting() bool { return f.disk }

func (f *files) boot() layout.BootWord { return f.bootAs }

func (f *files) home() uint64 { return f.homeAs }

// homeOf returns what identifies a file among those of all file systems of this boot. A
// copy of a file is another one, also if it gets the inode number of a removed one.
func homeOf(f *os.File) (uint64, error) {
	var st unix.Statx_t
	if err := unix.Statx(int(f.Fd()), "", unix.AT_EMPTY_PATH, unix.STATX_INO|unix.STATX_BTIME, &st); err != nil {
		return 0, fmt.Errorf("looking at data: %w", err)
	}
	return layout.HomeOf(uint64(st.Dev_major)<<32|uint64(st.Dev_minor), st.Ino, uint64(st.Btime.Sec)*1e9+uint64(st.Btime.Nsec)), nil
}

func (f *files) syncNames() error { return syncDir(f.dir) }

func (f *files) flush() error {
	for {
		if err := unix.Fdatasync(int(f.data.Fd())); err != unix.EINTR {
			return err
		}
	}
}

func (f *files) truncate(size uint64) error { return f.data.Truncate(int64(size)) }

func (f *files) ranges(limit uint64) (all [][2]uint64) {
	f.eachRange(limit, func(from, to uint64) { all = append(all, [2]uint64{from, to}) })
	return all
}

// bootOf returns the boot with this id, or the present one. With an error it returns one
// that never was.
func bootOf(id string) (layout.BootWord, error) {
	if id != "" {
		return layout.BootOf(id), nil
	}
	return thisBoot()
}

// bootFile has the id of the boot of the system.
const bootFile = "/proc/sys/kernel/random/boot_id"

var thisBoot = sync.OnceValues(func() (layout.BootWord, error) {
	id, err := os.ReadFile(bootFile)
	if err != nil {
		err = fmt.Errorf("finding out whether the system has crashed: %w", err)
	}
	return layout.BootOf(string(id)), err
})

// eachRange calls fn for the ranges of data that have memory, up to a limit. What
// has none must not be touched: it would get some.
func (f *files) eachRange(limit uint64, fn func(from, to uint64)) {
	for at := int64(0); ; {
		from, err := f.data.Seek(at, unix.SEEK_DATA)
		if err != nil {
			return // nothing follows
		}
		if at, err = f.data.Seek(from, unix.SEEK_HOLE); err != nil {
			return
		}
		if to := min(uint64(at), limit); uint64(from) < to {
			fn(uint64(from), to)
		}
	}
}

// mappings is what must be unmapped when a handle is garbage.
type mappings struct{ all []region.Mem }

func (m *mappings) add(v region.Mem) {
	m.all = append(m.all, v)
	mappedBytes.Add(int64(v.Size()))
}

func (m *mappings) unmap() {
	for i := range m.all {
		mappedBytes.Add(-int64(m.all[i].Size()))
		_ = m.all[i].Unmap()
	}
	m.all = nil
}

func (f *files) back(off, n uint64) error { return fallocate(f.data, 0, off, n) }

func (f *files) punch(off, n uint64) error {
	return fallocate(f.data, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, n)
}

func fallocate(f *os.File, mode uint32, off, n uint64) error {
	for {
		err := unix.Fallocate(int(f.Fd()), mode, int64(off), int64(n))
		switch {
		case err == nil:
			return nil
		case err == unix.EINTR:
			continue
		case err == unix.ENOSPC || err == unix.EDQUOT || err == unix.EFBIG:
			return fmt.Errorf("%w: %w", ErrFull, err)
		}
		return fmt.Errorf("backing %d bytes at %d of %s: %w", n, off, f.Name(), err)
	}
}

// sparsest is how many times its memory a file may be long: tables, which are
// always backed, are a sixty-fourth of it, less where the file system compresses.
// A longer one is a hole that says that it is a store, and would take memory that
// it does not have from whoever walks through its tables.
const sparsest = 512

func (f *files) size() (uint64, error) {
	st, err := f.data.Stat()
	if err != nil {
		return 0, err
	}
	if sys, ok := st.Sys().(*syscall.Stat_t); ok && st.Size()/sparsest > sys.Blocks*512 {
		return 0, region.Corrupt(0, "memory behind data", sys.Blocks*512, fmt.Sprintf("at least 1/%d of its %d bytes", sparsest, st.Size()))
	}
	return uint64(st.Size()), nil
}

func (f *files) mode() fs.FileMode {
	st, err := f.data.Stat()
	if err != nil {
		return 0
	}
	return st.Mode().Perm()
}

func (f *files) removed() (bool, error) {
	st, err := f.data.Stat()
	if err != nil {
		return false, err
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	return ok && sys.Nlink == 0, nil
}

func (f *files) same(other backing) bool {
	o, ok := other.(*files)
	if !ok {
		return false
	}
	a, err := f.data.Stat()
	if err != nil {
		return false
	}
	b, err := o.data.Stat()
	return err == nil && os.SameFile(a, b)
}

func (f *files) stale() (bool, error) {
	opened, err := f.data.Stat()
	if err != nil {
		return false, err
	}
	named, err := os.Stat(filepath.Join(f.path, nameData))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return true, nil
	}
	return err == nil && !os.SameFile(named, opened), err
}

func (f *files) allocated() (uint64, error) {
	var sum uint64
	for _, name := range []string{nameData, nameProcs, nameJournal} {
		st, err := f.dir.Stat(name)
		if name == nameJournal && errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return 0, err
		}
		if sys, ok := st.Sys().(*syscall.Stat_t); ok {
			sum += uint64(sys.Blocks) * 512
		}
	}
	return sum, nil
}

func (f *files) unload() {
	for i := range f.maps.all {
		f.maps.all[i].Unload()
	}
}

// close lets go of the files. The mappings read as zeros from now on: optimistic
// readers may still be inside of them, and their last look at the horizon tells
// them.
func (f *files) close() error {
	var failed error
	if f.writes {
		f.sweep()
	}
	for _, m := range slices.Backward(f.maps.all) {
		failed = errors.Join(failed, m.Detach())
	}
	forget(f)
	return errors.Join(failed, f.data.Close(), f.dir.Close())
}
