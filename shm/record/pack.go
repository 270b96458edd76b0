package record

import (
	"context"
	"errors"
	"time"

	"github.com/seed-869cc763/shmkv/shm"
)

// watchEvery is how often a collection of another handle is looked at.
const watchEvery = 10 * time.Millisecond

// Variables for tests.
var (
	stepRecords = defaultStep
	// stuckAfter is how long a collection of another handle may make no step until it is taken over.
	stuckAfter = time.Second
)

const (
	// fullTries is how often a step is tried in a full store.
	fullTries = 20
	// fullRecords is how many records a step looks at in a full store, at least.
	fullRecords = 8
)

// Packed is the result of a Pack.
type Packed struct {
	Collected uint64        // records
	Steps     uint64        // commits that it took
	Took      time.Duration // with the time for which it has waited for others
}

// ErrCollectionOff: the policy of the handle is Off.
var ErrCollectionOff = errors.New("record: the policy of garbage is Off, expected another one for a collection")

// Pack collects all records that are garbage when it is called, beside sessions of all handles. One
// collection runs at a time, and Pack waits for one that others have begun. If ctx ends, or the
// process, what was done stays done, and the next Pack goes on.
//
// A collection writes before it gives room back: its marks, and the ids that wait. In a full store it makes
// smaller steps. If even these find no room, as can be when most records are hardly larger than their
// ids, Pack returns shm.ErrFull; shm.Rewrite gives the store a larger MaxSize.
func (st *Storage) Pack(ctx context.Context) (Packed, error) {
	if st.garbage.off {
		return Packed{}, ErrCollectionOff
	}
	began := time.Now()
	select {
	case <-st.packing:
		defer func() { st.packing <- struct{}{} }()
	case <-ctx.Done():
		return Packed{}, ctx.Err()
	}
	st.keeping.unpacked.Store(0)
	defer st.withoutBound()()
	p, err := st.pack(ctx)
	p.Took = time.Since(began)
	return p, err
}

// Packing reports whether a collection of any handle is under way, or was left by one that died.
func (st *Storage) Packing() (bool, error) {
	var h head
	err := st.store.View(func(sn *shm.Snapshot) (err error) {
		h, err = readHead(sn.Ordered(st.booksN))
		return err
	})
	return h.phase != phaseIdle, err
}

func (st *Storage) pack(ctx context.Context) (p Packed, err error) {
	c := collection{st: st, records: stepRecords}
	for {
		if err := st.finish(ctx, &c, &p); err != nil {
			return p, err
		}
		begun, err := c.begin()
		if err != nil {
			return p, err
		}
		if begun {
			break
		}
	}
	return p, st.finish(ctx, &c, &p)
}

// finish returns when no collection is under way. It runs the one that is if that is the handle's
// own, or makes no progress.
func (st *Storage) finish(ctx context.Context, c *collection, p *Packed) error {
	var steps uint64
	var since time.Time
	patience := stuckAfter
	full := 0 // tries of a step that have found the store full
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		began := time.Now()
		h, err := c.step()
		if errors.Is(err, shm.ErrFull) && full < fullTries {
			full++
			c.records = max(c.records/2, fullRecords)
			pause(ctx, 2*followPause) // until the sessions have let older versions go
			continue
		}
		if err != nil {
			return err
		}
		full = 0
		switch {
		case h.phase == phaseIdle:
			return nil
		case h.runner == st.owner:
			p.Steps++
			p.Collected += c.gone
			if c.beside() { // leave half of the time to others
				pause(ctx, min(time.Since(began), 10*time.Millisecond))
			}
		default:
			if h.steps != steps {
				steps, since = h.steps, time.Now()
			}
			alive, err := st.store.Alive(h.runner)
			if stuck := time.Since(since) > patience; err == nil && (!alive || stuck) {
				if stuck {
					patience *= 2 // or two that make slow steps could take over from each other for ever
				}
				err = c.takeOver(h.steps)
			}
			if err != nil {
				return err
			}
			if alive {
				pause(ctx, watchEvery)
			}
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
