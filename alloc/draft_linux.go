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
	path = filepath.Clean(path)
	if _, err := os.Lstat(path); err == nil {
		return nil, &fs.PathError{Op: "create", Path: path, Err: fs.ErrExist}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
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
	for _, name := range []string{nameSlots, nameData, "."} {
		if err == nil {
			err = syncFile(filepath.Join(d.tmp, name))
		}
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
