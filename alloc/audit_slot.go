package alloc

import (
	"fmt"

	"github.com/seed-869cc763/shmkv/alloc/layout"
	"github.com/seed-869cc763/shmkv/alloc/region"
)

// A slotAudit accounts for what a slot holds. In a slot that nobody uses it looks at what
// may be otherwise in one that is in use.
type slotAudit struct {
	*audit
	w     *slotWalk
	inUse bool
}

// slot accounts for what slot i holds. What cannot be followed is a finding.
func (u *audit) slot(i int) {
	w, err := u.a.walkOf(i)
	if err == nil && w != nil {
		owner := u.a.ownerOf(i)
		inUse := owner != 0 && !owner.IsIdle()
		if inUse {
			w.moving(func(off uint64) { u.moving[off] = true })
		}
		err = w.visit(slotAudit{u, w, inUse})
		u.part = u.part || w.part
	}
	if err != nil {
		u.part = true
		u.problem(layout.OffDir+uint64(i)*8, err.Error())
	}
}

func (u slotAudit) listPage(p uint64) bool {
	if u.mark(p) {
		u.problem(p, region.Corrupt(p, "page of a list", "it in another list too", "it in one").Error())
		return false
	}
	u.Table += layout.PageSize
	return true
}

func (u slotAudit) logged(e item, err error) error {
	if err != nil {
		u.problem(e.block.Off(), err.Error())
	} else if e.block.Class() != layout.ClassPage {
		u.block(e, &u.InFlight, "in flight")
	} else if u.listPage(e.block.Off()) {
		u.InFlight += layout.PageSize
		u.Table -= layout.PageSize
	}
	return nil
}

// retired accounts for retired blocks. What was retired after the version that is looked
// at is live in it, or has been published since.
func (u slotAudit) retired(all []item) {
	for _, e := range all {
		if e.retired > u.Version {
			continue
		}
		if err := u.a.checkAllocated(e.block.Off(), e.block.Class(), "retired"); err != nil {
			u.problem(e.block.Off(), err.Error())
		} else {
			u.block(e, &u.Retired, "retired")
		}
	}
}

func (u slotAudit) deferred(key heldKey, all []item) {
	before := u.Retired
	u.retired(all)
	held := u.Retired - before
	u.Held += held
	if key&intentKey == 0 {
		u.HeldBy[uint64(key)] += held
	}
}

func (u slotAudit) slab(c int, p uint64) {
	if !u.inUse && !u.w.ownsSlab(p, c) {
		u.problem(p, fmt.Sprintf("slot %d has the slab at offset %d, which is not its own", u.w.slot, p))
	}
}

func (u slotAudit) magazine(all []item) {
	for _, e := range all {
		u.block(e, &u.Free, "in a magazine")
		u.use[e.block.Class()].Cached++
	}
}

// pins finds snapshots that nobody holds, and that would hold their space for
// ever.
func (u *audit) pins() {
	a := u.a
	if !a.CanPin() {
		return
	}
	for i := range min(int(a.shared.Load(layout.OffPinHigh)), layout.MaxSnapPins) {
		v, owner := a.shared.Load(snapPin(i)+layout.PinVersion), layout.Owner(a.shared.Load(snapPin(i)+layout.PinOwner))
		if e := owner.Proc(); v != 0 && (e < 0 || e >= layout.MaxProcs || layout.MakeOwner(e, a.procWord(e).Gen()) != owner || !a.taken(e)) {
			u.problem(layout.OffSlotPins+uint64(i), fmt.Sprintf("pin %d holds version %d for nobody", i, v))
		}
	}
}
