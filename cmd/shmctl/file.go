package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/seed-869cc763/shmkv/shm"
)

// writeFile makes the file at path, or replaces it, by what write writes. The file
// is written beside its place under a temporary name, and appears when it is
// complete and on disk. After an error, or once ctx is done, the temporary file is
// removed and what was at path is there as it was.
//
// The new file gets the permission bits of the one that it replaces, and its owner
// if that is permitted. A symbolic link stays, and the file that it leads to is
// replaced. What cannot be replaced, such as a pipe or a device, is written to.
func writeFile(ctx context.Context, path string, write func(w io.Writer) error) error {
	if leadsToOpenFile(path) {
		return writeInPlace(ctx, path, write)
	}
	target := path
	if resolved, err := filepath.EvalSymlinks(path); err == nil {
		target = resolved
	}
	old, err := os.Lstat(target)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		old = nil
	case err != nil:
		return err
	case !old.Mode().IsRegular():
		return writeInPlace(ctx, path, write)
	}
	_, err = writeBeside(ctx, target, 0o666, write, func(tmp *os.File) error {
		if old != nil {
			if owner, ok := old.Sys().(*syscall.Stat_t); ok {
				_ = tmp.Chown(int(owner.Uid), int(owner.Gid))
			}
			if err := tmp.Chmod(old.Mode()); err != nil {
				return err
			}
		}
		return os.Rename(tmp.Name(), target)
	})
	return err
}

// writeNew makes a file as writeFile does, but replaces none, and returns its size.
// Only its owner may read it, as is the default of stores.
func writeNew(ctx context.Context, path string, write func(w io.Writer) error) (bytes int64, err error) {
	if _, err := os.Lstat(path); err == nil {
		return 0, &fs.PathError{Op: "create", Path: path, Err: fs.ErrExist}
	}
	return writeBeside(ctx, path, 0o600, write, func(tmp *os.File) error {
		if err := os.Link(tmp.Name(), path); err != nil {
			return err
		}
		return os.Remove(tmp.Name())
	})
}

// writeBeside writes a temporary file in the directory of path, brings it to disk,
// and lets publish give it its name. It removes the file if that does not succeed.
func writeBeside(ctx context.Context, path string, mode fs.FileMode, write func(w io.Writer) error, publish func(tmp *os.File) error) (bytes int64, err error) {
	name := filepath.Join(filepath.Dir(path), fmt.Sprintf(".%s.tmp-%s", filepath.Base(path), rand.Text()))
	tmp, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, mode)
	published := false
	if err == nil {
		defer func() {
			_ = tmp.Close()
			if !published { // also when write panics
				_ = os.Remove(name)
			}
		}()
		err = write(outputFile{ctx, tmp, path})
	}
	if err == nil {
		err = tmp.Sync()
	}
	if err == nil {
		bytes, err = tmp.Seek(0, io.SeekCurrent)
	}
	if err == nil {
		err = ctx.Err()
	}
	if err == nil {
		err = publish(tmp)
		published = err == nil
	}
	err = calledBy(path, name, err)
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		err = noSpaceError{err}
	}
	return bytes, err
}

// leadsToOpenFile reports whether path is a name for a file that is open, such as
// standard output. That file has a name of its own, or none, and is written to
// where it is.
func leadsToOpenFile(path string) bool {
	return path == "/dev/stdout" || path == "/dev/stderr" || strings.HasPrefix(path, "/dev/fd/") || strings.HasPrefix(path, "/proc/")
}

func writeInPlace(ctx context.Context, path string, write func(w io.Writer) error) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o666)
	if err != nil {
		return err
	}
	err = write(outputFile{ctx, f, path})
	if e := f.Close(); err == nil {
		err = e
	}
	return err
}

// outputFile refuses to write once ctx is done. Its errors call it by the name that
// it will have.
type outputFile struct {
	ctx  context.Context
	file *os.File
	path string
}

func (f outputFile) Write(b []byte) (int, error) {
	if err := f.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := f.file.Write(b)
	return n, calledBy(f.path, f.file.Name(), err)
}

// calledBy puts path in the place of a temporary name in an error.
func calledBy(path, tmp string, err error) error {
	if e := (&fs.PathError{}); errors.As(err, &e) && e.Path == tmp {
		e.Path = path
	}
	return err
}

// noSpaceError is that of a file system that has no room for a file. It gets the
// exit code of a full store, and says itself what is full.
type noSpaceError struct{ error }

func (e noSpaceError) Is(target error) bool { return target == shm.ErrFull }
func (e noSpaceError) Unwrap() error        { return e.error }
