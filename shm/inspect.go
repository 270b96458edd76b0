package shm

import (
	"time"

	"github.com/seed-869cc763/shmkv/alloc"
	"github.com/seed-869cc763/shmkv/alloc/layout"
)

// Inspector shows what a store is and who uses it, for tools and tests.
type Inspector struct{ s *Store }

// Inspect returns the store's Inspector.
func (s *Store) Inspect() Inspector { return Inspector{s} }

// Info is what a store's superblock says. It never changes.
type Info struct {
	ID      string    `json:"id"`
	Format  int       `json:"format"`
	Created time.Time `json:"created"`
	Origin  *Origin   `json:"origin,omitempty"` // of what Backup and Restore have made
	Backup  bool      `json:"backup"`           // made by Backup: it may only be read
}

// Info returns what the store is.
func (in Inspector) Info() Info {
	s := in.s
	i := Info{ID: alloc.FormatID(s.a.ID()), Format: layout.FormatVersion, Created: time.Unix(0, s.a.Created())}
	if o := s.a.Origin(); o.At != 0 {
		i.Origin, i.Backup = &Origin{alloc.FormatID(o.Store), o.Version, o.At}, o.Backup
	}
	return i
}

// Process is an open handle on the store, of this process or another.
type Process struct {
	Pid      int          `json:"pid"` // in the process's own pid namespace
	Name     string       `json:"name"`
	Started  time.Time    `json:"started"` // when the handle was opened
	ReadOnly bool         `json:"read_only"`
	Alive    bool         `json:"alive"`   // false: it died, and waits for adoption
	Self     bool         `json:"self"`    // this handle
	Writers  int          `json:"writers"` // how many slots it has
	Slots    []WriterSlot `json:"slots"`
	Pins     []Pin        `json:"pins"`
}

// Pin is a version that a process keeps from being reclaimed.
type Pin struct {
	Version uint64    `json:"version"`
	Since   time.Time `json:"since,omitzero"` // to within 0.1 s; zero for a transaction under way
	Writer  bool      `json:"writer"`         // a transaction, not a snapshot or View
}

// Processes lists who is attached to the store and what each pins.
func (in Inspector) Processes() ([]Process, error) {
	s := in.s
	u, ok := s.a.Enter()
	if !ok {
		return nil, s.fail("listing the processes of", ErrClosed)
	}
	defer s.a.Leave(u)
	found, err := s.a.Processes()
	if err != nil {
		return nil, s.fail("listing the processes of", err)
	}
	all := make([]Process, 0, len(found))
	for _, p := range found {
		q := Process{Pid: p.Pid, Name: p.Name, Started: p.Started, ReadOnly: p.ReadOnly,
			Alive: p.Alive, Self: p.Self, Writers: len(p.Slots), Slots: []WriterSlot{}, Pins: []Pin{}}
		for _, slot := range p.Slots {
			q.Slots = append(q.Slots, WriterSlot{slot.Slot, countersOf(slot.Counts)})
		}
		for _, pin := range p.Pins {
			q.Pins = append(q.Pins, Pin(pin))
		}
		all = append(all, q)
	}
	return all, nil
}

// Adopt takes over from processes that died, as any writer does when it needs
// what they held, and returns how many there were.
func (in Inspector) Adopt() (int, error) {
	s := in.s
	u, ok := s.a.Enter()
	if !ok {
		return 0, s.fail("adopting in", ErrClosed)
	}
	defer s.a.Leave(u)
	n, err := s.a.AdoptDead()
	if err != nil {
		return n, s.fail("adopting in", err)
	}
	return n, nil
}
