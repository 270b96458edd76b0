package testdir

import (
	"os"

	"golang.org/x/sys/unix"
)

// unchanged contains the environment variables that leaveOverlay has changed, with their
// values from before.
var unchanged []string

// leaveOverlay makes this process and its children put their temporary directories into
// /dev/shm instead of overlay, the file system of a container. Open refuses a store on
// overlay.
func leaveOverlay() {
	for _, name := range []string{"TMPDIR", "GOTMPDIR"} {
		was := os.Getenv(name)
		dir := was
		if name == "TMPDIR" {
			dir = os.TempDir()
		}
		var st unix.Statfs_t
		if dir == "" || unix.Statfs(dir, &st) != nil || st.Type != unix.OVERLAYFS_SUPER_MAGIC {
			continue
		}
		unchanged = append(unchanged, name+"="+was)
		_ = os.Setenv(name, "/dev/shm")
	}
}

// GoEnv returns the environment for a go command, without the changes of leaveOverlay. A
// go command may need more space than /dev/shm has, and the tests that it runs call Start
// themselves.
func GoEnv() []string { return append(os.Environ(), unchanged...) }
