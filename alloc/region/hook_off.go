//go:build !shmhook

package region

// Hooked tells whether this build calls hooks.
const Hooked = false

type hooked struct{}

func (hooked) touch(Op, uint64) {}

// Touch is a point of the hook that is not an access to a word.
func (hooked) Touch(Op, uint64) {}

// SetHook needs the build tag shmhook.
func (m *Mem) SetHook(func(Op, uint64)) { panic("region: built without the tag shmhook") }
