package alloc

import (
	"fmt"
	"sync/atomic"
	"time"
)

// A nameCheck tells the writers of a handle whether the file data still has a
// name. A file that was removed works on for the handles that have it open, but
// whoever opens the path later finds no store there, or another one. So a writer
// must not go on for long (rule D8).
//
// The state belongs to this handle, and lies in the memory of its process:
//
//	nameUnknown → nameSeen by the transaction that is going to look, before it looks
//	nameSeen → nameUnknown by a timer, a second later
//	→ nameGone by a transaction that found none; this is final, since a file
//	  without a name cannot get one again
//
// So a transaction costs one load, and fstat is called at most once a second. A
// transaction that begins more than a second after data has lost its name is
// refused. A renamed directory is none of this: data keeps its name in it.
type nameCheck struct {
	state atomic.Uint32
	timer *time.Timer
}

const (
	nameUnknown = iota
	nameSeen
	nameGone
)

func newNameCheck() *nameCheck {
	n := &nameCheck{}
	n.timer = time.AfterFunc(time.Hour, func() { n.state.CompareAndSwap(nameSeen, nameUnknown) })
	n.timer.Stop()
	return n
}

// checkName returns ErrMoved if data has lost its name. Writers call it before
// they begin a transaction.
func (a *Arena) checkName() error {
	n := a.name
	if n.state.Load() == nameSeen {
		return nil
	}
	if n.state.CompareAndSwap(nameUnknown, nameSeen) {
		n.timer.Reset(time.Second)
		removed, err := a.b.removed()
		if err != nil {
			return err
		}
		if removed {
			n.state.Store(nameGone)
		}
	}
	if n.state.Load() == nameGone {
		return fmt.Errorf("%w: the file data has no name any more, expected one by which others find what is written; open the store again", ErrMoved)
	}
	return nil
}

// Stale reports whether the path that the store was opened with leads to another
// store by now, or to none.
func (a *Arena) Stale() (bool, error) { return a.b.stale() }
