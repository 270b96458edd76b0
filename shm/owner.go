package shm

import (
	"fmt"

	"github.com/seed-869cc763/shmkv/alloc/layout"
)

// An Owner names an open handle among those of all processes. It is meant to be stored
// beside what the handle has taken in hand, a lease or a claim, so that others can ask
// Alive whether there is still somebody behind it. No other handle gets the name of a
// closed one, also after a restart of the system or in a copy of the store. The zero Owner
// is nobody's.
type Owner uint64

// Owner returns the name of the handle. A handle without write permission on the file
// procs has none, and gets an error that matches ErrCannotPin.
func (s *Store) Owner() (Owner, error) {
	u, ok := s.a.Enter()
	if !ok {
		return 0, s.fail("naming a handle on", ErrClosed)
	}
	defer s.a.Leave(u)
	if !s.a.CanPin() {
		return 0, s.fail("naming a handle on", errNoOwner)
	}
	return Owner(s.a.Handle()), nil
}

// Alive reports whether the handle of that name is open and its process lives. The kernel
// answers that, so the end of a process is seen at once, however it ends. A process that
// is stopped lives. A closed handle is alive while a snapshot or a call of it is under way.
// Nobody is alive whose name no handle has had. Any handle may ask, also the named one and
// others of its process. The answer takes one system call.
func (s *Store) Alive(o Owner) (bool, error) {
	u, ok := s.a.Enter()
	if !ok {
		return false, s.fail("asking for an owner in", ErrClosed)
	}
	defer s.a.Leave(u)
	if !s.a.CanPin() {
		return false, s.fail("asking for an owner in", errNoOwner)
	}
	alive, err := s.a.Alive(layout.Handle(o))
	if err != nil {
		return false, s.fail("asking for an owner in", err)
	}
	return alive, nil
}

var errNoOwner = fmt.Errorf("%w: a handle without it has no owner and hears no bell", ErrCannotPin)
