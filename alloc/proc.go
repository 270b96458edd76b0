package alloc

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/seed-869cc763/shmkv/alloc/layout"
)

func procAt(i int) uint64 { return layout.OffProcs + uint64(i)*layout.ProcSize }

// procWord is the state of proc i.
func (a *Arena) procWord(i int) layout.ProcWord {
	return layout.ProcWord(a.shared.Load(procAt(i) + layout.ProcState))
}

// ownerOf is the owner of slot i, or 0.
func (a *Arena) ownerOf(i int) layout.Owner {
	return layout.Owner(a.ro.Load(layout.OffOwners + uint64(i)*8))
}

// takeProc claims a proc and holds its lock for as long as the
// handle is open. A dead process's proc is adopted before it is used (rule
// D2).
func (a *Arena) takeProc() error {
	l, err := a.b.locks()
	if err != nil {
		return err
	}
	ok, dead, err := a.claimAny(l)
	if err == nil && !ok {
		ok, dead, err = a.claimAgain(l)
	}
	switch {
	case ok && err == nil:
		a.lock = l
		return nil
	case err == nil && dead:
		err = errDeadProcs
	case err == nil:
		err = fmt.Errorf("%w: all %d handles that a store can have are open", ErrTooManyProcesses, layout.MaxProcs)
	}
	_ = l.close()
	return err
}

// claimAny claims a proc that nobody holds, and reports whether there was one. dead
// says that a proc is a dead writer's, and this handle cannot adopt.
func (a *Arena) claimAny(l locker) (ok, dead bool, err error) {
	for i := range layout.MaxProcs {
		free, err := l.tryLock(i)
		if err != nil {
			return false, dead, err
		}
		if !free {
			continue
		}
		if ok, err = a.claimProc(i); ok && err == nil {
			return true, dead, nil
		}
		dead = dead || err == nil
		if e := l.unlock(i); err == nil {
			err = e
		}
		if err != nil {
			return false, dead, err
		}
	}
	return false, dead, nil
}

// claimAgain is claimAny after that has found no proc. A process that rewrites the store
// holds exclusiveLock and all procs, and may have let go of them since. While this handle
// holds exclusiveLock, no process can hold all procs for that reason.
func (a *Arena) claimAgain(l locker) (ok, dead bool, err error) {
	free, err := l.tryLock(exclusiveLock)
	if err != nil {
		return false, false, err
	}
	if !free {
		return false, false, fmt.Errorf("%w: it is being rewritten", ErrInUse)
	}
	ok, dead, err = a.claimAny(l)
	if e := l.unlock(exclusiveLock); err == nil {
		err = e
	}
	return ok, dead, err
}

// errDeadProcs says that procs would be free if a writer adopted their owners.
var errDeadProcs = errors.New("procs of dead writers wait for adoption")

// exclusiveLock is the byte, next to those of the procs, that says why all of them
// are locked.
// The locks beyond those of the procs.
const (
	exclusiveLock  = layout.MaxProcs + iota
	bootLock       // of who recovers the store, or opens it first
	checkpointLock // of who takes a checkpoint
)

// LockExclusive locks all other procs until the handle is closed, so that no other handle is
// open and none can be opened. If another one is open, the error matches ErrInUse and
// names the processes, and the handle can only be closed.
//
// A handle without write permission on procs has no proc, and is not seen.
func (a *Arena) LockExclusive() error {
	if !a.CanPin() {
		return fmt.Errorf("%w: expected write permission on procs", ErrReadOnly)
	}
	if ok, err := a.lock.tryLock(exclusiveLock); err != nil {
		return err
	} else if !ok {
		return fmt.Errorf("%w: it is being rewritten", ErrInUse)
	}
	var users []string
	for i := range layout.MaxProcs {
		if i == a.proc {
			continue
		}
		ok, err := a.lock.tryLock(i)
		if err != nil {
			return err
		}
		if ok {
			a.releaseDeadPins(i) // so that there is one for this handle
			continue
		}
		user := fmt.Sprintf("process %d", a.shared.Load(procAt(i)+layout.ProcPid))
		if !slices.Contains(users, user) {
			users = append(users, user)
		}
	}
	if len(users) > 0 {
		return fmt.Errorf("%w by %s", ErrInUse, strings.Join(users, ", "))
	}
	return nil
}

// claimProc makes proc i, whose lock the caller holds, this handle's. Adoption may
// have to take space and slots, so it is done in the name of the new owner: if that
// one dies, its own adopter goes on.
func (a *Arena) claimProc(i int) (bool, error) {
	if err := a.enterBoot(); err != nil {
		return false, err
	}
	if err := a.checkHeader(); err != nil {
		return false, err
	}
	e := procAt(i)
	a.bury(i)
	gen := a.nextGen(i)
	a.proc, a.owner, a.handle = i, layout.MakeOwner(i, gen), layout.MakeHandle(i, gen)
	if ok, err := a.inherit(i); !ok || err != nil {
		a.proc, a.owner, a.handle = -1, 0, 0
		return false, err
	}
	a.shared.Store(e+layout.ProcPid, uint64(os.Getpid()))
	a.shared.Store(e+layout.ProcStarted, uint64(time.Now().UnixNano()))
	var name [16]byte
	copy(name[:], filepath.Base(os.Args[0]))
	a.shared.Write(e+layout.ProcName, name[:])
	flags := uint64(0)
	if !a.Writable() {
		flags = 1
	}
	a.shared.Store(e+layout.ProcFlags, flags)
	a.shared.Store(e+layout.ProcState, uint64(layout.MakeProcWord(gen)))
	return true, nil
}

// inherit puts in order what the last owner of proc i has left, and reports whether
// this handle can do that.
func (a *Arena) inherit(i int) (bool, error) {
	if a.Writable() {
		_, err := a.adoptProc(i)
		return err == nil, err
	}
	if a.ownsSlots(i) {
		return false, nil // a dead writer's: for writers to adopt
	}
	a.releaseDeadPins(i)
	return true, nil
}

func (a *Arena) ownsSlots(proc int) bool {
	for i := range layout.MaxSlots {
		if a.ownerOf(i).Proc() == proc {
			return true
		}
	}
	return false
}

// leaveProc gives the handle's proc up, when it owns nothing any more.
func (a *Arena) leaveProc() {
	if a.lock == nil {
		return
	}
	e := procAt(a.proc)
	a.shared.Store(e+layout.ProcState, uint64(a.procWord(a.proc).Left()))
	_ = a.lock.close()
	a.lock = nil
}

// taken reports whether a proc is or was in use. Its state is in procs,
// which readers can write; what counts for slots is their own owner word.
func (a *Arena) taken(i int) bool {
	return a.procWord(i).Taken()
}

func (a *Arena) ownedBy(slot int, p uint64, state int) bool {
	if a.checkPages(p, "", p, 1) != nil {
		return false
	}
	st := a.page(p)
	return st.State() == state && st.Owner() == slot
}
