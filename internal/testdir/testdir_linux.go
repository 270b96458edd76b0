package testdir

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/seed-869cc763/shmkv/internal/tempdir"
)

const (
	prefix = "shmkv-testrun-"
	shared = "/dev/shm"
)

// Main runs the tests of a package for its TestMain and returns the exit code. All
// temporary directories, also those of testing.T, are in one directory of the process.
func Main(m interface{ Run() int }) int {
	defer Start()()
	return m.Run()
}

// Start prepares the process as Main does before the tests. Call end after the tests.
func Start() (end func()) {
	errMounts = unshareMounts()
	leaveOverlay()
	d, err := makeDir(os.TempDir())
	if err != nil {
		fmt.Fprintln(os.Stderr, "testdir:", err)
		os.Exit(2)
	}
	_ = tempdir.Sweep(shared, prefix)
	old, had := os.LookupEnv("TMPDIR")
	_ = os.Setenv("TMPDIR", d.Path)
	return func() {
		if had {
			_ = os.Setenv("TMPDIR", old)
		} else {
			_ = os.Unsetenv("TMPDIR")
		}
		_ = d.Remove()
		memory.mu.Lock()
		defer memory.mu.Unlock()
		if memory.dir != nil {
			_ = memory.dir.Remove()
		}
	}
}

// makeDir makes a directory for this process. Its mode is 0711, for tests that change
// their user.
func makeDir(parent string) (*tempdir.Dir, error) {
	d, err := tempdir.Make(parent, prefix)
	if err != nil {
		return nil, err
	}
	return d, os.Chmod(d.Path, 0o711)
}

// memory is the process's directory in /dev/shm.
var memory struct {
	mu  sync.Mutex
	dir *tempdir.Dir
}

// Memory returns a new directory in /dev/shm, which is removed when the test ends. If
// /dev/shm is no tmpfs or has at most 1 GiB of free space, Memory returns t.TempDir().
func Memory(t testing.TB) string {
	t.Helper()
	var st unix.Statfs_t
	if unix.Statfs(shared, &st) != nil || st.Type != unix.TMPFS_MAGIC || st.Bavail*uint64(st.Bsize) <= 1<<30 {
		return t.TempDir()
	}
	memory.mu.Lock()
	defer memory.mu.Unlock()
	if memory.dir == nil {
		d, err := makeDir(shared)
		if err != nil {
			return t.TempDir()
		}
		memory.dir = d
	}
	dir, err := os.MkdirTemp(memory.dir.Path, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// Disk returns a new directory on a file system that outlives the system. It skips the
// test if all temporary directories are in memory.
func Disk(t testing.TB) string {
	t.Helper()
	for _, parent := range []string{"", "/var/tmp"} {
		dir := t.TempDir()
		if parent != "" {
			d, err := os.MkdirTemp(parent, prefix)
			if err != nil {
				continue
			}
			t.Cleanup(func() { _ = os.RemoveAll(d) })
			dir = d
		}
		var st unix.Statfs_t
		if unix.Statfs(dir, &st) == nil && st.Type != unix.TMPFS_MAGIC && uint32(st.Type) != unix.RAMFS_MAGIC && st.Type != unix.OVERLAYFS_SUPER_MAGIC {
			return dir
		}
	}
	t.Skip("no temporary directory is on a disk: found a tmpfs or an overlay, expected a file system such as ext4")
	return ""
}

// Tmpfs mounts a tmpfs with options such as "size=64k" until the test ends, and returns
// its directory. It skips the test if mounting is not permitted.
func Tmpfs(t testing.TB, options string) string {
	t.Helper()
	if errMounts != nil {
		t.Skipf("mounting a tmpfs takes a mount namespace of its own: %v", errMounts)
	}
	dir := t.TempDir()
	if err := unix.Mount("shmkv-test", dir, "tmpfs", 0, options); err != nil {
		t.Skipf("mounting a tmpfs is not permitted here: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	return dir
}

// Remount changes the options of a mount of Tmpfs.
func Remount(t testing.TB, dir, options string) {
	t.Helper()
	if err := unix.Mount("shmkv-test", dir, "tmpfs", unix.MS_REMOUNT, options); err != nil {
		t.Fatal(err)
	}
}

// errMounts is the reason why the process has no mount namespace of its own, or nil.
var errMounts = errors.New("testdir.Start was not called")

// unsharedEnv is set in a process with its own mount namespace, and in its children.
const unsharedEnv = "SHMKV_TEST_UNSHARED"

// unshareMounts gives the process its own mount namespace. At first only one thread is in
// the new namespace. unshareMounts executes the program again in that thread, so all
// threads of the new program are in it.
func unshareMounts() error {
	if os.Getenv(unsharedEnv) != "" {
		return nil
	}
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("unshare: %w", err)
	}
	// Other namespaces must not see the mounts.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("making mounts private: %w", err)
	}
	err = syscall.Exec(exe, os.Args, append(os.Environ(), unsharedEnv+"="+filepath.Base(exe)))
	return fmt.Errorf("executing %s again: %w", exe, err)
}
