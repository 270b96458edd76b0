package record

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-869cc763/shmkv/shm"
)

// A CheckpointPolicy says when a handle takes checkpoints of the store, to which a crash of the
// system takes it back. Never, EveryCommit, EveryCommits, EveryBytes, Every and AfterQuiet
// return policies. On a file system that is in memory there are no checkpoints.
type CheckpointPolicy interface{ checkpoint() checkpointPolicy }

type checkpointPolicy struct {
	store   shm.CheckpointPolicy // what Open gives the store; nil means its default
	inStore bool                 // which is all there is to do for Open
	commits int64
	bytes   int64
	every   time.Duration
	quiet   time.Duration
	err     error
}

func (p checkpointPolicy) checkpoint() checkpointPolicy { return p }

// beside is what is left to do for a handle whose store has the policy.
func (p checkpointPolicy) beside() checkpointPolicy {
	if p.inStore {
		return checkpointPolicy{}
	}
	return p
}

// Never is the policy without checkpoints but those of shm.Store.Sync, and the last one of the
// store's last Close.
func Never() CheckpointPolicy {
	return checkpointPolicy{store: shm.OnSync(), inStore: true}
}

// EveryCommit makes each commit survive a crash of the system before End returns.
func EveryCommit() CheckpointPolicy {
	return checkpointPolicy{store: shm.EveryCommit(), inStore: true, commits: 1}
}

// EveryCommits takes a checkpoint after n commits of the handle. The End of the n-th one returns
// after it.
func EveryCommits(n int) CheckpointPolicy {
	p := checkpointPolicy{store: shm.OnSync(), commits: int64(n)}
	if n < 1 {
		p.err = fmt.Errorf("record: EveryCommits(%d), expected at least 1", n)
	}
	return p
}

// EveryBytes takes a checkpoint after the handle has written n bytes: of records with New, of blocks of
// the store with Open, as shm.EveryBytes does.
func EveryBytes(n int64) CheckpointPolicy {
	p := checkpointPolicy{store: shm.EveryBytes(n), inStore: true, bytes: n}
	if n < 1 {
		p.err = fmt.Errorf("record: EveryBytes(%d), expected at least 1", n)
	}
	return p
}

// Every takes a checkpoint every d while there are commits.
func Every(d time.Duration) CheckpointPolicy {
	p := checkpointPolicy{store: shm.Every(d), inStore: true, every: d}
	if d <= 0 {
		p.err = fmt.Errorf("record: Every(%v), expected more than 0", d)
	}
	return p
}

// AfterQuiet takes a checkpoint when nobody has committed to the store for d.
func AfterQuiet(d time.Duration) CheckpointPolicy {
	p := checkpointPolicy{store: shm.OnSync(), quiet: d}
	if d <= 0 {
		p.err = fmt.Errorf("record: AfterQuiet(%v), expected more than 0", d)
	}
	return p
}

func checkpointOf(c CheckpointPolicy) (checkpointPolicy, error) {
	if c == nil {
		return checkpointPolicy{}, nil
	}
	p := c.checkpoint()
	return p, p.err
}

// A GarbagePolicy says when a handle collects garbage. Off, Manual, WhenIdle, PerCommit, PastShare
// and PastBytes return policies. Each handle follows its own.
type GarbagePolicy interface{ garbage() garbagePolicy }

type garbagePolicy struct {
	off       bool
	idle      time.Duration
	perCommit int
	share     float64
	bytes     int64
	err       error
}

func (p garbagePolicy) garbage() garbagePolicy { return p }

// Off refuses Pack.
func Off() GarbagePolicy { return garbagePolicy{off: true} }

// Manual collects by Pack only. It is the default.
func Manual() GarbagePolicy { return garbagePolicy{} }

// WhenIdle also packs when no records were changed for d, if some were since the last Pack.
func WhenIdle(d time.Duration) GarbagePolicy {
	p := garbagePolicy{idle: d}
	if d <= 0 {
		p.err = fmt.Errorf("record: WhenIdle(%v), expected more than 0", d)
	}
	return p
}

// PerCommit also deletes, with each commit of a session, up to n records to which no record
// refers. A session that still uses one of them, to refer to it again, gets a conflict. Cycles
// are left to Pack.
func PerCommit(n int) GarbagePolicy {
	p := garbagePolicy{perCommit: n}
	if n < 1 {
		p.err = fmt.Errorf("record: PerCommit(%d), expected at least 1", n)
	}
	return p
}

// PastShare also packs when more than a share of the records, between 0 and 1, is referred to
// by no other. What only these refer to is garbage too, so there is more of it than that.
func PastShare(share float64) GarbagePolicy {
	p := garbagePolicy{share: share}
	if !(share > 0 && share < 1) {
		p.err = fmt.Errorf("record: PastShare(%v), expected more than 0 and less than 1", share)
	}
	return p
}

// PastBytes also packs when the handle's sessions have committed n bytes of records since its last Pack
// began.
func PastBytes(n int64) GarbagePolicy {
	p := garbagePolicy{bytes: n}
	if n < 1 {
		p.err = fmt.Errorf("record: PastBytes(%d), expected at least 1", n)
	}
	return p
}

func garbageOf(g GarbagePolicy) (garbagePolicy, error) {
	if g == nil {
		return garbagePolicy{}, nil
	}
	p := g.garbage()
	return p, p.err
}

// keeping is what a handle does by its policies.
type keeping struct {
	commits, bytes int64 // after which there is a checkpoint; 0 means never
	doneCommits    atomic.Int64
	doneBytes      atomic.Int64

	packBytes int64         // after which there is a Pack; 0 means never
	unpacked  atomic.Int64  // bytes since the last Pack began
	packDue   chan struct{} // has an item when there are packBytes

	stop    context.CancelFunc
	running sync.WaitGroup
}

// committed takes a checkpoint if one is due after a commit of so many bytes.
func (k *keeping) committed(store *shm.Store, bytes int64) error {
	due := k.commits > 0 && k.doneCommits.Add(1)%k.commits == 0
	if k.bytes > 0 {
		now := k.doneBytes.Add(bytes)
		due = due || now/k.bytes != (now-bytes)/k.bytes
	}
	if k.packBytes > 0 && k.unpacked.Add(bytes) >= k.packBytes {
		select {
		case k.packDue <- struct{}{}:
		default:
		}
	}
	if !due {
		return nil
	}
	return store.Sync()
}

func (k *keeping) end() {
	if k.stop != nil {
		k.stop()
	}
	k.running.Wait()
}

// sharePause is the least time between two looks at the share of garbage.
const sharePause = 50 * time.Millisecond

// keep begins to follow the policies.
func (st *Storage) keep(c checkpointPolicy) {
	k := &st.keeping
	k.commits, k.bytes = c.commits, c.bytes
	ctx, cancel := context.WithCancel(context.Background())
	k.stop = cancel
	sync := func() error { return st.store.Sync() }
	if c.every > 0 {
		st.onChange(ctx, c.every, sync)
	}
	if c.quiet > 0 {
		st.onQuiet(ctx, c.quiet, sync)
	}
	if st.garbage.idle > 0 {
		st.onQuiet(ctx, st.garbage.idle, func() error { return st.packIf(ctx, st.changedSinceTrace) })
	}
	if st.garbage.share > 0 {
		st.onChange(ctx, sharePause, func() error { return st.packIf(ctx, st.pastShare) })
	}
	if k.packBytes = st.garbage.bytes; k.packBytes > 0 {
		k.packDue = make(chan struct{}, 1)
		k.running.Go(func() { st.packPastBytes(ctx) })
	}
}

// packPastBytes packs each time when enough bytes were committed, until ctx is done.
func (st *Storage) packPastBytes(ctx context.Context) {
	k := &st.keeping
	for {
		select {
		case <-ctx.Done():
			return
		case <-k.packDue:
		}
		if k.unpacked.Load() < k.packBytes {
			continue // another Pack has begun since
		}
		if _, err := st.Pack(ctx); err != nil && ctx.Err() == nil && !errors.Is(err, shm.ErrClosed) {
			st.log.Warn("what the policy asks for has failed", "err", err)
		}
	}
}

// onChange has a goroutine act once a pause has passed after a commit, until ctx is done.
func (st *Storage) onChange(ctx context.Context, pauses time.Duration, act func() error) {
	st.keepDoing(ctx, act, func(uint64) bool {
		pause(ctx, pauses)
		return ctx.Err() == nil
	})
}

// onQuiet has a goroutine act once nothing was committed for a while, until ctx is done.
func (st *Storage) onQuiet(ctx context.Context, quiet time.Duration, act func() error) {
	st.keepDoing(ctx, act, func(version uint64) bool {
		for ctx.Err() == nil {
			pause(ctx, quiet)
			now := st.store.Version()
			if now == version {
				return ctx.Err() == nil
			}
			version = now
		}
		return false
	})
}

// keepDoing has a goroutine call act after each commit that it sees, when ready has returned
// true, until that returns false or the store is closed.
func (st *Storage) keepDoing(ctx context.Context, act func() error, ready func(version uint64) bool) {
	st.keeping.running.Go(func() {
		var version uint64
		for {
			now, err := st.store.Wait(ctx, version)
			if err != nil || !ready(now) {
				return
			}
			version = st.store.Version()
			if err := act(); err != nil && ctx.Err() == nil && !errors.Is(err, shm.ErrClosed) {
				st.log.Warn("what the policy asks for has failed", "err", err)
			}
		}
	})
}

func (st *Storage) packIf(ctx context.Context, due func(known) (bool, error)) error {
	k, err := st.snapshot()
	if err != nil {
		return err
	}
	yes, err := due(k)
	importing := k.head.importing != 0 // its end is a change too
	if err = errors.Join(err, k.sn.Close()); err != nil || !yes || importing {
		return err
	}
	_, err = st.Pack(ctx)
	return err
}

func (st *Storage) changedSinceTrace(k known) (bool, error) {
	return k.head.phase != phaseIdle || k.head.stamp != k.head.traced, nil
}

func (st *Storage) pastShare(k known) (bool, error) {
	n, err := k.books.Count(book(tagUnreferred), book(tagUnreferred+1))
	return float64(n) > st.garbage.share*float64(k.records.Len()), err
}
