package alloc

import (
	"time"

	"github.com/seed-869cc763/shmkv/alloc/layout"
)

// A gate asks other writers to hold back for a moment, so that a large batch
// is not overtaken for ever by small commits. Nobody depends on it: the wait
// is bounded, and a gate that was waited for once is not waited for again.
//
// Its word is proc+1 | milliseconds that are asked for<<16 | version<<32.

// gatePatience bounds what a writer waits for one gate.
const gatePatience = 500 * time.Millisecond

// CloseGate asks for the gate for the duration d, and reports whether the slot has got
// it. Another slot may have it. Each attempt of a batch asks again before it begins.
// Writers that have passed the gate before may still commit.
func (s *Slot) CloseGate(d time.Duration) bool {
	ms := uint64(min(d, gatePatience)/time.Millisecond) + 1
	was, gate := s.gate, layout.MakeGate(s.a.proc, ms, s.root.Version)
	if s.gate = 0; s.m.CAS(layout.OffGate, uint64(was), uint64(gate)) {
		s.gate, s.closed = gate, time.Now()
	}
	return s.gate != 0
}

// OpenGate gives the gate back if the slot has it, and returns how long the slot had it.
func (s *Slot) OpenGate() (held time.Duration) {
	if s.gate != 0 {
		s.m.CAS(layout.OffGate, uint64(s.gate), 0)
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
		gate := layout.Gate(s.m.Load(layout.OffGate))
		if gate == 0 || gate == s.gate || uint64(gate) == s.a.lastGate.Load() {
			return
		}
		now := time.Now()
		if begun.IsZero() {
			begun = now
		}
		until := now.Add(time.Duration(gate.Millis()) * time.Millisecond)
		if limit := begun.Add(gatePatience); until.After(limit) {
			until = limit
		}
		for layout.Gate(s.m.Load(layout.OffGate)) == gate && time.Now().Before(until) {
			time.Sleep(50 * time.Microsecond)
		}
		if !time.Now().Before(until) {
			s.a.lastGate.Store(uint64(gate))
			return
		}
	}
}
