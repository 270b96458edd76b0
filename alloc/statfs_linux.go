package alloc

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// refusedFS is the file systems on which processes of different hosts see one
// file, or on which the mappings of one host are not coherent. On overlay, the
// file system of a container's own files, a process that opened a file read-only
// while it lay in a lower layer goes on to see that, after the first to open it
// for writing has caused it to be copied up.
var refusedFS = map[uint32]string{
	unix.NFS_SUPER_MAGIC:   "nfs",
	unix.SMB_SUPER_MAGIC:   "smb",
	unix.CIFS_SUPER_MAGIC:  "cifs",
	unix.SMB2_SUPER_MAGIC:  "smb2",
	unix.CODA_SUPER_MAGIC:  "coda",
	unix.AFS_SUPER_MAGIC:   "afs",
	unix.AFS_FS_MAGIC:      "afs",
	unix.V9FS_MAGIC:        "9p",
	unix.CEPH_SUPER_MAGIC:  "ceph",
	unix.OCFS2_SUPER_MAGIC: "ocfs2",
	unix.FUSE_SUPER_MAGIC:  "fuse",

	unix.OVERLAYFS_SUPER_MAGIC: "overlay",

	0x01161970: "gfs2",
	0x0bd00bd0: "lustre",
	0x47504653: "gpfs",
}

func checkFS(path string) error {
	magic, err := magicOf(path, func(st *unix.Statfs_t) error { return unix.Statfs(path, st) })
	if err != nil {
		return err
	}
	return refuseFS(magic)
}

// onDisk reports whether what is flushed of a file survives a crash of the system.
func onDisk(f *os.File) (bool, error) {
	magic, err := magicOf(f.Name(), func(st *unix.Statfs_t) error { return unix.Fstatfs(int(f.Fd()), st) })
	return magic != unix.TMPFS_MAGIC && magic != unix.RAMFS_MAGIC && magic != unix.HUGETLBFS_MAGIC, err
}

// magicOf returns the number of the file system's type.
func magicOf(path string, statfs func(*unix.Statfs_t) error) (uint32, error) {
	var st unix.Statfs_t
	for {
		if err := statfs(&st); err == nil {
			return uint32(st.Type), nil
		} else if err != unix.EINTR {
			return 0, &fs.PathError{Op: "statfs", Path: path, Err: err}
		}
	}
}

func refuseFS(magic uint32) error {
	name, bad := refusedFS[magic]
	if !bad {
		return nil
	}
	advice := ""
	if magic == unix.OVERLAYFS_SUPER_MAGIC {
		advice = " (in a container, put the store on a volume or on a tmpfs such as /dev/shm)"
	}
	return fmt.Errorf("found a file system of type %s, expected a local one such as tmpfs, ext4, xfs or btrfs%s: %w", name, advice, errors.ErrUnsupported)
}
