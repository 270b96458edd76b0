package shm

import (
	"runtime"
	"slices"
	"sync/atomic"

	"github.com/seed-869cc763/shmkv/alloc"
	"github.com/seed-869cc763/shmkv/alloc/region"
)

// Goroutines that write through one handle at the same time share commits.
//
// A handle has two lanes for its unnamed map, and one for all named maps. A goroutine that
// writes one key takes the lead of a lane by one compare-and-swap. If nobody waits there
// that is all: it makes its change in a transaction of its own. While its lanes are led,
// others queue requests. A leader carries out the requests that wait in its lane, as many
// as it finds in one transaction, before it gives up the lead. So each commit contains the
// requests that arrived during the commit before it. Each request gets its own result, as
// if the requests were carried out one by one in the order of the queue.
//
// In a crowded lane callers queue their requests first, let other goroutines run, and only
// then take the lead. Without this few processors would form no groups.
//
// Two leaders, one in each lane, compete for the root as two processes do. The lowest bit
// of its key's hash chooses the lane of a request. It also decides whether the key lies
// below an even or an odd child of the root. So the groups of the two lanes change
// different children, and the loser of the compare-and-swap keeps all but the root branch
// (hamt.Tx.RebaseMany). All changes of named maps are in one lane: they all change the
// directory, so two groups of them would overtake each other.
//
// States of a request, and who sets them:
//
//	waiting  its caller, before it queues the request, or when it finds out that it need
//	         not sleep; a leader that wakes the caller, for it to lead
//	parked   its caller, before it sleeps
//	done     a leader: the outcome is there, and the request is its caller's again
//	retry    a leader that panics: the request is its caller's again, who starts over
//
// Rules:
//
//	Q1  Only the leader of a lane takes requests from its queue, and the lane's plain
//	    fields are its own. It gives up the lead when nothing waits, or after ledMost
//	    changes, and then it wakes the caller that has waited longest.
//	Q2  A caller does not sleep while nobody leads. It looks whether anybody leads after
//	    it has set parked, and a leader looks at the queue after it has given up the lead,
//	    so one of the two sees the other.
//	Q3  A leader does not sleep, let others run, or call a function of the user. (It waits
//	    for gates, as every writer does.) So it depends on nobody, and a goroutine in a
//	    function of Update or Modify, which needs no lead, holds nobody up.
//	Q4  A caller enters the handle before it queues a request, and leaves with the result.
//	    Close does not end the handle before that. A request that is carried out in a
//	    closed handle gets ErrClosed. One that was carried out before keeps its outcome:
//	    a caller can take the lead just after that.
//	Q5  A request holds copies, so no leader reads the memory of another caller. A leader
//	    that panics, because its own memory faults, gives up the lead.
//
// After a death in the middle either all of a group is committed or nothing of it, as with
// any transaction.
const (
	unnamedLanes = 2
	allLanes     = 3
	// A group has at most groupMost changes. A leader stops after ledMost changes.
	groupMost = 64
	ledMost   = 256
	// A change of more bytes than sharedMost is not shared. Copying it takes longer than a
	// commit, and goroutines can copy at the same time.
	sharedMost = 2048
	// A lane is crowded until crowdStays transactions in a row were of one request each.
	crowdStays = 32
	// A caller yields that often before it sleeps.
	yields = 64
)

// A lane is where some of a handle's writers queue.
type lane struct {
	led     atomic.Bool
	crowded atomic.Bool             // one of the last transactions was of several requests
	queue   atomic.Pointer[request] // the newest first

	w       *writer    // with the lane's slot, or nil
	waiting []*request // taken from the queue and not carried out, the oldest first
	most    int        // changes of the next group; fewer after one that failed
	crowd   int        // transactions until the lane is not crowded any more
	hashes  []uint64   // of a group
	_       [64]byte
}

// writers is the lanes of a handle.
type writers struct {
	lanes [allLanes]lane
	free  [64]atomic.Pointer[request] // by the callers' lanes, to be used again
}

// A request is a change that waits in a lane.
type request struct {
	edit
	bytes []byte // the edit's
	next  *request
	state atomic.Uint32
	wake  chan struct{}
}

const (
	waiting uint32 = iota
	parked
	done
	retry
)

// share carries an edit out, together with others if there are any, or with Options.Apart
// beside them. It reports whether pages of the reserve were taken.
func (s *Store) share(e *edit) (took bool) {
	for {
		s.a.Step()
		lanes := s.writers.lanesOf(e)
		own := &lanes[e.hash%uint64(len(lanes))]
		if !own.crowded.Load() { // else the others run first, so that they can join
			for i := range lanes {
				if l := &lanes[i]; !l.crowded.Load() && l.lead() {
					return s.lead(l, e, nil)
				}
			}
		}
		if s.apart {
			return s.alone(e)
		}
		r := s.writers.request(e)
		took = s.queue(own, r) || took
		state := r.state.Load()
		e.outcome = r.outcome
		s.writers.put(r)
		if state == done {
			return took
		}
	}
}

// lanesOf returns the lanes that may carry out an edit.
func (ws *writers) lanesOf(e *edit) []lane {
	if e.to != nil {
		return ws.lanes[unnamedLanes:]
	}
	return ws.lanes[:unnamedLanes]
}

// lead makes the caller the lane's leader, unless there is one.
func (l *lane) lead() bool { return !l.led.Load() && l.led.CompareAndSwap(false, true) }

// request returns a request for a copy of the edit.
func (ws *writers) request(e *edit) *request {
	r := ws.free[region.Lane()%len(ws.free)].Swap(nil)
	if r == nil {
		r = &request{wake: make(chan struct{}, 1), bytes: []byte{}}
		r.decide = r.conditional
	}
	r.bytes = append(append(append(r.bytes[:0], e.key...), e.value...), e.old...)
	r.verb, r.to, r.hash, r.value, r.old = e.verb, e.to, e.hash, nil, nil
	n, m := len(e.key), len(e.key)+len(e.value)
	r.key = r.bytes[:n]
	if e.value != nil {
		r.value = r.bytes[n:m]
	}
	if e.old != nil {
		r.old = r.bytes[m:]
	}
	r.state.Store(waiting)
	return r
}

func (ws *writers) put(r *request) {
	r.outcome = outcome{}
	ws.free[region.Lane()%len(ws.free)].Store(r)
}

// queue waits until the request is carried out, or leads.
func (s *Store) queue(l *lane, r *request) (took bool) {
	s.a.Step()
	for {
		r.next = l.queue.Load()
		if l.queue.CompareAndSwap(r.next, r) {
			break
		}
	}
	for n := 0; r.state.Load() < done; n++ {
		if s.a.Yield() {
			// A test's scheduler has let others run.
		} else if n < yields {
			runtime.Gosched()
		} else {
			l.park(r)
		}
		if r.state.Load() < done && l.lead() {
			took = s.lead(l, nil, r) || took
		}
	}
	return took
}

// park sleeps until a leader wakes the caller of r, unless nobody leads (rule Q2).
func (l *lane) park(r *request) {
	if !r.state.CompareAndSwap(waiting, parked) {
		return
	}
	if !l.led.Load() && r.state.CompareAndSwap(parked, waiting) {
		return
	}
	<-r.wake
}

// end sets the state of r to done or retry. From then on r is its caller's again.
func (r *request) end(state uint32) {
	if r.state.Swap(state) == parked {
		r.wake <- struct{}{}
	}
}

// rouse wakes the caller of r if it sleeps. r may have another caller by now, which looks
// and sleeps again.
func (r *request) rouse() {
	if r.state.CompareAndSwap(parked, waiting) {
		r.wake <- struct{}{}
	}
}

// lead carries out e, if that is not nil, then the requests that wait, and gives up the
// lead of the lane. Without e, r is the leader's own request.
func (s *Store) lead(l *lane, e *edit, r *request) (took bool) {
	var w *writer
	whole := false
	defer func() {
		if !whole { // a panic: of a fault in the caller's memory, for one
			l.fail(s)
			if w != nil {
				w.slot.Abort(0)
				w.conclude(false)
				w.slot.Rest()
			}
		}
	}()
	own := e
	if own == nil {
		own = &r.edit
	}
	w, err := l.writer(s, own.use())
	switch {
	case err == nil:
		led := 0
		if e != nil {
			w.carryOut(e)
			led++
		}
		for l.collect(); len(l.waiting) > 0 && led < ledMost; l.collect() {
			w.slot.PassGate()
			led += l.serve(w)
		}
		took = w.slot.TookReserve()
		w.slot.Rest()
	case e != nil:
		e.err = err
	default:
		l.collect()
		if i := slices.Index(l.waiting, r); i >= 0 { // else another leader has carried it out
			l.waiting = slices.Delete(l.waiting, i, i+1)
			r.err = err
			r.end(done)
		}
	}
	whole = true
	s.a.Step()
	l.release(s)
	return took
}

// writer takes the lane's slot into use, or another one if that slot was taken by another
// process. use is that of the leader's own edit.
func (l *lane) writer(s *Store, use alloc.Use) (*writer, error) {
	if l.w != nil {
		ok, err := l.w.slot.Resume()
		if err != nil {
			return nil, err
		}
		if ok {
			l.w.slot.PassGate()
			return l.w, nil
		}
	}
	w, err := s.take(use)
	l.w = w
	return w, err
}

// collect moves the lane's queue to the end of what waits.
func (l *lane) collect() {
	if l.queue.Load() == nil {
		return
	}
	n := len(l.waiting)
	for r := l.queue.Swap(nil); r != nil; r = r.next {
		l.waiting = append(l.waiting, r)
	}
	slices.Reverse(l.waiting[n:])
}

// release gives up the lead. If requests wait it wakes the first of their callers. It looks
// at the queue once more for requests that came after collect (rule Q2).
func (l *lane) release(s *Store) {
	for {
		var first *request
		if len(l.waiting) > 0 {
			first = l.waiting[0]
		}
		l.led.Store(false)
		if first != nil {
			first.rouse()
			return
		}
		s.a.Step()
		if l.queue.Load() == nil || !l.lead() {
			return
		}
		l.collect()
	}
}

// fail lets all waiting callers start over, and gives up the lead.
func (l *lane) fail(s *Store) {
	l.collect()
	for _, r := range l.waiting {
		r.end(retry)
	}
	l.waiting = l.waiting[:0]
	l.release(s)
}

// serve carries out a group of the requests that wait, and returns the number of changes
// that it has tried. The requests of a group that fails wait for a smaller group. In the
// end the request that is the reason is alone and gets its error. A smaller group is also
// less likely to be overtaken.
func (l *lane) serve(w *writer) int {
	if l.most == 0 {
		l.most = groupMost
	}
	group := l.waiting[:min(len(l.waiting), l.most)]
	n := len(group)
	failed := false
	if n == 1 {
		w.carryOut(&group[0].edit)
		failed = group[0].err != nil
	} else {
		committed, err := w.lightly(func() (bool, error) { return w.group(l, group) })
		if err != nil {
			w.slot.Abort(0)
		}
		w.conclude(committed)
		if err != nil {
			l.most = n / 2
			return n
		}
	}
	if !failed {
		l.most = min(2*l.most, groupMost)
	}
	if n > 1 {
		l.crowd = crowdStays
	} else {
		l.crowd = max(l.crowd-1, 0)
	}
	if crowd := l.crowd > 0; l.crowded.Load() != crowd {
		l.crowded.Store(crowd)
	}
	for _, r := range group {
		r.end(done)
	}
	l.waiting = slices.Delete(l.waiting, 0, n)
	return n
}
