package memcache

import "sync/atomic"

// A counter is one of the numbers that a server counts.
type counter uint8

const (
	cmdGet counter = iota
	cmdSet
	cmdFlush
	cmdTouch
	cmdMeta
	getHits
	getMisses
	getExpired
	deleteHits
	deleteMisses
	incrHits
	incrMisses
	decrHits
	decrMisses
	casHits
	casMisses
	casBadval
	touchHits
	touchMisses
	storeTooLarge
	storeNoMemory
	authCmds
	authErrors
	idleKicks
	bytesRead
	bytesWritten
	totalItems
	totalConns
	rejectedConns
	listenDisabled
	listenDisabledMicros
	crawlerStarts
	logWritten
	logSkipped
	logSent
	counters // how many there are
)

// counts are the numbers of some of the connections. All connections together have several of
// them, so that processors seldom write to the same cache line.
type counts struct {
	n [counters]atomic.Uint64
	_ [64]byte
}

// add counts n more.
func (k *counts) add(what counter, n int) { k.n[what].Add(uint64(n)) }

// stripes is how many counts a server has.
const stripes = 16

// count returns a number of all connections.
func (s *Server) count(what counter) (sum uint64) {
	for i := range s.counts {
		sum += s.counts[i].n[what].Load()
	}
	return sum
}

// resetCounts sets all numbers to 0. What is counted at the same time may be lost.
func (s *Server) resetCounts() {
	for i := range s.counts {
		for what := range s.counts[i].n {
			s.counts[i].n[what].Store(0)
		}
	}
	e := s.cache.Stats().Counts
	s.mu.Lock()
	s.countedBefore = e
	s.mu.Unlock()
}
