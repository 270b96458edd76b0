package alloc

import "github.com/seed-869cc763/shmkv/alloc/layout"

// stampAhead is how many blocks of its log ahead Commit prefetches those that it stamps: those of a
// large transaction have left the processor's caches.
const stampAhead = 64

// Begin pins the current version and starts a transaction that builds on it. End must
// follow, whether or not the transaction commits.
func (s *Slot) Begin() (Root, error) {
	s.light = false
	word, version := s.a.pinVersionAt(s.a.shared, slotPin(s.idx))
	root, err := s.a.rootNode(word, version)
	if err != nil {
		s.unpin()
		return Root{}, err
	}
	s.root = root
	return root, nil
}

// BeginLight starts a short transaction that builds on the current version without a
// pin. Nodes that it reads may be reused meanwhile. Then the transaction is not Sound,
// nothing that it has read or built counts, and Commit returns false. A process that is
// stopped in a light transaction holds only the root nodes that its intent names. End
// must follow.
func (s *Slot) BeginLight() (Root, error) {
	for range lightTries {
		h := s.a.ro.Load(layout.OffHorizon)
		word := layout.RootWord(s.a.ro.Load(layout.OffRoot))
		version := word.VersionFrom(h)
		root, err := s.a.rootNode(word, version)
		s.root, s.light = Root{root.Off, version}, true
		if err == nil || s.Sound() {
			return root, err
		}
	}
	return s.Begin()
}

// lightTries is how often BeginLight looks for a root node that is still there.
const lightTries = 4

// Sound reports whether everything that the transaction has read since it began belongs
// to the version that it builds on (rule C9).
func (s *Slot) Sound() bool {
	if !s.light {
		return true
	}
	s.a.ro.LoadFence()
	return s.a.ro.Load(layout.OffHorizon) <= s.root.Version
}

// Abort frees the blocks that the transaction has allocated, except the first keep
// blocks of its log, and forgets the blocks that it has retired. Another attempt can
// publish the kept blocks, but must not change them: they may carry a birth already.
func (s *Slot) Abort(keep uint64) {
	s.Rewind(keep)
	s.retired = s.retired[:0]
	s.delta = 0
	for i := range keep {
		at := s.logItem(i)
		item := layout.Item(s.m.Word(at))
		if s.checkLogged(at, item) != nil {
			continue // Commit says so
		}
		if c := item.Class(); c == layout.ClassRun {
			s.delta += int64(s.a.runPages(item.Off())) << layout.PageShift
		} else {
			s.delta += int64(layout.Classes[c].Size)
		}
	}
}

// End unpins the transaction's version.
func (s *Slot) End() {
	if !s.light {
		s.unpin()
	}
}

func (s *Slot) unpin() { s.a.shared.Release(slotPin(s.idx)+layout.PinVersion, 0) }

// Commit publishes a new root node with the payload in place of the one that Begin
// found. If another commit came first, it returns false and leaves everything in the
// log. Then the caller calls Abort and Begin and builds again, or gives up. After an
// error the transaction is in the same state. Commit also returns false for a light
// transaction that is not sound.
//
// These are the steps, who can see them, and what a death leaves (rules C1 to C3):
//
//  1. The root node is built; all of the transaction is in the log. Dead: the
//     log's blocks are freed.
//  2. The list of replaced blocks is written beyond the queue's tail. Nobody reads
//     there. Dead: as before.
//  3. Births are stamped over the marks. Dead: as before, the log knows.
//  4. The intent: first the queue's tail to be and the old root, then the new
//     root. From here on reclaimers spare both roots, whatever becomes of the
//     pin, and an adopter judges by the new one. Dead: it is not current and not
//     superseded, so it was not committed.
//  5. The old root is marked as superseded: whoever intended the old one has
//     committed it. Every successor does so before its CAS. Dead: as before;
//     the mark is harmless, for the old root is published.
//  6. The CAS publishes everything. Dead: the root word, or the mark that its
//     successor left, tells that it was committed, and the adopter does 7.
//  7. The queue's tail moves (to an absolute value), the log is emptied, the
//     intent is dropped. Dead: done again.
func (s *Slot) Commit(payload *[PayloadWords]uint64) (bool, error) {
	a, old := s.a, s.root
	version := old.Version + 1

	node, err := s.Alloc(layout.RootSize) // 1
	if err != nil {
		return false, err
	}
	s.m.SetWord(node+layout.RootSuperseded, 0)
	for i, w := range payload {
		s.m.SetWord(node+layout.RootPayload+uint64(i)*8, w)
	}
	s.Retire(old.Off, layout.RootSize)
	s.retired[len(s.retired)-1].block = s.retired[len(s.retired)-1].block.AsRoot()

	tail, err := s.enqueue(version) // 2
	if err != nil {
		return false, err
	}
	// Rule P1: the tag must not wrap. The horizon may also be past the version
	// already, when others have committed; then the CAS will fail.
	if a.ro.Load(layout.OffHorizon)+1<<15 < version {
		a.mem.Max(layout.OffHorizon, version-1<<10)
	}

	for i, n := uint64(0), s.LogLen(); i < n; i++ { // 3
		if i+stampAhead < n {
			s.prefetch(layout.Item(s.m.Word(s.logItem(i + stampAhead))))
		}
		at := s.logItem(i)
		item := layout.Item(s.m.Word(at))
		if item == 0 || item.Class() == layout.ClassPage {
			continue
		}
		if err := s.checkLogged(at, item); err != nil {
			return false, err // the log is somebody else's block as well
		}
		s.m.SetWord(item.Off(), version)
	}

	s.m.SetWord(s.base+layout.SlotIntentTail, uint64(tail)) // 4
	s.m.SetWord(s.base+layout.SlotIntentOld, old.Off)
	s.m.Store(s.base+layout.SlotIntent, node) // everybody can see it before the look that follows

	// A root that is not the current one is left alone: the pin that keeps it may
	// have been erased by a reader, who can write to procs, and then it is somebody
	// else's block by now. One that is still current is retired later, so whoever
	// reclaims it has seen the intent (rule C8). The horizon tells that it is current
	// still, and not again, and that a light transaction has read what it holds (C9).
	was, is := uint64(layout.MakeRoot(old.Off, old.Version)), uint64(layout.MakeRoot(node, version))
	won := a.ro.Load(layout.OffRoot) == was && a.ro.Load(layout.OffHorizon) <= old.Version
	if won {
		s.m.Release(old.Off+layout.RootSuperseded, 1) // 5
		won = a.mem.CAS(layout.OffRoot, was, is)      // 6
	}
	if !won {
		s.m.Release(s.base+layout.SlotIntent, 0)
		s.Unretire(old.Off)
		s.count(CountLost, 1)
		return false, nil
	}

	s.setTail(tail) // 7
	s.dropLog()
	s.m.Release(s.base+layout.SlotIntent, 0)
	s.count(CountCommits, 1)

	retired := uint64(0)
	for _, r := range s.retired {
		retired += r.size
	}
	s.retiredBytes += retired
	if a.counting.Load() {
		a.written.Add(uint64(s.delta) + retired)
	}
	s.commits++
	s.retired = s.retired[:0]
	s.delta = 0
	s.root = Root{node, version}
	return true, nil
}

// enqueue writes the retired blocks beyond the queue's tail and returns what
// the tail will be. New pages of the queue are in the log until then, and a
// page's link to the next is believed only once the tail is beyond it (rule
// C7).
func (s *Slot) enqueue(version uint64) (tail layout.Place, err error) {
	if s.tail == 0 {
		if err := s.startQueue(); err != nil {
			return 0, err
		}
	}
	tail = s.tail
	for _, r := range s.retired {
		page, i := tail.Page(), tail.Index()
		if i == layout.ChunkCap {
			if s.logFull() {
				if err := s.growLog(); err != nil {
					return 0, err
				}
			}
			p, err := s.claimPages(1)
			if err != nil {
				return 0, err
			}
			s.become(p, 1, layout.PageChunk, 0)
			s.pushLog(layout.MakeItem(p, layout.ClassPage))
			s.endRecord()
			s.m.SetWord(p+layout.ChunkNext, 0)
			s.m.SetWord(page+layout.ChunkNext, p)
			page, i, tail = p, 0, layout.Place(p)
		}
		e := layout.ItemAt(page, i)
		s.m.SetWord(e, uint64(r.block))
		s.m.SetWord(e+8, version)
		tail++
	}
	return tail, nil
}

// startQueue gives the slot an empty queue.
func (s *Slot) startQueue() error {
	p, err := s.claimPages(1)
	if err != nil {
		return err
	}
	s.become(p, 1, layout.PageChunk, 0)
	s.m.SetWord(p+layout.ChunkNext, 0)
	s.setHead(layout.Place(p))
	s.setTail(layout.Place(p))
	s.endRecord()
	return nil
}

func (s *Slot) setHead(h layout.Place) {
	s.head = h
	s.m.SetWord(s.base+layout.SlotQueueHead, uint64(h))
}

func (s *Slot) setTail(t layout.Place) {
	s.tail = t
	s.m.SetWord(s.base+layout.SlotQueueTail, uint64(t))
}
