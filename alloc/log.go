package alloc

import (
	"slices"

	"github.com/seed-869cc763/shmkv/alloc/layout"
)

// LogLen is the Age of the next block.
func (s *Slot) LogLen() uint64 {
	n := s.logTop.Index()
	if len(s.logs) > 0 {
		n += layout.SlotLogCap + uint64(len(s.logs)-1)*layout.LogCap
	}
	return n
}

// logItem returns the offset of log item i.
func (s *Slot) logItem(i uint64) uint64 {
	if i < layout.SlotLogCap {
		return s.base + layout.SlotLog + i*8
	}
	i -= layout.SlotLogCap
	return s.logs[i/layout.LogCap] + layout.LogItems + i%layout.LogCap*8
}

func (s *Slot) setLogTop(top layout.Place) {
	s.logTop = top
	s.m.SetWord(s.base+layout.SlotLogTop, uint64(top))
}

func (s *Slot) logFull() bool {
	n := s.logTop.Index()
	if len(s.logs) == 0 {
		return n == layout.SlotLogCap
	}
	return n == layout.LogCap
}

// pushLog writes an item, for which there is room, then counts it.
func (s *Slot) pushLog(item layout.Item) {
	s.m.SetWord(s.logItem(s.LogLen()), uint64(item))
	s.setLogTop(s.logTop + 1)
}

// growLog adds a page to the log. The page's link back is there before the log
// reaches it.
func (s *Slot) growLog() error {
	p, err := s.claimPages(1)
	if err != nil {
		return err
	}
	s.become(p, 1, layout.PageChunk, 0)
	s.m.SetWord(p+layout.LogPrev, s.logTop.Page())
	s.logs = append(s.logs, p)
	s.setLogTop(layout.Place(p))
	s.endRecord()
	return nil
}

// shrinkLog frees the log's newest page, whose items do not count any more.
func (s *Slot) shrinkLog() {
	n := len(s.logs) - 1
	p := s.logs[n]
	s.logs = s.logs[:n]
	below := s.base + layout.SlotLogCap
	if n > 0 {
		below = s.logs[n-1] + layout.LogCap
	}
	s.freePages(p, 1, func() { s.setLogTop(layout.Place(below)) })
}

// dropLog empties the log without freeing the blocks in it.
func (s *Slot) dropLog() {
	for len(s.logs) > 0 {
		s.shrinkLog()
	}
	s.setLogTop(layout.Place(s.base))
}

// Rewind frees the blocks of all log items from the n-th on, newest first.
func (s *Slot) Rewind(n uint64) {
	for s.LogLen() > n {
		if s.logTop.Index() == 0 {
			s.shrinkLog()
			continue
		}
		s.undo(layout.Item(s.m.Word(s.logItem(s.LogLen() - 1))))
	}
}

// checkLogged verifies a log item that is not 0.
func (s *Slot) checkLogged(at uint64, item layout.Item) error {
	off, c := item.Off(), item.Class()
	if c == layout.ClassPage {
		return s.a.checkPages(at, "page in a log", off, 1)
	}
	return s.checkPlace(at, off, c)
}

// undo frees the newest log item's block and takes the item off the log.
func (s *Slot) undo(item layout.Item) {
	off, c := item.Off(), item.Class()
	switch {
	case item == 0 || s.checkLogged(s.base+layout.SlotLogTop, item) != nil:
		s.setLogTop(s.logTop - 1) // the block of a damaged item stays as it is
	case c == layout.ClassRun || c == layout.ClassPage:
		k := uint64(1)
		if c == layout.ClassRun {
			k = s.a.runPages(off)
			s.delta -= int64(k) << layout.PageShift
		}
		s.freePages(off, k, func() { s.setLogTop(s.logTop - 1) })
	default:
		s.delta -= int64(layout.Classes[c].Size)
		s.pushMag(c, off)
		s.setLogTop(s.logTop - 1)
	}
}

// loadLog finds the log's pages.
func (s *Slot) loadLog() error {
	pages, _, err := s.walk().readLog()
	slices.Reverse(pages)
	s.logs = pages
	return err
}
