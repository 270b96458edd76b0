package durus

import "sync/atomic"

// Stats are the connections of a server, and what it has done since it was made.
type Stats struct {
	Connections int    `json:"connections"` // that are open
	Accepted    uint64 `json:"accepted"`    // connections
	Refused     uint64 `json:"refused"`     // connections
	Loads       uint64 `json:"loads"`       // records that L and B asked for
	Commits     uint64 `json:"commits"`     // that were made
	Conflicts   uint64 `json:"conflicts"`   // commits that were not made
}

// counts are what a server counts.
type counts struct {
	accepted, refused, loads, commits, conflicts atomic.Uint64
}

// Stats returns the numbers of the server. They are not of one moment.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	open := len(s.conns)
	s.mu.Unlock()
	c := &s.counts
	return Stats{
		Connections: open, Accepted: c.accepted.Load(), Refused: c.refused.Load(),
		Loads: c.loads.Load(), Commits: c.commits.Load(), Conflicts: c.conflicts.Load(),
	}
}
