package shm

import (
	"context"
	"iter"
)

// A Watcher follows the commits to a store, by all processes. One goroutine uses it at
// a time.
type Watcher struct {
	s       *Store
	to      *target // the map of Changes
	ctx     context.Context
	version uint64
	err     error
}

// Watch returns a Watcher of the store, whose Changes are those of the map. Its loops sleep while nothing is committed, as
// Wait does. They end when ctx is done or the store is closed, once they have shown all of
// the version that they are at.
func (k *keyed) Watch(ctx context.Context) *Watcher { return &Watcher{s: k.s, to: k.to, ctx: ctx} }

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

// Snapshots iterates over pairs of snapshots: the one that the step before has shown, or
// nil in the first step, and a newer one, at first the current one. Both are open until
// the end of the step. It shows whole versions, for a follower that applies them as
// such, or that must know when it has caught up.
//
// The newer one stays pinned while the loop sleeps.
func (w *Watcher) Snapshots() iter.Seq2[*Snapshot, *Snapshot] {
	return func(yield func(older, newer *Snapshot) bool) {
		w.err = nil
		var older, newer *Snapshot
		defer func() {
			for _, sn := range []*Snapshot{older, newer} {
				if sn != nil {
					_ = sn.Close()
				}
			}
		}()
		for {
			if w.err = w.ctx.Err(); w.err != nil {
				return
			}
			if newer, w.err = w.s.Snapshot(); w.err != nil {
				return
			}
			w.version = newer.Version()
			if !yield(older, newer) {
				return
			}
			if older != nil {
				_ = older.Close()
			}
			older, newer = newer, nil
			if _, w.err = w.s.Wait(w.ctx, w.version); w.err != nil {
				return
			}
		}
	}
}

// Changes iterates over the contents of the map and then over the changes to it: first
// all entries, as changes from nothing, then the difference between each version that it
// sees and the one before. So the changes make a copy of the map, and keep it current.
// Commits between two looks are merged: a key that two of them wrote is shown once, and
// changes that took each other back are not shown. The slices are memory of the store,
// and valid until the next step of the loop.
//
// The version that was shown last is pinned, as by a Snapshot. Snapshots shows where the
// changes of one version end.
func (w *Watcher) Changes() iter.Seq2[[]byte, Change] {
	return func(yield func(key []byte, c Change) bool) {
		for older, newer := range w.Snapshots() {
			more := newer.changesSince(older, w.to, yield)
			if w.err = newer.Err(); w.err != nil || !more {
				return
			}
		}
	}
}

// changesSince calls yield for all that changed in a map since an older snapshot, or for
// all entries if that is nil, and reports whether yield wants more.
func (sn *Snapshot) changesSince(older *Snapshot, to *target, yield func(key []byte, c Change) bool) bool {
	now := sn.of(to)
	if older == nil {
		for key, value := range now.All() {
			if !yield(key, Change{New: value}) {
				return false
			}
		}
		return true
	}
	past := older.of(to)
	for key, c := range now.diff(&past) {
		if !yield(key, c) {
			return false
		}
	}
	return true
}
