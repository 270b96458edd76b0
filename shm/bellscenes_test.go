//go:build shmhook

package shm

import (
	"fmt"
	"strings"

	"github.com/seed-869cc763/shmkv/alloc"
	"github.com/seed-869cc763/shmkv/alloc/layout"
)

// Scenes of rule W2. A waiter of a scene does what Await and its watcher do, but for the
// bounds of time: it looks again only when the bell has rung. So the scheduler finds that
// the actors wait for ever when a ring is lost.

const theBell = 5

// actRing sets a key, then rings the bell.
func actRing(key, value string) op {
	o := actSet(key, value)
	set := o.do
	o.name = "ring after " + o.name
	o.do = func(a *actor) string {
		got := set(a)
		a.store.a.Ring(theBell)
		return got
	}
	return o
}

const gaveUp = "gave up"

// actAwait waits until a key has the value. It gives up when it would sleep and one of the
// ringers is dead or stopped: then there is nobody who must ring.
func actAwait(key, value string, ringers ...int) op {
	return op{"await " + key + "=" + value,
		func(a *actor) string {
			for {
				seen := a.store.a.Listen(theBell)
				if v, err := a.store.Get([]byte(key)); err == nil && string(v) == value {
					return value
				}
				for !a.store.a.HasRung(theBell, seen) {
					for _, i := range ringers {
						if a.st.actors[i].state != goOn {
							return gaveUp
						}
					}
					a.store.a.Yield()
				}
			}
		},
		func(c contents, got string) string {
			if got == gaveUp {
				return gaveUp
			}
			return c[key]
		}}
}

// actListen listens to the bell and goes away, as a waiter does whose context ends or whose
// process dies.
func actListen() op {
	return op{"listen",
		func(a *actor) string { a.store.a.Listen(theBell); return "" },
		func(contents, string) string { return "" }}
}

// bells is the word of the bell, and the root word, by which a change is seen.
func bells(_ *scene, _ int, off uint64) bool {
	return off == layout.BellOff(theBell)|alloc.ProcsBit || off == layout.OffRoot
}

func bellScenes() (all []scene) {
	for _, focus := range []func(*scene, int, uint64) bool{bells, nil} {
		all = append(all,
			scene{prepare: filled(1, 8), focus: focus, actors: [][]op{
				{actAwait("a", "2", 1)}, {actRing("a", "1"), actRing("a", "2")}}},
			scene{prepare: filled(1, 8), focus: focus, actors: [][]op{
				{actAwait("a", "1", 1, 2), actAwait("b", "2", 1, 2)}, {actRing("a", "1")}, {actRing("b", "2")}}},
			scene{prepare: filled(1, 8), focus: focus, actors: [][]op{
				{actAwait("a", "1", 2)}, {actListen(), actAwait("a", "1", 2)}, {actRing("b", "0"), actRing("a", "1")}}},
			scene{prepare: filled(1, 8), focus: focus, actors: [][]op{
				{actRing("a", "1"), actAwait("b", "1", 1)}, {actAwait("a", "1", 0), actRing("b", "1")}}})
	}
	for i := range all {
		var names []string
		for _, ops := range all[i].actors {
			kind, _, _ := strings.Cut(ops[len(ops)-1].name, " ")
			names = append(names, kind)
		}
		all[i].name = fmt.Sprintf("bell %d: %s", i, strings.Join(names, ", "))
		all[i].deep = all[i].focus != nil
	}
	return all
}
