package alloc

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seed-869cc763/shmkv/alloc/region"
)

// The names of a store's files, and the prefix of temporary files.
const (
	nameData    = "data"
	nameProcs   = "procs"
	nameJournal = "journal"
	nameHints   = "hints" // of package cache, which makes it; a store does not need it
	tmpPrefix   = "tmp-"
)

// Options for Open. Package shm documents them for users.
type Options struct {
	ReadOnly    bool
	Create      bool // also with ReadOnly
	MustExist   bool
	Exclusive   bool
	Mode        fs.FileMode
	MaxSize     uint64
	HugePages   HugePages
	Prefault    bool
	Logger      *slog.Logger
	Newer       Newer      // for records of the journal; nil: the handle writes none
	Trace       Tracer     // for a recovery; nil: a store that needs one is not opened
	DryRecovery bool       // with ReadOnly, do not recover the store, but find out what that would do
	ProveNewest Tracer     // for a recovery to the newest version, with an error unless all that it reaches is its own; nil: do not try
	Boot        string     // the id of the boot of the system, for tests; empty: that of the kernel
	Seed        *[2]uint64 // of a new store's hash; nil means a random one
	Successor   *Arena     // a new store gets its id, seed and time of creation, and begins with its version
}

// rewritePatience is how long Open waits for a store that is being rewritten.
const rewritePatience = time.Second

// Open opens the store in a directory, creating it when it is missing. A creation
// that fails leaves nothing: the directory, if it was made here, is removed while it
// is empty. Another creator that was about to use it begins again.
//
// A read-only handle lets a writable one, where it may open one, adopt dead writers first if
// these have all procs, and recover the store after a crash of the system.
func Open(path string, o Options) (*Arena, error) {
	if o.Mode == 0 {
		o.Mode = 0o600
	}
	o.MustExist = o.MustExist || o.ReadOnly && !o.Create
	var heir *Arena
	for begun := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		dir, made, err := openDir(path, o)
		var a *Arena
		if err == nil {
			a, err = openIn(dir, path, o)
		}
		if err != nil && made {
			_ = unix.Rmdir(path)
		}
		if (err == nil && a.crowded || o.ReadOnly && !o.DryRecovery && errors.Is(err, ErrRecover)) && heir == nil {
			heirs := o
			heirs.ReadOnly = false
			if w, failed := Open(path, heirs); failed == nil {
				heir = w
				_ = heir.Close()
				if err == nil {
					_ = a.Close()
				}
				continue
			}
		}
		if err == nil && heir != nil {
			a.recovered = heir.recovered
		}
		again := errors.Is(err, ErrInUse) || errors.Is(err, errDirRemoved)
		if !again || time.Since(begun) > rewritePatience {
			return a, fullOr(err)
		}
	}
}

// openIn opens the store in a directory that path led to, and takes it over. If path
// leads elsewhere once the handle has its proc, the findings mean nothing. As long as it
// has its proc, that does not change (rule D6).
func openIn(dir *os.Root, path string, o Options) (*Arena, error) {
	var a *Arena
	err := checkFS(path)
	if err == nil {
		a, err = openFiles(dir, o)
	} else if !o.MustExist {
		err = dirRemoved(err)
	}
	if whereLeads(path, dir) == elsewhere {
		if err == nil {
			// The old store is a draft now. Its mark, which is one of the files
			// that a writable handle sweeps away, must stay.
			a.b.(*files).writes = false
			_ = a.Close()
		} else {
			_ = dir.Close()
		}
		return nil, fmt.Errorf("%w: it was rewritten meanwhile", ErrInUse)
	}
	if err != nil {
		_ = dir.Close()
		return nil, err
	}
	if o.MaxSize != 0 && o.Logger != nil && maxSizeFor(o.MaxSize) != a.MaxSize() {
		o.Logger.Warn("the store keeps the maximum size that it was made with", "path", path, "asked", o.MaxSize, "in_force", a.MaxSize())
	}
	f := a.b.(*files)
	if f.path, err = filepath.Abs(path); err != nil {
		f.path = path // what Stale finds depends on the working directory then
	}
	return a, nil
}

// A destination is where the path of a store leads, for the holder of a directory
// that it led to before.
type destination int

const (
	there     destination = iota // to the same directory, as far as can be told
	elsewhere                    // to another one
	nowhere                      // the owner of a store, or a creator that failed, may remove it at any time
)

// whereLeads looks at path once: other creators may make a directory there and
// remove it between two looks.
func whereLeads(path string, dir *os.Root) destination {
	named, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nowhere
	} else if err != nil {
		return there
	}
	opened, err := dir.Stat(".") // not found: it was removed, and another one made
	if errors.Is(err, fs.ErrNotExist) || err == nil && !os.SameFile(named, opened) {
		return elsewhere
	}
	return there
}

// errDirRemoved: a creator found its directory removed, by another one whose
// creation failed.
var errDirRemoved = errors.New("the directory was removed")

// dirRemoved returns the error of a creator in a directory that was there. If a name is not
// found, the directory was removed, although its path may still lead to it for a moment.
func dirRemoved(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w", errDirRemoved, err)
	}
	return err
}

// openDir opens the directory of a store, and makes it where it may.
func openDir(path string, o Options) (dir *os.Root, made bool, err error) {
	// Before it is opened: opening a pipe waits for its other end.
	if st, e := os.Stat(path); e == nil && !st.IsDir() {
		return nil, false, &notStoreError{"a file", "a directory", o.Exclusive}
	}
	if dir, err = os.OpenRoot(path); err == nil {
		return dir, false, nil
	}
	if o.MustExist || !errors.Is(err, fs.ErrNotExist) {
		return dir, false, err
	}
	err = os.Mkdir(path, dirMode(o.Mode))
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, false, err
	}
	made = err == nil
	if dir, err = os.OpenRoot(path); errors.Is(err, fs.ErrNotExist) {
		if st, e := os.Lstat(path); e != nil || st.IsDir() { // else a symbolic link to nowhere
			err = fmt.Errorf("%w: %w", errDirRemoved, err)
		}
	}
	return dir, made, err
}

// refuseOthers refuses a directory with files that no store has. Hidden files are those of
// the system or of a tool, and may be anywhere.
func refuseOthers(dir *os.Root, o Options) error {
	others, err := foreignNames(dir)
	if err != nil {
		return err
	}
	others = slices.DeleteFunc(others, func(name string) bool { return strings.HasPrefix(name, ".") })
	if len(others) == 0 {
		return nil
	}
	return &notStoreError{describeNames(others), fmt.Sprintf("%q and %q", nameData, nameProcs), o.Exclusive}
}

// foreignNames returns the names in a directory that are none of a store's.
func foreignNames(dir *os.Root) ([]string, error) {
	names, err := readNames(dir)
	return slices.DeleteFunc(names, func(name string) bool {
		return slices.Contains([]string{nameData, nameProcs, nameJournal, nameHints}, name) || strings.HasPrefix(name, tmpPrefix)
	}), err
}

// Replaceable returns an error if there is something in the store's directory that is not
// the store's. Replace would remove it.
func (a *Arena) Replaceable() error {
	others, err := foreignNames(a.b.(*files).dir)
	if err == nil && len(others) > 0 {
		err = fmt.Errorf("found %s, expected only %q and %q, because the directory is to be removed", describeNames(others), nameData, nameProcs)
	}
	return err
}

// describeNames names one of several files.
func describeNames(names []string) string {
	if len(names) > 1 {
		return fmt.Sprintf("%q and %d more in the directory", slices.Min(names), len(names)-1)
	}
	return fmt.Sprintf("%q in the directory", names[0])
}

// notStoreError is that of a path where there is something, and no store. So it is
// an error for files that are not a store, and for a store that is not there. For a
// caller that wants nothing to be there, it is one for something that is.
type notStoreError struct {
	found, want string
	exclusive   bool
}

func (e *notStoreError) Error() string {
	return fmt.Sprintf("not a store: found %s, expected %s", e.found, e.want)
}

func (e *notStoreError) Is(target error) bool {
	if target == region.ErrCorrupt {
		return true
	}
	if e.exclusive {
		return errors.Is(target, fs.ErrExist) // also the error that package shm has for it
	}
	return target == fs.ErrNotExist
}
