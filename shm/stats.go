package shm

// Stats is a cheap look at a store. All fields except the Counters are gauges. Version,
// Entries, DataBytes and LiveBytes are of one commit.
type Stats struct {
	Version        uint64 `json:"version"`         // of the latest commit
	Entries        int64  `json:"entries"`         // keys in all maps; Store.Len and Maps tell those of each
	DataBytes      int64  `json:"data_bytes"`      // of keys and values
	LiveBytes      int64  `json:"live_bytes"`      // of the blocks that hold them, with trees and all rounding, and of dropped maps
	FreeBytes      int64  `json:"free_bytes"`      // of free pages with memory behind them, about
	FileBytes      int64  `json:"file_bytes"`      // length of the file data
	AllocatedBytes int64  `json:"allocated_bytes"` // memory or disk behind the store's files, by the file system
	MaxSize        int64  `json:"max_size"`        // the most that FileBytes can grow to
	Counters              // of all writers, dead ones included
}

// Sub returns the difference of the Counters of two looks at one store, of which old is the
// older one, with the gauges of s.
func (s Stats) Sub(old Stats) Stats {
	s.Counters = s.Counters.Sub(old.Counters)
	return s
}

// Stats returns the Stats of the current version. After Close it returns the zero Stats.
func (s *Store) Stats() Stats {
	u, ok := s.a.Enter()
	if !ok {
		return Stats{}
	}
	defer s.a.Leave(u)
	return s.stats()
}

// stats is Stats for a caller that has entered the handle.
func (s *Store) stats() Stats {
	root, g, ok := s.rootNow()
	if !ok {
		return Stats{}
	}
	st := Stats{
		Version:   s.a.VersionOf(g),
		Entries:   root.all().entries,
		DataBytes: root.all().dataBytes,
		LiveBytes: root.liveBytes,
		FreeBytes: int64(s.a.FreeBytes()),
		FileBytes: int64(s.a.FileBytes()),
		MaxSize:   int64(s.a.MaxSize()),
		Counters:  countersOf(s.a.Counts()),
	}
	if n, err := s.a.AllocatedBytes(); err == nil {
		st.AllocatedBytes = int64(n)
	}
	return st
}
