package alloc

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seed-869cc763/shmkv/alloc/layout"
	"github.com/seed-869cc763/shmkv/alloc/region"
)

// A Draft is the directory of a store that must not be seen before it is whole.
// It lies beside its place under a temporary name, ".NAME.tmp-" and 16
// hexadecimal digits, and in it lies its mark, an empty file "tmp-draft-" with the
// same digits. The maker locks the mark while it lives. The next draft for the
// same place removes those that dead makers left: an empty directory of such a
// name, and one with its mark in it. Nothing else is a draft.
//
// The steps of a maker, and what its death after each leaves:
//
//  1. Make the directory. Dead: an empty directory, to be removed.
//  2. Make the mark, and lock it. From now on the directory is a draft. Dead, as
//     after the filling that follows: a draft, to be removed.
//  3. Replace only: put a mark with the draft's digits into the old store as
//     well, and lock it. Dead: a draft to be removed, and the old store at its
//     place. The mark says nothing there, because the directory has another name;
//     the next writable handle removes it with the other temporary files.
//  4. Give the directory the store's name, which publishes the store; Replace
//     exchanges the names of the two directories. Dead: the new store at its
//     place, with a mark that says nothing there; and the old store, which is a
//     draft now, to be removed.
//  5. Remove the mark of the new store, and bring the names to disk. Dead: as before. After
//     a crash of the system, the state after step 2, 3 or 4.
//  6. Replace only: mark the old store as rewritten, and remove it, with its mark last and then the
//     directory. Dead: a draft to be removed, or an empty directory.
type Draft struct {
	path   string // where it is to appear
	parent *os.Root
	name   string // in parent
	dir    *os.Root
	mark   *os.File // locked
}

const draftMark = tmpPrefix + "draft-"

// draftName returns the name of a draft for the store with the name base.
func draftName(base, digits string) string { return "." + base + "." + tmpPrefix + digits }

// draftDigits returns the digits in the name of a draft for the store with the
// name base, or ok = false if the name is none of a draft's.
func draftDigits(base, name string) (digits string, ok bool) {
	digits, ok = strings.CutPrefix(name, draftName(base, ""))
	return digits, ok && len(digits) == 16 && strings.Trim(digits, "0123456789abcdef") == ""
}

// NewDraft makes an empty directory for a store that is to appear at path, where
// there must be nothing. mode is the permission bits of the store's files. Publish
// or Discard must follow.
func NewDraft(path string, mode fs.FileMode) (*Draft, error) {
	if _, err := os.Lstat(path); err == nil {
		return nil, &fs.PathError{Op: "create", Path: path, Err: fs.ErrExist}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return newDraft(path, mode)
}

// NewReplacement is NewDraft for a store that is to take the place of the one at
// path. Replace or Discard must follow.
func NewReplacement(path string, mode fs.FileMode) (*Draft, error) { return newDraft(path, mode) }

func newDraft(path string, mode fs.FileMode) (*Draft, error) {
	path = filepath.Clean(path)
	parent, err := os.OpenRoot(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	d := &Draft{path: path, parent: parent}
	if err = sweepDrafts(parent, filepath.Base(path)); err == nil {
		err = d.make(mode)
	}
	if err != nil {
		_ = parent.Close()
		return nil, err
	}
	return d, nil
}

// make makes the directory and the mark in it.
func (d *Draft) make(mode fs.FileMode) error {
	for {
		var random [8]byte
		_, _ = rand.Read(random[:])
		digits := hex.EncodeToString(random[:])
		d.name = draftName(filepath.Base(d.path), digits)
		if err := d.parent.Mkdir(d.name, dirMode(mode)); err != nil {
			return fullOr(err)
		}
		var err error
		if d.dir, err = d.parent.OpenRoot(d.name); err == nil {
			if d.mark, err = makeMark(d.dir, digits); err == nil {
				return nil
			}
			_ = d.dir.Close()
		}
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errLocked) {
			_ = d.parent.Remove(d.name)
			return fullOr(err)
		}
		// Another maker removed it before its mark was made or locked.
	}
}

// digits are those in the draft's name.
func (d *Draft) digits() string { return d.name[len(d.name)-16:] }

// errLocked: another maker has locked the mark.
var errLocked = errors.New("the mark of a draft is locked")

// makeMark makes the mark with these digits in a directory, and locks it.
func makeMark(dir *os.Root, digits string) (*os.File, error) {
	f, err := dir.OpenFile(draftMark+digits, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	if f, err = lockMark(f); err != nil {
		return nil, err
	}
	// Before it was locked others may have taken it for a dead one's.
	if _, err := dir.Lstat(draftMark + digits); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// markOld makes the mark in the directory of an old store. A handle that has just given up
// its proc removes the temporary files of dead makers there, and may take the mark for one
// before it is locked. So markOld tries again.
func markOld(dir *os.Root, digits string) (mark *os.File, err error) {
	for range 1000 {
		mark, err = makeMark(dir, digits)
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrExist) && !errors.Is(err, errLocked) {
			break
		}
		time.Sleep(time.Millisecond)
	}
	return mark, err
}

// lockMark locks a mark, or closes it.
func lockMark(f *os.File) (*os.File, error) {
	err := ofdLock(f, unix.F_WRLCK, makerLock, 1)
	if err == nil {
		return f, nil
	}
	_ = f.Close()
	if err == unix.EAGAIN || err == unix.EACCES {
		err = errLocked
	}
	return nil, err
}

// sweepDrafts removes the drafts of dead makers for the store with the name base.
func sweepDrafts(parent *os.Root, base string) error {
	names, err := readNames(parent)
	if err != nil {
		return err
	}
	for _, name := range names {
		if digits, ok := draftDigits(base, name); ok {
			sweepDraft(parent, name, digits)
		}
	}
	return nil
}

// sweepDraft removes a directory with the name of a draft if it is one, and its
// maker is dead. It fails where that is not permitted, which is no reason not to
// make another draft.
func sweepDraft(parent *os.Root, name, digits string) {
	if st, err := parent.Lstat(name); err != nil || !st.IsDir() {
		return
	}
	if parent.Remove(name) == nil {
		return // it was empty
	}
	dir, err := parent.OpenRoot(name)
	if err != nil {
		return
	}
	defer func() { _ = dir.Close() }()
	mark, err := dir.OpenFile(draftMark+digits, os.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return
	}
	if mark, err = lockMark(mark); err != nil {
		return
	}
	defer func() { _ = mark.Close() }()
	// The maker may have published the draft and removed its mark before it
	// unlocked it.
	opened, err := mark.Stat()
	if err != nil {
		return
	}
	if named, err := dir.Lstat(draftMark + digits); err == nil && os.SameFile(named, opened) {
		_ = removeDraft(parent, dir, name, digits)
	}
}

// removeDraft removes a draft, with its mark last.
func removeDraft(parent, dir *os.Root, name, digits string) error {
	names, err := readNames(dir)
	if err != nil {
		return err
	}
	for _, n := range names {
		if n == draftMark+digits {
			continue
		}
		if err := dir.RemoveAll(n); err != nil {
			return err
		}
	}
	if err := dir.Remove(draftMark + digits); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return parent.Remove(name)
}

// Path is where the store is to be made, and where nobody looks for it.
func (d *Draft) Path() string { return filepath.Join(filepath.Dir(d.path), d.name) }

// Publish lets the store, which all handles have closed, appear at its place,
// as one that shows what origin says. All of it is on disk before it appears.
func (d *Draft) Publish(origin layout.Origin) error {
	err := d.seal(origin)
	if err == nil {
		err = d.sync()
	}
	if err == nil {
		err = unix.Renameat2(unix.AT_FDCWD, d.Path(), unix.AT_FDCWD, d.path, unix.RENAME_NOREPLACE)
		if err != nil {
			err = &os.LinkError{Op: "rename", Old: d.Path(), New: d.path, Err: err}
		}
	}
	if err != nil {
		d.Discard()
		return fullOr(err)
	}
	d.unmark()
	d.close()
	return syncFile(filepath.Dir(d.path))
}

// unmark removes the mark of what was published.
func (d *Draft) unmark() { _ = d.dir.Remove(draftMark + d.digits()) }

func (d *Draft) close() {
	_ = d.mark.Close()
	_ = d.dir.Close()
	_ = d.parent.Close()
}

// Replace lets the store, which all handles have closed, take the place of old,
// whose handle must hold LockExclusive, with the owner and the permission bits that it has.
// After an error from before the exchange of the two, old is there as it was, and
// the draft is not; after one from later, or a death, the next draft for the same
// place removes what is left of old. old is to be closed then: its locks go, and
// those who were about to open it find the other one (rule D6).
func (d *Draft) Replace(old *Arena, origin layout.Origin) error {
	files := old.b.(*files)
	gone, mark, err := d.exchange(files, origin)
	if err != nil {
		d.Discard()
		return fullOr(err)
	}
	defer func() {
		_ = gone.Unmap()
		_ = mark.Close()
		d.close()
	}()
	d.unmark()
	// Until the exchange is on disk, a crash of the system may bring the old store back to
	// its place, and it must be whole then.
	if err := syncFile(filepath.Dir(d.path)); err != nil {
		return fmt.Errorf("it was rewritten, but may not be so on disk: %w", err)
	}
	// Readers without a proc are told. Should this process die before, they
	// go on to see the old version, and nobody else looks at it.
	gone.Store(layout.OffEnd, layout.EndRewritten)
	_ = removeDraft(d.parent, files.dir, d.name, d.digits())
	return nil
}

// exchange makes the draft what is at its place, and the old store a draft. It
// returns the first bytes of the old store's data, and its mark.
func (d *Draft) exchange(old *files, origin layout.Origin) (gone region.Mem, mark *os.File, err error) {
	if err = d.seal(origin); err == nil {
		err = d.copyOwnership(old)
	}
	if err == nil {
		err = d.sync()
	}
	if err != nil {
		return gone, nil, err
	}
	f, err := old.dir.OpenFile(nameData, os.O_RDWR|unix.O_NONBLOCK, 0)
	if err != nil {
		return gone, nil, err
	}
	defer func() { _ = f.Close() }()
	if gone, err = region.Map(f, layout.OffTable, true); err != nil {
		return gone, nil, err
	}
	if mark, err = markOld(old.dir, d.digits()); err == nil {
		if err = d.swap(old); err == nil {
			return gone, mark, nil
		}
		_ = old.dir.Remove(draftMark + d.digits())
		_ = mark.Close()
	}
	_ = gone.Unmap()
	return gone, nil, err
}

// swap exchanges the names of the draft and of the old store.
func (d *Draft) swap(old *files) error {
	if whereLeads(d.path, old.dir) == elsewhere { // moved meanwhile, and another one put there
		return fmt.Errorf("%w: found another directory at %s", ErrInUse, d.path)
	}
	if err := unix.Renameat2(unix.AT_FDCWD, d.Path(), unix.AT_FDCWD, d.path, unix.RENAME_EXCHANGE); err != nil {
		return &os.LinkError{Op: "exchange", Old: d.Path(), New: d.path, Err: err}
	}
	return nil
}

// copyOwnership gives the draft's files, and then its directory, the owner and the
// permission bits of another store's.
func (d *Draft) copyOwnership(like *files) error {
	for _, name := range []string{nameProcs, nameData, "."} {
		f, err := d.dir.OpenFile(name, os.O_RDONLY|unix.O_NOFOLLOW, 0)
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }()
		want, err := like.dir.Stat(name)
		if err != nil {
			return err
		}
		has, err := f.Stat()
		if err != nil {
			return err
		}
		w, h := want.Sys().(*syscall.Stat_t), has.Sys().(*syscall.Stat_t)
		if w.Uid != h.Uid || w.Gid != h.Gid {
			if err := f.Chown(int(w.Uid), int(w.Gid)); err != nil {
				return err
			}
		}
		if err := f.Chmod(want.Mode()); err != nil {
			return err
		}
	}
	return nil
}

// sync brings all of the draft to disk.
func (d *Draft) sync() error {
	for _, name := range []string{nameProcs, nameData, "."} {
		f, err := d.dir.Open(name)
		if err != nil {
			return err
		}
		err = f.Sync()
		_ = f.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// Discard removes the draft.
func (d *Draft) Discard() {
	_ = removeDraft(d.parent, d.dir, d.name, d.digits())
	d.close()
}

// seal writes the origin into the superblock.
func (d *Draft) seal(origin layout.Origin) error {
	f, err := d.dir.OpenFile(nameData, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	b := make([]byte, layout.SuperSize)
	if _, err := f.ReadAt(b, layout.OffSuper); err != nil {
		return err
	}
	super, err := layout.DecodeSuper(b)
	if err != nil {
		return err
	}
	super.Origin = origin
	_, err = f.WriteAt(super.Encode(), layout.OffSuper)
	return err
}

func syncFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	err = f.Sync()
	_ = f.Close()
	return err
}

// dirMode is the permission bits of a store's directory: who may read the files
// may search it.
func dirMode(mode fs.FileMode) fs.FileMode { return mode | mode>>2&0o111 }

// fullOr makes an error for lack of space match ErrFull.
func fullOr(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: %w", ErrFull, err)
	}
	return err
}
