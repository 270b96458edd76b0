//go:build shmhook

package shm

import (
	"errors"
	"fmt"
	"hash/maphash"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/alloc"
	"github.com/seed-869cc763/shmkv/alloc/layout"
	"github.com/seed-869cc763/shmkv/alloc/region"
)

// A deterministic scheduler. The actors of a scene are goroutines, each with a
// hooked handle of its own on one store on the Go heap; exactly one runs at a
// time, and at every access to shared memory it may have to let another run, to
// die, or to stop for ever. A schedule is a list of turns, so that a failing one
// can be run again. What explores schedules is in explore_test.go, the scenes
// are in scenes_test.go.

// A turn lets an actor run for a number of accesses, and says what it does
// before the next one.
type turn struct {
	actor, steps int // steps < 0: to its end
	then         fate
}

// fate is what becomes of an actor at the end of a turn.
type fate byte

const (
	goOn fate = ' ' // it goes on later
	die  fate = '!' // its process is dead
	stop fate = '~' // it is stopped, alive, and never goes on
)

// An op is what an actor does, and what a map would have answered.
type op struct {
	name string
	do   func(a *actor) string
	// model changes c as the operation does, given what it answered; the
	// answer does not matter to an operation that has not returned.
	model func(c contents, got string) string
}

// A scene is a prepared store and what each actor does with it.
type scene struct {
	name    string
	size    uint64 // 0: 1 MiB
	deep    bool   // of which ten times as many schedules are tried
	lazy    bool   // reclaim at its usual pace, not after every commit
	weak    bool   // loads are ordered as loosely as arm64 may, see stage.reorder
	hash    func([]byte) uint64
	prepare func(t testing.TB, h *alloc.Heap, s *Store)
	actors  [][]op
	focus   func(sc *scene, actor int, off uint64) bool // if not nil, where actors are interrupted
	warm    func() []op                                 // what the first actor has done before, unobserved
	handles []int                                       // by actor: whose handle it uses, as a goroutine of the same process; nil: its own
	crowd   bool                                        // writers queue, so that groups come about, see share

	rootPage uint64 // where the prepared store has its root node

	words map[uint64]*use // what the actors were seen to do to a word
}

// use is which actors read and wrote a word, a bit for each.
type use struct{ readers, writers uint8 }

// A past is an operation that was begun, in a history.
type past struct {
	op        op
	call, ret int // on the common clock of accesses; ret < 0: it did not return
	steps     int // accesses of its own
	result    string
}

type actor struct {
	st     *stage
	index  int
	budget int // accesses left in this turn; negative: no end
	then   fate
	state  fate // goOn until it is dead or stopped
	done   bool
	waits  bool // for another actor, with whom it shares a handle
	steps  int  // accesses in this turn
	total  int  // accesses in all
	wake   chan struct{}
	store  *Store
	kills  []func()
	past   []past

	early  uint64 // the horizon, as loaded before its turn came; 0 for none
	repair uint64 // the horizon that reorder has put out of sight; 0 for none
}

// An access that an actor was kept from by the end of its turn. If nothing in
// the turn that follows conflicts with it, it could as well have been made
// before: then that turn need not be cut, another schedule is the same.
type pending struct {
	off   uint64
	write bool
	lock  bool // of an entry, which the death of the other lets go
	ok    bool
}

func (p pending) conflicts(off uint64, write bool) bool {
	return p.ok && p.off == off && (p.write || write)
}

// A point is where the last turns of a schedule could have gone another way.
type point struct {
	ran   int // turns that had been run
	turn  turn
	other bool // the actor had ended: another may be next
	write bool // the access that follows is a change
	met   bool // the turn has met what its predecessor was kept from
	lock  bool // which was a lock
}

type stage struct {
	t       testing.TB
	scene   *scene
	heap    *alloc.Heap
	actors  []*actor
	running *actor
	yield   chan struct{} // the running actor stops running
	clock   int           // stands still while the actors attach
	ready   bool
	failed  any

	ran    []turn
	kept   pending // what the turn before was kept from
	next   pending // what this one is kept from
	met    bool
	from   int // turns whose points do not count
	points []point
	cuts   map[int]fate // at which contended accesses to end the turn, if not nil
	seen   int          // contended accesses
	wide   bool         // actors are interrupted also where the scene's focus is not
}

// bound is more accesses than an actor can need: it does not wait for others,
// dead, stopped or slow.
const bound = 100_000

// touch runs before every access of the running actor.
func (st *stage) touch(op region.Op, off uint64) {
	if !st.ready {
		return
	}
	a := st.running
	if a.state == die {
		panic(death{}) // the dead touch nothing
	}
	if op == region.OpYield {
		st.wait(a)
		return
	}
	if op == region.OpCAS && off == alloc.StepOff && st.scene.handles == nil {
		return
	}
	st.clock++
	contended := st.scene.note(a, op, off)
	if st.scene.focus != nil && !st.wide {
		contended = contended && st.scene.focus(st.scene, a.index, off)
	}
	write := op.Changes() || op == region.OpCall
	if contended {
		st.seen++
		if st.cuts != nil {
			if f, cut := st.cuts[st.seen]; cut {
				a.budget, a.then = 0, f
			}
		} else if a.steps > 0 && len(st.ran) >= st.from {
			st.points = append(st.points, point{len(st.ran), turn{a.index, a.steps, goOn}, false, write, st.met, st.kept.lock})
		}
	}
	for a.budget == 0 {
		a.unhide()
		a.state = a.then
		st.next = pending{off, write, op == region.OpCall, a.then == goOn}
		st.yield <- struct{}{}
		<-a.wake
		if a.state == die {
			panic(death{})
		}
	}
	st.met = st.met || st.kept.conflicts(off, write)
	a.budget--
	a.steps++
	if a.total++; a.total > bound {
		panic(fmt.Sprintf("actor %d does not end", a.index))
	}
	if st.scene.weak {
		st.reorder(a, op, off)
	}
}

// wait ends the turn of an actor that can go on only after another one.
func (st *stage) wait(a *actor) {
	a.unhide()
	st.next = pending{}
	a.waits = true
	st.yield <- struct{}{}
	<-a.wake
	a.waits = false
	if a.state == die {
		panic(death{})
	}
}

// note remembers who does what to a word, and reports whether several do and
// one of them writes. Only there does it matter who comes first.
func (sc *scene) note(a *actor, op region.Op, off uint64) (contended bool) {
	u := sc.words[off]
	if u == nil {
		u = &use{}
		sc.words[off] = u
	}
	me := uint8(1) << a.index
	if op.Changes() || op == region.OpCall {
		u.writers |= me
	} else {
		u.readers |= me
	}
	all := u.readers | u.writers
	return u.writers != 0 && all&(all-1) != 0
}

// reorder lets a load of the horizon have happened as early as arm64 may: right
// after the last atomic access before it, ahead of all plain loads in between,
// unless there is a fence. (The value is put in place for the load, and the
// true one back before anything else happens.)
func (st *stage) reorder(a *actor, op region.Op, off uint64) {
	a.unhide()
	m := st.heap.Mem()
	switch {
	case op == region.OpRead || op == region.OpWrite:
	case op == region.OpLoad && off == layout.OffHorizon && a.early != 0:
		a.repair = m.Load(off)
		m.Store(off, a.early)
		a.early = 0
	case op == region.OpFence:
		a.early = 0
	default:
		a.early = m.Load(layout.OffHorizon)
	}
}

func (a *actor) unhide() {
	if a.repair != 0 {
		m := a.st.heap.Mem()
		m.Store(layout.OffHorizon, a.repair)
		a.repair = 0
	}
}

// attach opens a handle for an actor.
func (a *actor) attach(t testing.TB) *Store {
	arena, kill, err := a.st.heap.Attach(func(op region.Op, off uint64) { a.st.touch(op, off) })
	require.NoError(t, err)
	a.kills = append(a.kills, kill)
	s := newStore(arena, "heap")
	s.hostile = a.st.scene.hash
	return s
}

// begin starts an actor's goroutine, which waits for its first turn.
func (st *stage) begin(a *actor, ops []op) {
	go func() {
		defer func() {
			if e := recover(); e != nil && a.state != die {
				st.failed = fmt.Sprintf("actor %d: %v", a.index, e)
			}
			a.unhide()
			if a.state == die {
				a.kill()
			}
			a.done = true
			st.yield <- struct{}{}
		}()
		<-a.wake
		if a.state == die {
			return
		}
		for _, o := range ops {
			st.clock++
			before := a.total
			a.past = append(a.past, past{op: o, call: st.clock, ret: -1})
			result := o.do(a)
			st.clock++
			p := &a.past[len(a.past)-1]
			p.ret, p.steps, p.result = st.clock, a.total-before, result
		}
	}()
}

func (a *actor) kill() {
	for _, k := range a.kills {
		k()
	}
}

// open puts the actors of a scene on a copy of its prepared store, each with a
// slot, by writing a key of its own.
func (sc *scene) open(t testing.TB, base *alloc.Heap) *stage {
	st := &stage{t: t, scene: sc, heap: base.Clone(), yield: make(chan struct{})}
	for i, ops := range sc.actors {
		a := &actor{st: st, index: i, state: goOn, wake: make(chan struct{})}
		st.actors = append(st.actors, a)
		if sc.handles != nil && sc.handles[i] != i {
			a.store = st.actors[sc.handles[i]].store
		} else {
			a.store = a.attach(t)
		}
		require.NoError(t, a.store.Set(fmt.Appendf(nil, "actor%d", i), nil))
		st.begin(a, ops)
	}
	if sc.warm != nil {
		for _, o := range sc.warm() {
			o.do(st.actors[0])
		}
	}
	for _, a := range st.actors {
		for i := range a.store.writers.lanes {
			a.store.writers.lanes[i].crowded.Store(sc.crowd)
		}
	}
	st.ready = true
	return st
}

// run takes one turn and reports whether the actor could take it.
func (st *stage) run(u turn) bool {
	a := st.actors[u.actor]
	if a.done || a.state != goOn {
		return false
	}
	a.budget, a.then, a.steps = u.steps, u.then, 0
	st.kept, st.next = st.next, pending{}
	st.met = !st.kept.ok
	st.resume(a)
	u.steps = a.steps
	if a.done {
		u.then = goOn
	} else {
		u.then = a.state
		st.share(a)
	}
	if a.done && a.state != die {
		u.steps = -1
	}
	st.ran = append(st.ran, u)
	if (a.done || a.waits) && len(st.ran) > st.from {
		st.points = append(st.points, point{ran: len(st.ran), other: true})
	}
	return true
}

// resume lets an actor run until it yields or ends.
func (st *stage) resume(a *actor) {
	st.running = a
	a.wake <- struct{}{}
	<-st.yield
}

// share lets the whole process of an actor have its fate. The goroutines of the
// dead end, so that their locks are dropped.
func (st *stage) share(a *actor) {
	for _, b := range st.actors {
		if a.state == goOn || b.store != a.store {
			continue
		}
		if !b.done {
			if b.state = a.state; b.state == die {
				st.resume(b)
			}
		}
		if a.state == die {
			b.kill()
		}
	}
}

// play runs a schedule. What it leaves undone is done in the order of the
// actors.
func (sc *scene) play(t testing.TB, base *alloc.Heap, turns []turn) *stage {
	st := sc.open(t, base)
	st.from = len(turns) - 1
	for _, u := range turns {
		st.run(u)
	}
	st.finish()
	return st
}

const waitForEver = "the actors wait for each other for ever"

// finish lets all actors come to their ends. One of those that wait for others of their
// process can always go on.
func (st *stage) finish() {
	for left, rounds := true, 0; left; rounds++ {
		if left = false; rounds > 1000 {
			st.failed = waitForEver
			return
		}
		for i := range st.actors {
			left = st.run(turn{i, -1, goOn}) || left
		}
	}
}

// judge checks what a schedule has led to: some order of whole operations
// explains every result and the end; the ledger adds up, with the stopped still
// there and again when they are dead; no page is hidden from searches; the store
// goes on.
func (st *stage) judge(before contents) error {
	if st.failed != nil {
		return fmt.Errorf("%v", st.failed)
	}
	arena, _, err := st.heap.Attach(nil)
	if err != nil {
		return fmt.Errorf("opening: %w", err)
	}
	s := newStore(arena, "heap")
	s.hostile = st.scene.hash
	stopped := false
	for _, a := range st.actors {
		stopped = stopped || a.state == stop
	}
	least, most := st.handles()
	if n := st.heap.Attached() - 1; st.scene.handles != nil && (n < least || n > most) {
		return fmt.Errorf("%d handles are attached, expected %d to %d", n, least, most)
	}
	ledger := func(quiet bool) error {
		rep, err := s.Check(st.t.Context(), nil)
		if err != nil || rep.LeakedBytes != 0 || quiet && (rep.InFlightBytes != 0 || !rep.Quiet) {
			return fmt.Errorf("the ledger: %w %+v", err, rep)
		}
		if hidden := s.a.Hidden(); quiet && len(hidden) > 0 {
			return fmt.Errorf("no hint tells of %d pages that offer something, the first at %#x", len(hidden), hidden[0])
		}
		return nil
	}
	if err := ledger(!stopped); err != nil {
		return err
	}
	end, err := readAll(s)
	if err != nil {
		return err
	}
	if err := st.explain(before, end); err != nil {
		return err
	}
	if stopped {
		for _, a := range st.actors {
			if a.state == stop {
				a.state = die
				st.share(a)
			}
		}
		if _, err := s.Inspect().Adopt(); err != nil {
			return fmt.Errorf("adopting the stopped: %w", err)
		}
		if err := ledger(true); err != nil {
			return err
		}
		if now, err := readAll(s); err != nil || !maps.Equal(now, end) {
			return fmt.Errorf("the death of a stopped actor changed %v to %v, %v", end, now, err)
		}
	}
	if err := s.Set([]byte("more"), []byte("more")); err != nil && !errors.Is(err, ErrFull) {
		return fmt.Errorf("going on: %w", err)
	}
	return s.Close()
}

// handles is how many handles the actors should have: those that are not dead, nor
// closed with nobody inside. If an actor is stopped inside of a closed one, it may be
// about to end it.
func (st *stage) handles() (least, most int) {
	for i, a := range st.actors {
		first, inside, dead := true, false, false
		for j, b := range st.actors {
			if b.store == a.store {
				first = first && j >= i
				inside = inside || !b.done
				dead = dead || b.state == die // and with it those that were done before
			}
		}
		if !first || dead {
			continue
		}
		if closed := a.store.a.Closed(); !closed {
			least, most = least+1, most+1
		} else if inside {
			most++
		}
	}
	return least, most
}

// explain looks for an order of the operations, each at one moment between its
// call and its return, that explains all results and the contents at the end.
// An operation that did not return may have had its effect or not.
func (st *stage) explain(c, end contents) error {
	c = maps.Clone(c)
	lines := make([][]past, len(st.actors))
	for i, a := range st.actors {
		c[fmt.Sprintf("actor%d", i)] = ""
		lines[i] = a.past
	}
	if st.scene.warm != nil {
		for _, o := range st.scene.warm() {
			o.model(c, "")
		}
	}
	failed := map[string]bool{}
	at := make([]int, len(lines)) // operations of each actor that are explained
	var from func(c contents) bool
	from = func(c contents) bool {
		state := ""
		if len(failed) > 0 {
			if state = fmt.Sprint(at, c.digest()); failed[state] {
				return false
			}
		}
		first, left := -1, false // no operation is called after another's return
		for i, l := range lines {
			if at[i] < len(l) {
				left = true
				if r := l[at[i]].ret; r >= 0 && (first < 0 || r < first) {
					first = r
				}
			}
		}
		if !left {
			delete(c, closedMark)
			return maps.Equal(c, end)
		}
		for i, l := range lines {
			if at[i] == len(l) || first >= 0 && l[at[i]].call > first {
				continue
			}
			p := l[at[i]]
			at[i]++
			next := maps.Clone(c)
			got := p.op.model(next, p.result)
			if (p.ret < 0 || got == p.result) && from(next) || p.ret < 0 && from(c) {
				return true
			}
			at[i]--
		}
		if state == "" {
			state = fmt.Sprint(at, c.digest())
		}
		failed[state] = true
		return false
	}
	if from(c) {
		return nil
	}
	var all []string
	for i, l := range lines {
		for _, p := range l {
			all = append(all, fmt.Sprintf("actor %d %s (%d to %d): %s", i, p.op.name, p.call, p.ret, p.result))
		}
	}
	return fmt.Errorf("no order of the operations explains the results and the end %v:\n%s", end, strings.Join(all, "\n"))
}

var digestSeed = maphash.MakeSeed()

// digest is equal for equal contents, and takes much less time than their text.
func (c contents) digest() (sum uint64) {
	for key, value := range c {
		sum += maphash.Comparable(digestSeed, [2]string{key, value})
	}
	return sum
}

// leave lets the goroutines of a stage that nobody judges end.
func (st *stage) leave() {
	for _, a := range st.actors {
		if !a.done {
			a.state = die
			st.resume(a)
		}
	}
}

func formatTurns(turns []turn) string {
	var all []string
	for _, u := range turns {
		s := fmt.Sprintf("%d:%d%c", u.actor, u.steps, u.then)
		all = append(all, strings.TrimSpace(strings.Replace(s, "-1", "*", 1)))
	}
	return strings.Join(all, " ")
}

func parseTurns(t testing.TB, text string) (turns []turn) {
	for _, word := range strings.Fields(text) {
		u := turn{then: goOn}
		if last := fate(word[len(word)-1]); slices.Contains([]fate{die, stop}, last) {
			u.then, word = last, word[:len(word)-1]
		}
		n, err := fmt.Sscanf(strings.Replace(word, "*", "-1", 1), "%d:%d", &u.actor, &u.steps)
		require.True(t, err == nil && n == 2, word)
		turns = append(turns, u)
	}
	return turns
}
