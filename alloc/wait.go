package alloc

import (
	"time"

	"github.com/seed-869cc763/shmkv/alloc/layout"
)

// Waiting for change (rule W1). The sequence's low 32 bits are a futex; the
// flag tells committers that somebody may sleep on it, so that a commit costs
// one load when nobody does.

// WaitChange sleeps until the version is not the given one, or for at most a
// second, or until WakeAll; it may return early. The bound makes good for a
// committer that died between its commit and its call. WakeAll ends it for any
// other reason if stop tells that before.
func (a *Arena) WaitChange(version uint64, stop func() bool) {
	seq := a.shared.Load(layout.OffWaitSeq)
	a.shared.Store(layout.OffWaitFlag, 1)
	if a.Version() == version && !a.closed.Load() && !stop() {
		a.shared.FutexWait(layout.OffWaitSeq, uint32(seq), time.Second)
	}
}

// Notify wakes those who wait for a change, after a commit.
func (a *Arena) Notify() {
	if a.shared.Load(layout.OffWaitFlag) != 0 {
		a.WakeAll()
	}
}

// WakeAll wakes everybody who waits; they look whether there is a reason.
func (a *Arena) WakeAll() {
	a.shared.Store(layout.OffWaitFlag, 0)
	a.shared.Add(layout.OffWaitSeq, 1)
	a.shared.FutexWake(layout.OffWaitSeq)
}
