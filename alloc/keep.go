package alloc

import (
	"errors"
	"time"

	"github.com/seed-869cc763/shmkv/alloc/layout"
)

// Keeping house gives memory back slowly that a store does not need any more. No commit
// does that. Each handle that writes calls Keep now and then. One of them at a time does
// the work, the keeper. Each call takes some milliseconds:
//
//   - Free pages that nobody has used for settleTime give their memory back to the
//     file system. Their number is the fewest free pages that the keeper has seen in
//     that time. So pages that come and go keep their memory.
//   - Idle slots that have done nothing for as long give everything back.
//   - Sparse slabs, which a snapshot or a store that has shrunk leaves, are evacuated.
//     The number of free blocks in slabs tells how much that can gain. Retired blocks,
//     which a pin may hold, do not count.
//   - When none of that is left to do, a large store gets huge pages: see hugeRound.
//
// The state in shared memory is three words, and all three are hints. The keeper's is
// the time until which its turn lasts. A handle takes its turn by CAS when that time
// has passed, and extends its own by each call. So a keeper that dies or is stopped is
// followed by another one after leaseTime, and one that goes on although its turn has
// passed does no harm: each step is one that any writer may take at any time. The other
// two are the fewest free pages, and since when; the keeper writes them.

const (
	leaseTime  = time.Second
	settleTime = 2 * time.Second
	slackBytes = 1 << 20
	// BusyTime is how soon Keep is to be called again while there is work, restTime
	// otherwise.
	BusyTime = 50 * time.Millisecond
	restTime = 500 * time.Millisecond
	// One call of Keep gives back at most givePages pages, by at most giveCalls calls
	// of the file system. Rows of longRow pages or more come first.
	givePages = 2048
	giveCalls = 32
	longRow   = 16
	// keepWindows is the most windows that one call of Keep evacuates.
	keepWindows = 256
)

// house is what a handle remembers of its keeping. The user of the slot that keeps
// uses it alone.
type house struct {
	turn    uint64 // the keeper's word while it is this handle's turn
	version uint64 // as of the last call
	changed uint64 // when the version was another one

	give int64  // pages that are to be given back
	row  uint64 // the shortest row of them that is taken, in pages
	next uint64 // where they are looked for next

	done   [layout.MaxSlots]uint64 // commits of each slot at the end of the last period
	sparse bool                    // slabs may be sparse
	from   uint64                  // where they are looked for next
	gained bool                    // since from was 0

	huge hugeRound
}

// KeepsHouse reports whether Keep is to be called.
func (a *Arena) KeepsHouse() bool { return a.pace.settle > 0 }

// Keep does some of the work that waits, if it is this handle's turn, and returns
// after which time it is to be called again. 0 means: not before somebody has written.
// It is called outside of transactions, by one goroutine of a handle at a time. live is
// the bytes of the blocks that the root reaches. It ends early when step returns an
// error.
func (s *Slot) Keep(live uint64, step func() error, mover Mover) (time.Duration, error) {
	a, h := s.a, &s.a.house
	if _, err := a.Limit(); err != nil { // the store may have grown
		return 0, err
	}
	now := uint64(time.Now().UnixNano())
	if v := a.Version(); v != h.version || h.changed > now {
		h.version, h.changed = v, now
	}
	rest := restTime
	if !h.takeTurn(a, now) {
		h.give, h.sparse, h.huge.going = 0, false, false
		if now-h.changed > 3*uint64(a.pace.settle) {
			rest = 0
		}
		return rest, nil
	}
	began := a.ro.Load(layout.OffIdleSince)
	if s.watch(now, live) {
		quiet := h.changed < began // nothing has happened in the whole period
		if quiet {
			rest = 0
		}
		if h.huge.begin(a, now, quiet); quiet && h.huge.mayRetry(a) {
			rest = restTime
		}
		if err := s.settleDown(live); err != nil {
			return 0, err
		}
	}
	if h.give > 0 && a.mayPunch() {
		s.giveFree(live)
	}
	var err error
	if h.sparse {
		if err = s.thinOut(live, step, mover); errors.Is(err, ErrFull) {
			h.sparse, err = false, nil
		}
	}
	if h.give == 0 && !h.sparse {
		h.huge.run(a)
	}
	if h.give > 0 || h.sparse || h.huge.going {
		rest = BusyTime
	}
	return rest, err
}

// IsKeeper reports whether it is the turn of the slot's handle to keep house.
func (s *Slot) IsKeeper() bool {
	turn := s.a.house.turn
	return turn != 0 && turn == s.a.ro.Load(layout.OffKeeper)
}

// takeTurn makes the caller the keeper, or keeps it, if it can.
func (h *house) takeTurn(a *Arena, now uint64) bool {
	until := a.ro.Load(layout.OffKeeper)
	if until != h.turn && until > now && until-now < 2*uint64(leaseTime) { // else the clock was put back
		return false
	}
	turn := now + uint64(leaseTime)
	if !a.mem.CAS(layout.OffKeeper, until, turn) {
		return false
	}
	h.turn = turn
	return true
}

// watch notes how many pages are free, and reports whether a period is over. Then
// those that were free throughout are to be given back, but for a share that a store of
// its size needs.
func (s *Slot) watch(now, live uint64) bool {
	a, h := s.a, &s.a.house
	free := int64(a.ro.Load(layout.OffFreePages))
	since, low := a.ro.Load(layout.OffIdleSince), int64(a.ro.Load(layout.OffIdleLow))
	if since == 0 || since > now {
		since, low = now, free
		a.mem.Store(layout.OffIdleSince, since)
	}
	low = min(low, free)
	over := now-since >= uint64(a.pace.settle)
	if over {
		h.give, h.row, h.next = max(low-spareFor(live), 0), longRow, 0
		low = free
		a.mem.Store(layout.OffIdleSince, now)
	}
	a.mem.Store(layout.OffIdleLow, uint64(low))
	return over
}

// spareFor is how many free pages keep their memory for good.
func spareFor(live uint64) int64 { return int64(max(live>>(layout.PageShift+6), 32)) }

// giveFree gives free pages back, as many as one call may.
func (s *Slot) giveFree(live uint64) {
	h := &s.a.house
	h.give = min(h.give, int64(s.a.ro.Load(layout.OffFreePages))-spareFor(live))
	given, next := s.punchFree(h.next, h.row, min(h.give, givePages), giveCalls)
	h.give, h.next = h.give-given, next
	h.huge.missed = h.huge.missed || given > 0
	if next != 0 {
		return
	}
	if h.row == 1 {
		h.give = 0
	}
	h.row = 1
}

// settleDown does what is due at the end of a period: it empties slots that were not
// used in it, and looks whether slabs may be sparse.
func (s *Slot) settleDown(live uint64) error {
	a, h := s.a, &s.a.house
	for i := range min(int(a.ro.Load(layout.OffSlotHigh)), layout.MaxSlots) {
		n := a.slotCounts(i)[CountCommits]
		if n == h.done[i] && a.ownerOf(i).IsIdle() {
			a.emptyIdle(i)
		}
		h.done[i] = n
	}
	used, err := a.InUse()
	h.sparse, h.gained = used > live+live/8+a.pace.slack, false
	return err
}

// InUse is the memory of slabs, runs and lists, in bytes.
func (a *Arena) InUse() (uint64, error) {
	used, err := a.b.allocated()
	return used - min(used, a.FreeBytes()+a.end.Load()/64), err
}

// thinOut empties sparse slabs in a part of the file, and goes on with the next part
// when that gains nothing. It ends when all parts have gained nothing, or when little
// more than what is live is in use.
func (s *Slot) thinOut(live uint64, step func() error, mover Mover) error {
	a, h := s.a, &s.a.house
	a.room.mu.Lock()
	defer a.room.mu.Unlock()
	e := evacuation{s: s, v: &a.room.survey, from: h.from, batch: batchWindows, n: keepWindows, least: 1, sparse: true,
		stuckMost: keepWindows, heldMost: maxHeld, step: func(uint64) error { return step() }, mover: mover}
	err := e.run(1)
	if e.emptied > 0 {
		h.gained = true
		used, err2 := a.InUse()
		h.sparse = used > live+live/16+a.pace.slack/2
		return errors.Join(err, err2)
	}
	if h.from = e.v.next; h.from == 0 {
		h.sparse, h.gained = h.gained, false
	}
	return err
}
