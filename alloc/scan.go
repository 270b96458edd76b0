package alloc

import "github.com/seed-869cc763/shmkv/alloc/layout"

// scan is one look at everything that protects retired blocks: pins and
// intents. It judges only blocks that were retired, and below the horizon,
// before it began (rule P2).
type scan struct {
	pins    []uint64 // and checkpoints, ascending
	intents []uint64
}

// takeScan looks at the pins first (rule P3). It may miss pins and slots that come into
// use during the scan: their owners check the horizon after it was raised.
func (a *Arena) takeScan(s *scan) {
	s.pins, s.intents = s.pins[:0], s.intents[:0]
	slots := min(int(a.ro.Load(layout.OffSlotHigh)), layout.MaxSlots)
	for i := range slots {
		s.addPin(a.shared.Load(slotPin(i) + layout.PinVersion))
	}
	for i := range min(int(a.shared.Load(layout.OffPinHigh)), layout.MaxSnapPins) {
		s.addPin(a.shared.Load(snapPin(i) + layout.PinVersion))
	}
	s.addPin(a.ro.Load(layout.OffKeeping)) // before kept, which gets its version
	s.addPin(a.ro.Load(layout.OffKept))
	for i := range slots {
		page := a.ro.Load(layout.OffDir + uint64(i)*8)
		if page == 0 || page%layout.PageSize != 0 {
			continue // none, or one being made
		}
		if limit, _ := a.Limit(); page > limit-layout.PageSize {
			continue // damaged: loadSlot says so
		}
		if r := a.ro.Load(page + layout.SlotIntent); r != 0 {
			s.intents = append(s.intents, r, a.ro.Load(page+layout.SlotIntentOld))
		}
	}
}

func (s *scan) addPin(v uint64) {
	if v == 0 {
		return
	}
	i := len(s.pins)
	s.pins = append(s.pins, v)
	for ; i > 0 && s.pins[i-1] > v; i-- {
		s.pins[i] = s.pins[i-1]
	}
	s.pins[i] = v
}

// A heldKey names the holder of a block: a pinned version, or an intent that names the
// block. It is 0 if nothing holds the block.
type heldKey uint64

const intentKey = heldKey(1 << 63)

// holds returns what holds the block at off, which lived from birth to
// retired: the oldest pin in its life, found in O(log P) for P pins. Newer
// pins go first as a rule, so the block is looked at again least often.
func (s *scan) holds(off, birth, retired uint64, isRoot bool) heldKey {
	lo, hi := 0, len(s.pins)
	for lo < hi {
		if mid := (lo + hi) / 2; s.pins[mid] < birth {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo < len(s.pins) && s.pins[lo] < retired {
		return heldKey(s.pins[lo])
	}
	if isRoot {
		for _, r := range s.intents {
			if r == off {
				return intentKey | heldKey(off)
			}
		}
	}
	return 0
}

// still reports whether the holder that key names still holds.
func (s *scan) still(key heldKey) bool {
	if key&intentKey != 0 {
		return s.holds(uint64(key&^intentKey), 0, 0, true) != 0
	}
	return s.holds(0, uint64(key), uint64(key)+1, false) != 0
}
