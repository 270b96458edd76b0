package alloc

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seed-869cc763/shmkv/alloc/layout"
	"github.com/seed-869cc763/shmkv/alloc/region"
)

// create makes the files of an empty store: both under temporary names, with all
// the memory that they need; then it links them to their own, without replacement,
// procs before data (rule D5). So data is there only when all is, and of several
// creators one wins and the others use what it made. On a disk, each file is there as a
// whole before it is linked. For lack of space a creator fails before it has linked anything. One that died leaves temporary files, which
// sweep removes, and perhaps procs, which the next one uses. It reports whether the
// data is this creator's.
func create(dir *os.Root, o Options) (bool, error) {
	var random [32]byte
	_, _ = rand.Read(random[:])
	word := func(i int) uint64 { return binary.LittleEndian.Uint64(random[8*i:]) }
	super := layout.Superblock{HashID: layout.HashSip13, Seed: [2]uint64{word(2), word(3)}, ID: layout.StoreID{word(0), word(1)},
		Created: time.Now().UnixNano(), MaxSize: maxSizeFor(o.MaxSize)}
	if o.Seed != nil {
		super.Seed = *o.Seed
	}
	version := uint64(1)
	if s := o.Successor; s != nil {
		super.ID, super.Seed, super.Created, version = s.super.ID, s.super.Seed, s.super.Created, s.Version()
	}

	slots, err := newTemp(dir, nameProcs, o.Mode)
	if err != nil {
		return false, err
	}
	defer slots.remove()
	if err = fallocate(slots.f, 0, 0, layout.ProcsSize); err == nil {
		_, err = slots.f.WriteAt(layout.EncodeProcsSuper(super.ID), layout.OffProcsSuper)
	}
	if err != nil {
		return false, err
	}
	data, err := newTemp(dir, nameData, o.Mode)
	if err != nil {
		return false, err
	}
	defer data.remove()
	m, err := region.Map(data.f, layout.MinSize, true)
	if err != nil {
		return false, err
	}
	defer func() { _ = m.Unmap() }()
	if err := (&files{data: data.f}).back(0, layout.FirstEnd); err != nil {
		return false, err
	}
	layout.Format(m, super, version)
	disk, err := onDisk(data.f)
	if err != nil {
		return false, err
	}
	if disk {
		if err := slots.f.Sync(); err != nil {
			return false, err
		}
	}

	if _, err := slots.link(); err != nil {
		return false, err
	}
	// They may be another creator's, which won, or which died here.
	if super.ID, err = readID(dir); err != nil {
		return false, err
	}
	m.Write(layout.OffSuper, super.Encode())
	if disk {
		if err := data.f.Sync(); err != nil {
			return false, err
		}
	}
	made, err := data.link()
	if err == nil && disk {
		err = syncDir(dir)
	}
	return made, err
}

// syncDir brings the names in a directory to disk, and its own where that is permitted.
func syncDir(dir *os.Root) error {
	d, err := dir.Open(".")
	if err != nil {
		return err
	}
	defer func() { _ = d.Close() }()
	if err := d.Sync(); err != nil {
		return err
	}
	fd, err := unix.Openat(int(d.Fd()), "..", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer func() { _ = unix.Close(fd) }()
	return unix.Fsync(fd)
}

// maxSizeFor is the maximum size of a new store for which size was asked, or 0.
func maxSizeFor(size uint64) uint64 {
	if size == 0 {
		size = 64 << 30
	}
	return min(max(layout.RoundUp(size, 64<<10), layout.MinSize), layout.MaxSize)
}

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

// readNames returns the names in a directory. A directory that is being removed has none,
// although its path may still lead to it for a moment.
func readNames(dir *os.Root) (names []string, err error) {
	d, err := dir.Open(".")
	if err == nil {
		defer func() { _ = d.Close() }()
		names, err = d.Readdirnames(-1)
	}
	return names, dirRemoved(err)
}

func readID(dir *os.Root) (layout.StoreID, error) {
	f, err := dir.OpenFile(nameProcs, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return layout.StoreID{}, err
	}
	defer func() { _ = f.Close() }()
	b := make([]byte, layout.ProcsSuperSize)
	if _, err := f.ReadAt(b, layout.OffProcsSuper); err != nil {
		return layout.StoreID{}, fmt.Errorf("reading procs: %w", err)
	}
	return layout.DecodeProcsSuper(b)
}
