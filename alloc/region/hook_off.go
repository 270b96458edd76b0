//go:build !shmhook

package region

import "unsafe"

// Hooked tells whether this build calls hooks.
const Hooked = false

type hooked struct{}

func (hooked) touch(Op, uint64) {}

func (hooked) neverSleeps() bool { return false }

// Yield lets a scheduler run another goroutine of the process. There is none.
func (hooked) Yield() bool { return false }

// Touch is a point of the hook that is not an access to a word.
func (hooked) Touch(Op, uint64) {}

// SetHook needs the build tag shmhook.
func (m *Mem) SetHook(func(Op, uint64)) { panic("region: built without the tag shmhook") }

func (hooked) place(base unsafe.Pointer, off uint64) unsafe.Pointer { return unsafe.Add(base, off) }

// DetachWords does for a view of the Go heap what Detach does for a mapping. It
// needs the build tag shmhook; without it nothing happens.
func (m *Mem) DetachWords() {}
