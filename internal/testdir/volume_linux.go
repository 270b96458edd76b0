package testdir

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A Volume is a file system of its own, which can lose its power.
type Volume struct {
	Dir string // where it is mounted

	t       testing.TB
	device  string // a file
	options string
}

// volumeBytes is the size of a volume. mkfs.xfs makes none below 300 MB.
const volumeBytes = 320 << 20

// NewVolume makes a file system of a type, such as ext4, in a file, and mounts it with
// options until the test ends. It skips the test if that is not possible.
func NewVolume(t testing.TB, fsType, options string) *Volume {
	t.Helper()
	if errMounts != nil {
		t.Skipf("mounting a file system takes a mount namespace of its own: %v", errMounts)
	}
	mkfs, err := exec.LookPath("mkfs." + fsType)
	if err != nil {
		t.Skip(err)
	}
	if options != "" {
		options = "," + options
	}
	v := &Volume{Dir: t.TempDir(), t: t, device: filepath.Join(Memory(t), "device"), options: "loop" + options}
	if err := os.WriteFile(v.device, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(v.device, volumeBytes); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(mkfs, "-q", v.device).CombinedOutput(); err != nil {
		t.Skipf("%s: %v: %s", mkfs, err, out)
	}
	if out, err := v.mount(); err != nil {
		t.Skipf("mounting %s is not possible here: %v: %s", fsType, err, out)
	}
	// The loop device goes with the mount, and the mount with the mount namespace.
	t.Cleanup(func() { _ = unix.Unmount(v.Dir, unix.MNT_DETACH) })
	return v
}

func (v *Volume) mount() (output []byte, err error) {
	return exec.Command("mount", "-n", "-o", v.options, v.device, v.Dir).CombinedOutput()
}

// Sync brings all of the volume to the device.
func (v *Volume) Sync() {
	v.t.Helper()
	if err := v.control(unix.Syncfs); err != nil {
		v.t.Fatalf("writing the file system back: %v", err)
	}
}

// control calls fn with a descriptor of the root directory.
func (v *Volume) control(fn func(dir int) error) error {
	dir, err := os.Open(v.Dir)
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }()
	return fn(int(dir.Fd()))
}

// Cut stops the volume: from now on nothing reaches the device, and each flush fails.
// Pages that were not written back are lost. So are changes of the file system that are
// not in the journal on the device yet.
func (v *Volume) Cut() {
	v.t.Helper()
	const (
		shutdown   = 0x8004587d // EXT4_IOC_SHUTDOWN, and XFS_IOC_GOINGDOWN
		noLogFlush = 2
	)
	if err := v.control(func(dir int) error { return unix.IoctlSetPointerInt(dir, shutdown, noLogFlush) }); err != nil {
		v.t.Fatalf("shutting the file system down: %v", err)
	}
}

// Remount mounts the volume again, which replays the journal. No process may use it.
func (v *Volume) Remount() {
	v.t.Helper()
	err := unix.Unmount(v.Dir, 0)
	for end := time.Now().Add(10 * time.Second); err == unix.EBUSY && time.Now().Before(end); err = unix.Unmount(v.Dir, 0) {
		time.Sleep(time.Millisecond) // a process that another test starts has our descriptors until it executes
	}
	if err != nil {
		v.t.Fatalf("unmounting: %v", err)
	}
	if out, err := v.mount(); err != nil {
		v.t.Fatalf("mounting again: %v: %s", err, out)
	}
}
