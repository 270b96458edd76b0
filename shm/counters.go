package shm

import "github.com/seed-869cc763/shmkv/alloc"

// Counters count the work of all writers since the store was made. They are in the store,
// and each writer adds to its own. Only reports depend on them: a process that is killed
// may not count its last transaction, and in a damaged store they may be any number. They
// wrap around at 2^64. Gets are not counted, because readers leave no trace.
type Counters struct {
	Commits        uint64 `json:"commits"`         // transactions committed
	Changes        uint64 `json:"changes"`         // entries that these set or deleted, each time
	Lost           uint64 `json:"lost"`            // commits that another one overtook, and that were tried again
	Refused        uint64 `json:"refused"`         // tries to write that ended with ErrFull; a delete is tried several times
	FreedBlocks    uint64 `json:"freed_blocks"`    // replaced blocks that were freed
	DeferredBlocks uint64 `json:"deferred_blocks"` // replaced blocks that were deferred for a pin, each time
	PunchedPages   uint64 `json:"punched_pages"`   // free pages whose memory the file system got back
	AdoptedSlots   uint64 `json:"adopted_slots"`   // writers' slots taken over from the dead
}

func countersOf(c alloc.Counts) Counters {
	return Counters{
		Commits:        c[alloc.CountCommits],
		Changes:        c[alloc.CountChanges],
		Lost:           c[alloc.CountLost],
		Refused:        c[alloc.CountRefused],
		FreedBlocks:    c[alloc.CountFreed],
		DeferredBlocks: c[alloc.CountDeferred],
		PunchedPages:   c[alloc.CountPunched],
		AdoptedSlots:   c[alloc.CountAdopted],
	}
}

// Sub returns the counts since old. A counter that is less than in old, because the store
// was damaged or is another one, gives 0.
func (c Counters) Sub(old Counters) Counters {
	return c.with(old, func(new, old uint64) uint64 { return new - min(new, old) })
}

func (c Counters) add(d Counters) Counters {
	return c.with(d, func(a, b uint64) uint64 { return a + b })
}

func (c Counters) with(d Counters, fn func(a, b uint64) uint64) Counters {
	return Counters{
		Commits:        fn(c.Commits, d.Commits),
		Changes:        fn(c.Changes, d.Changes),
		Lost:           fn(c.Lost, d.Lost),
		Refused:        fn(c.Refused, d.Refused),
		FreedBlocks:    fn(c.FreedBlocks, d.FreedBlocks),
		DeferredBlocks: fn(c.DeferredBlocks, d.DeferredBlocks),
		PunchedPages:   fn(c.PunchedPages, d.PunchedPages),
		AdoptedSlots:   fn(c.AdoptedSlots, d.AdoptedSlots),
	}
}

// WriterSlot is a writer's slot, with the Counters of all its owners.
type WriterSlot struct {
	Slot int `json:"slot"`
	Counters
}

// Sub returns the work of the process since old, an earlier look at the same process.
// Slots that the process did not have then count from now on, because other processes may
// have used them before.
func (p Process) Sub(old Process) Counters {
	var sum Counters
	for _, s := range p.Slots {
		for _, was := range old.Slots {
			if s.Slot == was.Slot {
				sum = sum.add(s.Counters.Sub(was.Counters))
			}
		}
	}
	return sum
}

// Same reports whether two looks saw the same open handle.
func (p Process) Same(q Process) bool { return p.Pid == q.Pid && p.Started.Equal(q.Started) }
