package shm

import (
	"context"
	"iter"
)

// A Watcher follows the commits to a store, by all processes. One goroutine uses it at
// a time.
type Watcher struct {
	s       *Store
	ctx     context.Context
	version uint64
	err     error
}

// Watch returns a Watcher of the store. Its loops sleep while nothing is committed, as
// Wait does, and end when ctx is done.
func (s *Store) Watch(ctx context.Context) *Watcher { return &Watcher{s: s, ctx: ctx} }

// Err returns the error that ended the last loop: that of the context, ErrClosed,
// ErrCorrupt or ErrCannotPin, as a rule. It is nil after a break.
func (w *Watcher) Err() error { return w.err }

// Version returns the version that the last step of a loop has shown.
func (w *Watcher) Version() uint64 { return w.version }

// Versions iterates over the versions of the store: the current one at once, then each
// newer one that it sees. It skips those that were replaced before it has looked.
func (w *Watcher) Versions() iter.Seq[uint64] {
	return func(yield func(uint64) bool) {
		w.err = nil
		for after := uint64(0); ; after = w.version {
			version, err := w.s.Wait(w.ctx, after)
			if err == nil {
				err = w.ctx.Err()
			}
			if err != nil {
				w.err = err
				return
			}
			w.version = version
			if !yield(version) {
				return
			}
		}
	}
}

// Changes iterates over what is in the store and then over what changes in it: first all
// entries, as changes from nothing, then the difference between each version that it sees
// and the one before. So the changes make a copy of the store, and keep it current. Commits
// between two looks are merged: a key that two of them wrote is shown once, and changes
// that took each other back are not shown. The slices are memory of the store, and valid
// until the next step of the loop.
//
// The version that was shown last is pinned, as by a Snapshot.
func (w *Watcher) Changes() iter.Seq2[[]byte, Change] {
	return func(yield func(key []byte, c Change) bool) {
		w.err = nil
		var last, sn *Snapshot
		defer func() {
			for _, s := range []*Snapshot{last, sn} {
				if s != nil {
					_ = s.Close()
				}
			}
		}()
		for {
			var err error
			if err = w.ctx.Err(); err == nil {
				sn, err = w.s.Snapshot()
			}
			if err != nil {
				w.err = err
				return
			}
			w.version = sn.Version()
			more := sn.since(last, yield)
			if last != nil {
				_ = last.Close()
			}
			last = sn
			if w.err = sn.Err(); w.err != nil || !more {
				return
			}
			if _, w.err = w.s.Wait(w.ctx, w.version); w.err != nil {
				return
			}
		}
	}
}

// since calls yield for all that changed since an older snapshot, or all entries if
// that is nil, and reports whether yield wants more.
func (sn *Snapshot) since(older *Snapshot, yield func(key []byte, c Change) bool) (more bool) {
	if older == nil {
		for key, value := range sn.All() {
			if !yield(key, Change{New: value}) {
				return false
			}
		}
		return true
	}
	for key, c := range sn.Diff(older) {
		if !yield(key, c) {
			return false
		}
	}
	return true
}
