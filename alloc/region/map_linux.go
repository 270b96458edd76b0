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
	prot := unix.PROT_READ
	if write {
		prot |= unix.PROT_WRITE
	}
	p, err := unix.MmapPtr(int(f.Fd()), 0, nil, uintptr(size), prot, unix.MAP_SHARED|unix.MAP_NORESERVE)
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

// Detach puts zeros, private to this process, in place of the file, in one step:
// who touches the view afterwards does not fault, and holds nothing of the file.
func (m *Mem) Detach() error {
	if m.base == nil {
		return nil
	}
	_, err := unix.MmapPtr(-1, 0, m.base, uintptr(m.size), unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_FIXED|unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	return err
}

// AdviseHuge asks for huge pages behind the mapping.
func (m *Mem) AdviseHuge() error {
	return unix.Madvise(unsafe.Slice((*byte)(m.base), m.size), unix.MADV_HUGEPAGE)
}

// Populate makes the pages of a range that has memory present, in one system call
// instead of a fault a page. Errors are of no consequence, nor are kernels before
// 5.14, which do not know it: the pages fault in when they are touched.
func (m *Mem) Populate(off, n uint64) {
	_ = unix.Madvise(unsafe.Slice((*byte)(unsafe.Add(m.base, off)), n), unix.MADV_POPULATE_READ)
}

const (
	futexWait = 0
	futexWake = 1
)

// FutexWait sleeps while the low 32 bits of the word at off are val, until
// FutexWake or for at most d. It may return early.
func (m *Mem) FutexWait(off uint64, val uint32, d time.Duration) {
	m.touch(OpCall, off)
	ts := unix.NsecToTimespec(int64(d))
	_, _, _ = unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(m.at(off))), futexWait,
		uintptr(val), uintptr(unsafe.Pointer(&ts)), 0, 0)
}

// FutexWake wakes everybody who sleeps on the word at off, in any process.
func (m *Mem) FutexWake(off uint64) {
	m.touch(OpCall, off)
	_, _, _ = unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(m.at(off))), futexWake, 1<<30, 0, 0, 0)
}
