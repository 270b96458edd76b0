package alloc

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/seed-869cc763/shmkv/alloc/layout"
	"github.com/seed-869cc763/shmkv/alloc/region"
)

// slotPool is the slots that a handle owns. A goroutine takes a slot into use by a
// compare-and-swap of the slot's owner word. So the places where slots are found are
// hints: a slot may be in several of them, or only in all.
type slotPool struct {
	idle [16]idleSlot
	last [256]atomic.Uint32 // by lane: where a goroutine has found a slot

	claims atomic.Uint64 // of slots, by this handle

	mu    sync.Mutex
	all   []*Slot // except those that others have taken
	freed sync.Cond
	brief int // transactions under way that run no foreign code
}

// An idleSlot is a place for an idle slot, in a cache line of its own. A slot
// comes back to the place that it was taken from, and a goroutine looks there first
// the next time, so that each processor goes on with the slot whose blocks it has
// in its cache.
type idleSlot struct {
	atomic.Pointer[Slot]
	_ [56]byte
}

// plentySlots is the most brief transactions that are under way at a time. Others wait
// for one of them to end.
const plentySlots = 32

// take returns a slot that was idle, and its place, or nil.
func (p *slotPool) take() (*Slot, uint32) {
	last := &p.last[region.Lane()%len(p.last)]
	first := last.Load()
	for i := range uint32(len(p.idle)) {
		at := (first + i) % uint32(len(p.idle))
		if p.idle[at].Load() == nil {
			continue
		}
		if s := p.idle[at].Swap(nil); s != nil {
			if i > 0 {
				last.Store(at)
			}
			return s, at
		}
	}
	return nil, 0
}

// takeAny takes any idle slot of the handle into use, or returns nil. It forgets those
// that others have taken.
func (p *slotPool) takeAny() *Slot {
	for _, s := range p.list() {
		if s.retake() {
			return s
		}
		if !s.ours() {
			p.mu.Lock()
			p.all = slices.DeleteFunc(p.all, func(x *Slot) bool { return x == s })
			p.mu.Unlock()
		}
	}
	return nil
}

// list returns the slots of the handle. Others may have taken some of them.
func (p *slotPool) list() []*Slot {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.all)
}

// begin waits until few enough brief transactions are under way, and counts one more.
func (p *slotPool) begin(closed *atomic.Bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.brief >= plentySlots && !closed.Load() {
		p.freed.Wait()
	}
	p.brief++
}

func (p *slotPool) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.brief--
	p.freed.Signal()
}

// wakeAll wakes all goroutines that wait for a slot.
func (p *slotPool) wakeAll() {
	p.mu.Lock()
	p.freed.Broadcast()
	p.mu.Unlock()
}

// put notes where an idle slot is found, if there is a place: the one it was taken from,
// or another.
func (p *slotPool) put(s *Slot, from uint32) {
	for i := range uint32(len(p.idle)) {
		place := &p.idle[(from+i)%uint32(len(p.idle))]
		if place.Load() == nil && place.CompareAndSwap(nil, s) {
			return
		}
	}
}

// mayWrite returns an error if the handle cannot begin a transaction.
func (a *Arena) mayWrite() error {
	switch {
	case !a.Writable() || !a.CanPin():
		return ErrReadOnly
	case a.closed.Load():
		return ErrClosed
	}
	return a.checkName()
}

// A Use tells what a transaction does with its slot.
type Use uint8

const (
	// Brief transactions run no code of the user. A Brief use may wait for another one
	// to end.
	Brief Use = 1 << iota
	// Frees is a transaction that may free more than it takes. A new slot for it may take
	// its page from the reserve.
	Frees
)

// Slot returns a slot for one transaction; Release gives it back. The caller is a user of
// the handle (see Enter) until it has released the slot.
func (a *Arena) Slot(use Use) (s *Slot, err error) {
	p := &a.slots
	brief := use&Brief != 0
	if brief {
		p.begin(&a.closed)
		defer func() {
			if err != nil {
				p.end()
			}
		}()
	}
	if err := a.mayWrite(); err != nil {
		return nil, err
	}
	var place uint32
	for s, place = p.take(); s != nil && !s.retake(); s, place = p.take() {
	}
	if s != nil {
		s.place = place
	} else {
		s = p.takeAny()
	}
	if s == nil {
		if s, err = a.claimSlot(use&Frees != 0); err != nil {
			return nil, err
		}
		p.mu.Lock()
		p.all = append(p.all, s)
		p.mu.Unlock()
	}
	s.brief = brief
	return s, nil
}

// ours reports whether the slot, in use or idle, is still the handle's.
func (s *Slot) ours() bool {
	return layout.Owner(s.m.Load(layout.OffOwners+uint64(s.idx)*8)).InUse() == s.owner
}

// retake makes an idle slot one that is in use, unless others have taken it, which they
// may do when space is short. It fails too if the handle has claimed the slot again
// since, because the number of the claim is another one then.
func (s *Slot) retake() bool {
	if !s.m.CAS(layout.OffOwners+uint64(s.idx)*8, uint64(s.owner.Idle()), uint64(s.owner)) {
		return false
	}
	s.handover.Take()
	return true
}

// Release gives a slot back to its handle, which keeps it for the next
// transaction.
func (a *Arena) Release(s *Slot) {
	brief, place := s.brief, s.place
	s.Rest()
	a.slots.put(s, place)
	if brief {
		a.slots.end()
	}
}

// Rest ends the use of a slot for the time being. The caller takes it into use again by
// Resume, before it asks for any slot. Meanwhile the slot does not count as one of a
// brief transaction.
func (s *Slot) Rest() {
	s.mayTakeReserve = false
	s.handover.Give()
	s.m.Release(layout.OffOwners+uint64(s.idx)*8, uint64(s.owner.Idle()))
}

// Resume takes a slot into use again. It reports false if another goroutine or process
// has taken it. Then the slot is not the caller's any more.
func (s *Slot) Resume() (bool, error) {
	if err := s.a.mayWrite(); err != nil {
		return false, err
	}
	return s.retake(), nil
}
