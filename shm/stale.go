package shm

// Stale reports whether the path that the store was opened with does not lead to
// this handle's files any more: the directory was removed, renamed, replaced by
// another one, or rewritten. Processes that open the path then do not share a
// store with this one. It costs two system calls.
//
// A long-lived reader may call it now and then, and open the store again when it
// is true. Writers need not call it to notice a removal, since their writes fail
// with ErrMoved; after a renaming they go on.
func (s *Store) Stale() (bool, error) {
	if s.a.Closed() {
		return false, s.fail("looking for", ErrClosed)
	}
	stale, err := s.a.Stale()
	if err != nil {
		return false, s.fail("looking for", err)
	}
	return stale, nil
}
