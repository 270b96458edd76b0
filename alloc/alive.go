package alloc

import (
	"math/rand/v2"
	"sync"

	"github.com/seed-869cc763/shmkv/alloc/layout"
)

// Whether a handle is open is a question to the lock of its proc (rule D9), which the
// kernel drops when the process ends, for whatever reason. The state of the proc tells
// handles apart that have had the same proc one after the other.

// asker is an opening of procs through which the handle tests locks, and takes none. So
// one question disturbs neither another one nor whoever wants to take the proc.
type asker struct {
	mu sync.Mutex
	l  locker // nil until somebody asks
}

// locker returns the opening.
func (k *asker) locker(b backing) (locker, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.l == nil {
		l, err := b.locks()
		if err != nil {
			return nil, err
		}
		k.l = l
	}
	return k.l, nil
}

func (k *asker) close() error {
	if k.l == nil {
		return nil
	}
	return k.l.close()
}

// Handle is the name of the handle, 0 if it has no proc.
func (a *Arena) Handle() layout.Handle { return a.handle }

// Alive reports whether the handle of that name is open and its process lives, possibly
// stopped. A name that no handle has is not alive. The caller has a proc.
//
// A successor has the lock for a moment before the state of the proc says so. If it is
// stopped in that moment, the dead handle seems alive until it goes on.
func (a *Arena) Alive(h layout.Handle) (bool, error) {
	i := h.Proc()
	if i < 0 || i >= layout.MaxProcs || !a.has(i, h) {
		return false, nil
	}
	l, err := a.asker.locker(a.b)
	if err != nil {
		return false, err
	}
	held, err := l.held(i)
	return held && a.has(i, h), err // the lock may be that of a successor
}

// has reports whether the state of proc i says that the handle of that name has it.
func (a *Arena) has(i int, h layout.Handle) bool {
	return a.procWord(i) == layout.MakeProcWord(h.Gen())
}

// bury says in the state of proc i, whose lock the caller holds, that its last handle is
// dead, if it did not leave in order. Others need not wait for its adoption to know that.
func (a *Arena) bury(i int) {
	if a.taken(i) {
		a.shared.Store(procAt(i)+layout.ProcState, uint64(a.procWord(i).Dead()))
	}
}

// nextGen is the generation of the next handle that has proc i.
func (a *Arena) nextGen(i int) uint64 {
	w := a.procWord(i)
	if w == 0 {
		return rand.Uint64()>>24 + 1
	}
	return w.Gen() + 1
}
