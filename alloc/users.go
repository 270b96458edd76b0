package alloc

import (
	"sync/atomic"

	"github.com/seed-869cc763/shmkv/alloc/region"
)

// The users of a handle are the calls that are inside of it and the snapshots that are
// open: they may touch its mappings and rely on its pins. Close marks the handle as closed,
// which keeps new users out, and the last user to leave gives up all that the handle has.
// Close is a user itself, so it does that when nobody else is inside. The calls of a
// snapshot are inside with it, and go on in a closed handle.
//
// A user counts itself before it looks whether the handle is closed, and Close
// marks the handle before anybody sums up. So a sum of zero in a closed handle
// means that no user is inside and that none will be.
//
// Optimistic reads are no users. They use the read-only mapping, which reads as zeros
// once it is detached. The horizon is zero then too, so it confirms nothing that they
// have read.

// lanes spread the count over cache lines, so that users on different
// processors seldom write to the same one.
const lanes = 64

// A User stands for a call or a snapshot that is inside of a handle, from Enter to Leave.
type User struct{ lane *userLane }

// A userLane is a part of the count, and remembers the last pin of the goroutines that
// use the lane. As a rule that is one goroutine.
type userLane struct {
	count atomic.Int64
	pin   atomic.Int64 // the pin that was taken here last, plus 1; 0 at first
	_     [48]byte
}

type userCount [lanes]userLane

// here is the lane of the calling goroutine.
func (c *userCount) here() *userLane { return &c[region.Lane()%lanes] }

// Enter counts the caller as a user of the handle until Leave. Mappings stay mapped and
// pins stay pinned meanwhile. Without ok the handle is closed, and the caller must not
// touch it. A user may enter again.
func (a *Arena) Enter() (u User, ok bool) {
	if a.closed.Load() {
		return User{}, false // without a count that Close might take for a user
	}
	u = a.users.enter()
	if a.closed.Load() {
		a.Leave(u)
		return User{}, false
	}
	return u, true
}

// Leave ends what Enter began, in any goroutine. The last user of a closed handle ends the
// handle.
func (a *Arena) Leave(u User) {
	u.lane.count.Add(-1)
	if a.closed.Load() && !a.users.any() {
		if err := a.finish(); err != nil && a.log != nil {
			a.log.Error("closing a store failed", "err", err)
		}
	}
}

func (c *userCount) enter() User {
	u := User{c.here()}
	u.lane.count.Add(1)
	return u
}

// any reports whether a user is inside of a closed handle. It may count users that are
// about to find out that the handle is closed. They look again when they leave.
func (c *userCount) any() bool {
	for i := range c {
		if c[i].count.Load() != 0 {
			return true
		}
	}
	return false
}
