package shm

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-869cc763/shmkv/alloc"
	"github.com/seed-869cc763/shmkv/alloc/region"
)

// A keeper is the goroutine of a handle that gives unused memory of the store back: see
// alloc.Slot.Keep. The first commit starts it. It ends when the store has been quiet for
// some seconds and nothing is left to do. The next commit starts another one.
type keeper struct {
	awake atomic.Bool // the goroutine is there, or is about to be

	mu     sync.Mutex
	closed bool
	quit   chan struct{} // closed by end; nil before the first goroutine
	done   sync.WaitGroup
	id     uintptr // of the goroutine
}

// wake starts the goroutine if there is none.
func (k *keeper) wake(s *Store) {
	if !k.awake.Load() && s.a.KeepsHouse() {
		k.start(s)
	}
}

func (k *keeper) start(s *Store) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed || k.awake.Load() {
		return
	}
	if k.quit == nil {
		k.quit = make(chan struct{})
	}
	k.awake.Store(true)
	k.done.Go(func() { k.run(s) })
}

// end ends the goroutine and waits for it. It reports false if there never was one, or if
// it was called before. The goroutine may call end itself, because it calls the user's
// logger. Then end does not wait.
func (k *keeper) end() bool {
	k.mu.Lock()
	first := !k.closed && k.quit != nil
	if first {
		close(k.quit)
	}
	k.closed = true
	self := k.id == region.Goroutine()
	k.mu.Unlock()
	if self {
		return false
	}
	k.done.Wait()
	return first
}

func (k *keeper) run(s *Store) {
	k.setID(region.Goroutine())
	defer k.setID(0)
	wait := time.NewTimer(firstKeep)
	defer wait.Stop()
	for {
		select {
		case <-k.quit:
			return
		case <-wait.C:
		}
		rest, err := s.keep()
		if rest == 0 || err != nil {
			k.awake.Store(false) // the next commit begins anew
			return
		}
		wait.Reset(rest)
	}
}

func (k *keeper) setID(id uintptr) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.id = id
}

const (
	firstKeep = 100 * time.Millisecond // from a commit to the beginning of the goroutine
	lastKeep  = 50 * time.Millisecond  // what Close may spend
)

// keep does some of the work and returns when there may be more, or 0.
func (s *Store) keep() (time.Duration, error) {
	w, err := s.writer(alloc.Brief | alloc.Frees)
	if err != nil {
		return 0, err
	}
	defer w.release()
	return w.slot.Keep(uint64(s.stats().LiveBytes), s.keeper.goOn, w.mover())
}

// keepLast does the next work of the goroutine, for a moment. In a process that lives for a
// short time the goroutine would never run.
func (s *Store) keepLast() {
	for began := time.Now(); time.Since(began) < lastKeep; {
		if rest, err := s.keep(); err != nil || rest != alloc.BusyTime {
			return
		}
	}
}

// goOn returns ErrClosed when the goroutine is to end.
func (k *keeper) goOn() error {
	select {
	case <-k.quit:
		return ErrClosed
	default:
		return nil
	}
}

// mover moves blocks by commits of this writer.
func (w *writer) mover() alloc.Mover {
	return alloc.Mover{Guard: guarded, Move: func(off, size uint64) (bool, error) {
		moved, _, err := w.moveBlock(off, size)
		return moved, err
	}}
}
