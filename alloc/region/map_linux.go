package region

import (
	"fmt"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Map maps size bytes of f from its start, shared; size may reach beyond the
// file's end, where touching faults until the file has grown. The mapping
// outlives f.
func Map(f *os.File, size uint64, write bool) (Mem, error) {
	return mapAt(nil, f, size, write)
}

// HugePage is the size of a huge page, and where one can begin.
const HugePage = 2 << 20

// Reserve takes address space for that many views of up to size bytes each, which
// Place maps there. Unmap and Detach of it mean the views as well.
func Reserve(views int, size uint64) (Mem, error) {
	size = uint64(views)*((size+HugePage-1)/HugePage*HugePage) + HugePage
	p, err := unix.MmapPtr(-1, 0, nil, uintptr(size), unix.PROT_NONE,
		unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		return Mem{}, fmt.Errorf("reserving %d bytes of address space: %w", size, err)
	}
	return Mem{base: p, size: size}, nil
}

// Place is Map for the view of that number in reserved address space, where huge pages
// of the file can be mapped as such.
func (m *Mem) Place(view int, f *os.File, size uint64, write bool) (Mem, error) {
	before := -uintptr(m.base) % HugePage
	at := before + uintptr(view)*uintptr((size+HugePage-1)/HugePage*HugePage)
	return mapAt(unsafe.Add(m.base, at), f, size, write)
}

// mapAt maps at an address, in place of what is mapped there, or where the kernel
// likes it.
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

// Unmap removes the mapping. Slices of it fault from then on.
func (m *Mem) Unmap() error {
	if m.base == nil {
		return nil
	}
	err := unix.MunmapPtr(m.base, uintptr(m.size))
	m.base, m.size = nil, 0
	return err
}

// Detach replaces the mapping by zeros that are private to this process and
// cannot be written to, in one step. A read through the view does not fault
// afterwards and does not reach the file; a write faults. The zeros take address
// space, and no memory that any limit counts.
func (m *Mem) Detach() error {
	if m.base == nil {
		return nil
	}
	_, err := unix.MmapPtr(-1, 0, m.base, uintptr(m.size), unix.PROT_READ,
		unix.MAP_FIXED|unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	return err
}

// Populate makes the pages of a range that has memory present, in one system call
// instead of a fault a page. It takes Linux 5.14. Errors are of no consequence: the
// pages fault in when they are touched.
func (m *Mem) Populate(off, n uint64) { _ = m.advise(off, n, unix.MADV_POPULATE_READ) }

// Collapse puts huge pages in the place of small ones in a range that has memory.
// It takes Linux 6.1, and a tmpfs, with any mount options. After an error the pages
// stay small.
func (m *Mem) Collapse(off, n uint64) error { return m.advise(off, n, unix.MADV_COLLAPSE) }

func (m *Mem) advise(off, n uint64, advice int) error {
	return unix.Madvise(unsafe.Slice((*byte)(unsafe.Add(m.base, off)), n), advice)
}

const (
	futexWait = 0
	futexWake = 1
)

// FutexWait sleeps while the low 32 bits of the word at off are val, until
// FutexWake or for at most d. It may return early.
func (m *Mem) FutexWait(off uint64, val uint32, d time.Duration) {
	m.touch(OpCall, off)
	if m.neverSleeps() {
		return
	}
	ts := unix.NsecToTimespec(int64(d))
	_, _, _ = unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(m.at(off))), futexWait,
		uintptr(val), uintptr(unsafe.Pointer(&ts)), 0, 0)
}

// FutexWake wakes everybody who sleeps on the word at off, in any process.
func (m *Mem) FutexWake(off uint64) {
	m.touch(OpCall, off)
	_, _, _ = unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(m.at(off))), futexWake, 1<<30, 0, 0, 0)
}
