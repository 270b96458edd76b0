package shm

import (
	"context"
	"time"

	"github.com/seed-869cc763/shmkv/hamt"
)

// CompactOptions are for Compact; nil means the defaults.
type CompactOptions struct {
	// Rate bounds how many bytes of keys and values are moved in a second; 0
	// means no bound.
	Rate int64
	// Progress is called now and then with how much of a pass is done and how
	// much it is, in no unit.
	Progress func(done, total int64)
}

// CompactStats is what Compact has done.
type CompactStats struct {
	Moved      int64 `json:"moved"`       // entries
	MovedBytes int64 `json:"moved_bytes"` // of keys and values
	Passes     int   `json:"passes"`
	Before     int64 `json:"before"` // AllocatedBytes
	After      int64 `json:"after"`
}

// compactPasses is how often Compact goes through the store at most. What others
// write meanwhile, and what they give back late, can make more than one useful;
// one that gained less than a sixteenth is the last.
const compactPasses = 3

// Compact gives space back to the file system: it moves entries from sparse
// pages in the rear of the file to free space in front, and punches holes where
// nothing is left. The file keeps its length; AllocatedBytes falls.
//
// It works beside readers and writers, by ordinary commits of one entry each, so
// it holds nobody up for longer than any commit does. The version rises; values
// stay, and Diff shows nothing. What snapshots hold cannot be moved: while one is
// open, what is moved takes space twice, and a store that is nearly full may refuse
// it with ErrFull. It may be interrupted by ctx at any time, and whatever it has done
// by then is done: then the error is ctx's. Two at once only do some work twice.
//
// Writers give back by themselves, in time, what a change of the store leaves
// half empty: Compact does it at once, and for what is not written any more.
func (s *Store) Compact(ctx context.Context, opts *CompactOptions) (CompactStats, error) {
	if opts == nil {
		opts = &CompactOptions{}
	}
	u, ok := s.a.Enter() // so that the frontier is dropped before the store is closed
	if !ok {
		return CompactStats{}, s.fail("compacting", ErrClosed)
	}
	defer s.a.Leave(u)
	c := compactor{s: s, ctx: ctx, opts: opts, began: time.Now()}
	c.Before = s.stats().AllocatedBytes
	err := c.run()
	c.After = s.stats().AllocatedBytes
	if err != nil {
		return c.CompactStats, s.fail("compacting", err)
	}
	return c.CompactStats, nil
}

type compactor struct {
	CompactStats
	s     *Store
	ctx   context.Context
	opts  *CompactOptions
	began time.Time
	keys  [][]byte // to be moved
}

func (c *compactor) run() error {
	if err := c.shrink(); err != nil {
		return err
	}
	for c.Passes < compactPasses {
		st := c.s.stats()
		frontier, err := c.s.a.Frontier(uint64(st.LiveBytes))
		if frontier == 0 || err != nil {
			return err
		}
		c.Passes++
		err = c.pass(frontier)
		if e := c.shrink(); err == nil {
			err = e
		}
		if gained := st.AllocatedBytes - c.s.stats().AllocatedBytes; err != nil || gained < st.AllocatedBytes/16 {
			return err
		}
	}
	return nil
}

// pass moves what lies at the frontier and beyond.
func (c *compactor) pass(frontier uint64) error {
	defer c.s.a.SetFrontier(0)
	for part := range hamt.Parts {
		if err := c.ctx.Err(); err != nil {
			return err
		}
		// Others may have set another, or none.
		c.s.a.SetFrontier(frontier)
		if err := c.collect(part, frontier); err != nil {
			return err
		}
		for _, key := range c.keys {
			if err := c.move(key); err != nil {
				return err
			}
		}
		if c.opts.Progress != nil {
			c.opts.Progress(int64(part+1), hamt.Parts)
		}
	}
	return nil
}

// collect finds the keys that are to be moved in one part of the store.
func (c *compactor) collect(part int, frontier uint64) error {
	c.keys = c.keys[:0]
	sn, err := c.s.Snapshot()
	if err != nil {
		return err
	}
	defer func() { _ = sn.Close() }()
	return sn.r.Beyond(sn.trie, part, frontier, c.s.hash, func(l hamt.Leaf) bool {
		c.keys = append(c.keys, append([]byte(nil), sn.r.Key(l)...))
		return true
	})
}

// move writes an entry anew, which takes space in front of the frontier.
func (c *compactor) move(key []byte) error {
	var moved int64
	err := c.s.modify(key, true, func(old []byte, exists bool) ([]byte, change, error) {
		if moved = -1; !exists {
			return nil, leave, nil
		}
		moved = int64(len(key) + len(old))
		return old, put, nil
	})
	if err != nil || moved < 0 {
		return err
	}
	c.Moved++
	c.MovedBytes += moved
	if c.opts.Rate <= 0 {
		return nil
	}
	due := c.began.Add(time.Duration(float64(c.MovedBytes) / float64(c.opts.Rate) * float64(time.Second)))
	wait := time.NewTimer(time.Until(due))
	defer wait.Stop()
	select {
	case <-wait.C:
		return nil
	case <-c.ctx.Done():
		return c.ctx.Err()
	}
}

// shrink gives back what nobody uses.
func (c *compactor) shrink() error {
	if err := c.ctx.Err(); err != nil {
		return err
	}
	w, err := c.s.writer(true, true)
	if err != nil {
		return err
	}
	err = w.Shrink()
	w.release()
	return err
}
