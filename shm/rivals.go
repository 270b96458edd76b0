package shm

import (
	"sync/atomic"
	"time"
)

// rivals is what a handle knows of writers that overtake its large transactions. Such a
// transaction costs much each time, so it closes the gate, which holds other writers back
// while it runs. Then it lets them write for a while, so that neither starves the other.
type rivals struct {
	span  atomic.Int64 // nanoseconds of a run of the last one, or 0 while there are no rivals
	until atomic.Int64 // Unix time in nanoseconds up to which there may be some
	held  atomic.Int64 // nanoseconds for which the gate was closed since they could write
}

const (
	// A run of so long is a large one, which asks for the gate when it has lost once;
	// others do when they have lost twice.
	largeRun = time.Millisecond
	// For so long after one has lost others of the handle ask at once.
	rivalsStay = time.Second
	// Writers that have passed the gate when it is closed have committed after
	// inFlight, unless they are interrupted.
	inFlight = 20 * time.Microsecond
	// They are held back for so long before they are let write: to change over costs
	// some tenths of a millisecond.
	onesTurn = 6 * time.Millisecond
)

// holdBack closes the gate if that is of use for a run that lost so often before. took is
// how long its shortest run took.
func (v *rivals) holdBack(w *writer, lost int, took time.Duration) {
	switch {
	case lost == 0:
		took = time.Duration(v.span.Load())
		if took == 0 || time.Now().UnixNano() > v.until.Load() {
			return
		}
	case took >= largeRun:
		v.note(took)
	case lost < 2:
		return
	}
	if w.CloseGate(3*took) && took >= largeRun {
		for closed := time.Now(); time.Since(closed) < inFlight; {
		}
	}
}

// note says that there are rivals, for transactions that take so long.
func (v *rivals) note(took time.Duration) {
	v.until.Store(time.Now().Add(rivalsStay).UnixNano())
	v.span.Store(int64(took))
}

// letWrite lets others write for a while after the gate was closed for long: less if
// nobody does. A short transaction says that the next one may be short as well, and need
// not ask at once.
func (v *rivals) letWrite(s *Store, held time.Duration) {
	if held < largeRun {
		if held > 0 {
			v.span.Store(0)
		}
		return
	}
	v.note(held)
	if held = time.Duration(v.held.Add(int64(held))); held < onesTurn {
		return
	}
	v.held.Store(0)
	version := s.Version()
	opened := time.Now()
	for left := held * 6 / 10; left > 0; left = held*6/10 - time.Since(opened) {
		time.Sleep(min(left, largeRun))
		if s.Version() == version {
			v.span.Store(0)
			return
		}
	}
}
