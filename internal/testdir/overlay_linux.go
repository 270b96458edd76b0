package testdir

import (
	"os"

	"golang.org/x/sys/unix"
)

// unchanged is the environment variables as they were before leaveOverlay.
var unchanged []string

// leaveOverlay lets this process and its children make their temporary
// directories in /dev/shm if they would lie on overlay, as in a container: a
// store is refused there.
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

// GoEnv is the environment for a go command. It needs more room than /dev/shm may
// have, and none for stores: its tests find that themselves.
func GoEnv() []string { return append(os.Environ(), unchanged...) }
