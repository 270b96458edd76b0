package shm

import (
	"errors"
	"time"
)

// A CheckpointPolicy says when a handle takes checkpoints of a store on a disk: after a
// crash of the system the store goes back to the last one. OnSync, Every, EveryBytes and
// EveryCommit return policies. Whatever the policy, Sync takes a checkpoint, the last Close
// leaves one, and so does a handle that finds that the last one holds much space.
//
// Each handle follows its own policy. If several processes have a policy of an interval,
// one of them takes the checkpoint for all.
type CheckpointPolicy interface{ policy() policy }

// defaultInterval is that of a handle without a policy.
const defaultInterval = 10 * time.Second

type policy struct {
	interval time.Duration // 0: no interval; negative: not valid
	bytes    int64         // 0: no number of bytes; negative: not valid
	commit   bool          // every commit
}

func (p policy) policy() policy { return p }

// OnSync is the policy of checkpoints by Sync only.
func OnSync() CheckpointPolicy { return policy{} }

// Every is the policy of a checkpoint every d while there are commits. Every(10*time.Second)
// is the default.
func Every(d time.Duration) CheckpointPolicy {
	if d <= 0 {
		d = -1
	}
	return policy{interval: d}
}

// EveryBytes is the policy of a checkpoint after the handle has written n bytes of blocks.
// Blocks are entries and the nodes that lead to them.
func EveryBytes(n int64) CheckpointPolicy {
	if n <= 0 {
		n = -1
	}
	return policy{bytes: n}
}

// EveryCommit is the policy of making each commit durable: a call that writes returns when
// what it wrote survives a crash of the system. The handle writes the new blocks of the commit
// to the store's journal, a file of 8 MiB beside the data. When that is full, and for a
// commit that does not fit into it, it takes a checkpoint. Goroutines and processes that write
// at the same time share the writes to the disk. An error that matches ErrFlush, or ErrInUse if another
// process is stopped while it takes a checkpoint, then says that the write was committed,
// but may not survive a crash.
func EveryCommit() CheckpointPolicy { return policy{commit: true} }

func checkPolicy(c CheckpointPolicy) error {
	if c == nil {
		return nil
	}
	switch p := c.policy(); {
	case p.interval < 0:
		return errors.New("Options.Checkpoint is Every(0) or less, expected an interval")
	case p.bytes < 0:
		return errors.New("Options.Checkpoint is EveryBytes(0) or less, expected a number of bytes")
	}
	return nil
}

// follow gives a new handle its policy.
func (s *Store) follow(c CheckpointPolicy) {
	if c == nil {
		c = Every(defaultInterval)
	}
	s.checkpointer.policy = c.policy()
	p := s.checkpointer.policy
	if p.bytes > 0 {
		s.checkpointer.from = s.a.WrittenBytes()
	}
	if p.interval > 0 && s.a.Lasting() && s.a.Writable() {
		s.keeper.wake(s)
	}
}

const (
	// garbageInterval is how often a handle looks how much space the checkpoint holds.
	garbageInterval = time.Second
	// garbageBytes is how much of it the checkpoint may hold in any store, beyond half of
	// what is live.
	garbageBytes = 64 << 20
)

// A checkpointer is what a handle knows about its checkpoints.
type checkpointer struct {
	policy policy
	since  time.Time // when the keeper first saw something new
	tried  time.Time // when it last took a checkpoint, or tried
	looked time.Time // when it last looked how much garbage there is
	failed bool      // the last try failed
	from   uint64    // bytes that the handle had written then
	kept   uint64    // version of the checkpoint that the interval began with
}

// needsCheckpoint reports whether something was committed since the last checkpoint.
func (s *Store) needsCheckpoint() bool { return s.a.Lasting() && s.a.Kept() < s.a.Version() }

// newCheckpoint takes a checkpoint if there is need, and reports whether it did. If another
// process takes one, newCheckpoint waits for that.
func (s *Store) newCheckpoint(patience time.Duration) bool {
	u, ok := s.a.Enter()
	if !ok {
		return false
	}
	defer s.a.Leave(u)
	return s.needsCheckpoint() && s.a.Checkpoint(patience) == nil
}

// checkpointIfDue takes a checkpoint if the policy says so, and returns when to look
// again, or 0 if that has time until the next commit. The keeper's goroutine calls it.
// Under a policy of an interval it looks for ever: others may commit, and die.
func (s *Store) checkpointIfDue() time.Duration {
	c := &s.checkpointer
	now, kept := time.Now(), s.a.Kept()
	if !s.needsCheckpoint() {
		c.since, c.from = time.Time{}, s.a.WrittenBytes()
		if s.a.Lasting() {
			return c.policy.interval
		}
		return 0
	}
	if c.since.IsZero() || c.kept != kept {
		c.since, c.kept = now, kept
	}
	rest := garbageInterval
	due := false
	if p := c.policy; p.interval > 0 {
		left := p.interval - now.Sub(c.since)
		due, rest = left <= 0, min(rest, max(left, time.Millisecond))
	} else if p.bytes > 0 {
		due = s.a.WrittenBytes()-c.from >= uint64(p.bytes)
		rest = 10 * time.Millisecond
	}
	if !due && now.Sub(c.looked) >= garbageInterval {
		c.looked = now
		live := uint64(s.stats().LiveBytes)
		used, err := s.a.InUse()
		due = err == nil && used > live+live/2+garbageBytes
	}
	if !due || c.failed && now.Sub(c.tried) < garbageInterval {
		return rest
	}
	c.tried, c.since, c.from = now, time.Time{}, s.a.WrittenBytes()
	c.failed = !s.newCheckpoint(0) && s.needsCheckpoint()
	return rest
}

// persist returns when what was committed survives a crash of the system, if the handle's
// policy is EveryCommit.
func (s *Store) persist() error {
	if !s.checkpointer.policy.commit {
		return nil
	}
	if err := s.Sync(); !errors.Is(err, ErrClosed) {
		return err
	}
	return s.Close() // it takes a checkpoint before it returns, unless others are inside
}

// keepVersion makes a version durable that a copy of the store is about to be named by, unless
// it is. Otherwise a crash of the system could take the store back to before that version, and
// another one would get its number. Where that fails the copy is made all the same: it may be
// all that is left.
func (s *Store) keepVersion(version uint64) {
	if s.a.Lasting() && s.a.Durable() < version {
		_ = s.a.Persist(syncPatience)
	}
}
