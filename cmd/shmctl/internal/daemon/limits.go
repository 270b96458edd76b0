package daemon

import (
	"errors"
	"fmt"
	"os/user"
	"runtime/debug"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// OpenFiles raises the limit of open files to n, if it is lower.
func OpenFiles(n uint64) error {
	// Package syscall, whose call also stops the runtime from resetting the limit in processes
	// that this one starts.
	var now syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &now); err != nil {
		return fmt.Errorf("reading the limit of open files: %w", err)
	}
	if now.Cur >= n {
		return nil
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: n, Max: max(n, now.Max)}); err != nil {
		return fmt.Errorf("found a limit of %d open files, expected %d or more, and raising it failed: %w", now.Max, n, err)
	}
	return nil
}

// CoreFiles raises the limit of core files as far as possible, and makes crashes of this
// program dump core.
func CoreFiles() error {
	var now unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_CORE, &now); err != nil {
		return fmt.Errorf("reading the limit of core files: %w", err)
	}
	all := unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY}
	if unix.Setrlimit(unix.RLIMIT_CORE, &all) != nil {
		if now.Max == 0 {
			return errors.New("found a limit of 0 for core files, expected more, and only root can raise it")
		}
		if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{Cur: now.Max, Max: now.Max}); err != nil {
			return fmt.Errorf("raising the limit of core files: %w", err)
		}
	}
	debug.SetTraceback("crash")
	return nil
}

// LockMemory locks the memory that this process uses, now and later, when it first uses it.
func LockMemory() error {
	err := unix.Mlockall(unix.MCL_CURRENT | unix.MCL_FUTURE | unix.MCL_ONFAULT)
	if err == nil {
		return nil
	}
	var now unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_MEMLOCK, &now) == nil {
		return fmt.Errorf("locking the memory: %w (the limit of locked memory is %d bytes; all mappings of the process count)", err, now.Cur)
	}
	return fmt.Errorf("locking the memory: %w", err)
}

// Become makes this process one of the named user, with the group of that user and no other, if
// it is root's. It does nothing if it is another user's, or the name is root's.
func Become(name string) error {
	if syscall.Geteuid() != 0 {
		return nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		return fmt.Errorf("becoming the user %q: %w", name, err)
	}
	uid, err1 := strconv.Atoi(u.Uid)
	gid, err2 := strconv.Atoi(u.Gid)
	if err := errors.Join(err1, err2); err != nil {
		return fmt.Errorf("becoming the user %q: %w", name, err)
	}
	if uid == 0 {
		return nil
	}
	// In this order, since nobody but root may do the first two. They work for all threads.
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"setgroups", func() error { return syscall.Setgroups([]int{gid}) }},
		{"setgid", func() error { return syscall.Setgid(gid) }},
		{"setuid", func() error { return syscall.Setuid(uid) }},
	} {
		if err := step.do(); err != nil {
			return fmt.Errorf("becoming the user %q: %s: %w", name, step.name, err)
		}
	}
	return nil
}
