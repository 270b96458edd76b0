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

// pinTable is the pins that a handle holds. No shared word is touched under the
// lock.
type pinTable struct {
	mu   sync.Mutex
	held map[uint64]*Pin // by version
	last []int           // places in slots that this handle had lately, the latest last
}

// Pin pins the current version. The caller is a user of the handle, see Enter.
func (a *Arena) Pin() (*Pin, error) {
	if !a.CanPin() {
		return nil, ErrReadOnly
	}
	p, place := a.pins.share(a.Version())
	if p != nil {
		return p, nil
	}
	i, err := a.takePin(place)
	if err != nil {
		return nil, err
	}
	a.shared.Store(snapPin(i)+pinSince, uint64(time.Now().UnixNano()))
	word, version := a.pinVersionAt(snapPin(i))
	root, err := a.rootNode(word, version)
	if err != nil {
		a.releasePin(i)
		return nil, err
	}
	p = a.pins.add(&Pin{Root: root, index: i, users: 1})
	if p.index != i {
		a.releasePin(i) // another goroutine has pinned the version meanwhile
	}
	return p, nil
}

// Repin adds a Pin to one that is held, and reports whether it was.
func (a *Arena) Repin(p *Pin) bool {
	t := &a.pins
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.held[p.Version] != p {
		return false
	}
	p.users++
	return true
}

// Unpin lets go of a pin, once for every Pin. The caller is a user of the handle.
func (a *Arena) Unpin(p *Pin) {
	if a.pins.drop(p) {
		a.releasePin(p.index)
	}
}

// share returns the pin of a version, with one user more. If there is none it
// returns a place in slots that the handle had lately, or -1.
func (t *pinTable) share(version uint64) (p *Pin, place int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if p = t.held[version]; p != nil {
		p.users++
		return p, -1
	}
	n := len(t.last) - 1
	if n < 0 {
		return nil, -1
	}
	place = t.last[n]
	t.last = t.last[:n]
	return nil, place
}

// add returns the pin of p's version, with p's user: p itself, or the one that
// was there before.
func (t *pinTable) add(p *Pin) *Pin {
	t.mu.Lock()
	defer t.mu.Unlock()
	if was := t.held[p.Version]; was != nil {
		was.users++
		return was
	}
	if t.held == nil {
		t.held = map[uint64]*Pin{}
	}
	t.held[p.Version] = p
	return p
}

// drop takes a user from a pin and reports whether that was the last.
func (t *pinTable) drop(p *Pin) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if p.users--; p.users > 0 {
		return false
	}
	delete(t.held, p.Version)
	if len(t.last) < lastPins {
		t.last = append(t.last, p.index)
	}
	return true
}

// lastPins is how many places a handle remembers.
const lastPins = 16

// takePin claims a pin: the one at the given place if that is still free, or any.
func (a *Arena) takePin(place int) (int, error) {
	if place >= 0 && a.claimPin(place) {
		return place, nil
	}
	for adopted := false; ; adopted = true {
		for i := range maxSnapPins {
			if a.shared.Load(snapPin(i)+pinOwner) == 0 && a.claimPin(i) {
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

func (a *Arena) claimPin(i int) bool {
	if !a.shared.CAS(snapPin(i)+pinOwner, 0, a.owner) {
		return false
	}
	// Raised before the pin is published: see scan.
	a.shared.Max(offPinHigh, uint64(i)+1)
	return true
}

// dropPins lets go of all pins of a closed handle that nobody uses.
func (a *Arena) dropPins() {
	for _, p := range a.pins.held {
		a.releasePin(p.index)
	}
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
			s.intents = append(s.intents, r, a.ro.Load(page+slotIntentOld))
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
