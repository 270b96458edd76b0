package alloc

import (
	"time"

	"github.com/seed-869cc763/shmkv/alloc/region"
)

// Waiting for change (rule W1). The sequence's low 32 bits are a futex; the
// flag tells committers that somebody may sleep on it, so that a commit costs
// one load when nobody does.

// WaitChange sleeps until the version is not the given one, or for at most a
// second, or until WakeAll; it may return early. The bound makes good for a
// committer that died between its commit and its call. WakeAll ends it for any
// other reason if stop tells that before.
func (a *Arena) WaitChange(version uint64, stop func() bool) {
	seq := a.shared.Load(offWaitSeq)
	a.shared.Store(offWaitFlag, 1)
	if a.Version() == version && !a.closed.Load() && !stop() {
		a.shared.FutexWait(offWaitSeq, uint32(seq), time.Second)
	}
}

// Notify wakes those who wait for a change, after a commit.
func (a *Arena) Notify() {
	if a.shared.Load(offWaitFlag) != 0 {
		a.WakeAll()
	}
}

// WakeAll wakes everybody who waits; they look whether there is a reason.
func (a *Arena) WakeAll() {
	a.shared.Store(offWaitFlag, 0)
	a.shared.Add(offWaitSeq, 1)
	a.shared.FutexWake(offWaitSeq)
}

// Yield lets another goroutine of the process run if a test's scheduler decides who
// runs, and reports whether one does.
func (a *Arena) Yield() bool { return a.mem.Yield() }

// Step is a point at which such a scheduler may let another goroutine run. It stands
// before what goroutines of a process do to each other in the memory of the process,
// and is an access to the first word, which nobody else makes.
func (a *Arena) Step() { a.mem.Touch(region.OpCAS, StepOff) }

// StepOff is the word that Step accesses.
const StepOff = 0

// A gate asks other writers to hold back for a moment, so that a large batch
// is not overtaken for ever by small commits. Nobody depends on it: the wait
// is bounded, and a gate that was waited for once is not waited for again.
//
// Its word is entry+1 | milliseconds that are asked for<<16 | version<<32.

// gatePatience bounds what a writer waits for one gate.
const gatePatience = 500 * time.Millisecond

// CloseGate asks for the gate, for d, and reports whether the slot has it; another one
// may have it. Each attempt asks anew, before it begins. Writers that have passed the
// gate before may still commit.
func (s *Slot) CloseGate(d time.Duration) bool {
	ms := uint64(min(d, gatePatience)/time.Millisecond) + 1
	was, gate := s.gate, uint64(s.a.entry+1)|ms<<16|s.root.Version<<32
	if s.gate = 0; s.m.CAS(offGate, was, gate) {
		s.gate, s.closed = gate, time.Now()
	}
	return s.gate != 0
}

// OpenGate gives the gate back if the slot has it, and returns for how long it has.
func (s *Slot) OpenGate() (held time.Duration) {
	if s.gate != 0 {
		s.m.CAS(offGate, s.gate, 0)
		s.gate = 0
		held = time.Since(s.closed)
	}
	return held
}

// PassGate waits while another's gate is closed: for as long as it asks, and no
// longer than gatePatience for all that follow each other.
func (s *Slot) PassGate() {
	var begun time.Time
	for {
		gate := s.m.Load(offGate)
		if gate == 0 || gate == s.gate || gate == s.a.lastGate.Load() {
			return
		}
		now := time.Now()
		if begun.IsZero() {
			begun = now
		}
		until := now.Add(time.Duration(gate>>16&0xffff) * time.Millisecond)
		if limit := begun.Add(gatePatience); until.After(limit) {
			until = limit
		}
		for s.m.Load(offGate) == gate && time.Now().Before(until) {
			time.Sleep(50 * time.Microsecond)
		}
		if !time.Now().Before(until) {
			s.a.lastGate.Store(gate)
			return
		}
	}
}
