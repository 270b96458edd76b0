//go:build shmhook

package shm

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/alloc"
	"github.com/seed-869cc763/shmkv/internal/testdir"
)

// Which schedules are tried: all with few preemptions, as far as the flags
// allow, then random ones.
//
// An actor is preempted, stopped or dies only before an access to a word that
// several actors use and one of them writes: elsewhere nobody can tell. Which
// words these are is learnt from the schedules themselves, so the random ones
// come first. Of schedules that differ only in the order of accesses that do not
// conflict one is enough: see pending. A death before a read leaves what a death before the next change
// leaves, so the dying and the stopping are before changes only, and happen to
// one actor of a schedule at most.

var (
	flagSchedules   = flag.Int("schedules", 0, "most schedules of a scene to try for each number of preemptions; 0: 10, or 80 with SHMKV_LONG=1")
	flagPreemptions = flag.Int("preemptions", 3, "most preemptions of the schedules that are enumerated")
	flagTurns       = flag.String("turns", "", "the schedule to run, as a failure prints it")
	flagSeed        = flag.Uint64("seed", 1, "seed of the random choices")
)

// quit ends the other scenes and stories once one has failed.
var quit atomic.Bool

type search struct {
	t      testing.TB
	sc     *scene
	base   *alloc.Heap
	before contents
	rng    *rand.Rand

	runs, deaths, stops int
	most                map[string]int // accesses in one operation, by its first word
}

// start prepares the store of a scene.
func (sc *scene) start(t testing.TB) *search {
	h, err := alloc.NewHeap(max(sc.size, 1<<20))
	require.NoError(t, err)
	s, _ := attachPlain(t, h)
	s.hostile = sc.hash
	sc.prepare(t, h, s)
	require.NoError(t, s.Close())
	reader, _ := attachPlain(t, h.Clone())
	reader.hostile = sc.hash
	before := read(t, reader)
	sn, err := reader.Snapshot()
	require.NoError(t, err)
	sc.rootPage = sn.pin.Off &^ 4095
	if !sc.lazy {
		h.SetEager()
	}
	sc.words = map[uint64]*use{}
	return &search{t: t, sc: sc, base: h, before: before, most: map[string]int{}}
}

// bounds is how many accesses to shared memory an operation may take, whatever
// the others do: readers few, since nobody makes them try again for ever; writers
// as many as it takes to adopt all the dead, to look for space everywhere, to try
// once more for every commit of another, and to look whether the gate is open.
var bounds = map[string]int{"get": 200, "peek": 100, "view": 300, "fetch": 300, "higher": 300, "rank": 300, "look": 300}

const otherBound = 50_000

// try judges a schedule that was played.
func (x *search) try(st *stage) error {
	err := st.judge(x.before)
	st.leave()
	st.heap.Free()
	x.runs++
	for _, u := range st.ran {
		switch u.then {
		case die:
			x.deaths++
		case stop:
			x.stops++
		}
	}
	for _, a := range st.actors {
		for _, p := range a.past {
			kind, _, _ := strings.Cut(p.op.name, " ")
			x.most[kind] = max(x.most[kind], p.steps)
			bound, ok := bounds[kind]
			if !ok {
				bound = otherBound
			}
			if err == nil && p.steps > bound {
				err = fmt.Errorf("%s took %d accesses, expected at most %d", p.op.name, p.steps, bound)
			}
		}
	}
	return err
}

// random plays a schedule of which only the number of preemptions is known:
// actors have priorities, the highest runs, and at each cut the running one
// gets the lowest (this is PCT, by Burckhardt and others).
func (x *search) random(cuts int, of int, wide bool) *stage {
	st := x.sc.open(x.t, x.base)
	st.wide = wide
	n := len(st.actors)
	st.cuts = map[int]fate{}
	for range cuts {
		st.cuts[1+x.rng.IntN(of)] = goOn
	}
	if x.rng.IntN(2) == 0 {
		st.cuts[1+x.rng.IntN(of)] = []fate{die, stop}[x.rng.IntN(2)]
	}
	prio, lowest := x.rng.Perm(n), 0
	for waits := 0; ; {
		next := -1
		for i, a := range st.actors {
			if !a.done && a.state == goOn && (next < 0 || prio[i] > prio[next]) {
				next = i
			}
		}
		if next < 0 {
			return st
		}
		st.run(turn{next, -1, goOn})
		if waits++; !st.actors[next].waits {
			waits = 0
		} else if waits > 100 {
			st.failed = waitForEver
			return st
		}
		lowest--
		prio[next] = lowest
	}
}

// A sample keeps some of the schedules that it is given, each as likely as
// another.
type sample struct {
	most, found int
	kept        [][]turn
}

func (s *sample) add(rng *rand.Rand, turns ...[]turn) {
	s.found++
	if len(s.kept) < s.most {
		s.kept = append(s.kept, slices.Concat(turns...))
	} else if i := rng.IntN(s.found); i < s.most {
		s.kept[i] = slices.Concat(turns...)
	}
}

// branch adds the schedules that go another way at one point of st's end, to
// those in which all actors live or to the others.
func (x *search) branch(st *stage, living, others *sample) {
	for _, p := range st.points {
		ran := st.ran[:p.ran]
		gone, fated := make([]bool, len(st.actors)), false
		for _, u := range ran {
			gone[u.actor] = gone[u.actor] || u.steps < 0 || u.then != goOn
			fated = fated || u.then != goOn
		}
		then := func(to *sample, u ...turn) {
			left := false
			for b := range st.actors {
				if gone[b] || len(u) > 0 && b == u[0].actor {
					continue
				}
				left = true
				if p.other && p.ran < len(st.ran) && st.ran[p.ran].actor == b {
					continue // as it was
				}
				to.add(x.rng, ran, u, []turn{{b, -1, goOn}})
			}
			if !left && len(u) > 0 && u[0].then != goOn {
				to.add(x.rng, ran, u)
			}
		}
		same := living
		if fated {
			same = others
		}
		switch {
		case p.other:
			then(same)
			continue
		case p.met:
			then(same, p.turn)
		}
		if p.write && !fated && (p.met || p.lock) {
			for _, f := range []fate{die, stop} {
				then(others, turn{p.turn.actor, p.turn.steps, f})
			}
		}
	}
}

// explore returns the first schedule that fails, and how.
func (x *search) explore() (report string, failing []turn, err error) {
	most := cmp.Or(*flagSchedules, testdir.Scale(10, 80))
	// Contended accesses: where the scene's focus is, and anywhere. Half of the
	// schedules are without the focus, since words that only an adopter reads
	// become contended by deaths elsewhere.
	contended := [2]int{1, 1}
	for i := range most {
		wide := i % 2
		st := x.random(1+i/2%5, contended[wide], wide == 1)
		contended[wide] = max(contended[wide], st.seen)
		if err := x.try(st); err != nil {
			return "", st.ran, err
		}
		if quit.Load() {
			return "", nil, nil
		}
	}
	if contended[0] == 1 {
		return "", nil, errors.New("nothing in the scene's focus is contended")
	}
	report = fmt.Sprintf("%d random, of up to %d contended accesses", most, contended[0])

	var level [][]turn
	for i := range x.sc.actors {
		level = append(level, []turn{{i, -1, goOn}})
	}
	for preemptions := 1; len(level) > 0; preemptions++ {
		living, others := sample{most: most}, sample{most: most / 2}
		if x.sc.deep {
			living.most *= 10
			others.most *= 10
		}
		for _, turns := range level {
			st := x.sc.play(x.t, x.base, turns)
			if err := x.try(st); err != nil {
				return "", turns, err
			}
			if quit.Load() {
				return "", nil, nil
			}
			if preemptions <= *flagPreemptions {
				x.branch(st, &living, &others)
			}
		}
		level = slices.Concat(living.kept, others.kept)
		if preemptions <= *flagPreemptions {
			report += fmt.Sprintf("; %d preemptions: %d of %d, with a fate %d of %d",
				preemptions, len(living.kept), living.found, len(others.kept), others.found)
		}
	}
	return report, nil, nil
}

// shrink leaves out of a failing schedule what it fails without.
func (x *search) shrink(turns []turn, err error) ([]turn, error) {
	for again := true; again; {
		again = false
		for i := range turns {
			fewer := slices.Concat(turns[:i], turns[i+1:])
			if e := x.try(x.sc.play(x.t, x.base, fewer)); e != nil {
				turns, err, again = fewer, e, true
				break
			}
		}
	}
	return turns, err
}

func TestSchedules(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	total := search{most: map[string]int{}}
	t.Cleanup(func() {
		t.Logf("%d schedules, %d with a death, %d with an actor stopped for ever", total.runs, total.deaths, total.stops)
		var most []string
		for _, kind := range slices.Sorted(maps.Keys(total.most)) {
			most = append(most, fmt.Sprintf("%s %d", kind, total.most[kind]))
		}
		t.Logf("most accesses of one operation, beside others that were preempted, stopped or dead: %s", strings.Join(most, ", "))
	})
	for i := range scenes {
		sc := &scenes[i]
		t.Run(sc.name, func(t *testing.T) {
			t.Parallel()
			x := sc.start(t)
			x.rng = rand.New(rand.NewPCG(*flagSeed, uint64(i)))
			if *flagTurns != "" {
				require.NoError(t, x.try(sc.play(t, x.base, parseTurns(t, *flagTurns))))
				return
			}
			report, failing, err := x.explore()
			if err != nil {
				quit.Store(true)
				n := x.runs
				failing, err = x.shrink(failing, err)
				t.Fatalf("found after %d schedules; again: -run 'TestSchedules/^%s$' -turns '%s'\n%v", n, strings.ReplaceAll(sc.name, " ", "_"), formatTurns(failing), err)
			}
			t.Logf("%s: %s", sc.name, report)
			mu.Lock()
			defer mu.Unlock()
			total.runs += x.runs
			total.deaths += x.deaths
			total.stops += x.stops
			for kind, n := range x.most {
				total.most[kind] = max(total.most[kind], n)
			}
		})
	}
}
