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

// writeFile creates or replaces the file at path with the output of write. It writes a
// temporary file in the same directory and renames it when it is complete and on disk.
// After an error, or once ctx is done, it removes the temporary file and leaves path
// unchanged.
//
// The new file gets the permission bits of the file that it replaces, and its owner if
// that is permitted. If path is a symbolic link, writeFile replaces the target of the
// link. It writes directly to a pipe, a device or another file that is not regular.
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

// writeNew creates a file as writeFile does and returns its size, but does not replace a
// file. The mode is 0600, the default of stores.
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

// writeBeside writes a temporary file in the directory of path, syncs it, and calls
// publish, which gives the file its name. After an error it removes the file.
func writeBeside(ctx context.Context, path string, mode fs.FileMode, write func(w io.Writer) error, publish func(tmp *os.File) error) (bytes int64, err error) {
	name := filepath.Join(filepath.Dir(path), fmt.Sprintf(".%s.tmp-%s", filepath.Base(path), rand.Text()))
	tmp, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, mode)
	published := false
	if err == nil {
		defer func() {
			_ = tmp.Close()
			if !published { // even if write panics
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

// leadsToOpenFile reports whether path refers to an open file, such as standard output.
// writeFile writes to that file directly.
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

// outputFile is a Writer that returns an error once ctx is done. Its errors contain the
// final name of the file.
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

// calledBy replaces the temporary name in an error by path.
func calledBy(path, tmp string, err error) error {
	if e := (&fs.PathError{}); errors.As(err, &e) && e.Path == tmp {
		e.Path = path
	}
	return err
}

// noSpaceError is the error of a full file system. It matches shm.ErrFull, for its exit
// code, and keeps the text of the original error.
type noSpaceError struct{ error }

func (e noSpaceError) Is(target error) bool { return target == shm.ErrFull }
func (e noSpaceError) Unwrap() error        { return e.error }
