package shm

// Tally is what one handle has done since it was opened. It is in memory of the process:
// other handles do not see it, and it costs reads nothing. The work of the handle in the
// background counts too, and a commit that goroutines share is one. Reads that succeed at
// once are not counted, because each would have to write.
type Tally struct {
	Counters
	Repeated uint64 `json:"repeated"` // tries of Get, GetVersion, Append and Has that writers overtook
}

// Tally returns what this handle alone has done, also after Close. Stats has the Counters
// of all handles in all processes. To count from now on, keep a Tally and use Sub.
func (s *Store) Tally() Tally {
	return Tally{Counters: countersOf(s.a.Tally()), Repeated: s.repeated.Load()}
}

// Sub returns what was done since old, an earlier Tally of the same handle.
func (t Tally) Sub(old Tally) Tally {
	return Tally{Counters: t.Counters.Sub(old.Counters), Repeated: t.Repeated - old.Repeated}
}
