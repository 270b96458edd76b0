package count

import "sync/atomic"

// Stats are the connections of a server, and what it has done since it was made.
type Stats struct {
	Connections int    `json:"connections"` // that are open
	Accepted    uint64 `json:"accepted"`    // connections
	Refused     uint64 `json:"refused"`     // connections
	Increments  uint64 `json:"increments"`  // that were answered
	Unanswered  uint64 `json:"unanswered"`  // increments that were refused, or came behind one on their connection
	Commits     uint64 `json:"commits"`     // of increments
	Reads       uint64 `json:"reads"`       // requests for rows
}

// counts are what a server counts.
type counts struct {
	accepted, refused, increments, unanswered, commits, reads atomic.Uint64
}

// Stats returns the numbers of the server. They are not of one moment.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	open := len(s.conns)
	s.mu.Unlock()
	c := &s.counts
	return Stats{
		Connections: open, Accepted: c.accepted.Load(), Refused: c.refused.Load(),
		Increments: c.increments.Load(), Unanswered: c.unanswered.Load(), Commits: c.commits.Load(), Reads: c.reads.Load(),
	}
}
