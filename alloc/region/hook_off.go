//go:build !shmhook

package region

import "unsafe"

// Hooked reports whether this build calls hooks.
const Hooked = false

type hooked struct{}

func (hooked) touch(Op, uint64) {}

func (hooked) neverSleeps() bool { return false }

// Yield reports whether a scheduler has run another goroutine of the process. Without
// the build tag shmhook it returns false.
func (hooked) Yield() bool { return false }

// Touch calls the hook at a point that is not an access to a word. Without the build
// tag shmhook it does nothing.
func (hooked) Touch(Op, uint64) {}

// SetHook sets the hook. Without the build tag shmhook it panics.
func (m *Mem) SetHook(func(Op, uint64)) { panic("region: built without the tag shmhook") }

func (m Mem) place(off, _ uint64) unsafe.Pointer { return unsafe.Add(m.base, off) }

// DetachWords is Detach for a view of the Go heap. Without the build tag shmhook it
// does nothing.
func (m *Mem) DetachWords() {}
