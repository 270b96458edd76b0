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

// Main runs the tests of a package, for its TestMain, with temporary directories
// (also those of testing.T) in one for the process. It returns the exit code.
func Main(m interface{ Run() int }) int {
	defer Start()()
	return m.Run()
}

// Start does what Main does before the tests. It returns what is to be done after
// them.
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

// makeDir makes a directory for this process, which tests that become another user
// may search.
func makeDir(parent string) (*tempdir.Dir, error) {
	d, err := tempdir.Make(parent, prefix)
	if err != nil {
		return nil, err
	}
	return d, os.Chmod(d.Path, 0o711)
}

// memory is the process's directory in shared memory.
var memory struct {
	mu  sync.Mutex
	dir *tempdir.Dir
}

// Memory makes a directory in shared memory, until the test ends; or elsewhere
// where there is none, or less than a gigabyte of it.
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

// Tmpfs mounts a tmpfs with options, such as "size=64k", until the test ends. Where
// that is not permitted it skips the test.
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

// Remount changes the options of what Tmpfs has mounted.
func Remount(t testing.TB, dir, options string) {
	t.Helper()
	if err := unix.Mount("shmkv-test", dir, "tmpfs", unix.MS_REMOUNT, options); err != nil {
		t.Fatal(err)
	}
}

// errMounts is why the process has no mount namespace of its own.
var errMounts = errors.New("testdir.Start was not called")

// unsharedEnv is set in a process that has one, and in its children.
const unsharedEnv = "SHMKV_TEST_UNSHARED"

// unshareMounts gives the process a mount namespace of its own. A namespace belongs
// to a thread at first; the program is executed again in that thread, and all
// threads that it makes then are in it.
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
	// What is mounted below is not to be seen elsewhere.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("making mounts private: %w", err)
	}
	err = syscall.Exec(exe, os.Args, append(os.Environ(), unsharedEnv+"="+filepath.Base(exe)))
	return fmt.Errorf("executing %s again: %w", exe, err)
}
