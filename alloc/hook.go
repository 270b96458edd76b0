package alloc

import "github.com/seed-869cc763/shmkv/alloc/region"

// Yield lets another goroutine of the process run if a test's scheduler decides who
// runs, and reports whether one does.
func (a *Arena) Yield() bool { return a.mem.Yield() }

// Step is a point at which such a scheduler may let another goroutine run. It stands
// before what goroutines of a process do to each other in the memory of the process,
// and is an access to the first word, which nobody else makes.
func (a *Arena) Step() { a.mem.Touch(region.OpCAS, StepOff) }

// StepOff is the word that Step accesses.
const StepOff = 0
