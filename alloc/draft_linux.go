package alloc

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/seed-869cc763/shmkv/alloc/region"
)

// A Draft is the directory of a store that is not to be seen before it is
// whole. It lies beside its place, under a temporary name, and is locked while
// its maker lives; the next draft for the same place removes those of the dead.
type Draft struct {
	path string // where it is to appear
	tmp  string
	lock *os.File // the directory
}

// NewDraft makes an empty directory for a store that is to appear at path, where
// there must be nothing. mode is the permission bits of the store's files. Publish
// or Discard must follow.
func NewDraft(path string, mode fs.FileMode) (*Draft, error) {
	if _, err := os.Lstat(path); err == nil {
		return nil, &fs.PathError{Op: "create", Path: path, Err: fs.ErrExist}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return newDraft(path, mode)
}

// NewReplacement is NewDraft for a store that is to take the place of the one at
// path. Replace or Discard must follow.
func NewReplacement(path string, mode fs.FileMode) (*Draft, error) { return newDraft(path, mode) }

func newDraft(path string, mode fs.FileMode) (*Draft, error) {
	path = filepath.Clean(path)
	parent, prefix := filepath.Dir(path), "."+filepath.Base(path)+"."+tmpPrefix
	if err := sweepDrafts(parent, prefix); err != nil {
		return nil, err
	}
	for {
		var random [8]byte
		_, _ = rand.Read(random[:])
		d := &Draft{path: path, tmp: filepath.Join(parent, fmt.Sprintf("%s%x", prefix, random))}
		if err := os.Mkdir(d.tmp, dirMode(mode)); err != nil {
			return nil, fullOr(err)
		}
		var err error
		if d.lock, err = lockDraft(d.tmp); err == nil {
			return d, nil
		}
		if !errors.Is(err, errNotDraft) { // else swept between its creation and its lock
			_ = os.Remove(d.tmp)
			return nil, err
		}
	}
}

// errNotDraft: the directory is locked by another, or not there any more.
var errNotDraft = errors.New("not a draft that can be locked")

// lockDraft locks the directory that has a temporary name. What has got another
// name since it was opened is a store, and none of ours.
func lockDraft(tmp string) (*os.File, error) {
	f, err := os.OpenFile(tmp, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errNotDraft
	} else if err != nil {
		return nil, err
	}
	for err = unix.EINTR; err == unix.EINTR; {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	}
	if err == unix.EWOULDBLOCK {
		err = errNotDraft
	}
	if err == nil {
		var named, opened fs.FileInfo
		if opened, err = f.Stat(); err == nil {
			if named, err = os.Lstat(tmp); errors.Is(err, fs.ErrNotExist) || err == nil && !os.SameFile(named, opened) {
				err = errNotDraft
			}
		}
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// sweepDrafts removes the drafts of makers that died.
func sweepDrafts(parent, prefix string) error {
	d, err := os.Open(parent)
	if err != nil {
		return err
	}
	defer func() { _ = d.Close() }()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, name := range names {
		if !strings.HasPrefix(name, prefix) {
			continue
		}
		tmp := filepath.Join(parent, name)
		if f, err := lockDraft(tmp); err == nil {
			_ = os.RemoveAll(tmp)
			_ = f.Close()
		}
	}
	return nil
}

// Path is where the store is to be made, and where nobody looks for it.
func (d *Draft) Path() string { return d.tmp }

// Publish lets the store, which all handles have closed, appear at its place,
// as one that shows what origin says. All of it is on disk before it appears.
func (d *Draft) Publish(origin Origin) error {
	err := d.seal(origin)
	if err == nil {
		err = d.sync()
	}
	if err == nil {
		err = unix.Renameat2(unix.AT_FDCWD, d.tmp, unix.AT_FDCWD, d.path, unix.RENAME_NOREPLACE)
		if err != nil {
			err = &os.LinkError{Op: "rename", Old: d.tmp, New: d.path, Err: err}
		}
	}
	if err != nil {
		d.Discard()
		return fullOr(err)
	}
	_ = d.lock.Close()
	return syncFile(filepath.Dir(d.path))
}

// Replace lets the store, which all handles have closed, take the place of old,
// whose handle must be Alone, with the owner and the permission bits that it has.
// After an error from before the exchange of the two, old is there as it was, and
// the draft is not; after one from later, or a death, the next draft for the same
// place removes what is left of old. old is to be closed then: its locks go, and
// those who were about to open it find the other one (rule D6).
func (d *Draft) Replace(old *Arena, origin Origin) error {
	gone, err := d.exchange(old.b.(*files), origin)
	if err != nil {
		d.Discard()
		return fullOr(err)
	}
	defer func() { _ = gone.Unmap() }()
	_ = d.lock.Close()
	// Readers without an entry are told. Should this process die before, they
	// go on to see the old version, and nobody else looks at it.
	gone.Store(offEnd, endRewritten)
	if err := syncFile(filepath.Dir(d.path)); err != nil {
		return fmt.Errorf("it was rewritten, but may not be so on disk: %w", err)
	}
	_ = os.RemoveAll(d.tmp)
	return nil
}

// exchange makes the draft what is at its place, and returns the first bytes of
// the old store's data.
func (d *Draft) exchange(old *files, origin Origin) (region.Mem, error) {
	err := d.seal(origin)
	if err == nil {
		err = d.dress(old)
	}
	if err == nil {
		err = d.sync()
	}
	if err != nil {
		return region.Mem{}, err
	}
	f, err := old.dir.OpenFile(nameData, os.O_RDWR|unix.O_NONBLOCK, 0)
	if err != nil {
		return region.Mem{}, err
	}
	defer func() { _ = f.Close() }()
	gone, err := region.Map(f, offTable, true)
	if err != nil {
		return region.Mem{}, err
	}
	if leadsElsewhere(d.path, old.dir) { // moved meanwhile, and another one put there
		err = fmt.Errorf("%w: found another directory at %s", ErrInUse, d.path)
	} else if err = unix.Renameat2(unix.AT_FDCWD, d.tmp, unix.AT_FDCWD, d.path, unix.RENAME_EXCHANGE); err != nil {
		err = &os.LinkError{Op: "exchange", Old: d.tmp, New: d.path, Err: err}
	}
	if err != nil {
		_ = gone.Unmap()
	}
	return gone, err
}

// dress gives the draft's files, and then its directory, the owner and the
// permission bits of another store's.
func (d *Draft) dress(like *files) error {
	for _, name := range []string{nameSlots, nameData, "."} {
		f, err := os.OpenFile(filepath.Join(d.tmp, name), os.O_RDONLY|unix.O_NOFOLLOW, 0)
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }()
		want, err := like.dir.Stat(name)
		if err != nil {
			return err
		}
		has, err := f.Stat()
		if err != nil {
			return err
		}
		w, h := want.Sys().(*syscall.Stat_t), has.Sys().(*syscall.Stat_t)
		if w.Uid != h.Uid || w.Gid != h.Gid {
			if err := f.Chown(int(w.Uid), int(w.Gid)); err != nil {
				return err
			}
		}
		if err := f.Chmod(want.Mode()); err != nil {
			return err
		}
	}
	return nil
}

// sync brings all of the draft to disk.
func (d *Draft) sync() error {
	for _, name := range []string{nameSlots, nameData, "."} {
		if err := syncFile(filepath.Join(d.tmp, name)); err != nil {
			return err
		}
	}
	return nil
}

// Discard removes the draft.
func (d *Draft) Discard() {
	_ = os.RemoveAll(d.tmp)
	_ = d.lock.Close()
}

// seal writes the origin into the superblock.
func (d *Draft) seal(origin Origin) error {
	f, err := os.OpenFile(filepath.Join(d.tmp, nameData), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	b := make([]byte, superSize)
	if _, err := f.ReadAt(b, offSuper); err != nil {
		return err
	}
	super, err := decodeSuper(b)
	if err != nil {
		return err
	}
	super.origin = origin
	_, err = f.WriteAt(super.encode(), offSuper)
	return err
}

func syncFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	err = f.Sync()
	_ = f.Close()
	return err
}

// dirMode is the permission bits of a store's directory: who may read the files
// may search it.
func dirMode(mode fs.FileMode) fs.FileMode { return mode | mode>>2&0o111 }

// fullOr makes an error for lack of space match ErrFull.
func fullOr(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: %w", ErrFull, err)
	}
	return err
}
