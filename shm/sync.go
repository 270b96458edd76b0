package shm

import "time"

// syncPatience is how long Sync waits for the checkpoint of another process.
const syncPatience = 30 * time.Second

// Sync returns when everything that was committed before the call survives a crash of the
// system or a power cut, because the store's files have a checkpoint of it, or a record of
// the journal if the handle has the policy EveryCommit. It does nothing on a file system that
// is in memory, such as tmpfs, and without a commit since the last one of these.
//
// One process at a time takes a checkpoint or writes a record. Others wait for it, and calls
// that wait together share the next one. Commits go on meanwhile. If a process is stopped
// while it does so, Sync returns ErrInUse after half a minute.
//
// After an error that matches ErrFlush, what the system could not write may be lost in a
// crash, and no later checkpoint is taken: use a backup or a rewritten copy of the store.
func (s *Store) Sync() error {
	u, ok := s.a.Enter()
	if !ok {
		return s.fail("syncing", ErrClosed)
	}
	defer s.a.Leave(u)
	if err := s.a.Persist(syncPatience); err != nil {
		return s.fail("syncing", err)
	}
	return nil
}
