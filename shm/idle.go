package shm

// Idle lets go of what the handle has for its own use, for a process that does not use the
// store for a while. The handle stays open: the next call takes again what it needs, and
// costs some page faults more. Idle does not wait for others, and calls that are under way
// go on. It returns ErrClosed after Close.
//
//   - The memory of the store is not mapped any more. It does not count as memory of the
//     process, though the store keeps it, until somebody accesses it.
//   - The writers' slots of the handle that no transaction uses are emptied and given back.
//   - The goroutine that gives unused memory of the store back, and takes checkpoints, has
//     ended, after a last checkpoint if the policy is not OnSync. That of another handle, or
//     of the next commit, goes on with it.
//
// What stays is the handle's entry in the file procs with its lock, its files, its address
// space, and the pins of its open snapshots. So an idle handle is one of MaxProcesses, and
// Rewrite returns ErrInUse: a handle without a lock could not tell later whether the store
// that it has open was replaced. The directory may be removed, as that of any open store,
// but the memory goes when all handles are closed. To leave all of that to others, use
// Close.
func (s *Store) Idle() error {
	s.keeper.rest()
	u, ok := s.a.Enter()
	if !ok {
		return s.fail("idling", ErrClosed)
	}
	defer s.a.Leave(u)
	if s.checkpointer.policy != (policy{}) {
		s.newCheckpoint(roomTime) // nobody else may take it before the next commit
	}
	if err := s.a.Idle(); err != nil {
		return s.fail("idling", err)
	}
	return nil
}
