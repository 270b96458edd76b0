package tempdir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// A Dir is a temporary directory of this process.
type Dir struct {
	Path string
	lock *os.File
}

// Make creates a directory in parent, whose name is prefix and random characters, and
// locks it. First it removes the directories of this prefix whose makers have died, as
// far as it has permission.
func Make(parent, prefix string) (*Dir, error) {
	if err := Sweep(parent, prefix); err != nil {
		return nil, err
	}
	for {
		path, err := os.MkdirTemp(parent, prefix)
		if err != nil {
			return nil, err
		}
		f, err := lock(path)
		if err == nil {
			return &Dir{path, f}, nil
		}
		if !errors.Is(err, errNotOurs) { // else a Sweep removed it before it was locked
			_ = os.Remove(path)
			return nil, err
		}
	}
}

// Sweep removes the directories of this prefix in parent whose makers have died, as far
// as it has permission.
func Sweep(parent, prefix string) error {
	names, err := readNames(parent)
	if err != nil {
		return err
	}
	for _, name := range names {
		if !strings.HasPrefix(name, prefix) {
			continue
		}
		path := filepath.Join(parent, name)
		if f, err := lock(path); err == nil {
			_ = os.RemoveAll(path)
			_ = f.Close()
		}
	}
	return nil
}

// Remove removes the directory and its contents. It may be called more than once.
func (d *Dir) Remove() error {
	err := os.RemoveAll(d.Path)
	_ = d.lock.Close()
	return err
}

var errNotOurs = errors.New("another process holds the directory or has removed it")

// lock locks a directory. It returns errNotOurs if the directory is locked or no longer
// exists. The lock ends with the process, and no child inherits it.
func lock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errNotOurs
	} else if err != nil {
		return nil, err
	}
	for err = unix.EINTR; err == unix.EINTR; {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	}
	if err == unix.EWOULDBLOCK {
		err = errNotOurs
	}
	if err == nil {
		var named, opened fs.FileInfo
		if opened, err = f.Stat(); err == nil {
			if named, err = os.Lstat(path); errors.Is(err, fs.ErrNotExist) || err == nil && !os.SameFile(named, opened) {
				err = errNotOurs
			}
		}
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("locking %s: %w", path, err)
	}
	return f, nil
}

func readNames(dir string) ([]string, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = d.Close() }()
	return d.Readdirnames(-1)
}
