package shm

import "time"

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
	// The checkpoints of a store on a disk; zero on a file system that is in memory.
	Checkpoints Checkpoints `json:"checkpoints"`
	Counters                // of all writers, dead ones included
}

// Checkpoints tells about the checkpoints of a store, see [CheckpointPolicy].
type Checkpoints struct {
	Count   uint64        `json:"count"`   // that were taken since the store was made, or recovered
	Took    time.Duration `json:"took_ns"` // all of them together
	Version uint64        `json:"version"` // of the newest one
	Durable uint64        `json:"durable"` // the newest version that survives a crash of the system, by records of the journal
	At      time.Time     `json:"at"`      // when that was taken
	Bytes   int64         `json:"bytes"`   // of the blocks that it reaches, which a recovery traces
	// Failed is when the system could not write data to the disk. No checkpoint is taken
	// from then on: see ErrFlush.
	Failed time.Time `json:"failed,omitzero"`
}

// checkpoints is for a caller that has entered the handle.
func (s *Store) checkpoints() Checkpoints {
	c := s.a.Checkpoints()
	all := Checkpoints{Count: c.Count, Took: c.Took, Version: c.Version, Durable: c.Durable, At: c.At, Failed: c.Failed}
	if c.Root != 0 {
		bytes := s.rootAt(c.Root).liveBytes
		if s.a.Kept() == c.Version { // else the root may have been reused
			all.Bytes = bytes
		}
	}
	return all
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

// LiveBytes returns that of Stats, at the cost of a few loads. Without settled it counts
// blocks of dropped maps too, which the next commits free. It is 0 after Close.
func (s *Store) LiveBytes() (live int64, settled bool) {
	root, _, _ := s.rootNow()
	return root.liveBytes, root.dropped == 0
}

// SetBound makes this handle let the file data grow to at most that many bytes, rounded
// down to a multiple of 4096, and to MaxSize with 0. A write that would need more returns
// ErrFull, as at MaxSize. Other handles may let the file grow further. A file that is
// longer already keeps its length.
func (s *Store) SetBound(bytes int64) { s.a.SetBound(uint64(max(bytes, 0))) }

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

		Checkpoints: s.checkpoints(),
	}
	if n, err := s.a.AllocatedBytes(); err == nil {
		st.AllocatedBytes = int64(n)
	}
	return st
}
