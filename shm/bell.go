package shm

import (
	"context"

	"github.com/seed-869cc763/shmkv/alloc/layout"
)

// A Bell lets goroutines of all processes wait for something that another one does to the
// store, such as the release of a lease, and then rings. A store has 64 bells, and Bell
// chooses one by a hash. So a bell may ring for another reason, and whoever has waited
// looks whether there is its own.
//
// Wait wakes at each commit, by whatever process. Those who wait on a bell sleep until
// somebody rings it, without work for the processor. They occupy no thread each, but at
// most one for each bell of the handle.
type Bell struct {
	s *Store
	n int
}

// Bell returns the bell for a hash, which may be of a key. All bits of the hash count. A
// Bell costs nothing, and is the same in all processes.
func (s *Store) Bell(hash uint64) Bell {
	const mix = 0x9e3779b97f4a7c15 // 2^64 divided by the golden ratio
	return Bell{s, int(hash * mix >> (64 - layout.BellBits))}
}

// Ring wakes all who wait on the bell. It is called after the change that they wait for.
// If nobody waits it costs a load, and otherwise a system call.
func (b Bell) Ring() error {
	u, ok := b.s.a.Enter()
	if !ok {
		return b.s.fail("ringing a bell of", ErrClosed)
	}
	defer b.s.a.Leave(u)
	if !b.s.a.CanPin() {
		return b.s.fail("ringing a bell of", errNoOwner)
	}
	b.s.a.Ring(b.n)
	return nil
}

// Await calls look until that returns done. It calls it at once, and again when the bell
// rings, when the owner that the last call has returned is not alive any more, and at the
// latest after a second. The owner may be the zero Owner. A change that is followed by a
// Ring is never missed: either look sees it, or the bell wakes. If the process that
// made the change died before it could ring, look is called within a tenth of a second if
// it has returned that process's owner, and within a second otherwise.
//
// look may use the store, also to write. When ctx is done Await returns an error that
// matches that of ctx, and when the store is closed ErrClosed, unless look has just
// returned done.
func (b Bell) Await(ctx context.Context, look func() (owner Owner, done bool)) error {
	const op = "waiting on a bell of"
	a := b.s.a
	u, ok := a.Enter()
	if !ok {
		return b.s.fail(op, ErrClosed)
	}
	defer a.Leave(u)
	if !a.CanPin() {
		return b.s.fail(op, errNoOwner)
	}
	for {
		seen := a.Listen(b.n)
		owner, done := look()
		if done {
			return nil
		}
		if a.Closed() {
			return b.s.fail(op, ErrClosed)
		}
		if err := ctx.Err(); err != nil {
			return b.s.fail(op, err)
		}
		a.AwaitBell(ctx.Done(), b.n, seen, layout.Handle(owner))
	}
}
