package doctor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/seed-869cc763/shmkv/internal/testdir"
	"github.com/seed-869cc763/shmkv/shm"
)

func TestMain(m *testing.M) { os.Exit(testdir.Main(m)) }

// newStore makes a store that this process has open.
func newStore(t *testing.T, opts *shm.Options) *shm.Store {
	t.Helper()
	s, err := shm.Open(t.TempDir(), opts)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// goodMachine returns a machine without warnings and problems.
func goodMachine(t *testing.T) machine {
	t.Helper()
	m := thisMachine
	m.root = t.TempDir()
	for name, content := range map[string]string{
		"proc/sys/kernel/osrelease":     "6.18.0\n",
		"proc/sys/vm/overcommit_memory": "0\n",
		"proc/meminfo":                  "MemTotal: 64000000 kB\nMemAvailable:   32000000 kB\nSwapFree: 0 kB\nCommitLimit: 9000 kB\nCommitted_AS: 5000 kB\n",
		"proc/self/mountinfo": "22 1 0:2 / / rw - ext4 /dev/root rw\n" +
			"25 24 0:23 / /dev/shm rw,relatime - tmpfs tmpfs rw,size=24684092k\n" +
			"26 24 0:24 / /dev/shm/huge rw,relatime - tmpfs tmpfs rw,huge=advise\n",
		"sys/kernel/mm/transparent_hugepage/shmem_enabled": "always within_size advise [never] deny force\n",
	} {
		putFile(t, m, name, content)
	}
	m.statfs = fileSystem(unix.TMPFS_MAGIC, 8<<30, 4<<30)
	m.space = func() (uint64, error) { return unix.RLIM_INFINITY, nil }
	m.hugePages = func(string) error { return nil }
	return m
}

func putFile(t *testing.T, m machine, name, content string) {
	t.Helper()
	name = filepath.Join(m.root, name)
	require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o700))
	require.NoError(t, os.WriteFile(name, []byte(content), 0o600))
}

func fileSystem(kind, whole, free uint64) func(string) (unix.Statfs_t, error) {
	return func(string) (st unix.Statfs_t, err error) {
		st.Type = int64(kind)
		st.Bsize = 4096
		st.Blocks, st.Bavail = whole/4096, free/4096
		return st, nil
	}
}

// one returns the only finding of a check.
func (r Report) one(t *testing.T, check string) Finding {
	t.Helper()
	var all []Finding
	for _, f := range r.Findings {
		if f.Check == check {
			all = append(all, f)
		}
	}
	require.Len(t, all, 1, check)
	return all[0]
}

func TestDoctorOnMachines(t *testing.T) {
	d := doctor{machine: goodMachine(t), Report: Report{Path: SharedMemory}}
	require.NoError(t, d.examine(false))
	require.Len(t, d.Findings, 7)
	for _, f := range d.Findings {
		require.Equal(t, OK, f.Level, "%+v", f)
	}
	require.NoError(t, d.Verdict())

	for _, c := range []struct {
		name   string
		change func(m *machine)
		check  string
		level  Level
		found  string
		advice string
	}{
		{"no locks", func(m *machine) {
			m.features = append(m.features[:1:1], feature{"locks of open files", func(int) error { return unix.EINVAL }})
		}, "kernel", Problem, "Linux 6.18.0 lacks locks of open files: invalid argument", "sandboxes"},
		{"unknown file system", func(m *machine) { m.statfs = fileSystem(unix.NFS_SUPER_MAGIC, 8<<30, 4<<30) },
			"file system", Warning, "/dev/shm is on a file system of type 0x6969", "network"},
		{"ext4", func(m *machine) { m.statfs = fileSystem(unix.EXT4_SUPER_MAGIC, 8<<30, 4<<30) }, "file system", OK, "is on ext4", ""},
		{"Docker", func(m *machine) { m.statfs = fileSystem(unix.TMPFS_MAGIC, 64<<20, 60<<20) },
			"space", Warning, "60.0 MiB of 64.0 MiB are free: that is little", "--shm-size"},
		{"small disk", func(m *machine) { m.statfs = fileSystem(unix.EXT4_SUPER_MAGIC, 64<<20, 60<<20) }, "space", OK, "60.0 MiB", ""},
		{"nearly full", func(m *machine) { m.statfs = fileSystem(unix.TMPFS_MAGIC, 8<<30, 1<<29) },
			"space", Warning, "512.0 MiB of 8.0 GiB are free", "ErrFull"},
		{"no size", func(m *machine) { m.statfs = fileSystem(unix.TMPFS_MAGIC, 0, 0) },
			"space", Warning, "tells no size", "limit the store with MaxSize"},
		{"full", func(m *machine) { m.statfs = fileSystem(unix.TMPFS_MAGIC, 8<<30, 4096) },
			"space", Problem, "4.0 KiB of 8.0 GiB are free", "ErrFull"},
		{"little memory", func(m *machine) { putFile(t, *m, "proc/meminfo", "MemAvailable: 1048576 kB\nSwapFree: 1048576 kB\n") },
			"memory", Warning, "2.0 GiB are available, with swap, and the file system may take 4.0 GiB more", "MaxSize"},
		{"strange memory", func(m *machine) { putFile(t, *m, "proc/meminfo", "") }, "memory", Warning, "does not tell", ""},
		{"strict", func(m *machine) { putFile(t, *m, "proc/sys/vm/overcommit_memory", "2\n") },
			"overcommit", Warning, "after 3.9 MiB more, though the file system has 4.0 GiB", "vm.overcommit_ratio"},
		{"strict and much", func(m *machine) {
			putFile(t, *m, "proc/sys/vm/overcommit_memory", "2\n")
			putFile(t, *m, "proc/meminfo", "MemAvailable: 32000000 kB\nCommitLimit: 9000000 kB\nCommitted_AS: 5000 kB\n")
		}, "overcommit", OK, "mode 2", ""},
		{"strange", func(m *machine) { putFile(t, *m, "proc/sys/vm/overcommit_memory", "x") }, "overcommit", Warning, `found "x"`, ""},
		{"no huge pages", func(m *machine) { m.hugePages = func(string) error { return unix.EINVAL } },
			"huge pages", OK, "a store gets none here: invalid argument", ""},
		{"huge pages denied", func(m *machine) {
			m.hugePages = func(string) error { return unix.EINVAL }
			putFile(t, *m, "sys/kernel/mm/transparent_hugepage/shmem_enabled", "always within_size advise never [deny] force\n")
		}, "huge pages", OK, "denies them", "shmem_enabled"},
		{"huge pages", func(*machine) {}, "huge pages", OK, "a store of 64 MiB or more gets them by itself", ""},
		{"small address space", func(m *machine) { m.space = func() (uint64, error) { return 100 << 30, nil } },
			"address space", Problem, "limited to 100.0 GiB; a store of at most 64.0 GiB takes twice its maximum size", "ulimit"},
		{"large address space", func(m *machine) { m.space = func() (uint64, error) { return 1 << 40, nil } },
			"address space", OK, "limited to 1.0 TiB", ""},
		{"no limit to read", func(m *machine) { m.space = func() (uint64, error) { return 0, unix.EPERM } },
			"address space", Warning, "cannot be read: operation not permitted", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := doctor{machine: goodMachine(t), Report: Report{Path: SharedMemory}}
			c.change(&d.machine)
			require.NoError(t, d.examine(false))
			f := d.one(t, c.check)
			require.Equal(t, c.level, f.Level, "%+v", f)
			require.Contains(t, f.Found, c.found)
			require.Equal(t, c.advice == "", f.Advice == "", "%+v", f)
			require.Contains(t, f.Advice, c.advice)
			require.Equal(t, c.level == Problem, errors.Is(d.Verdict(), ErrProblem))
			var out strings.Builder
			require.NoError(t, d.Print(&out))
			require.Regexp(t, `(?m)^`+string(c.level)+` +`+c.check+` +.*`, out.String())
			require.Contains(t, out.String(), c.found)
		})
	}

	d = doctor{machine: goodMachine(t), Report: Report{Path: SharedMemory}}
	d.machine.statfs = func(string) (st unix.Statfs_t, err error) { return st, unix.ENOENT }
	require.ErrorIs(t, d.examine(false), os.ErrNotExist)
}

// examineAt runs all checks on a store, on a good machine.
func examineAt(t *testing.T, path string, now time.Time) doctor {
	t.Helper()
	d := doctor{machine: goodMachine(t), Report: Report{Path: path}, now: now}
	require.NoError(t, d.examine(true))
	return d
}

func TestDoctorOnStores(t *testing.T) {
	s := newStore(t, nil)
	require.NoError(t, s.Set([]byte("a"), []byte("1")))
	sn, err := s.Snapshot()
	require.NoError(t, err)
	defer func() { require.NoError(t, sn.Close()) }()
	data, slots := filepath.Join(s.Path(), "data"), filepath.Join(s.Path(), "procs")
	look := func() doctor { t.Helper(); return examineAt(t, s.Path(), time.Now()) }

	d := look()
	for _, f := range d.Findings {
		require.Equal(t, OK, f.Level, "%+v", f)
	}
	require.Contains(t, d.one(t, "store").Found, "format 4, version 2, 1 entry")
	require.Contains(t, d.one(t, "processes").Found, "2 of at most 256")
	require.Contains(t, d.one(t, "permissions").Found, "this user may read and write it")

	// A snapshot that nobody closes.
	d = examineAt(t, s.Path(), time.Now().Add(3*time.Hour))
	f := d.one(t, "snapshots")
	require.Equal(t, Warning, f.Level)
	require.Regexp(t, `^pid \d+ \(.*\) holds version 2, 0 behind, since [23] h ago$`, f.Found)

	// Permissions.
	require.NoError(t, os.Chmod(data, 0o602))
	require.Contains(t, look().one(t, "permissions").Found, "anybody may write "+data)
	require.NoError(t, os.Chmod(data, 0o640))
	require.Contains(t, look().one(t, "permissions").Found, "data is -rw-r-----, procs -rw-------: some users may read single keys")
	require.NoError(t, os.Chmod(slots, 0o660))
	require.Equal(t, OK, look().one(t, "permissions").Level)
	require.NoError(t, os.Chmod(s.Path(), 0o777))
	require.Equal(t, "chmod o-w "+s.Path(), look().one(t, "permissions").Advice)
	require.NoError(t, os.Chmod(s.Path(), 0o700))

	// A file of an incomplete creation.
	temp := filepath.Join(s.Path(), "tmp-data-1")
	require.NoError(t, os.WriteFile(temp, nil, 0o600))
	require.Equal(t, Warning, look().one(t, "leftovers").Level)
	require.NoError(t, os.Remove(temp))
}

// Processes use a store that was removed and replaced by another one.
func TestDoctorOnRemovedStore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a\nb")
	m := goodMachine(t)
	look := func() Finding {
		t.Helper()
		s, err := shm.Open(path, nil)
		require.NoError(t, err)
		require.NoError(t, s.Close())
		d := doctor{machine: m, Report: Report{Path: path}, now: time.Now()}
		require.NoError(t, d.examine(true))
		return d.one(t, "removed store")
	}
	require.Equal(t, Finding{"removed store", OK, "no process uses a store that was removed from here", ""}, look())
	name := strings.ReplaceAll(path, "\n", `\012`)
	putFile(t, m, "proc/12/comm", "writer\n")
	putFile(t, m, "proc/12/maps", "7f00-7f01 rw-s 00000000 00:17 5  "+name+"/data\n")
	require.Equal(t, OK, look().Level, "it uses the one that is there")
	putFile(t, m, "proc/13/maps", "7f00-7f01 rw-s 00000000 00:17 5  /elsewhere"+name+"/data (deleted)\n7f00-7f01 rw-s 00000000 00:17 5  "+name+"/data2 (deleted)\n")
	require.Equal(t, OK, look().Level)
	putFile(t, m, "proc/12/maps", "7f00-7f01 rw-s 00000000 00:17 4  "+name+"/data (deleted)\n7f00-7f01 rw-s 00000000 00:17 5  "+name+"/data\n")
	f := look()
	require.Equal(t, Problem, f.Level)
	require.Equal(t, "1 process uses a store that was removed from here: pid 12 (writer)", f.Found)

	// The real machine.
	m.root = "/"
	require.Equal(t, OK, look().Level)
	s, err := shm.Open(path, nil)
	require.NoError(t, err)
	require.NoError(t, os.RemoveAll(path))
	f = look()
	require.Equal(t, Problem, f.Level)
	require.Contains(t, f.Found, fmt.Sprintf("pid %d (", os.Getpid()))
	require.NoError(t, s.Close())
	require.Equal(t, OK, look().Level)
}

// systemd-logind removes a store in shared memory when its owner logs out, unless the
// owner is a system user or RemoveIPC is no.
func TestDoctorOnLogout(t *testing.T) {
	s := newStore(t, nil)
	for _, c := range []struct {
		name   string
		change func(m *machine)
		warns  bool
	}{
		{"no systemd", func(*machine) {}, false},
		{"it runs", func(m *machine) { putFile(t, *m, "run/systemd/users/1000", "") }, true},
		{"its file", func(m *machine) { putFile(t, *m, "etc/systemd/logind.conf", "[Login]\n#RemoveIPC=yes\n") }, true},
		{"its other file", func(m *machine) { putFile(t, *m, "usr/lib/systemd/logind.conf", "[Login]\n") }, true},
		{"system user", func(m *machine) {
			putFile(t, *m, "run/systemd/users/1000", "")
			m.owner = func(string) (uint32, error) { return lastSystemUser, nil }
		}, false},
		{"elsewhere", func(m *machine) {
			putFile(t, *m, "run/systemd/users/1000", "")
			m.shared = filepath.Join(s.Path(), "below")
		}, false},
		{"beside it", func(m *machine) {
			putFile(t, *m, "run/systemd/users/1000", "")
			m.shared = s.Path()[:len(s.Path())-1]
		}, false},
		{"built without", func(m *machine) { putFile(t, *m, "etc/systemd/logind.conf", "[Login]\n#RemoveIPC=no\n") }, false},
		{"told not to", func(m *machine) {
			putFile(t, *m, "etc/systemd/logind.conf", "[Login]\n#RemoveIPC=yes\nRemoveIPC = off\n")
		}, false},
		{"told to", func(m *machine) {
			putFile(t, *m, "etc/systemd/logind.conf", "[Login]\n#RemoveIPC=no\n RemoveIPC=True\n")
		}, true},
		{"told not to, beside", func(m *machine) {
			putFile(t, *m, "etc/systemd/logind.conf", "[Login]\nRemoveIPC=yes\n")
			putFile(t, *m, "usr/lib/systemd/logind.conf.d/10-shm.conf", "[Login]\nRemoveIPC=no\n")
		}, false},
		{"told to, later", func(m *machine) {
			putFile(t, *m, "etc/systemd/logind.conf.d/10-shm.conf", "[Login]\nRemoveIPC=no\n")
			putFile(t, *m, "run/systemd/logind.conf.d/20-shm.conf", "[Login]\nRemoveIPC=yes\n")
			putFile(t, *m, "usr/lib/systemd/logind.conf", "[Login]\n")
		}, true},
		{"told to, in the place of another", func(m *machine) {
			putFile(t, *m, "etc/systemd/logind.conf.d/10-shm.conf", "[Login]\nRemoveIPC=yes\n")
			putFile(t, *m, "run/systemd/logind.conf.d/10-shm.conf", "[Login]\nRemoveIPC=no\n")
			putFile(t, *m, "etc/systemd/logind.conf", "[Login]\n")
		}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := doctor{machine: goodMachine(t), Report: Report{Path: s.Path()}, now: time.Now()}
			d.machine.shared = filepath.Dir(filepath.Dir(s.Path()))
			d.machine.owner = func(string) (uint32, error) { return lastSystemUser + 1, nil }
			c.change(&d.machine)
			require.NoError(t, d.examine(true))
			if !c.warns {
				require.NotContains(t, fmt.Sprint(d.Findings), "logout")
				return
			}
			f := d.one(t, "logout")
			require.Equal(t, Warning, f.Level)
			require.Contains(t, f.Found, "belongs to user 1000")
			require.Contains(t, f.Advice, "RemoveIPC=no")
		})
	}
}

func TestDoctorOnFullStore(t *testing.T) {
	s := newStore(t, &shm.Options{MaxSize: 1 << 20})
	require.Equal(t, OK, examineAt(t, s.Path(), time.Now()).one(t, "fullness").Level)
	var err error
	for i := range 10000 {
		if err = s.Set(strconv.AppendInt(nil, int64(i), 10), make([]byte, 500)); err != nil {
			break
		}
	}
	require.ErrorIs(t, err, shm.ErrFull)
	require.Equal(t, Warning, examineAt(t, s.Path(), time.Now()).one(t, "fullness").Level)
}

// The checkpoints of a store on a disk.
func TestDoctorOnDisks(t *testing.T) {
	path := filepath.Join(testdir.Disk(t), "store")
	s, err := shm.Open(path, &shm.Options{Checkpoint: shm.OnSync()})
	require.NoError(t, err)
	look := func(later time.Duration) doctor { t.Helper(); return examineAt(t, path, time.Now().Add(later)) }

	f := look(time.Hour).one(t, "checkpoint")
	require.Equal(t, OK, f.Level, "there is nothing new")
	require.NoError(t, s.Set([]byte("key"), []byte("value")))
	require.Equal(t, OK, look(0).one(t, "checkpoint").Level)
	f = look(time.Hour).one(t, "checkpoint")
	require.Equal(t, Warning, f.Level)
	require.Regexp(t, `^the last one is 1h0m[0-9]s old, and 1 version behind$`, f.Found)
	require.NoError(t, s.Sync())
	require.Equal(t, OK, look(time.Hour).one(t, "checkpoint").Level)
	require.NoError(t, s.Close())

	testdir.CrashSystem(t, path)
	before, err := os.ReadFile(filepath.Join(path, "data"))
	require.NoError(t, err)
	f = look(time.Hour).one(t, "store")
	require.Equal(t, Warning, f.Level)
	require.Regexp(t, `its last durable version is 2, now; its checkpoint has 1 entry$`, f.Found)
	after, err := os.ReadFile(filepath.Join(path, "data"))
	require.NoError(t, err)
	require.Equal(t, before, after, "doctor changes nothing")
}
