package count

import (
	"errors"
	"fmt"
	"sync"

	"github.com/seed-869cc763/shmkv/server/count/wire"
	"github.com/seed-869cc763/shmkv/shm"
	"github.com/seed-869cc763/shmkv/shm/counter"
)

// A folder folds the increments of many connections into few commits. One goroutine commits.
// While it does, connections fill the next round, so a round that nobody waits behind is
// committed at once.
type folder struct {
	store  *shm.Store
	counts *counts
	wake   chan struct{} // the filling round has increments, or the folder is closed

	mu      sync.Mutex
	space   sync.Cond // another round is being filled
	filling *round
	free    []*round
	closed  bool
}

// A round is the increments of one commit.
type round struct {
	batch *counter.Batch
	parts []part
	done  chan struct{} // closed when the increments were committed, or have failed
	users int           // connections that have not read the result yet
}

// A part is the increments of one connection in a round.
type part struct {
	layout   wire.Layout
	messages []byte
	first    int // number of the first increment in the batch
	won      int // how many can be answered
	err      error
}

// roundMost is how many increments a round has when no more are added.
const roundMost = 4096

// freeRounds is how many rounds are kept for later.
const freeRounds = 4

func newFolder(s *shm.Store, c *counts) *folder {
	f := &folder{store: s, counts: c, wake: make(chan struct{}, 1)}
	f.space.L = &f.mu
	f.filling = f.newRound()
	go f.run()
	return f
}

// add carries out increments, and returns when they were committed. It returns the number of
// those that can be answered, which is that of all unless there is an error.
func (f *folder) add(layout wire.Layout, messages []byte) (won int, err error) {
	f.mu.Lock()
	for f.filling.batch.Len() >= roundMost {
		f.space.Wait()
	}
	r := f.filling
	i := len(r.parts)
	r.parts = append(r.parts, part{layout: layout, messages: messages, first: r.batch.Len()})
	r.parts[i].addTo(r.batch)
	r.users++
	f.mu.Unlock()
	select {
	case f.wake <- struct{}{}:
	default:
	}
	<-r.done
	won, err = r.parts[i].won, r.parts[i].err
	f.counts.increments.Add(uint64(won))
	f.counts.unanswered.Add(uint64(len(messages)/layout.IncrementSize() - won))
	f.mu.Lock()
	if r.users--; r.users == 0 && len(f.free) < freeRounds {
		r.batch.Reset()
		clear(r.parts)
		r.parts = r.parts[:0]
		f.free = append(f.free, r)
	}
	f.mu.Unlock()
	return won, err
}

func (p *part) addTo(b *counter.Batch) {
	size := p.layout.IncrementSize()
	for m := p.messages; len(m) > 0; m = m[size:] {
		n, keyspace, key := p.layout.Increment(m)
		b.Add(keyspace, key, n)
	}
}

// newRound returns an empty round.
func (f *folder) newRound() *round {
	n := len(f.free)
	if n == 0 {
		return &round{batch: counter.NewBatch(f.store), done: make(chan struct{})}
	}
	r := f.free[n-1]
	f.free = f.free[:n-1]
	r.done = make(chan struct{})
	return r
}

// run commits rounds until the folder is closed.
func (f *folder) run() {
	for range f.wake {
		f.mu.Lock()
		r := f.filling
		if r.batch.Len() == 0 {
			closed := f.closed
			f.mu.Unlock()
			if closed {
				return
			}
			continue
		}
		f.filling = f.newRound()
		f.space.Broadcast()
		f.mu.Unlock()
		r.commit(f)
		close(r.done)
	}
}

// close ends the goroutine. No connection may be left.
func (f *folder) close() {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// commit commits the round. If the store has no room for all of it or a keyspace is damaged, each
// connection's part is committed for itself, so that the others do not suffer.
func (r *round) commit(f *folder) {
	err := r.batch.Commit()
	if err == nil {
		f.counts.commits.Add(1)
		for i := range r.parts {
			r.parts[i].conclude(r.batch, r.parts[i].first)
		}
		return
	}
	alone := errors.Is(err, shm.ErrFull) || errors.Is(err, shm.ErrCorrupt) || errors.Is(err, shm.ErrKind)
	for i := range r.parts {
		p := &r.parts[i]
		if p.err = err; !alone || len(r.parts) == 1 {
			continue
		}
		b := counter.NewBatch(f.store)
		p.addTo(b)
		if p.err = b.Commit(); p.err == nil {
			f.counts.commits.Add(1)
			p.conclude(b, 0)
		}
	}
}

// conclude finds out which increments of a part, which a batch has from first on, can be
// answered: all before one that was refused.
func (p *part) conclude(b *counter.Batch, first int) {
	size := p.layout.IncrementSize()
	all := len(p.messages) / size
	for p.won = 0; p.won < all; p.won++ {
		if b.Refused(first + p.won) {
			_, err := b.Result(first + p.won)
			_, keyspace, key := p.layout.Increment(p.messages[p.won*size:])
			p.err = fmt.Errorf("adding to %.40q in keyspace %.40q: %w", key, keyspace, err)
			return
		}
	}
}
