package alloc

import (
	"sync/atomic"

	"github.com/seed-869cc763/shmkv/alloc/layout"
	"github.com/seed-869cc763/shmkv/alloc/region"
)

// pinVersionAt pins the current version in the pin at off of m (rule P1) and
// returns its root word. The version is never read from memory that may be
// reused: it follows from the horizon and the root word's tag. A reclaimer
// that does not see the pin has raised the horizon before it looked, so the
// last check sees that.
func (a *Arena) pinVersionAt(m region.Mem, off uint64) (word layout.RootWord, version uint64) {
	for {
		h := a.ro.Load(layout.OffHorizon)
		word = layout.RootWord(a.ro.Load(layout.OffRoot))
		version = word.VersionFrom(h)
		m.Store(off+layout.PinVersion, version)
		if a.ro.Load(layout.OffHorizon) <= version || h > layout.MaxVersion {
			return word, version
		}
	}
}

func snapPin(i int) uint64 { return layout.OffSnapPins + uint64(i)*layout.SnapPinSize }
func slotPin(i int) uint64 { return layout.OffSlotPins + uint64(i)*layout.SlotPinSize }

// The pins of snapshots are in procs, where reclaimers find them. A handle has a pin for
// as long as it pins a version. An idle handle has none, and leaves all of them to
// others. It remembers the last pin of each of its goroutines (see userLane), so that to
// take a pin is one compare-and-swap, and the number of users of each of its pins (see
// pinTable). A pin goes through these states:
//
//	free       owner 0, version 0, users 0
//	claimed    owner set, by CAS from 0, by the goroutine that pins
//	published  version set, by the same goroutine: reclaimers spare it
//	held       users 1, once the version was found to be pinned (rule P1)
//	shared     users + 1, by CAS, by a goroutine that wants the same version
//	           users - 1, by CAS; the goroutine that makes it 0 empties the pin:
//	dropped    users 0
//	emptied    version 0
//	free       owner 0
//
// A process that dies in any of these states leaves the owner word, by which its adopter
// finds the pin and empties it. Only the owner, or the adopter of a dead owner, writes a
// pin that has an owner. A process that breaks this rule can erase a pin under its
// reader, and free nothing (rule D3).

// Pin holds a version's nodes in place until Unpin. Its holder is a user of the handle for
// as long (see Enter).
type Pin struct {
	Root
	index int32
}

// pinTable is how often the handle uses each pin that it holds.
type pinTable struct {
	latest atomic.Int32 // the pin that Pin has taken last
	users  region.Mem   // memory of the process: a word for each pin
	clock  clock
}

// A pin's word in the table is its version and the number of its users, 0 if the
// handle does not hold it.
const (
	usersBits = 16
	maxUsers  = 1<<usersBits - 1
)

// pinTable returns the table of the handle. The first use makes it, because a handle
// that only gets values needs none, and opens 2 µs faster without it.
func (a *Arena) pinTable() *pinTable {
	if t := a.pins.Load(); t != nil {
		return t
	}
	t := &pinTable{users: region.FromWords(make([]uint64, layout.MaxSnapPins))}
	t.clock.start()
	if !a.pins.CompareAndSwap(nil, t) {
		t = a.pins.Load()
	}
	return t
}

// usersOf is the offset of a pin's word in the table. Words of neighbouring pins are in
// different cache lines, because different goroutines write them all the time.
func usersOf(i int) uint64 {
	const perLine = 8
	return uint64(i%(layout.MaxSnapPins/perLine)*perLine+i/(layout.MaxSnapPins/perLine)) * 8
}

// Pin pins the current version, typically for long. Such pins of one handle on one
// version share one pin in procs (rule P4).
func (a *Arena) Pin() (Pin, error) {
	latest := &a.pinTable().latest
	last := latest.Load()
	if p, ok, err := a.sharePin(int(last), int(last)+1); ok || err != nil {
		return p, err
	}
	p, err := a.PinBriefly()
	if err == nil && last != p.index {
		latest.Store(p.index)
	}
	return p, err
}

// PinBriefly pins the current version with a pin of its own, as long as one is free. So
// goroutines that read at the same time write to different cache lines.
func (a *Arena) PinBriefly() (Pin, error) {
	if !a.CanPin() {
		return Pin{}, ErrCannotPin
	}
	last := &a.users.here().pin
	i := int(last.Load()) - 1
	if i < 0 || !a.claimPin(i) {
		if i = a.takePin(); i < 0 {
			return a.pinInNeed()
		}
		last.Store(int64(i) + 1)
	}
	return a.pinAt(i)
}

// pinInNeed pins the current version when all pins are taken. It shares a pin of the
// handle, or takes a pin of a dead process.
func (a *Arena) pinInNeed() (Pin, error) {
	if p, ok, err := a.sharePin(0, layout.MaxSnapPins); ok || err != nil {
		return p, err
	}
	if _, err := a.AdoptDead(); err != nil {
		return Pin{}, err
	}
	i := a.takePin()
	if i < 0 {
		return Pin{}, ErrTooManyPins
	}
	return a.pinAt(i)
}

// pinAt pins the current version in a pin that the caller has claimed.
func (a *Arena) pinAt(i int) (Pin, error) {
	t := a.pinTable()
	a.shared.Release(snapPin(i)+layout.PinSince, t.clock.now())
	word, version := a.pinVersionAt(a.shared, snapPin(i))
	root, err := a.rootNode(word, version)
	if err != nil {
		a.emptyPin(i)
		return Pin{}, err
	}
	t.users.Release(usersOf(i), version<<usersBits|1)
	return Pin{root, int32(i)}, nil
}

// sharePin adds a user to one of the handle's pins from first to end that holds the
// current version. Without ok none does.
func (a *Arena) sharePin(first, end int) (p Pin, ok bool, err error) {
	if !a.CanPin() {
		return Pin{}, false, ErrCannotPin
	}
	word, version := a.current()
	for i := first; i < end; i++ {
		if !a.pinTable().add(i, version) {
			continue
		}
		root, err := a.rootNode(word, version)
		if err != nil {
			a.unpinAt(i)
			return Pin{}, false, err
		}
		return Pin{root, int32(i)}, true, nil
	}
	return Pin{}, false, nil
}

// add adds a user to a pin, if it holds that version and has not too many.
func (t *pinTable) add(i int, version uint64) bool {
	for {
		n := t.users.Load(usersOf(i))
		if n>>usersBits != version || n&maxUsers == maxUsers {
			return false
		}
		if t.users.CAS(usersOf(i), n, n+1) {
			return true
		}
	}
}

// drop takes a user from a pin and reports whether that was the last. If another
// process has erased the pin's owner, the pin may have been taken again under its
// users: then each of them may find no user left.
func (t *pinTable) drop(i int) bool {
	for {
		n := t.users.Load(usersOf(i))
		switch n & maxUsers {
		case 0:
			return false
		case 1:
			if t.users.CAS(usersOf(i), n, 0) {
				return true
			}
		default:
			if t.users.CAS(usersOf(i), n, n-1) {
				return false
			}
		}
	}
}

// Unpin lets go of a pin.
func (a *Arena) Unpin(p Pin) { a.unpinAt(int(p.index)) }

func (a *Arena) unpinAt(i int) {
	if a.pinTable().drop(i) {
		a.emptyPin(i)
	}
}

// emptyPin empties a pin that has no users, then gives it away. Another handle may take
// it at once.
func (a *Arena) emptyPin(i int) {
	a.shared.Release(snapPin(i)+layout.PinVersion, 0)
	a.shared.Release(snapPin(i)+layout.PinOwner, 0)
}

// takePin claims a free pin, or returns -1. Each handle begins at another pin, and takes
// only one of two that share a cache line as long as it can.
func (a *Arena) takePin() int {
	for n := range layout.MaxSnapPins {
		i := (2*(a.proc+n) + n/(layout.MaxSnapPins/2)) % layout.MaxSnapPins
		if a.shared.Load(snapPin(i)+layout.PinOwner) == 0 && a.claimPin(i) {
			return i
		}
	}
	return -1
}

func (a *Arena) claimPin(i int) bool {
	if !a.shared.CAS(snapPin(i)+layout.PinOwner, 0, uint64(a.owner)) {
		return false
	}
	// Raised before the pin is published: see scan.
	a.shared.Max(layout.OffPinHigh, uint64(i)+1)
	return true
}
