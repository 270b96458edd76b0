//go:build shmhook

package region

import (
	"fmt"
	"sync"
	"unsafe"
)

// Hooked reports whether this build calls hooks.
const Hooked = true

type hooked struct {
	hook  func(Op, uint64)
	state *viewState // shared by all copies of a Mem; nil without a hook
}

// viewState is the state that all copies of a Mem share.
type viewState struct {
	zeros []uint64 // replaces the heap after DetachWords, else nil
}

func (h hooked) touch(op Op, off uint64) {
	if h.hook != nil {
		h.hook(op, off)
	}
	if h.state != nil && h.state.zeros != nil && op.Changes() {
		panic("region: a write through a detached view")
	}
}

// neverSleeps reports whether a scheduler runs the actors. FutexWait then returns at
// once.
func (h hooked) neverSleeps() bool { return h.hook != nil }

// Yield lets the scheduler run another goroutine of the process. It reports whether
// there is a scheduler.
func (h hooked) Yield() bool {
	h.touch(OpYield, 0)
	return h.hook != nil
}

// Touch calls the hook at a point that is not an access to a word.
func (h hooked) Touch(op Op, off uint64) { h.touch(op, off) }

// SetHook makes each later access through this Mem call fn first. A panic in fn
// prevents the access.
func (m *Mem) SetHook(fn func(Op, uint64)) {
	m.hook = fn
	if m.state == nil {
		m.state = &viewState{}
	}
}

// place returns the address of the n bytes at off. They must be in the view: a write next to
// words of the Go heap would destroy what the runtime or a test has there.
func (m Mem) place(off, n uint64) unsafe.Pointer {
	if off > m.size || n > m.size-off {
		panic(fmt.Sprintf("region: %d bytes at %d of a view of %d", n, off, m.size))
	}
	if m.state != nil && m.state.zeros != nil {
		return unsafe.Add(unsafe.Pointer(unsafe.SliceData(m.state.zeros)), off)
	}
	return unsafe.Add(m.base, off)
}

// DetachWords is Detach for a view of the Go heap. The view and all its copies read
// zeros from now on, and a write through one of them panics. DetachWords does nothing
// for a view without a hook.
func (m *Mem) DetachWords() {
	if m.state == nil {
		return
	}
	m.touch(OpCall, 0)
	m.state.zeros = zeroWords(m.size / 8)
}

var (
	zerosMu sync.Mutex
	zeros   []uint64
)

// zeroWords returns n zero words, which nobody writes.
func zeroWords(n uint64) []uint64 {
	zerosMu.Lock()
	defer zerosMu.Unlock()
	if uint64(len(zeros)) < n {
		zeros = make([]uint64, n)
	}
	return zeros[:n]
}
