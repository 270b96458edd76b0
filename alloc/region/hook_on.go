//go:build shmhook

package region

// Hooked tells whether this build calls hooks.
const Hooked = true

type hooked struct{ hook func(Op, uint64) }

func (h hooked) touch(op Op, off uint64) {
	if h.hook != nil {
		h.hook(op, off)
	}
}

// Touch is a point of the hook that is not an access to a word.
func (h hooked) Touch(op Op, off uint64) { h.touch(op, off) }

// SetHook makes every later access through this Mem call fn first. A panic in
// fn stops the access.
func (m *Mem) SetHook(fn func(Op, uint64)) { m.hook = fn }
