package alloc

import (
	"sync"
	"time"
)

// pinVersionAt pins the current version in the pin at off (rule P1) and
// returns its root word. The version is never read from memory that may be
// reused: it follows from the horizon and the root word's tag. A reclaimer
// that does not see the pin has raised the horizon before it looked, so the
// last check sees that.
func (a *Arena) pinVersionAt(off uint64) (word, version uint64) {
	for {
		h := a.ro.Load(offHorizon)
		word = a.ro.Load(offRoot)
		version = versionAt(h, word)
		a.shared.Store(off+pinVersion, version)
		if a.ro.Load(offHorizon) <= version || h > maxVersion {
			return word, version
		}
	}
}

func snapPin(i int) uint64 { return offSnapPins + uint64(i)*snapPinSize }
func slotPin(i int) uint64 { return offSlotPins + uint64(i)*slotPinSize }

// Pin holds a version's nodes in place until Unpin. Snapshots of one handle
// on one version share a pin.
type Pin struct {
	Root
	index int
	users int
}

type pinTable struct {
	mu   sync.Mutex
	held map[uint64]*Pin // by version
	idle []int           // pins of this handle that hold nothing
}

// Pin pins the current version.
func (a *Arena) Pin() (*Pin, error) {
	if !a.CanPin() {
		return nil, ErrReadOnly
	}
	t := &a.pins
	t.mu.Lock()
	defer t.mu.Unlock()
	if a.closed.Load() {
		return nil, ErrClosed
	}
	if p := t.held[a.Version()]; p != nil {
		p.users++
		return p, nil
	}
	i, err := a.takePin()
	if err != nil {
		return nil, err
	}
	a.shared.Store(snapPin(i)+pinSince, uint64(time.Now().UnixNano()))
	word, version := a.pinVersionAt(snapPin(i))
	root, err := a.rootNode(word, version)
	if p := t.held[version]; p != nil || err != nil {
		a.shared.Store(snapPin(i)+pinVersion, 0)
		t.idle = append(t.idle, i)
		if err != nil {
			return nil, err
		}
		p.users++
		return p, nil
	}
	p := &Pin{Root: root, index: i, users: 1}
	if t.held == nil {
		t.held = map[uint64]*Pin{}
	}
	t.held[version] = p
	return p, nil
}

// Unpin lets go of what Pin held, once for every Pin.
func (a *Arena) Unpin(p *Pin) {
	t := &a.pins
	t.mu.Lock()
	defer t.mu.Unlock()
	if p.users--; p.users > 0 || a.closed.Load() {
		return
	}
	delete(t.held, p.Version)
	a.shared.Store(snapPin(p.index)+pinVersion, 0)
	t.idle = append(t.idle, p.index)
}

// takePin returns a pin that this handle owns and that holds nothing.
func (a *Arena) takePin() (int, error) {
	t := &a.pins
	if n := len(t.idle); n > 0 {
		i := t.idle[n-1]
		t.idle = t.idle[:n-1]
		return i, nil
	}
	for adopted := false; ; adopted = true {
		for i := range maxSnapPins {
			off := snapPin(i)
			if a.shared.Load(off+pinOwner) == 0 && a.shared.CAS(off+pinOwner, 0, a.owner) {
				// Raised before the pin is published: see scan.
				a.shared.Max(offPinHigh, uint64(i)+1)
				return i, nil
			}
		}
		if adopted {
			return 0, ErrTooManyPins
		}
		if _, err := a.AdoptDead(); err != nil {
			return 0, err
		}
	}
}

// dropPins gives every pin of the handle back.
func (a *Arena) dropPins() {
	t := &a.pins
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, p := range t.held {
		a.releasePin(p.index)
	}
	for _, i := range t.idle {
		a.releasePin(i)
	}
	t.held, t.idle = nil, nil
}

// releasePin empties a pin, then gives it away.
func (a *Arena) releasePin(i int) {
	a.shared.Store(snapPin(i)+pinVersion, 0)
	a.shared.Store(snapPin(i)+pinOwner, 0)
}

// scan is one look at everything that protects retired blocks: pins and
// intents. It judges only blocks that were retired, and below the horizon,
// before it began (rule P2).
type scan struct {
	pins    []uint64 // ascending
	intents []uint64
}

// takeScan looks at the pins first (rule P3). Pins and slots that come into
// use during the scan belong to those who check the horizon after it was
// raised, so they may be missed.
func (a *Arena) takeScan(s *scan) {
	s.pins, s.intents = s.pins[:0], s.intents[:0]
	slots := min(int(a.ro.Load(offSlotHigh)), maxSlots)
	for i := range slots {
		s.addPin(a.shared.Load(slotPin(i) + pinVersion))
	}
	for i := range min(int(a.shared.Load(offPinHigh)), maxSnapPins) {
		s.addPin(a.shared.Load(snapPin(i) + pinVersion))
	}
	for i := range slots {
		page := a.ro.Load(offDir + uint64(i)*8)
		if page == 0 || page%pageSize != 0 {
			continue // none, or one being made
		}
		if limit, _ := a.Limit(); page > limit-pageSize {
			continue // damaged: loadSlot says so
		}
		if r := a.ro.Load(page + slotIntent); r != 0 {
			s.intents = append(s.intents, r)
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

// heldKey says what holds a block: a pinned version, or an intent that names
// it. 0 means nothing does.
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

// still reports whether what key names still holds.
func (s *scan) still(key heldKey) bool {
	if key&intentKey != 0 {
		return s.holds(uint64(key&^intentKey), 0, 0, true) != 0
	}
	return s.holds(0, uint64(key), uint64(key)+1, false) != 0
}
