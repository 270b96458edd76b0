package alloc

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/seed-869cc763/shmkv/alloc/layout"
)

// journalOnDisk is the journal of a store in a directory.
type journalOnDisk struct{ *os.File }

// openJournal refuses what is not a file of the right size: it may be somebody else's.
func (f *files) openJournal(create bool) (journalFile, error) {
	flag := os.O_RDONLY
	if f.writes {
		flag = os.O_RDWR
	}
	file, err := f.dir.OpenFile(nameJournal, flag|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		if !create {
			return nil, nil
		}
		if err := f.makeJournal(); err != nil {
			return nil, fmt.Errorf("making the journal: %w", err)
		}
		file, err = f.dir.OpenFile(nameJournal, flag|unix.O_NONBLOCK, 0)
	}
	if err != nil {
		return nil, fmt.Errorf("opening the journal: %w", err)
	}
	j := journalOnDisk{file}
	switch st, err := file.Stat(); {
	case err != nil:
		_ = file.Close()
		return nil, fmt.Errorf("opening the journal: %w", err)
	case !st.Mode().IsRegular():
		_ = file.Close()
		return nil, fmt.Errorf("opening the journal: found a %v %q, expected a file", st.Mode().Type(), nameJournal)
	case st.Size() != layout.JournalSize:
		_ = file.Close()
		return nil, fmt.Errorf("opening the journal: found %q of %d bytes, expected %d", nameJournal, st.Size(), layout.JournalSize)
	}
	if f.writes { // whoever made it or copied it may not have
		if err := errors.Join(file.Sync(), syncDir(f.dir)); err != nil {
			_ = file.Close()
			return nil, fmt.Errorf("flushing the journal: %w", err)
		}
	}
	return j, nil
}

// makeJournal makes the file. Its zeros are written, because a file system allocates space
// that was only reserved at the first write, which makes each record slower.
func (f *files) makeJournal() error {
	t, err := newTemp(f.dir, nameJournal, f.mode())
	if err != nil {
		return err
	}
	defer t.remove()
	if err := t.f.Chmod(f.mode()); err != nil {
		return err
	}
	if err := fallocate(t.f, 0, 0, layout.JournalSize); err != nil {
		return err
	}
	if _, err := t.f.Write(make([]byte, layout.JournalSize)); err != nil {
		return err
	}
	if err := t.f.Sync(); err != nil {
		return err
	}
	_, err = t.link()
	return err
}

func (j journalOnDisk) read() ([]byte, error) {
	b := make([]byte, layout.JournalSize)
	_, err := io.ReadFull(j.File, b)
	return b, err
}

func (j journalOnDisk) size() uint64 { return layout.JournalSize }

func (j journalOnDisk) write(b []byte, off uint64) error {
	_, err := j.WriteAt(b, int64(off))
	return err
}

func (j journalOnDisk) flush() error {
	for {
		if err := unix.Fdatasync(int(j.Fd())); err != unix.EINTR {
			return err
		}
	}
}

func (j journalOnDisk) removed() bool {
	st, err := j.Stat()
	if err != nil {
		return false
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	return ok && sys.Nlink == 0
}

func (j journalOnDisk) close() error { return j.Close() }
