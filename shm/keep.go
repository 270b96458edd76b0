package shm

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-869cc763/shmkv/alloc"
	"github.com/seed-869cc763/shmkv/alloc/region"
)

// A keeper is the goroutine of a handle that gives unused memory of the store back, see
// alloc.Slot.Keep, and that takes checkpoints. The first commit starts it. It ends when the store has been quiet for
// some seconds and nothing is left to do, or when the handle is idle. The next commit starts
// another one.
type keeper struct {
	awake atomic.Bool // the goroutine is there, or is about to be

	mu     sync.Mutex
	closed bool
	quit   chan struct{} // ends the goroutine that was started last; nil once that was done
	done   chan struct{} // closed by that goroutine when it ends; nil before the first
	id     uintptr       // of the goroutine
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
	k.awake.Store(true)
	k.quit, k.done = make(chan struct{}), make(chan struct{})
	go k.run(s, k.quit, k.done)
}

// rest ends the goroutine until the next commit, and waits for it. The goroutine may call
// rest and end itself, because it calls the user's logger. Then they do not wait.
func (k *keeper) rest() { k.stop(false) }

// end is rest for good. It reports whether there was a goroutine since the last rest or end.
func (k *keeper) end() bool { return k.stop(true) }

func (k *keeper) stop(forGood bool) bool {
	k.mu.Lock()
	k.closed = k.closed || forGood
	first := k.quit != nil
	if first {
		close(k.quit)
		k.quit = nil
	}
	done, self := k.done, k.id == region.Goroutine()
	k.mu.Unlock()
	if self {
		return false
	}
	if done != nil {
		<-done
	}
	return first
}

func (k *keeper) run(s *Store, quit <-chan struct{}, done chan<- struct{}) {
	defer close(done)
	k.setGoroutine(region.Goroutine(), true)
	ended := false
	defer func() {
		k.setGoroutine(0, false)
		if ended && s.needsCheckpoint() { // a commit came in between, and woke nobody
			k.wake(s)
		}
	}()
	goOn := func() error {
		select {
		case <-quit:
			return ErrClosed
		default:
			return nil
		}
	}
	wait := time.NewTimer(firstKeep)
	defer wait.Stop()
	for {
		select {
		case <-quit:
			return
		case <-wait.C:
		}
		rest, err := s.keep(goOn)
		if err != nil {
			rest = 0 // the next commit begins anew
		}
		if due := s.checkpointIfDue(); due > 0 && (rest == 0 || due < rest) {
			rest = due
		}
		if ended = rest == 0; ended {
			return
		}
		wait.Reset(rest)
	}
}

func (k *keeper) setGoroutine(id uintptr, awake bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.id = id
	k.awake.Store(awake)
}

const (
	firstKeep = 100 * time.Millisecond // from a commit to the beginning of the goroutine
	lastKeep  = 50 * time.Millisecond  // what Close may spend
)

// keep does some of the work and returns when there may be more, or 0. It moves no blocks
// any more when goOn returns an error.
func (s *Store) keep(goOn func() error) (time.Duration, error) {
	w, err := s.writer(alloc.Brief | alloc.Frees)
	if err != nil {
		return 0, err
	}
	defer w.release()
	rest, err := w.slot.Keep(uint64(s.stats().LiveBytes), goOn, w.mover())
	if err == nil && w.slot.IsKeeper() {
		var more bool
		if more, err = w.takeApartFor(dropTime, goOn); more {
			rest = alloc.BusyTime
		}
	}
	return rest, err
}

// keepLast does the next work of the goroutine, for a moment. In a process that lives for a
// short time the goroutine would never run.
func (s *Store) keepLast() {
	for began := time.Now(); time.Since(began) < lastKeep; {
		if rest, err := s.keep(func() error { return ErrClosed }); err != nil || rest != alloc.BusyTime {
			return
		}
	}
}

// mover moves blocks by commits of this writer.
func (w *writer) mover() alloc.Mover {
	return alloc.Mover{Guard: guarded, Move: func(off, size uint64) (bool, error) {
		moved, _, err := w.moveBlock(off, size)
		return moved, err
	}}
}
