package alloc

import (
	"errors"
	"fmt"

	"github.com/seed-869cc763/shmkv/alloc/layout"
)

// AdoptDead takes over from every dead process: its slots are put in order and
// released, its pins dropped. It returns how many were dead. Whoever finds
// another adopter at work on a proc leaves it alone and goes on (rule D4).
func (a *Arena) AdoptDead() (int, error) {
	if !a.Writable() || !a.CanPin() || !a.adopt.TryLock() {
		return 0, nil
	}
	defer a.adopt.Unlock()
	var l locker
	defer func() {
		if l != nil {
			_ = l.close()
		}
	}()
	dead := 0
	var owns [layout.MaxProcs]bool // the procs of another boot are cleared, the slots are not
	for i := range min(int(a.ro.Load(layout.OffSlotHigh)), layout.MaxSlots) {
		if p := a.ownerOf(i).Proc(); p >= 0 && p < layout.MaxProcs {
			owns[p] = true
		}
	}
	for i := range layout.MaxProcs {
		if i == a.proc || !a.taken(i) && !owns[i] {
			continue
		}
		if l == nil {
			var err error
			if l, err = a.b.locks(); err != nil {
				return dead, err
			}
		}
		ok, err := l.tryLock(i)
		if err != nil {
			return dead, err
		}
		if !ok {
			continue
		}
		a.bury(i)
		was, err := a.adoptProc(i)
		if e := l.unlock(i); err == nil {
			err = e
		}
		if was {
			dead++
		}
		if err != nil {
			return dead, err
		}
	}
	return dead, nil
}

// adoptProc adopts all that a dead process left under proc i, whose lock the
// caller holds, and reports whether there was anything. It may die and be
// called again by another.
func (a *Arena) adoptProc(i int) (bool, error) {
	dead := a.taken(i)
	a.announceNoted(i) // before what follows can note something else there
	var failed error
	for j := range layout.MaxSlots {
		word := layout.OffOwners + uint64(j)*8
		owner := layout.Owner(a.ro.Load(word))
		if owner.Proc() != i {
			continue
		}
		dead = true
		if owner.IsIdle() && !a.mem.CAS(word, uint64(owner), uint64(owner.InUse())) {
			continue // it was taken while this looked
		}
		page, err := a.slotPage(j)
		if err == nil && page != 0 {
			var s *Slot
			if s, err = a.loadSlot(j, page); err == nil {
				if err = s.recover(); err == nil {
					s.count(CountAdopted, 1)
				}
			}
		}
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("adopting slot %d: %w", j, err))
			continue
		}
		a.mem.Store(word, 0)
	}
	if failed != nil {
		return dead, failed
	}
	a.shared.Store(procAt(i)+layout.ProcHints, 0)
	a.releaseDeadPins(i)
	if g := a.ro.Load(layout.OffGate); layout.Gate(g).Proc() == i {
		a.mem.CAS(layout.OffGate, g, 0)
	}
	e := procAt(i)
	if dead {
		a.countReserve()
		a.debug("adopted a dead process", "proc", i, "pid", a.shared.Load(e+layout.ProcPid))
		a.shared.Store(e+layout.ProcState, uint64(a.procWord(i).Left()))
	}
	return dead, nil
}

// releaseDeadPins drops the snapshot pins of proc i, whose lock the caller
// holds.
func (a *Arena) releaseDeadPins(i int) {
	for j := range min(int(a.shared.Load(layout.OffPinHigh)), layout.MaxSnapPins) {
		if layout.Owner(a.shared.Load(snapPin(j)+layout.PinOwner)).Proc() == i {
			a.emptyPin(j)
		}
	}
}
