//go:build shmhook

package shm

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/alloc"
	"github.com/seed-869cc763/shmkv/alloc/region"
)

// A deterministic scheduler. The actors of a scene are goroutines, each with a
// hooked handle of its own on one store on the Go heap; exactly one runs at a
// time, and at every access to shared memory it may have to let another run, or
// die. A schedule is a list of turns, so that a failing one can be run again.

var (
	flagSchedules = flag.Int("schedules", 500, "random schedules to try for each scene")
	flagTurns     = flag.String("turns", "", "the schedule to run, as a failure prints it")
	flagSeed      = flag.Uint64("seed", 1, "seed of the random schedules")
)

// A turn lets an actor run for a number of accesses, and perhaps die then.
type turn struct {
	actor, steps int
	die          bool
}

// An op is what an actor does, and what a map would have answered.
type op struct {
	name  string
	do    func(s *Store) string
	model func(c contents) string
}

// A scene is a prepared store and what each actor does with it.
type scene struct {
	name    string
	prepare func(t testing.TB, h *alloc.Heap, s *Store)
	actors  [][]op
}

// A past is an operation that was begun, in a history.
type past struct {
	op        op
	call, ret int // on the common clock of accesses; ret < 0: its actor died in it
	result    string
}

type actor struct {
	index  int
	budget int
	die    bool
	dead   bool
	done   bool
	wake   chan struct{}
	store  *Store
	kill   func()
	past   []past
}

type stage struct {
	t      testing.TB
	heap   *alloc.Heap
	actors []*actor
	yield  chan struct{} // the running actor stops running
	clock  int           // stands still while the actors attach
	ready  bool
	failed any
}

// hook runs at every access of an actor.
func (st *stage) hook(a *actor) {
	if a.dead {
		panic(death{})
	}
	if !st.ready {
		return
	}
	st.clock++
	for a.budget == 0 {
		if a.die {
			a.dead = true
			panic(death{})
		}
		st.yield <- struct{}{}
		<-a.wake
	}
	a.budget--
}

// attach gives an actor its handle and a slot, by writing a key of its own.
func (st *stage) attach(a *actor) {
	arena, kill, err := st.heap.Attach(func(region.Op, uint64) { st.hook(a) })
	require.NoError(st.t, err)
	a.kill, a.store = kill, newStore(arena, "heap")
	require.NoError(st.t, a.store.Set(fmt.Appendf(nil, "actor%d", a.index), nil))
}

// begin starts an actor's goroutine, which waits for its first turn.
func (st *stage) begin(a *actor, ops []op) {
	go func() {
		defer func() {
			if e := recover(); e != nil && !a.dead {
				st.failed = e
			}
			a.kill()
			a.done = true
			st.yield <- struct{}{}
		}()
		<-a.wake
		for _, o := range ops {
			st.clock++
			a.past = append(a.past, past{op: o, call: st.clock, ret: -1})
			result := o.do(a.store)
			st.clock++
			p := &a.past[len(a.past)-1]
			p.ret, p.result = st.clock, result
		}
	}()
}

// play runs a scene by a schedule; what the schedule leaves undone is done in
// the order of the actors, without deaths.
func (sc *scene) play(t testing.TB, base *alloc.Heap, turns []turn) *stage {
	st := &stage{t: t, heap: base.Clone(), yield: make(chan struct{})}
	for i, ops := range sc.actors {
		a := &actor{index: i, wake: make(chan struct{})}
		st.actors = append(st.actors, a)
		st.attach(a)
		st.begin(a, ops)
	}
	st.ready = true
	run := func(u turn) {
		a := st.actors[u.actor]
		if a.done {
			return
		}
		a.budget, a.die = u.steps, u.die
		a.wake <- struct{}{}
		<-st.yield
	}
	for _, u := range turns {
		run(u)
	}
	// No actor waits for another: each ends in a bounded number of accesses.
	const bound = 200_000
	for i, a := range st.actors {
		run(turn{actor: i, steps: bound})
		if !a.done {
			t.Fatalf("%s: %v: actor %d did not end within %d accesses", sc.name, turns, i, bound)
		}
	}
	return st
}

// explain looks for an order of the operations, each at one moment between its
// call and its return, that explains all results and the contents at the end.
// An operation that its actor died in may have had its effect or not.
func explain(c contents, hist []past, end contents) bool {
	failed := map[string]bool{}
	var from func(c contents, left []int) bool
	from = func(c contents, left []int) bool {
		if len(left) == 0 {
			return maps.Equal(c, end)
		}
		state := fmt.Sprint(left, c)
		if failed[state] {
			return false
		}
		first := -1 // no operation is called after another's return
		for _, i := range left {
			if r := hist[i].ret; r >= 0 && (first < 0 || r < first) {
				first = r
			}
		}
		for k, i := range left {
			p := hist[i]
			if first >= 0 && p.call > first {
				continue
			}
			rest := append(slices.Clone(left[:k]), left[k+1:]...)
			next := maps.Clone(c)
			if got := p.op.model(next); p.ret < 0 || got == p.result {
				if from(next, rest) {
					return true
				}
			}
			if p.ret < 0 && from(c, rest) {
				return true
			}
		}
		failed[state] = true
		return false
	}
	left := make([]int, len(hist))
	for i := range left {
		left[i] = i
	}
	return from(c, left)
}

// judge checks what a schedule has led to.
func (sc *scene) judge(t testing.TB, st *stage, before contents, turns []turn) {
	where := fmt.Sprintf("%s: -turns '%s'", sc.name, formatTurns(turns))
	if st.failed != nil {
		t.Fatalf("%s: %v", where, st.failed)
	}
	s, _ := attachPlain(t, st.heap)
	rep, err := s.Check(t.Context(), nil)
	if err != nil || rep.LeakedBytes != 0 || rep.InFlightBytes != 0 {
		t.Fatalf("%s: %v %+v", where, err, rep)
	}
	var hist []past
	for _, a := range st.actors {
		hist = append(hist, a.past...)
	}
	before = maps.Clone(before)
	for i := range st.actors {
		before[fmt.Sprintf("actor%d", i)] = ""
	}
	if end := read(t, s); !explain(before, hist, end) {
		for _, p := range hist {
			t.Logf("%d-%d %s: %q", p.call, p.ret, p.op.name, p.result)
		}
		t.Fatalf("%s: no order of the operations explains the results and the end %v", where, end)
	}
	if err := s.Set([]byte("more"), []byte("more")); err != nil {
		t.Fatalf("%s: going on: %v", where, err)
	}
	if err := s.Close(); err != nil {
		t.Fatalf("%s: closing: %v", where, err)
	}
}

func formatTurns(turns []turn) (s string) {
	for _, u := range turns {
		mark := ""
		if u.die {
			mark = "!"
		}
		s += fmt.Sprintf("%d:%d%s ", u.actor, u.steps, mark)
	}
	return s
}

func parseTurns(t testing.TB, text string) (turns []turn) {
	for text != "" {
		var u turn
		n, err := fmt.Sscanf(text, "%d:%d", &u.actor, &u.steps)
		require.True(t, err == nil && n == 2, text)
		word := fmt.Sprintf("%d:%d", u.actor, u.steps)
		text = text[len(word):]
		if text != "" && text[0] == '!' {
			u.die, text = true, text[1:]
		}
		for text != "" && text[0] == ' ' {
			text = text[1:]
		}
		turns = append(turns, u)
	}
	return turns
}

func actSet(key, value string) op {
	return op{"set " + key + "=" + value,
		func(s *Store) string { return fmt.Sprint(s.Set([]byte(key), []byte(value))) },
		func(c contents) string { c[key] = value; return "<nil>" }}
}

func actGet(key string) op {
	return op{"get " + key,
		func(s *Store) string {
			v, err := s.Get([]byte(key))
			if err == ErrNotFound {
				return "absent"
			}
			return fmt.Sprintf("%s %v", v, err)
		},
		func(c contents) string {
			if v, ok := c[key]; ok {
				return v + " <nil>"
			}
			return "absent"
		}}
}

func actDelete(key string) op {
	return op{"delete " + key,
		func(s *Store) string { existed, err := s.Delete([]byte(key)); return fmt.Sprint(existed, err) },
		func(c contents) string { _, ok := c[key]; delete(c, key); return fmt.Sprint(ok, " <nil>") }}
}

func actAppend(key string) op {
	return op{"append to " + key,
		func(s *Store) string {
			return fmt.Sprint(s.Modify([]byte(key), func(old []byte, _ bool) ([]byte, bool) {
				return append(append([]byte{}, old...), '+'), true
			}))
		},
		func(c contents) string { c[key] += "+"; return "<nil>" }}
}

// actMove moves what one key has to another, in a transaction.
func actMove(from, to string) op {
	return op{"move " + from + " to " + to,
		func(s *Store) string {
			return fmt.Sprint(s.Update(func(tx *Tx) error {
				v, err := tx.Get([]byte(from))
				if err != nil {
					return nil
				}
				if _, err := tx.Delete([]byte(from)); err != nil {
					return err
				}
				return tx.Set([]byte(to), v)
			}))
		},
		func(c contents) string {
			if v, ok := c[from]; ok {
				delete(c, from)
				c[to] = v
			}
			return "<nil>"
		}}
}

// actView reads all of a snapshot, twice.
func actView() op {
	return op{"view",
		func(s *Store) (text string) {
			err := s.View(func(sn *Snapshot) error {
				a, b := contents{}, contents{}
				for k, v := range sn.All() {
					a[string(k)] = string(v)
				}
				for k, v := range sn.All() {
					b[string(k)] = string(v)
				}
				if !maps.Equal(a, b) {
					return fmt.Errorf("a snapshot changed from %v to %v", a, b)
				}
				text = fmt.Sprint(a)
				return nil
			})
			return text + fmt.Sprint(err)
		},
		func(c contents) string { return fmt.Sprint(c) + "<nil>" }}
}

// churn overwrites one key until reclaim has come round.
func churn(n int, then ...op) (all []op) {
	for i := range n {
		all = append(all, actSet("churn", fmt.Sprintf("value %d", i)))
	}
	return append(all, then...)
}

// actAdopt adopts whoever is dead by now.
func actAdopt() op {
	return op{"adopt",
		func(s *Store) string { _, err := s.Adopt(); return fmt.Sprint(err) },
		func(contents) string { return "<nil>" }}
}

func actClose() op {
	return op{"close",
		func(s *Store) string { return fmt.Sprint(s.Close()) },
		func(contents) string { return "<nil>" }}
}

// tiredOut prepares a store whose queue holds much, so that the next commits
// reclaim.
func tiredOut(t testing.TB, h *alloc.Heap, s *Store) {
	filled(20, 30)(t, h, s)
	for i := range 100 {
		require.NoError(t, s.Set([]byte("churn"), fmt.Appendf(nil, "%d", i)))
	}
}

var scenes = []scene{
	{"two writers of two keys", filled(3, 8), [][]op{{actSet("a", "1"), actSet("key001", "x")}, {actSet("b", "2"), actSet("key002", "y")}}},
	{"two writers of one key", filled(1, 8), [][]op{{actAppend("a"), actAppend("a")}, {actAppend("a"), actAppend("a")}}},
	{"insert and delete", filled(3, 8), [][]op{{actSet("a", "1"), actDelete("key001")}, {actDelete("a"), actSet("key001", "z")}}},
	{"writer and reader", filled(3, 8), [][]op{{actSet("key001", "1"), actSet("key001", "2")}, {actGet("key001"), actGet("key001"), actGet("absent")}}},
	{"mover and viewer", filled(3, 8), [][]op{{actMove("key001", "a"), actMove("a", "key001")}, {actView(), actView()}}},
	{"two movers", filled(3, 8), [][]op{{actMove("key001", "a")}, {actMove("key001", "b")}}},
	{"reclaimer and reader", tiredOut, [][]op{churn(40), {actGet("key003"), actGet("churn2"), actGet("key003")}}},
	{"reclaimer and viewer", tiredOut, [][]op{churn(40), {actGet("key003"), actView()}}},
	{"two reclaimers", tiredOut, [][]op{churn(36, actClose()), {actSet("key003", "1"), actMove("key003", "key004")}}},
	{"writer and adopter", filled(3, 8), [][]op{{actSet("a", "1"), actSet("a", "2")}, {actAdopt(), actSet("b", "1"), actAdopt()}}},
	{"writer and two adopters", filled(3, 8), [][]op{{actSet("a", "1"), actDelete("key001")}, {actAdopt(), actAdopt()}, {actAdopt(), actSet("a", "3")}}},
	{"reclaimer and adopters", tiredOut, [][]op{churn(40), {actAdopt(), actAdopt(), actSet("key001", "1")}, {actAdopt(), actMove("key001", "x")}}},
}

// lengths measures how many accesses each actor makes when it runs alone after
// those before it.
func (sc *scene) lengths(t testing.TB, base *alloc.Heap) []int {
	var n []int
	for i := range sc.actors {
		alone := scene{sc.name, nil, sc.actors[i : i+1]}
		n = append(n, alone.play(t, base, nil).clock)
	}
	return n
}

func TestSchedules(t *testing.T) {
	var total, deaths atomic.Int64
	t.Cleanup(func() { t.Logf("%d schedules, %d of them with a death", total.Load(), deaths.Load()) })
	for i := range scenes {
		sc := &scenes[i]
		t.Run(sc.name, func(t *testing.T) {
			t.Parallel()
			h, err := alloc.NewHeap(1 << 20)
			require.NoError(t, err)
			s, _ := attachPlain(t, h)
			sc.prepare(t, h, s)
			before := read(t, s)
			require.NoError(t, s.Close())

			try := func(turns []turn) {
				st := sc.play(t, h, turns)
				sc.judge(t, st, before, turns)
				total.Add(1)
				for _, a := range st.actors {
					if a.dead {
						deaths.Add(1)
						break
					}
				}
			}
			if *flagTurns != "" {
				try(parseTurns(t, *flagTurns))
				return
			}
			lengths := sc.lengths(t, h)
			n := len(sc.actors)
			// One preemption, at points spread over every actor: it goes on
			// after the others have finished, or dies.
			const points = 300
			for a := range n {
				for at := 0; at < lengths[a]; at += 1 + lengths[a]/points {
					for b := range n {
						if b == a {
							continue
						}
						try([]turn{{actor: a, steps: at}, {actor: b, steps: 1 << 30}})
						try([]turn{{actor: a, steps: at, die: true}, {actor: b, steps: 1 << 30}})
					}
				}
			}
			// Random schedules with a few preemptions and at most one death.
			rng := rand.New(rand.NewPCG(*flagSeed, uint64(i)))
			for range *flagSchedules {
				var turns []turn
				mayDie := rng.IntN(2) == 0
				for range 2 + rng.IntN(6) {
					u := turn{actor: rng.IntN(n)}
					u.steps = rng.IntN(1 + lengths[u.actor]/(1+rng.IntN(8)))
					if mayDie && rng.IntN(3) == 0 {
						u.die, mayDie = true, false
					}
					turns = append(turns, u)
				}
				try(turns)
			}
		})
	}
}
