package doctor

import (
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/seed-869cc763/shmkv/cmd/shmctl/internal/text"
	"github.com/seed-869cc763/shmkv/shm"
)

// machine gives access to the machine. Tests replace it.
type machine struct {
	root     string // parent of proc and sys
	statfs   func(path string) (unix.Statfs_t, error)
	features []feature
	space    func() (uint64, error) // the limit of a process's address space, in bytes
	shared   string                 // directory in which a logout may remove files
	owner    func(path string) (uid uint32, err error)

	hugePages func(dir string) error // nil if stores in dir can get huge pages
}

// feature is a kernel feature that a store needs.
type feature struct {
	name string
	try  func(fd int) error // on a file in memory
}

var thisMachine = machine{
	root:   "/",
	shared: SharedMemory,
	owner:  ownerOf,

	hugePages: shm.TryHugePages,
	statfs: func(path string) (st unix.Statfs_t, err error) {
		if err = unix.Statfs(path, &st); err != nil {
			err = &fs.PathError{Op: "statfs", Path: path, Err: err}
		}
		return st, err
	},
	features: []feature{
		{"fallocate", func(fd int) error { return unix.Fallocate(fd, 0, 0, 64<<10) }},
		{"holes in files", func(fd int) error {
			return unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, 64<<10)
		}},
		{"locks of open files", func(fd int) error {
			return unix.FcntlFlock(uintptr(fd), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK, Start: 0, Len: 1})
		}},
	},
	space: func() (uint64, error) {
		var limit unix.Rlimit
		err := unix.Getrlimit(unix.RLIMIT_AS, &limit)
		return limit.Cur, err
	},
}

const (
	dockerBytes    = 64 << 20 // default size of /dev/shm in a Docker container
	defaultMaxSize = 64 << 30 // default maximum size of a store
)

// goodFS contains the file systems that are suitable for stores.
var goodFS = map[int64]string{
	unix.TMPFS_MAGIC:       "tmpfs",
	unix.EXT4_SUPER_MAGIC:  "ext4",
	unix.XFS_SUPER_MAGIC:   "xfs",
	unix.BTRFS_SUPER_MAGIC: "btrfs",
}

func (d *doctor) examineMachine() error {
	d.kernel()
	st, err := d.machine.statfs(d.Path)
	if err != nil {
		return err
	}
	isTmpfs := int64(st.Type) == unix.TMPFS_MAGIC
	free := int64(st.Bavail) * st.Bsize
	d.fileSystem(st)
	d.room(int64(st.Blocks)*st.Bsize, free, isTmpfs)
	if isTmpfs {
		d.memory(free)
		d.overcommit(free)
		d.hugePages()
	}
	return nil
}

func (d *doctor) kernel() {
	var missing []string
	fd, err := unix.MemfdCreate("shmctl-doctor", unix.MFD_CLOEXEC)
	if err != nil {
		missing = append(missing, "files in memory: "+err.Error())
	} else {
		defer func() { _ = unix.Close(fd) }()
		for _, f := range d.machine.features {
			if err := f.try(fd); err != nil {
				missing = append(missing, f.name+": "+err.Error())
			}
		}
	}
	release := strings.TrimSpace(d.read("proc/sys/kernel/osrelease"))
	if missing != nil {
		d.find("kernel", Problem, "stores need a Linux kernel; some sandboxes that emulate one lack or forbid these features",
			"Linux %s lacks %s", release, strings.Join(missing, "; "))
		return
	}
	var names []string
	for _, f := range d.machine.features {
		names = append(names, f.name)
	}
	d.find("kernel", OK, "", "Linux %s, has %s", release, strings.Join(names, ", "))
}

func (d *doctor) fileSystem(st unix.Statfs_t) {
	name, good := goodFS[int64(st.Type)]
	switch {
	case !good:
		d.find("file system", Warning, "use tmpfs, ext4, xfs or btrfs; stores on network file systems and overlay are refused: in a container, use a volume or a tmpfs",
			"%s is on a file system of type %#x", d.Path, st.Type)
	case name == "tmpfs":
		d.find("file system", OK, "", "%s is on tmpfs: its files last until the host restarts", d.Path)
	default:
		d.find("file system", OK, "", "%s is on %s", d.Path, name)
	}
	if st.Flags&unix.ST_RDONLY != 0 {
		d.find("file system", Warning, "mount it read-write to write to stores", "%s is mounted read-only", d.Path)
	}
}

// room checks the free space of the file system. whole and free are in bytes.
func (d *doctor) room(whole, free int64, isTmpfs bool) {
	left := fmt.Sprintf("%s of %s are free", text.Size(free), text.Size(whole))
	switch {
	case whole == 0:
		d.find("space", Warning, "limit the store with MaxSize: nothing else ends its growth", "the file system tells no size")
	case free < 1<<20:
		d.find("space", Problem, "remove files, or enlarge the file system: writes fail with ErrFull", "%s", left)
	case free < whole/10:
		d.find("space", Warning, "writes will fail with ErrFull once the file system is full", "%s", left)
	case isTmpfs && whole <= dockerBytes:
		d.find("space", Warning, "Docker gives 64 MiB by default: docker run --shm-size=1g, shm_size in Compose, an emptyDir with medium: Memory in Kubernetes",
			"%s: that is little", left)
	default:
		d.find("space", OK, "", "%s", left)
	}
}

// memory compares the free space of a tmpfs with the available memory.
func (d *doctor) memory(free int64) {
	available, ok := d.meminfo("MemAvailable")
	swap, _ := d.meminfo("SwapFree")
	switch {
	case !ok:
		d.find("memory", Warning, "", "proc/meminfo does not tell the available memory")
	case available+swap < free:
		d.find("memory", Warning, "limit the store with MaxSize, or the file system with size=: the kernel kills processes before the file system is full",
			"%s are available, with swap, and the file system may take %s more", text.Size(available+swap), text.Size(free))
	default:
		d.find("memory", OK, "", "%s are available, with swap", text.Size(available+swap))
	}
}

// overcommit checks the commit limit: in mode 2, pages of tmpfs count as committed.
func (d *doctor) overcommit(free int64) {
	switch mode := strings.TrimSpace(d.read("proc/sys/vm/overcommit_memory")); mode {
	case "0", "1":
		d.find("overcommit", OK, "", "mode %s does not limit tmpfs", mode)
	case "2":
		limit, _ := d.meminfo("CommitLimit")
		committed, _ := d.meminfo("Committed_AS")
		if left := max(limit-committed, 0); left < free {
			d.find("overcommit", Warning, "raise vm.overcommit_ratio, or set vm.overcommit_memory=0",
				"mode 2: writes will fail with ErrFull after %s more, though the file system has %s", text.Size(left), text.Size(free))
			return
		}
		d.find("overcommit", OK, "", "mode 2: the commit limit leaves more than the file system has")
	default:
		d.find("overcommit", Warning, "", "found %q in proc/sys/vm/overcommit_memory, expected 0, 1 or 2", mode)
	}
}

// hugePages tries to get a huge page as a store does, because the settings alone do not
// decide.
func (d *doctor) hugePages() {
	err := d.machine.hugePages(d.Path)
	switch {
	case err == nil:
		d.find("huge pages", OK, "", "a store of 64 MiB or more gets them by itself")
	case strings.Contains(d.read("sys/kernel/mm/transparent_hugepage/shmem_enabled"), "[deny]"):
		d.find("huge pages", OK, "to allow them, write never or advise to /sys/kernel/mm/transparent_hugepage/shmem_enabled",
			"the kernel's setting denies them: stores get none")
	default:
		d.find("huge pages", OK, "", "a store gets none here: %v", err)
	}
}

// addressSpace compares the limit of a process with the address space of a store: its
// maximum size, and twice that if it is opened for writing.
func (d *doctor) addressSpace(maxSize int64) {
	limit, err := d.machine.space()
	switch {
	case err != nil:
		d.find("address space", Warning, "", "the limit cannot be read: %v", err)
	case limit == unix.RLIM_INFINITY:
		d.find("address space", OK, "", "unlimited")
	case limit < 2*uint64(maxSize):
		d.find("address space", Problem, "run ulimit -v unlimited, or make the store with a smaller MaxSize",
			"limited to %s; a store of at most %s takes twice its maximum size", text.Size(int64(min(limit, math.MaxInt64))), text.Size(maxSize))
	default:
		d.find("address space", OK, "", "limited to %s", text.Size(int64(min(limit, math.MaxInt64))))
	}
}

// read returns the contents of a file below the root, or "" if it cannot be read.
func (d *doctor) read(name string) string {
	b, _ := os.ReadFile(filepath.Join(d.machine.root, name))
	return string(b)
}

// meminfo returns a field of /proc/meminfo in bytes.
func (d *doctor) meminfo(field string) (int64, bool) {
	for line := range strings.Lines(d.read("proc/meminfo")) {
		if rest, found := strings.CutPrefix(line, field+":"); found {
			n, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return n << 10, err == nil
		}
	}
	return 0, false
}
