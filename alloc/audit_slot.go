package alloc

import (
	"fmt"
	"slices"

	"github.com/seed-869cc763/shmkv/alloc/layout"
	"github.com/seed-869cc763/shmkv/alloc/region"
)

// An item is an item of a queue or deferred page, and where it stands.
type item struct {
	at      uint64
	block   layout.Item
	retired uint64
}

// items reads the items of a page of a slot, or of nobody, of which to and next are
// asked while it is read. It reports false if the page has changed hands meanwhile:
// then what it has read means nothing.
func (u *audit) items(p uint64, owned func(layout.PageState) bool, from uint64, to func(i uint64) bool) (all []item, next uint64, ok bool) {
	a, st := u.a, u.a.page(p)
	if !owned(st) {
		return nil, 0, false
	}
	for i := from; i < layout.ChunkCap && to(i); i++ {
		e := layout.ItemAt(p, i)
		all = append(all, item{e ^ st.Gen()<<40, layout.Item(a.ro.Word(e)), a.ro.Word(e + 8)})
	}
	next = a.ro.Word(p + layout.ChunkNext)
	a.ro.LoadFence()
	return all, next, a.page(p) == st
}

// retired accounts for items of a queue or deferred page. What was retired
// after the version that is looked at is live in it, or has been published since.
func (u *audit) retired(all []item) {
	for _, e := range all {
		if e.retired <= u.Version {
			u.block(e.block.Off(), e.block.Class(), &u.Retired, "retired", e.at)
		}
	}
}

// page accounts for a page of a list.
func (u *audit) page(p uint64) (once bool) {
	if u.mark(p) {
		u.problem(p, region.Corrupt(p, "page of a list", "it in another list too", "it in one").Error())
		return false
	}
	u.Table += layout.PageSize
	return true
}

// ownedChunk tells the list pages of slot i.
func ownedChunk(i int) func(layout.PageState) bool {
	return func(st layout.PageState) bool { return st.State() == layout.PageChunk && st.Owner() == i }
}

// slot accounts for what a slot holds, in the order in which blocks move from one
// list to another. What cannot be followed is a finding.
func (u *audit) slot(i int) {
	a := u.a
	base := a.ro.Load(layout.OffDir + uint64(i)*8)
	if base == 0 || base%layout.PageSize != 0 {
		return // none, or being made
	}
	err := a.checkPages(layout.OffDir+uint64(i)*8, "page of a slot", base, 1)
	if err == nil {
		u.owner(i, base)
		err = u.log(i, base)
	}
	if err == nil {
		err = u.queue(i, base)
	}
	if err == nil {
		err = u.deferred(i, base)
	}
	for c := 0; c < layout.NumClasses && err == nil; c++ {
		err = u.magazine(base, c)
	}
	if err != nil {
		u.part = true
		u.problem(layout.OffDir+uint64(i)*8, err.Error())
	}
}

// owner looks at what must be so of a slot that nobody uses, and may be otherwise of
// one in use.
func (u *audit) owner(i int, base uint64) {
	a := u.a
	if owner := a.ownerOf(i); owner != 0 && !owner.IsIdle() {
		u.inUse(base)
		return
	}
	for c := range layout.NumClasses {
		if p := a.ro.Load(base + layout.SlotSlabs + uint64(c)*8); p != 0 && !(a.ownedBy(i, p, layout.PageSlabOwned) && a.page(p).Class() == c) {
			u.problem(p, fmt.Sprintf("slot %d has the slab at offset %d, which is not its own", i, p))
		}
	}
}

// committed judges an intent as an adopter would (rule C2).
func (u *audit) committed(node uint64) bool {
	if node == 0 || node%8 != 0 || node >= u.end-layout.RootSize {
		return false
	}
	return layout.RootWord(u.a.ro.Load(layout.OffRoot)).Off() == node || u.a.ro.Load(node+layout.RootSuperseded) != 0
}

// log accounts for what a transaction has allocated that is not committed.
func (u *audit) log(i int, base uint64) error {
	for tries := 0; ; tries++ {
		committed := u.committed(u.a.ro.Load(base + layout.SlotIntent))
		pages, all, err := u.logItems(i, base)
		if err != nil && tries < auditTries {
			continue
		}
		if err != nil {
			return err
		}
		for _, p := range pages {
			if !u.page(p) {
				return nil
			}
		}
		for _, e := range all {
			if off, c := e.block.Off(), e.block.Class(); committed || e.block == 0 {
				continue
			} else if c != layout.ClassPage {
				u.block(off, c, &u.InFlight, "in flight", e.at)
			} else if err := u.a.checkPages(e.at, "page in a log", off, 1); err != nil {
				return err
			} else if u.page(off) {
				u.InFlight += layout.PageSize
				u.Table -= layout.PageSize
			}
		}
		return nil
	}
}

// logItems reads the log of a slot, from its newest page back.
func (u *audit) logItems(i int, base uint64) (pages []uint64, all []item, err error) {
	a, top := u.a, u.a.ro.Load(base+layout.SlotLogTop)
	for p, n := layout.PageOf(top), top&(layout.PageSize-1); p != 0; n = layout.LogCap {
		at, most := base+layout.SlotLog, uint64(layout.SlotLogCap)
		var st layout.PageState
		if p != base {
			if err := a.checkPages(base+layout.SlotLogTop, "page of a log", p, 1); err != nil {
				return nil, nil, err
			}
			at, most, st = p+layout.LogItems, layout.LogCap, a.page(p)
		}
		for j := range min(n, most) {
			all = append(all, item{at: at + j*8, block: layout.Item(a.ro.Word(at + j*8))})
		}
		if p == base {
			break
		}
		below := a.ro.Word(p + layout.LogPrev)
		a.ro.LoadFence()
		if !ownedChunk(i)(st) || a.page(p) != st || uint64(len(pages)) > u.end>>layout.PageShift {
			return nil, nil, region.Corrupt(base+layout.SlotLogTop, "page of a log", p, "a page that the slot owns, and an end")
		}
		pages = append(pages, p)
		p = below
	}
	return pages, all, nil
}

// ends returns where a slot's queue begins and ends. The head is read first: the
// tail is never before it.
func (u *audit) ends(base uint64) (head, tail uint64) {
	w := func(off uint64) uint64 { return u.a.ro.Load(base + off) }
	for range auditTries {
		head = w(layout.SlotQueueHead)
		intent := w(layout.SlotIntent)
		tail = w(layout.SlotQueueTail)
		if u.committed(intent) {
			tail = w(layout.SlotIntentTail)
		}
		if tail == 0 {
			tail = head // the queue is just being made
		}
		if w(layout.SlotIntent) == intent {
			break
		}
	}
	return head, tail
}

// queue accounts for a slot's retired blocks. Where the head overtakes it, it goes on
// from there: what it has passed has moved on to the lists that follow.
func (u *audit) queue(i int, base uint64) error {
	a := u.a
	var walked []uint64
	tries := 0
	for pos, tail := u.ends(base); pos != 0; {
		p := layout.PageOf(pos)
		if err := a.checkPages(base+layout.SlotQueueHead, "page of a queue", p, 1); err != nil {
			return err
		}
		all, next, ok := u.items(p, ownedChunk(i), pos-p, func(j uint64) bool { return p|j != tail })
		if !ok {
			pos, tail = u.ends(base)
			if tries++; tries == auditTries || slices.Contains(walked, layout.PageOf(pos)) {
				return region.Corrupt(base+layout.SlotQueueHead, "page of a queue", p, "a page that the slot owns")
			}
			continue
		}
		if !u.page(p) {
			return nil
		}
		walked = append(walked, p)
		u.retired(all)
		if p == layout.PageOf(tail) {
			return nil
		}
		pos = next
	}
	return nil
}

// deferred accounts for a slot's deferred pages. One that is not the slot's any more
// was just given up; one that it was taking it may have taken.
func (u *audit) deferred(i int, base uint64) error {
	a := u.a
	var places []uint64
	for j := range layout.DeferredCount {
		places = append(places, a.ro.Load(base+layout.SlotDeferred+uint64(j)*8))
	}
	places = append(places, a.ro.Load(base+layout.SlotLook)) // where they move to
	if rec := a.ro.Load(base + layout.SlotRec); rec&(layout.PageSize-1) == layout.RecTake {
		places = append(places, layout.PageOf(rec))
	}
	for j, p := range places {
		if p != 0 && !slices.Contains(places[:j], p) && a.ownedBy(i, p, layout.PageChunk) {
			u.chunk(p, ownedChunk(i))
		}
	}
	return nil
}

// magazine follows a magazine from the top. While the top is the same all below is
// in it; where it changes, it begins again.
func (u *audit) magazine(base uint64, c int) error {
	a, at := u.a, base+layout.SlotMags+uint64(c)*8
	var all []uint64
	var known map[uint64]bool
	for tries := 0; ; tries++ {
		top := a.ro.Load(at)
		if top == 0 {
			break
		}
		if known == nil {
			known = map[uint64]bool{}
		}
		b := top
		if a.ro.Load(base+layout.SlotReturn) == uint64(layout.MakeItem(top, c)) {
			b = a.ro.Load(base + layout.SlotReturnNext) // what is given back may be another's already
		}
		n := uint64(0)
		for b != 0 && a.ro.Load(at) == top {
			if err := u.a.checkAllocated(b, c, "in a magazine"); err != nil && a.ro.Load(at) == top {
				return err
			} else if err != nil {
				break
			}
			if !known[b] {
				known[b] = true
				all = append(all, b)
			}
			if n++; n > u.end/layout.Classes[c].Size {
				return region.Corrupt(at, "length of a magazine", n, "an end")
			}
			b = a.ro.Load(b + 8)
		}
		if a.ro.Load(at) == top {
			break
		}
		if tries == auditTries {
			u.part = true
			break
		}
	}
	for _, b := range all {
		u.block(b, c, &u.Free, "in a magazine", at)
		u.use[c].Cached++
	}
	return nil
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
