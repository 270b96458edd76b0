package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/seed-869cc763/shmkv/shm/record/filestorage"
)

// isFileStorage reports whether a file is one of Durus's FileStorage.
func isFileStorage(path string) bool {
	f, err := filestorage.Open(path)
	return err == nil && f.Close() == nil
}

// removeEmpty removes an empty regular file, which is a new FileStorage to Durus, so that a store can be made in
// its place. Whatever else is at the path stays. A server of Durus locks its file.
func removeEmpty(path string) error {
	if st, err := os.Lstat(path); err != nil || !st.Mode().IsRegular() || st.Size() > 0 {
		return nil // which opening the store tells
	}
	file, err := os.OpenFile(path, os.O_RDWR|syscall.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer file.Close()
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return fmt.Errorf("replacing the empty file %s by a store: another process has locked it: %w", path, err)
	}
	now, err := os.Lstat(path)
	if err != nil {
		return nil
	}
	if own, err := file.Stat(); err != nil || own.Size() > 0 || !os.SameFile(own, now) {
		return err
	}
	err = unix.Unlink(path) // it never removes a directory
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		err = &fs.PathError{Op: "unlink", Path: path, Err: err}
	}
	return err
}

// idOf returns the number of a user or a group that a flag gives by name or number, or -1 for nothing.
func idOf(flag, name string, look func(name string) (id string, err error)) (int, error) {
	if name == "" {
		return -1, nil
	}
	id, err := look(name)
	if err != nil {
		id = name
	}
	n, e := strconv.ParseInt(id, 10, 32)
	if e != nil || n < 0 {
		return 0, fmt.Errorf("found --%s %q, expected a name of this system or a number", flag, name)
	}
	return int(n), nil
}

func userID(name string) (string, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return "", err
	}
	return u.Uid, nil
}

func groupID(name string) (string, error) {
	g, err := user.LookupGroup(name)
	if err != nil {
		return "", err
	}
	return g.Gid, nil
}
