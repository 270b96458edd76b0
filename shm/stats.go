package shm

import (
	"time"

	"github.com/seed-869cc763/shmkv/alloc"
	"github.com/seed-869cc763/shmkv/alloc/layout"
)

// Stats is a cheap look at a store. All fields except the Counters are gauges. Version,
// Entries, DataBytes and LiveBytes are of one commit.
type Stats struct {
	Version        uint64 `json:"version"`         // of the latest commit
	Entries        int64  `json:"entries"`         // keys in the store
	DataBytes      int64  `json:"data_bytes"`      // of keys and values
	LiveBytes      int64  `json:"live_bytes"`      // of the blocks that hold them, with the trie and all rounding
	FreeBytes      int64  `json:"free_bytes"`      // of free pages with memory behind them, about
	FileBytes      int64  `json:"file_bytes"`      // length of the file data
	AllocatedBytes int64  `json:"allocated_bytes"` // memory or disk behind the store's files, by the file system
	MaxSize        int64  `json:"max_size"`        // the most that FileBytes can grow to
	Counters              // of all writers, dead ones included
}

// Sub returns what happened between old and s, an older and a newer look at one
// store: the difference of the Counters, with the gauges of s.
func (s Stats) Sub(old Stats) Stats {
	s.Counters = s.Counters.Sub(old.Counters)
	return s
}

// Stats returns the Stats of the current version, or the zero Stats after Close.
func (s *Store) Stats() Stats {
	u, ok := s.a.Enter()
	if !ok {
		return Stats{}
	}
	defer s.a.Leave(u)
	return s.stats()
}

// stats is Stats for those who are inside of the handle.
func (s *Store) stats() Stats {
	words, g, ok := s.rootNow()
	if !ok {
		return Stats{}
	}
	st := Stats{
		Version:   s.a.VersionOf(g),
		Entries:   int64(words[rootEntries]),
		DataBytes: int64(words[rootData]),
		LiveBytes: int64(words[rootLive]),
		FreeBytes: int64(s.a.FreeBytes()),
		FileBytes: int64(s.a.FileBytes()),
		MaxSize:   int64(s.a.MaxSize()),
		Counters:  Counters(s.a.Counts()),
	}
	if n, err := s.a.AllocatedBytes(); err == nil {
		st.AllocatedBytes = int64(n)
	}
	return st
}

// Info is what a store's superblock says. It never changes.
type Info struct {
	ID      string    `json:"id"`
	Format  int       `json:"format"`
	Created time.Time `json:"created"`
	Origin  *Origin   `json:"origin,omitempty"` // of what Backup and Restore have made
	Backup  bool      `json:"backup"`           // made by Backup: it may only be read
}

// Info returns what the store is.
func (s *Store) Info() Info {
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
func (s *Store) Processes() ([]Process, error) {
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
			q.Slots = append(q.Slots, WriterSlot{slot.Slot, Counters(slot.Counts)})
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
func (s *Store) Adopt() (int, error) {
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
