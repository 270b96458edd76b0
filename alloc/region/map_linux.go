package region

import (
	"fmt"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Map maps the first size bytes of f as shared memory. size may exceed the length of the
// file; an access beyond the end faults until the file has grown. The mapping remains
// valid after f is closed, until Unmap.
func Map(f *os.File, size uint64, write bool) (Mem, error) {
	return mapAt(nil, f, size, write)
}

// HugePage is the size and the alignment of a huge page in bytes.
const HugePage = 2 << 20

// Reserve reserves address space for a number of views of up to size bytes each. Place
// maps the views. Unmap and Detach of the returned Mem apply to all its views.
func Reserve(views int, size uint64) (Mem, error) {
	size = uint64(views)*((size+HugePage-1)/HugePage*HugePage) + HugePage
	p, err := unix.MmapPtr(-1, 0, nil, uintptr(size), unix.PROT_NONE,
		unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		return Mem{}, fmt.Errorf("reserving %d bytes of address space: %w", size, err)
	}
	return Mem{base: p, size: size}, nil
}

// Place is Map at the place of the given view, counted from 0, in address space that
// Reserve returned. The view begins at a multiple of HugePage, so that the kernel can
// map huge pages of the file. size must be that of Reserve.
func (m *Mem) Place(view int, f *os.File, size uint64, write bool) (Mem, error) {
	before := -uintptr(m.base) % HugePage
	at := before + uintptr(view)*uintptr((size+HugePage-1)/HugePage*HugePage)
	return mapAt(unsafe.Add(m.base, at), f, size, write)
}

// mapAt maps f at the address at and replaces existing mappings there. If at is nil, the
// kernel chooses the address.
func mapAt(at unsafe.Pointer, f *os.File, size uint64, write bool) (Mem, error) {
	prot, flags := unix.PROT_READ, unix.MAP_SHARED|unix.MAP_NORESERVE
	if write {
		prot |= unix.PROT_WRITE
	}
	if at != nil {
		flags |= unix.MAP_FIXED
	}
	p, err := unix.MmapPtr(int(f.Fd()), 0, at, uintptr(size), prot, flags)
	if err != nil {
		return Mem{}, fmt.Errorf("mapping %d bytes of %s: %w", size, f.Name(), err)
	}
	return Mem{base: p, size: size}, nil
}

// Unmap removes the mapping. An access to a slice of it faults from then on.
func (m *Mem) Unmap() error {
	if m.base == nil {
		return nil
	}
	err := unix.MunmapPtr(m.base, uintptr(m.size))
	m.base, m.size = nil, 0
	return err
}

// Detach atomically replaces the mapping by private, read-only zeros. Afterwards a read
// through the view returns zeros and a write faults. The zeros take address space, but
// no memory that counts against a limit.
func (m *Mem) Detach() error {
	if m.base == nil {
		return nil
	}
	_, err := unix.MmapPtr(-1, 0, m.base, uintptr(m.size), unix.PROT_READ,
		unix.MAP_FIXED|unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	return err
}

// Populate maps the pages of the n bytes at off in one system call instead of one fault
// a page. The range must have memory. Populate needs Linux 5.14. It ignores errors,
// because each page is then mapped at its first access.
func (m *Mem) Populate(off, n uint64) { _ = m.advise(off, n, unix.MADV_POPULATE_READ) }

// Unload takes the pages of the mapping out of the process. An access maps a page again,
// with the contents that it has in the file. Unload ignores errors: locked pages stay.
func (m *Mem) Unload() { _ = m.advise(0, m.size, unix.MADV_DONTNEED) }

// Collapse replaces the small pages of the n bytes at off by huge pages. The range must
// have memory. Collapse needs Linux 6.1 and a tmpfs, with any mount options. After an
// error the pages stay small.
func (m *Mem) Collapse(off, n uint64) error { return m.advise(off, n, unix.MADV_COLLAPSE) }

func (m *Mem) advise(off, n uint64, advice int) error {
	return unix.Madvise(unsafe.Slice((*byte)(unsafe.Add(m.base, off)), n), advice)
}

const (
	futexWait = 0
	futexWake = 1
)

// FutexWait sleeps if the low 32 bits of the word at off are val, until FutexWake or
// for at most d. It may return early.
func (m *Mem) FutexWait(off uint64, val uint32, d time.Duration) {
	m.touch(OpCall, off)
	if m.neverSleeps() {
		return
	}
	ts := unix.NsecToTimespec(int64(d))
	_, _, _ = unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(m.at(off))), futexWait,
		uintptr(val), uintptr(unsafe.Pointer(&ts)), 0, 0)
}

// FutexWake wakes all sleepers on the word at off, in all processes.
func (m *Mem) FutexWake(off uint64) {
	m.touch(OpCall, off)
	_, _, _ = unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(m.at(off))), futexWake, 1<<30, 0, 0, 0)
}
