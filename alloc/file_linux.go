package alloc

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seed-869cc763/shmkv/alloc/region"
)

// The files of a store, and the prefix of what is not one yet.
const (
	nameData  = "data"
	nameSlots = "slots"
	tmpPrefix = "tmp-"
)

// Options for Open. Package shm documents them for users.
type Options struct {
	ReadOnly  bool
	MustExist bool
	Exclusive bool
	Mode      fs.FileMode
	MaxSize   uint64
	HugePages HugePages
	Prefault  bool
	Logger    *slog.Logger
	Seed      *[2]uint64 // of a new store's hash; nil means a random one
	Successor *Arena     // a new store gets its id, seed and time of creation, and begins with its version
}

// rewritePatience is how long Open waits for a store that is being rewritten.
const rewritePatience = time.Second

// Open opens the store in a directory, creating it when it is missing. A creation
// that fails leaves nothing: the directory, if it was made here, is removed while it
// is empty. Another creator that was about to use it begins again.
//
// A read-only handle that would have no entry, because dead writers have them, lets a
// writable one adopt these first, where it may.
func Open(path string, o Options) (*Arena, error) {
	if o.Mode == 0 {
		o.Mode = 0o600
	}
	o.MustExist = o.MustExist || o.ReadOnly
	adopted := false
	for begun := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		dir, made, err := openDir(path, o)
		var a *Arena
		if err == nil {
			a, err = openIn(dir, path, o)
		}
		if err != nil && made {
			_ = unix.Rmdir(path)
		}
		if err == nil && a.crowded && !adopted {
			heirs := o
			heirs.ReadOnly, adopted = false, true
			if heir, err := Open(path, heirs); err == nil {
				_, _ = heir.Close(), a.Close()
				continue
			}
		}
		again := errors.Is(err, ErrInUse) || errors.Is(err, errDirRemoved)
		if !again || time.Since(begun) > rewritePatience {
			return a, fullOr(err)
		}
	}
}

// openIn opens the store in a directory that path led to, and takes it over.
// Whatever was found there means nothing if path leads elsewhere once there is an
// entry; and as long as there is one, that does not change (rule D6).
func openIn(dir *os.Root, path string, o Options) (*Arena, error) {
	var a *Arena
	err := checkFS(path)
	if err == nil {
		a, err = openFiles(dir, o)
	}
	if errors.Is(err, fs.ErrNotExist) && !o.MustExist {
		if _, e := os.Lstat(path); errors.Is(e, fs.ErrNotExist) {
			err = fmt.Errorf("%w: %w", errDirRemoved, err)
		}
	}
	if leadsElsewhere(path, dir) {
		if err == nil {
			// The old store is a draft now. Its mark, which is one of the files
			// that a writable handle sweeps away, must stay.
			a.b.(*files).writes = false
			_ = a.Close()
		} else {
			_ = dir.Close()
		}
		return nil, fmt.Errorf("%w: it was rewritten meanwhile", ErrInUse)
	}
	if err != nil {
		_ = dir.Close()
		return nil, err
	}
	if o.MaxSize != 0 && o.Logger != nil && maxSizeFor(o.MaxSize) != a.MaxSize() {
		o.Logger.Warn("the store keeps the maximum size that it was made with", "path", path, "asked", o.MaxSize, "in_force", a.MaxSize())
	}
	f := a.b.(*files)
	if f.path, err = filepath.Abs(path); err != nil {
		f.path = path // what Stale finds depends on the working directory then
	}
	return a, nil
}

// leadsElsewhere reports whether path leads to another directory than dir. To none
// is no matter: its owner may move or remove a store at any time.
func leadsElsewhere(path string, dir *os.Root) bool {
	named, err := os.Stat(path)
	if err != nil {
		return false
	}
	opened, err := dir.Stat(".")
	return err == nil && !os.SameFile(named, opened)
}

// errDirRemoved: a creator found its directory removed, by another one whose
// creation failed.
var errDirRemoved = errors.New("the directory was removed")

// openDir opens the directory of a store, and makes it where it may.
func openDir(path string, o Options) (dir *os.Root, made bool, err error) {
	if dir, err = os.OpenRoot(path); err == nil {
		return dir, false, nil
	}
	if st, e := os.Stat(path); e == nil && !st.IsDir() {
		return nil, false, &notStoreError{"a file", "a directory"}
	}
	if o.MustExist || !errors.Is(err, fs.ErrNotExist) {
		return dir, false, err
	}
	err = os.Mkdir(path, dirMode(o.Mode))
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, false, err
	}
	made = err == nil
	if dir, err = os.OpenRoot(path); errors.Is(err, fs.ErrNotExist) {
		if _, e := os.Lstat(path); e != nil { // else a symbolic link to nowhere
			err = fmt.Errorf("%w: %w", errDirRemoved, err)
		}
	}
	return dir, made, err
}

// refusedFS is the file systems on which processes of different hosts see one
// file, or on which the mappings of one host are not coherent. On overlay, the
// file system of a container's own files, a process that opened a file read-only
// while it lay in a lower layer goes on to see that, after the first to open it
// for writing has caused it to be copied up.
var refusedFS = map[uint32]string{
	unix.NFS_SUPER_MAGIC:   "nfs",
	unix.SMB_SUPER_MAGIC:   "smb",
	unix.CIFS_SUPER_MAGIC:  "cifs",
	unix.SMB2_SUPER_MAGIC:  "smb2",
	unix.CODA_SUPER_MAGIC:  "coda",
	unix.AFS_SUPER_MAGIC:   "afs",
	unix.AFS_FS_MAGIC:      "afs",
	unix.V9FS_MAGIC:        "9p",
	unix.CEPH_SUPER_MAGIC:  "ceph",
	unix.OCFS2_SUPER_MAGIC: "ocfs2",
	unix.FUSE_SUPER_MAGIC:  "fuse",

	unix.OVERLAYFS_SUPER_MAGIC: "overlay",

	0x01161970: "gfs2",
	0x0bd00bd0: "lustre",
	0x47504653: "gpfs",
}

func checkFS(path string) error {
	var st unix.Statfs_t
	for {
		if err := unix.Statfs(path, &st); err == nil {
			break
		} else if err != unix.EINTR {
			return &fs.PathError{Op: "statfs", Path: path, Err: err}
		}
	}
	return refuseFS(uint32(st.Type))
}

func refuseFS(magic uint32) error {
	name, bad := refusedFS[magic]
	if !bad {
		return nil
	}
	advice := ""
	if magic == unix.OVERLAYFS_SUPER_MAGIC {
		advice = " (in a container, put the store on a volume or on a tmpfs such as /dev/shm)"
	}
	return fmt.Errorf("found a file system of type %s, expected a local one such as tmpfs, ext4, xfs or btrfs%s: %w", name, advice, errors.ErrUnsupported)
}

// files is the backing of a store in a directory.
type files struct {
	dir  *os.Root
	data *os.File
	maps *mappings

	path string // absolute, that led to dir

	writes bool
}

func openFiles(dir *os.Root, o Options) (*Arena, error) {
	data, err := dir.OpenFile(nameData, openFlag(o), 0)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		switch other := refuseOthers(dir); {
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
			return nil, fmt.Errorf("creating: %w", err)
		}
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

// notStoreError is that of a path where there is something, and no store. So it is
// an error for files that are not a store, and for a store that is not there.
type notStoreError struct{ found, want string }

func (e *notStoreError) Error() string {
	return fmt.Sprintf("not a store: found %s, expected %s", e.found, e.want)
}

func (e *notStoreError) Is(target error) bool {
	return target == region.ErrCorrupt || target == fs.ErrNotExist
}

// refuseOthers refuses a directory that holds what no store has.
func refuseOthers(dir *os.Root) error {
	names, err := readNames(dir)
	if err != nil {
		return err
	}
	others := slices.DeleteFunc(names, func(name string) bool {
		return name == nameData || name == nameSlots || strings.HasPrefix(name, tmpPrefix)
	})
	if len(others) == 0 {
		return nil
	}
	found := fmt.Sprintf("%q in the directory", slices.Min(others))
	if len(others) > 1 {
		found = fmt.Sprintf("%q and %d more in the directory", slices.Min(others), len(others)-1)
	}
	return &notStoreError{found, fmt.Sprintf("%q and %q", nameData, nameSlots)}
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
	} else if !st.Mode().IsRegular() || st.Size() < offTable {
		return nil, region.Corrupt(0, "size of data (not a store?)", st.Size(), fmt.Sprintf("at least %d", offTable))
	}
	head := make([]byte, superSize)
	if _, err := data.ReadAt(head, 0); err != nil {
		return nil, err
	}
	super, err := decodeSuper(head)
	if err != nil {
		return nil, err
	}
	if super.origin.Backup && !o.ReadOnly {
		return nil, fmt.Errorf("%w: found a backup, which Options.ReadOnly opens, and Restore (shmctl restore) makes a store of", ErrReadOnly)
	}
	// A closed handle's address space stays taken until the handle is garbage:
	// a reader may be in the middle of it. Many handles opened and closed in a
	// row would use it up before the collector sees a need.
	if mappedBytes.Load() > 16<<40 {
		runtime.GC()
	}
	f := &files{dir: dir, data: data, writes: !o.ReadOnly}
	a := &Arena{b: f, log: o.Logger}
	m := &mappings{}
	fail := func(err error) (*Arena, error) {
		m.unmap()
		return nil, err
	}
	views := 1
	if !o.ReadOnly {
		views = 2
	}
	room, err := region.Reserve(views, super.maxSize)
	if err != nil {
		return fail(err)
	}
	m.add(room)
	if a.ro, err = room.Place(0, data, super.maxSize, false); err != nil {
		return fail(err)
	}
	if !o.ReadOnly {
		if a.mem, err = room.Place(1, data, super.maxSize, true); err != nil {
			return fail(err)
		}
	}
	slots, err := dir.OpenFile(nameSlots, os.O_RDWR|unix.O_NONBLOCK, 0)
	switch {
	case o.ReadOnly && (errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS)):
		// Get works without.
	case errors.Is(err, fs.ErrNotExist):
		return fail(fmt.Errorf("%w: there is data but no slots beside it", region.ErrCorrupt))
	case err != nil:
		return fail(err)
	default:
		defer func() { _ = slots.Close() }()
		if st, err := slots.Stat(); err != nil {
			return fail(err)
		} else if !st.Mode().IsRegular() || st.Size() < slotsSize {
			return fail(region.Corrupt(0, "size of slots", st.Size(), fmt.Sprintf("at least %d", slotsSize)))
		}
		if a.shared, err = region.Map(slots, slotsSize, true); err != nil {
			return fail(err)
		}
		m.add(a.shared)
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
// and which its entry protects.
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
	for _, name := range []string{nameData, nameSlots} {
		st, err := f.dir.Stat(name)
		if err != nil {
			return 0, err
		}
		if sys, ok := st.Sys().(*syscall.Stat_t); ok {
			sum += uint64(sys.Blocks) * 512
		}
	}
	return sum, nil
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

// locks opens slots for its locks alone: a lock of an opening that is also
// mapped would outlive its closing.
func (f *files) locks() (locker, error) {
	l, err := f.dir.OpenFile(nameSlots, os.O_RDWR|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	return (*fileLocker)(l), nil
}

type fileLocker os.File

func (l *fileLocker) tryLock(entry int) (bool, error) {
	err := ofdLock((*os.File)(l), unix.F_WRLCK, int64(entry), 1)
	if err == unix.EAGAIN || err == unix.EACCES {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("locking entry %d: %w", entry, err)
	}
	return true, nil
}

func (l *fileLocker) unlock(entry int) error {
	if err := ofdLock((*os.File)(l), unix.F_UNLCK, int64(entry), 1); err != nil {
		return fmt.Errorf("unlocking entry %d: %w", entry, err)
	}
	return nil
}

func (l *fileLocker) close() error { return (*os.File)(l).Close() }

func ofdLock(f *os.File, kind int16, start, length int64) error {
	for {
		err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: kind, Start: start, Len: length})
		if err != unix.EINTR {
			return err
		}
	}
}

// create makes the files of an empty store: both under temporary names, with all
// the memory that they need; then it links them to their own, without replacement,
// slots before data (rule D5). So data is there only when all is, and of several
// creators one wins and the others use what it made. For lack of space a creator
// fails before it has linked anything. One that died leaves temporary files, which
// sweep removes, and perhaps slots, which the next one uses. It reports whether the
// data is this creator's.
func create(dir *os.Root, o Options) (bool, error) {
	var random [32]byte
	_, _ = rand.Read(random[:])
	word := func(i int) uint64 { return binary.LittleEndian.Uint64(random[8*i:]) }
	super := superblock{hashID: hashSip13, seed: [2]uint64{word(2), word(3)}, id: storeID{word(0), word(1)},
		created: time.Now().UnixNano(), maxSize: maxSizeFor(o.MaxSize)}
	if o.Seed != nil {
		super.seed = *o.Seed
	}
	version := uint64(1)
	if s := o.Successor; s != nil {
		super.id, super.seed, super.created, version = s.super.id, s.super.seed, s.super.created, s.Version()
	}

	slots, err := newTemp(dir, nameSlots, o.Mode)
	if err != nil {
		return false, err
	}
	defer slots.remove()
	if err = fallocate(slots.f, 0, 0, slotsSize); err == nil {
		_, err = slots.f.WriteAt(encodeSlotsSuper(super.id), offSlotsSuper)
	}
	if err != nil {
		return false, err
	}
	data, err := newTemp(dir, nameData, o.Mode)
	if err != nil {
		return false, err
	}
	defer data.remove()
	m, err := region.Map(data.f, MinSize, true)
	if err != nil {
		return false, err
	}
	defer func() { _ = m.Unmap() }()
	if err := format(m, &files{data: data.f}, super, version); err != nil {
		return false, err
	}

	if _, err := slots.link(); err != nil {
		return false, err
	}
	// They may be another creator's, which won, or which died here.
	if super.id, err = readID(dir); err != nil {
		return false, err
	}
	m.Write(offSuper, super.encode())
	return data.link()
}

// maxSizeFor is the maximum size of a new store for which size was asked, or 0.
func maxSizeFor(size uint64) uint64 {
	if size == 0 {
		size = 64 << 30
	}
	return min(max(roundUp(size, 64<<10), MinSize), MaxSize)
}

// makerLock is the byte that the maker of a file holds while it lives. It is
// none of the entries' bytes: slots keeps its inode when it gets its name.
const makerLock = 1 << 30

// temp is a file under a temporary name, which is locked while its maker lives.
type temp struct {
	dir       *os.Root
	f         *os.File
	tmp, name string
}

// newTemp makes an empty file that is to get a name.
func newTemp(dir *os.Root, name string, mode fs.FileMode) (*temp, error) {
	for {
		var random [8]byte
		_, _ = rand.Read(random[:])
		t := &temp{dir: dir, tmp: fmt.Sprintf("%s%s-%x", tmpPrefix, name, random), name: name}
		var err error
		t.f, err = dir.OpenFile(t.tmp, os.O_RDWR|os.O_CREATE|os.O_EXCL, mode)
		if err != nil {
			return nil, err
		}
		if err = ofdLock(t.f, unix.F_WRLCK, makerLock, 1); err == nil {
			_, err = dir.Lstat(t.tmp)
		}
		if err == nil {
			return t, nil
		}
		t.remove()
		if !errors.Is(err, fs.ErrNotExist) && err != unix.EAGAIN && err != unix.EACCES {
			return nil, err
		} // else swept, or being swept, between its creation and its lock
	}
}

// link gives the file its name, and reports false if there is one of that name.
// It takes no space in the end, so that the next one succeeds where one has.
func (t *temp) link() (bool, error) {
	err := t.dir.Link(t.tmp, t.name)
	if errors.Is(err, fs.ErrExist) {
		return false, nil
	}
	_ = t.dir.Remove(t.tmp)
	return err == nil, err
}

// remove removes the temporary name, if it is still there.
func (t *temp) remove() {
	_ = t.dir.Remove(t.tmp)
	_ = t.f.Close()
}

// sweep removes the temporary files of creators that died. It is done at the
// end, for opening is to be quick.
func (f *files) sweep() {
	dir := f.dir
	names, err := readNames(dir)
	if err != nil {
		return // the directory itself may be gone
	}
	for _, name := range names {
		if !strings.HasPrefix(name, tmpPrefix) {
			continue
		}
		f, err := dir.OpenFile(name, os.O_RDWR|unix.O_NONBLOCK, 0)
		if err != nil {
			continue
		}
		if ofdLock(f, unix.F_WRLCK, makerLock, 1) == nil {
			_ = dir.Remove(name)
		}
		_ = f.Close()
	}
}

func readNames(dir *os.Root) ([]string, error) {
	d, err := dir.Open(".")
	if err != nil {
		return nil, err
	}
	defer func() { _ = d.Close() }()
	return d.Readdirnames(-1)
}

func readID(dir *os.Root) (storeID, error) {
	f, err := dir.OpenFile(nameSlots, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return storeID{}, err
	}
	defer func() { _ = f.Close() }()
	b := make([]byte, slotsSuperSize)
	if _, err := f.ReadAt(b, offSlotsSuper); err != nil {
		return storeID{}, fmt.Errorf("reading slots: %w", err)
	}
	return decodeSlotsSuper(b)
}
