package alloc

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/seed-869cc763/shmkv/alloc/region"
)

// An owner word is entry+1 | generation of the entry<<16. That of a slot also
// tells its owner's claims apart, by their number<<48, and says ownerIdle while the
// owner does not use it: then others may take it.
func makeOwner(entry int, gen uint64) uint64 { return uint64(entry+1) | gen&(1<<32-1)<<16 }
func claimOf(owner, claim uint64) uint64     { return owner | claim<<48 }
func ownerEntry(owner uint64) int            { return int(owner&(ownerIdle-1)) - 1 }

const ownerIdle = 1 << 15

func entryAt(i int) uint64 { return offEntries + uint64(i)*entrySize }

// takeEntry claims a process entry and holds its lock for as long as the
// handle is open. A dead process's entry is adopted before it is used (rule
// D2).
func (a *Arena) takeEntry() error {
	l, err := a.b.locks()
	if err != nil {
		return err
	}
	dead := false // an entry is a dead writer's, and this handle cannot adopt
	for i := range maxEntries {
		ok, err := l.tryLock(i)
		if err == nil && ok {
			ok, err = a.claimEntry(i)
			dead = dead || !ok && err == nil
			if ok && err == nil {
				a.lock = l
				return nil
			}
			if e := l.unlock(i); err == nil {
				err = e
			}
		}
		if err != nil {
			_ = l.close()
			return err
		}
	}
	free, err := l.tryLock(aloneLock)
	_ = l.close()
	if err == nil && !free {
		return fmt.Errorf("%w: it is being rewritten", ErrInUse)
	}
	if err == nil && dead {
		return errDeadEntries
	}
	return fmt.Errorf("%w: all %d entries are taken", ErrTooManyProcesses, maxEntries)
}

// errDeadEntries says that entries would be free if somebody adopted their owners.
var errDeadEntries = errors.New("entries of dead writers wait for adoption")

// aloneLock is the byte, next to those of the entries, that says why all of them
// are locked.
const aloneLock = maxEntries

// Alone locks all other entries until the handle is closed: nobody else is attached,
// and nobody can be. Otherwise the error, which matches ErrInUse, says who is, and
// the handle is of no use any more.
//
// Who has no write permission on slots has no entry, and is not seen.
func (a *Arena) Alone() error {
	if !a.CanPin() {
		return fmt.Errorf("%w: expected write permission on slots", ErrReadOnly)
	}
	if ok, err := a.lock.tryLock(aloneLock); err != nil {
		return err
	} else if !ok {
		return fmt.Errorf("%w: it is being rewritten", ErrInUse)
	}
	var users []string
	for i := range maxEntries {
		if i == a.entry {
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
		user := fmt.Sprintf("process %d", a.shared.Load(entryAt(i)+entryPid))
		if !slices.Contains(users, user) {
			users = append(users, user)
		}
	}
	if len(users) > 0 {
		return fmt.Errorf("%w by %s", ErrInUse, strings.Join(users, ", "))
	}
	return nil
}

// claimEntry makes entry i, whose lock the caller holds, this handle's. Adoption may
// have to take space and slots, so it is done in the name of the new owner: if that
// one dies, its own adopter goes on.
func (a *Arena) claimEntry(i int) (bool, error) {
	e := entryAt(i)
	gen := a.shared.Load(e+entryState)>>8 + 1
	a.entry, a.owner = i, makeOwner(i, gen)
	if ok, err := a.inherit(i); !ok || err != nil {
		a.entry, a.owner = -1, 0
		return false, err
	}
	a.shared.Store(e+entryPid, uint64(os.Getpid()))
	a.shared.Store(e+entryStarted, uint64(time.Now().UnixNano()))
	var name [16]byte
	copy(name[:], filepath.Base(os.Args[0]))
	a.shared.Write(e+entryName, name[:])
	flags := uint64(0)
	if !a.Writable() {
		flags = 1
	}
	a.shared.Store(e+entryFlags, flags)
	a.shared.Store(e+entryState, gen<<8|1)
	return true, nil
}

// inherit puts in order what the last owner of entry i has left, and reports whether
// this handle can do that.
func (a *Arena) inherit(i int) (bool, error) {
	if a.Writable() {
		_, err := a.adoptEntry(i)
		return err == nil, err
	}
	if a.ownsSlots(i) {
		return false, nil // a dead writer's: for writers to adopt
	}
	a.releaseDeadPins(i)
	return true, nil
}

func (a *Arena) ownsSlots(entry int) bool {
	for i := range maxSlots {
		if ownerEntry(a.ro.Load(offOwners+uint64(i)*8)) == entry {
			return true
		}
	}
	return false
}

// leaveEntry gives the handle's entry up, when it owns nothing any more.
func (a *Arena) leaveEntry() {
	if a.lock == nil {
		return
	}
	e := entryAt(a.entry)
	a.shared.Store(e+entryState, a.shared.Load(e+entryState)&^0xff)
	_ = a.lock.close()
	a.lock = nil
}

// AdoptDead takes over from every dead process: its slots are put in order and
// released, its pins dropped. It returns how many were dead. Whoever finds
// another adopter at work on an entry leaves it alone and goes on (rule D4).
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
	for i := range maxEntries {
		if i == a.entry || !a.taken(i) {
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
		was, err := a.adoptEntry(i)
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

// taken reports whether an entry is or was in use. Its state is in slots,
// which readers can write; what counts for slots is their own owner word.
func (a *Arena) taken(i int) bool {
	return a.shared.Load(entryAt(i)+entryState)&0xff != 0
}

// adoptEntry adopts all that a dead process left under entry i, whose lock the
// caller holds, and reports whether there was anything. It may die and be
// called again by another.
func (a *Arena) adoptEntry(i int) (bool, error) {
	dead := a.taken(i)
	a.announceNoted(i) // before what follows can note something else there
	var failed error
	for j := range maxSlots {
		word := offOwners + uint64(j)*8
		owner := a.ro.Load(word)
		if ownerEntry(owner) != i {
			continue
		}
		dead = true
		if owner&ownerIdle != 0 && !a.mem.CAS(word, owner, owner&^ownerIdle) {
			continue // it was taken while this looked
		}
		page, err := a.slotPage(j)
		if err == nil && page != 0 {
			var s *Slot
			if s, err = a.loadSlot(j, page); err == nil {
				if err = s.recover(); err == nil {
					s.count(countAdopted, 1)
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
	a.shared.Store(entryAt(i)+entryHints, 0)
	a.releaseDeadPins(i)
	if g := a.ro.Load(offGate); ownerEntry(g) == i {
		a.mem.CAS(offGate, g, 0)
	}
	e := entryAt(i)
	if dead {
		a.countReserve()
		a.debug("adopted a dead process", "entry", i, "pid", a.shared.Load(e+entryPid))
		a.shared.Store(e+entryState, a.shared.Load(e+entryState)&^0xff)
	}
	return dead, nil
}

// releaseDeadPins drops the snapshot pins of entry i, whose lock the caller
// holds.
func (a *Arena) releaseDeadPins(i int) {
	for j := range min(int(a.shared.Load(offPinHigh)), maxSnapPins) {
		if ownerEntry(a.shared.Load(snapPin(j)+pinOwner)) == i {
			a.emptyPin(j)
		}
	}
}

// recover puts a dead process's slot in order, acting as the slot. Every step
// finds the same if it is begun again.
func (s *Slot) recover() error {
	a := s.a
	s.mayTakeReserve = true
	defer func() { s.mayTakeReserve = false }()
	if _, err := a.Limit(); err != nil {
		return err
	}
	if s.head != 0 && s.tail == 0 {
		s.setTail(s.head)
	}
	// The intent (rule C2): was it committed? The root word first, then the
	// mark. What a committed log names may be anybody's by now, so it is not
	// looked at.
	node := a.ro.Load(s.base + slotIntent)
	committed := false
	if node != 0 {
		if err := s.checkEntry(s.base+slotIntent, node, classOf(rootSize)); err != nil {
			return err
		}
		current := a.ro.Load(offRoot)&offMask == node
		committed = current || a.ro.Load(node+rootSuperseded) != 0
	}
	// Committed: tail, log, then the intent. Not: the intent first.
	if committed {
		tail := s.m.Word(s.base + slotIntentTail)
		if err := s.checkTail(s.base+slotIntentTail, tail); err != nil {
			return err
		}
		s.setTail(tail)
	}
	if err := s.checkLists(committed); err != nil {
		return err
	}
	if committed {
		s.recoverRecord()
		s.dropLog()
	}
	if node != 0 {
		s.m.Store(s.base+slotIntent, 0)
	}
	s.unpin()

	// A block that was being given back.
	if w := s.m.Word(s.base + slotReturn); w != 0 {
		off, c := w&offMask, int(w>>48)
		if c >= numClasses || off < segments[0].first || off >= a.end.Load() {
			return region.Corrupt(s.base+slotReturn, "block being given back", fmt.Sprintf("%#x", w), "a block")
		}
		s.redoReturn(c, off)
		if s.mags[c] == off {
			s.setMag(c, s.m.Word(s.base+slotReturnNext))
		}
		s.unlinkRetired(func(block uint64) bool { return block&^rootFlag == w })
		s.m.SetWord(s.base+slotReturn, 0)
	}

	// Blocks that were being taken from a slab.
	if at := a.ro.Load(s.base + slotRefillAt); at != 0 {
		if err := s.recoverRefill(at); err != nil {
			return err
		}
	}

	s.recoverRecord()

	// A set-aside page that changed hands, or was closed to be looked through.
	for i, p := range s.aside {
		if p == 0 {
			continue
		}
		if !s.owns(p, pageChunk) || p == s.m.Word(s.base+slotLook) {
			a.announce(p)
			s.setAside(i, 0, 0)
		}
	}
	if p := s.m.Word(s.base + slotLook); p != 0 && !s.owns(p, pageChunk) {
		a.announce(p)
		s.setLook(0)
	}
	for c, p := range s.slabs {
		if p != 0 && !(s.owns(p, pageSlabOwned) && a.page(p).class() == c) {
			a.announce(p)
			s.setSlab(c, 0)
		}
	}

	// A block on its way from one list to another stands in both; the last
	// step is done here. In the log it wins over the magazine, whichever way
	// it went: all of the log is freed next.
	for i := range s.LogLen() {
		if e := s.m.Word(s.logEntry(i)); e != 0 {
			if c := int(e >> 48); c < numClasses && s.mags[c] == e&offMask {
				s.setMag(c, s.m.Word(s.mags[c]+8))
			}
		}
	}
	s.unlinkRetired(func(block uint64) bool {
		if c := int(block >> 48 & 0xff); c < numClasses && s.mags[c] == block&offMask {
			return true
		}
		for _, p := range s.aside {
			if p == 0 {
				continue
			}
			if n := s.m.Word(p + chunkCount); n > 0 && n <= chunkCap && s.m.Word(p+chunkEntries+(n-1)*chunkEntry) == block {
				return true
			}
		}
		return false
	})

	s.Rewind(0)
	if err := s.flush(); err != nil && !errors.Is(err, ErrFull) {
		return err
	}
	return nil
}

// owns reports whether a page is in a state that makes it this slot's.
func (s *Slot) owns(p uint64, state int) bool { return s.a.ownedBy(s.idx, p, state) }

func (a *Arena) ownedBy(slot int, p uint64, state int) bool {
	if a.checkPages(p, "", p, 1) != nil {
		return false
	}
	st := a.page(p)
	return st.state() == state && st.owner() == slot
}

// unlinkRetired takes the block at the queue's head, and the last one of the
// page that is being looked through, off if gone says that it went elsewhere.
func (s *Slot) unlinkRetired(gone func(block uint64) bool) {
	if s.head != s.tail {
		if page, i := s.head&^(pageSize-1), s.head&(pageSize-1); i < chunkCap && gone(s.m.Word(page+chunkEntries+i*chunkEntry)) {
			s.setHead(s.head + 1)
		}
	}
	if p := s.m.Word(s.base + slotLook); p != 0 && s.owns(p, pageChunk) {
		if n := s.m.Word(p + chunkCount); n > 0 && n <= chunkCap && gone(s.m.Word(p+chunkEntries+(n-1)*chunkEntry)) {
			s.m.SetWord(p+chunkCount, n-1)
		}
	}
}

// recoverRefill finishes a refill whose bits were set; without them, nothing
// was taken.
func (s *Slot) recoverRefill(at uint64) error {
	a := s.a
	mask := s.m.Word(s.base + slotRefillMask)
	for c, p := range s.slabs {
		if p == 0 || !s.owns(p, pageSlabOwned) || a.page(p).class() != c {
			continue
		}
		d := desc(p) + descBitmap
		if at < d || at >= d+32 || at%8 != 0 {
			continue
		}
		i := int(at-d) / 8
		if mask == 0 || mask&^slabMask(c, i) != 0 {
			break
		}
		if a.ro.Load(at)&mask == mask {
			s.finishRefill(p, c, i, mask)
		}
		s.m.Store(s.base+slotRefillAt, 0)
		return nil
	}
	return region.Corrupt(s.base+slotRefillAt, "bitmap word of a refill", at, "one of an owned slab")
}

// recoverRecord finishes what the page record says. Whether the pages are
// linked into the slot decides.
func (s *Slot) recoverRecord() {
	a := s.a
	rec := s.m.Word(s.base + slotRec)
	if rec == 0 {
		return
	}
	p, kind := rec&^(pageSize-1), rec&(pageSize-1)
	n := s.m.Word(s.base + slotRecPages)
	gen, headGen := s.m.Word(s.base+slotRecGen), s.m.Word(s.base+slotRecHeadGen)
	if a.checkPages(s.base+slotRec, "", p, n) == nil && !s.linked(p) {
		switch kind {
		case recClaim:
			for i := range n {
				q := p + i*pageSize
				if st := a.page(q); !st.free() && st.owner() == s.idx && st.gen() == gen {
					a.mem.Store(desc(q)+descInfo, 0)
					a.mem.Store(desc(q)+descState, uint64(makeState(pageHole, 0, 0, gen+1)))
				} else if st.state() == pageFree && st.gen() < gen {
					a.mem.Add(offFreePages, 1) // it was not taken any more
				}
				a.announce(q)
			}
		case recFree:
			s.redoFree()
			for i := range n {
				a.announce(p + i*pageSize)
			}
		case recTake:
			st := a.page(p)
			if st.gen() == headGen && st.owner() == s.idx {
				switch st.state() {
				case pageSlabOwned:
					a.mem.Store(desc(p)+descState, uint64(makeState(pageSlabShared, st.class(), 0, headGen+1)))
				case pageChunk:
					a.mem.Store(desc(p)+descState, uint64(makeState(pageChunkShared, 0, 0, headGen+1)))
				}
			}
			a.announce(p)
		}
	}
	s.endRecord()
}

// announce sets the hint of what a page offers: who made it so may have died before.
func (a *Arena) announce(p uint64) {
	if bit := hintBit(a.page(p)); bit >= 0 {
		a.hint(p, bit)
	}
}

// linked reports whether a page is part of the slot's structures.
func (s *Slot) linked(p uint64) bool {
	for _, q := range s.slabs {
		if q == p {
			return true
		}
	}
	for _, q := range s.aside {
		if q == p {
			return true
		}
	}
	for _, q := range s.logs {
		if q == p {
			return true
		}
	}
	if s.head&^(pageSize-1) == p || s.tail&^(pageSize-1) == p || s.m.Word(s.base+slotLook) == p {
		return true
	}
	run := func(block uint64) bool { return block&offMask == p && block>>48&0xff >= classPage }
	for i := range s.LogLen() {
		if run(s.m.Word(s.logEntry(i))) {
			return true
		}
	}
	if s.head != s.tail {
		if page, i := s.head&^(pageSize-1), s.head&(pageSize-1); i < chunkCap && run(s.m.Word(page+chunkEntries+i*chunkEntry)) {
			return true
		}
	}
	if l := s.m.Word(s.base + slotLook); l != 0 && s.owns(l, pageChunk) {
		if n := s.m.Word(l + chunkCount); n > 0 && n <= chunkCap && run(s.m.Word(l+chunkEntries+(n-1)*chunkEntry)) {
			return true
		}
	}
	return false
}

// checkTail verifies a position in a queue.
func (s *Slot) checkTail(at, pos uint64) error {
	if pos == 0 {
		return nil
	}
	if pos&(pageSize-1) > chunkCap {
		return region.Corrupt(at, "position in a queue", pos, "a page and an index")
	}
	return s.a.checkPages(at, "page of a queue", pos&^(pageSize-1), 1)
}

// checkLists verifies what the slot's page says before anything is done by it.
func (s *Slot) checkLists(committed bool) error {
	if err := s.checkTail(s.base+slotQueueHead, s.head); err != nil {
		return err
	}
	if err := s.checkTail(s.base+slotQueueTail, s.tail); err != nil {
		return err
	}
	if n := s.logTop & (pageSize - 1); n > slotLogCap && n > logCap || len(s.logs) == 0 && n > slotLogCap {
		return region.Corrupt(s.base+slotLogTop, "entries of a log", n, "fewer")
	}
	if !committed {
		if err := s.checkLog(); err != nil {
			return err
		}
	}
	if err := s.checkQueue(); err != nil {
		return err
	}
	for i, p := range s.aside {
		if p != 0 {
			if err := s.checkChunk(s.base+slotAside+uint64(i)*8, p); err != nil {
				return err
			}
		}
	}
	if p := s.m.Word(s.base + slotLook); p != 0 {
		if err := s.checkChunk(s.base+slotLook, p); err != nil {
			return err
		}
	}
	for c := range numClasses {
		if p := s.slabs[c]; p != 0 {
			if err := s.a.checkPages(s.base+slotSlabs+uint64(c)*8, "slab of a slot", p, classes[c].pages); err != nil {
				return err
			}
		}
		if err := s.checkMag(c); err != nil {
			return err
		}
	}
	return nil
}

// checkLog verifies that the log's entries are the slot's to free.
func (s *Slot) checkLog() error {
	for i := range s.LogLen() {
		at := s.logEntry(i)
		e := s.m.Word(at)
		if e == 0 {
			continue
		}
		off, c := e&offMask, int(e>>48)
		if c == classPage {
			if err := s.a.checkPages(at, "page in a log", off, 1); err != nil {
				return err
			}
		} else if err := s.checkEntry(at, off, c); err != nil {
			return err
		}
	}
	return nil
}

// checkQueue follows the queue from its head to its tail.
func (s *Slot) checkQueue() error {
	tail := s.tail &^ (pageSize - 1)
	for n, p := uint64(0), s.head&^(pageSize-1); p != tail; n++ {
		if err := s.a.checkPages(p+chunkNext, "page of a queue", p, 1); err != nil {
			return err
		}
		if p = s.m.Word(p + chunkNext); n > s.a.end.Load()>>pageShift {
			return region.Corrupt(s.base+slotQueueHead, "length of a queue", n, "an end")
		}
	}
	if s.head&^(pageSize-1) == tail && s.head > s.tail {
		return region.Corrupt(s.base+slotQueueHead, "head of a queue", s.head, fmt.Sprintf("at most the tail, %d", s.tail))
	}
	return nil
}

// checkChunk verifies a set-aside page and the number of its entries.
func (s *Slot) checkChunk(at, p uint64) error {
	if err := s.a.checkPages(at, "set-aside page", p, 1); err != nil {
		return err
	}
	if !s.owns(p, pageChunk) {
		return nil // given up already
	}
	if n := s.m.Word(p + chunkCount); n > chunkCap {
		return region.Corrupt(p+chunkCount, "entries of a set-aside page", n, fmt.Sprintf("at most %d", chunkCap))
	}
	return nil
}

// checkMag follows a magazine to its end. The block that is being given back,
// if it is still on top, may be somebody else's by now.
func (s *Slot) checkMag(c int) error {
	at, b := s.base+slotMags+uint64(c)*8, s.mags[c]
	if b != 0 && s.m.Word(s.base+slotReturn) == b|uint64(c)<<48 {
		at, b = s.base+slotReturnNext, s.m.Word(s.base+slotReturnNext)
	}
	for n := uint64(0); b != 0; n++ {
		if err := s.checkEntry(at, b, c); err != nil {
			return err
		}
		if n > s.a.end.Load()/classes[c].size {
			return region.Corrupt(s.base+slotMags+uint64(c)*8, "length of a magazine", n, "an end")
		}
		at, b = b+8, s.m.Word(b+8)
	}
	return nil
}
