package alloc

import (
	"bytes"
	"time"

	"github.com/seed-869cc763/shmkv/alloc/layout"
)

// Process is an open handle, as its proc describes it.
type Process struct {
	Proc     int
	Pid      int
	Name     string
	Started  time.Time
	ReadOnly bool
	Alive    bool // its lock is held
	Self     bool
	Slots    []SlotCounts // that it owns
	Pins     []PinInfo
}

// SlotCounts is the counters of a slot, which all its owners have counted up.
type SlotCounts struct {
	Slot int
	Counts
}

// PinInfo is a version that is pinned.
type PinInfo struct {
	Version uint64
	Since   time.Time // or up to clockTick before; zero for the pin of a writer, which is held for one transaction
	Writer  bool
}

// Processes lists the procs that are taken, and the pins of each. While others
// work it may mix states of different moments.
func (a *Arena) Processes() ([]Process, error) {
	if !a.CanPin() {
		return nil, ErrCannotPin
	}
	l, err := a.b.locks()
	if err != nil {
		return nil, err
	}
	defer func() { _ = l.close() }()
	var all []Process
	index := map[int]int{}
	for i := range layout.MaxProcs {
		if !a.taken(i) {
			continue
		}
		e := procAt(i)
		name, _, _ := bytes.Cut(a.shared.AppendTo(nil, e+layout.ProcName, 16), []byte{0})
		p := Process{
			Proc:     i,
			Pid:      int(a.shared.Load(e + layout.ProcPid)),
			Name:     string(name),
			Started:  time.Unix(0, int64(a.shared.Load(e+layout.ProcStarted))),
			ReadOnly: a.shared.Load(e+layout.ProcFlags)&1 != 0,
			Self:     i == a.proc,
		}
		if p.Alive = p.Self; !p.Self {
			free, err := l.tryLock(i)
			if err != nil {
				return nil, err
			}
			if p.Alive = !free; free {
				if err := l.unlock(i); err != nil {
					return nil, err
				}
			}
		}
		index[i] = len(all)
		all = append(all, p)
	}
	for i := range layout.MaxSlots {
		j, ok := index[a.ownerOf(i).Proc()]
		if !ok {
			continue
		}
		all[j].Slots = append(all[j].Slots, SlotCounts{i, a.slotCounts(i)})
		if v := a.shared.Load(slotPin(i) + layout.PinVersion); v != 0 {
			all[j].Pins = append(all[j].Pins, PinInfo{Version: v, Writer: true})
		}
	}
	for i := range min(int(a.shared.Load(layout.OffPinHigh)), layout.MaxSnapPins) {
		j, ok := index[layout.Owner(a.shared.Load(snapPin(i)+layout.PinOwner)).Proc()]
		if !ok {
			continue
		}
		if v := a.shared.Load(snapPin(i) + layout.PinVersion); v != 0 {
			all[j].Pins = append(all[j].Pins, PinInfo{Version: v, Since: time.Unix(0, int64(a.shared.Load(snapPin(i)+layout.PinSince)))})
		}
	}
	return all, nil
}

// Same reports whether two open handles are on the same store.
func (a *Arena) Same(b *Arena) bool { return a == b || a.b.same(b.b) }

// FreeBytes is about how many bytes of free pages have memory behind them.
func (a *Arena) FreeBytes() uint64 {
	return uint64(max(int64(a.ro.Load(layout.OffFreePages)), 0)) << layout.PageShift
}

// AllocatedBytes is the memory that the file system has allocated for data and procs, in
// bytes.
func (a *Arena) AllocatedBytes() (uint64, error) { return a.b.allocated() }
