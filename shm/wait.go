package shm

import "context"

// Wait returns the current version once it is greater than after: at once, or when a
// process commits. It sleeps in the kernel, and occupies a thread of the operating system.
// The death of a process is no commit and wakes nobody. When ctx is done it returns the
// version that is current then, which is not greater than after, and an error that matches
// that of ctx. When the store is closed it returns 0 and ErrClosed.
func (s *Store) Wait(ctx context.Context, after uint64) (version uint64, err error) {
	u, ok := s.a.Enter()
	if !ok {
		return 0, s.fail("waiting for", ErrClosed)
	}
	defer s.a.Leave(u)
	if !s.a.CanPin() {
		return 0, s.fail("waiting for", ErrCannotPin)
	}
	woken := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		s.wake()
		close(woken)
	})
	defer func() {
		if !stop() { // it uses the handle, which the caller may close next
			<-woken
		}
	}()
	for {
		version = s.a.Version()
		if s.a.Closed() {
			return 0, s.fail("waiting for", ErrClosed)
		}
		if version > after {
			return version, nil
		}
		if err := ctx.Err(); err != nil {
			return version, s.fail("waiting for", err)
		}
		s.a.WaitChange(version, func() bool { return ctx.Err() != nil })
	}
}

// wake wakes all waiting goroutines of the handle.
func (s *Store) wake() {
	if u, ok := s.a.Enter(); ok {
		s.a.WakeAll()
		s.a.Leave(u)
	}
}
