package shm

import (
	"sync/atomic"
	"time"
)

// rivals keeps what a handle has measured of writers that overtake its large transactions.
// Each run of such a transaction is expensive, so it closes the gate, which holds other
// writers back while it runs. Afterwards it lets them write for a while, so that neither
// starves the other.
type rivals struct {
	span  atomic.Int64 // nanoseconds of a run of the last one that lost, or 0 if no rivals are known
	until atomic.Int64 // Unix time in nanoseconds up to which there may be some
	held  atomic.Int64 // nanoseconds for which the gate was closed since they could write
}

const (
	// A run that takes largeRun or longer is a large one. It asks for the gate after it has
	// lost once, other runs after they have lost twice.
	largeRun = time.Millisecond
	// For rivalsStay after a transaction has lost, the next ones of the handle ask for the
	// gate at once.
	rivalsStay = time.Second
	// Writers that have passed the gate when it is closed have committed after
	// inFlight, unless they are interrupted.
	inFlight = 20 * time.Microsecond
	// Writers are held back for onesTurn in sum before they are let write, because each
	// change of turns costs some tenths of a millisecond.
	onesTurn = 6 * time.Millisecond
)

// holdBack closes the gate if that helps a run that has lost before, and reports whether it
// did. lost counts the lost runs. took is the time of the shortest run, or 0 if it is
// unknown. A run behind a gate is not measured, because its function may wait for a writer
// that the gate holds back.
func (v *rivals) holdBack(w *writer, lost int, took time.Duration) bool {
	switch {
	case lost == 0:
		if took = time.Duration(v.span.Load()); took == 0 || time.Now().UnixNano() > v.until.Load() {
			return false
		}
	case took >= largeRun:
		v.stay()
		v.span.Store(int64(took))
	case took == 0 || lost < 2:
		v.span.Store(0) // if it was behind a gate, that was open too soon
		return false
	}
	if !w.slot.CloseGate(3 * took) {
		return false
	}
	if took >= largeRun {
		for closed := time.Now(); time.Since(closed) < inFlight; {
		}
	}
	return true
}

// stay notes that there are still rivals.
func (v *rivals) stay() { v.until.Store(time.Now().Add(rivalsStay).UnixNano()) }

// letWrite lets others write for a while after the gate was closed for a long time. It
// returns early if nobody writes. After a short transaction the next one is expected to be
// short as well, and does not ask for the gate at once.
func (v *rivals) letWrite(s *Store, held time.Duration) {
	if held < largeRun {
		if held > 0 {
			v.span.Store(0)
		}
		return
	}
	v.stay()
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
