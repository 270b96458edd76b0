//go:build shmhook

package shm

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/alloc"
	"github.com/seed-869cc763/shmkv/alloc/layout"
	"github.com/seed-869cc763/shmkv/alloc/region"
	"github.com/seed-869cc763/shmkv/internal/testdir"
)

// Crash points. An actor works on a store on the Go heap through a hooked
// handle and dies at one of its accesses; then another handle adopts it. A death
// before a read leaves what a death before the next change leaves, so the deaths
// are at changes only.

var crashAll = flag.Bool("crash-all", false, "try every pair of crash points, of an operation and of its adoption")

// death is what the hook of a dying actor panics with.
type death struct{}

// mortal is an actor that dies before its dieAt-th change, if it gets there.
type mortal struct {
	heap    *alloc.Heap
	warm    bool // what it does does not count yet
	changes int
	dieAt   int // -1: never
	dead    bool
	stray   string
}

func (m *mortal) hook(op region.Op, off uint64) {
	if m.dead {
		panic(death{}) // the dead touch nothing
	}
	if off&alloc.ProcsBit == 0 && !m.heap.Backed(off) && m.stray == "" {
		m.stray = fmt.Sprintf("%v of a hole at %#x", op, off)
	}
	if op == region.OpLoad || op == region.OpRead || m.warm {
		return
	}
	if m.changes == m.dieAt {
		m.dead = true
		panic(death{})
	}
	m.changes++
}

// live runs fn as the actor's life and reports whether it died in it.
func (m *mortal) live(fn func()) (died bool) {
	defer func() {
		if e := recover(); e != nil {
			// What deferred calls of the dead stumble over is not real.
			if !m.dead {
				panic(e)
			}
			died = true
		}
	}()
	fn()
	return false
}

// attach opens a store of the actor's own on its heap.
func (m *mortal) attach(t testing.TB) (s *Store, die func()) {
	a, die, err := m.heap.Attach(m.hook)
	require.NoError(t, err)
	return newStore(a, "heap"), die
}

func attachPlain(t testing.TB, h *alloc.Heap) (*Store, func()) {
	a, die, err := h.Attach(nil)
	require.NoError(t, err)
	return newStore(a, "heap"), die
}

func (c contents) with(key, value string) contents {
	d := maps.Clone(c)
	d[key] = value
	return d
}

func (c contents) without(key string) contents {
	d := maps.Clone(c)
	delete(d, key)
	return d
}

func read(t testing.TB, s *Store) contents {
	c, err := readAll(s)
	require.NoError(t, err)
	return c
}

func readAll(s *Store) (contents, error) {
	c := contents{}
	err := s.View(func(sn *Snapshot) error {
		for k, v := range sn.All() {
			c[string(k)] = string(v)
		}
		if len(c) != sn.Len() {
			return fmt.Errorf("%d entries were found and %d are counted", len(c), sn.Len())
		}
		return readMaps(sn, c)
	})
	return c, err
}

// A story is a sequence of operations upon a prepared store.
type story struct {
	name    string
	size    uint64
	limit   uint64 // bytes of memory behind the store, 0 = any
	prepare func(t testing.TB, h *alloc.Heap, s *Store)
	// beside are others who are attached, alive, and do nothing.
	beside func(t testing.TB, h *alloc.Heap)
	// warm is what the actor does before, without dying.
	warm  func(t testing.TB, h *alloc.Heap, s *Store)
	holds bool // a snapshot holds something in the end
	// steps perform one operation each and say what the contents are
	// afterwards.
	steps func(before contents) []step
	hash  func([]byte) uint64
}

type step struct {
	do    func(s *Store) error
	after contents
}

func filled(n, size int) func(testing.TB, *alloc.Heap, *Store) { return refilled(n, size, 0) }

// refilled is filled with other values, by their generation.
func refilled(n, size int, generation byte) func(testing.TB, *alloc.Heap, *Store) {
	return func(t testing.TB, _ *alloc.Heap, s *Store) {
		for i := range n {
			require.NoError(t, s.Set(fmt.Appendf(nil, "key%03d", i), bytes.Repeat([]byte{byte(i) + generation}, size)))
		}
	}
}

// sparseStore prepares slabs of which a tenth is in use.
func sparseStore(t testing.TB, h *alloc.Heap, s *Store) {
	h.SetEager()
	for _, keep := range []bool{true, false} {
		require.NoError(t, s.Update(func(tx *Tx) error {
			for i := range 400 {
				key := fmt.Appendf(nil, "key%04d", i)
				if keep {
					require.NoError(t, tx.Set(key, bytes.Repeat([]byte{byte(i)}, 300)))
				} else if i%10 != 0 {
					_, err := tx.Delete(key)
					require.NoError(t, err)
				}
			}
			return nil
		}))
	}
	require.NoError(t, s.Close()) // so that nothing is left to be reclaimed
}

// fullOfSparseSlabs prepares a store that has no two free pages in a row, and slabs
// with few entries in each.
func fullOfSparseSlabs(t testing.TB, h *alloc.Heap, s *Store) {
	n := 0
	for ; ; n++ {
		if err := s.Set(fmt.Appendf(nil, "key%04d", n), bytes.Repeat([]byte{byte(n)}, 400)); err != nil {
			require.ErrorIs(t, err, ErrFull)
			break
		}
	}
	for i := range n {
		if i%9 > 0 {
			_, err := s.Delete(fmt.Appendf(nil, "key%04d", i))
			require.NoError(t, err)
		}
	}
	require.NoError(t, s.Close()) // so that nothing is left to be reclaimed
}

func setStep(before contents, key, value string) step {
	return step{func(s *Store) error { return s.Set([]byte(key), []byte(value)) }, before.with(key, value)}
}

func one(st step) []step { return []step{st} }

// sets is n overwrites and inserts, which bring reclaim with them.
func sets(before contents, n, size int) (all []step) {
	for i := range n {
		st := setStep(before, fmt.Sprintf("key%03d", i%20), strings.Repeat("v", size+i%3))
		all = append(all, st)
		before = st.after
	}
	return all
}

// holder holds a snapshot.
func holder(t testing.TB, h *alloc.Heap) {
	s, _ := attachPlain(t, h)
	_, err := s.Snapshot()
	require.NoError(t, err)
}

// nearlyFullDeferred overwrites what a snapshot holds until the slot's page of
// deferred blocks has room for a few more.
func nearlyFullDeferred(t testing.TB, h *alloc.Heap, s *Store) {
	m := h.Mem()
	for i := range 298 {
		require.NoError(t, s.Set(fmt.Appendf(nil, "key%03d", i), []byte("other")))
		for slot := range uint64(4) {
			page := m.Load(layout.OffDir + slot*8)
			for j := uint64(0); page != 0 && j < 8; j++ {
				if deferred := m.Load(page + layout.SlotDeferred + j*8); deferred != 0 && m.Load(deferred+layout.ChunkCount) >= layout.ChunkCap-2 {
					return
				}
			}
		}
	}
	t.Fatal("no deferred page becomes full")
}

var stories = append(mapStories(), []story{
	{name: "first insert", size: 1 << 20, steps: func(b contents) []step { return one(setStep(b, "a", "1")) }},
	{name: "insert", size: 1 << 20, prepare: filled(70, 20), steps: func(b contents) []step { return one(setStep(b, "new", "value")) }},
	{name: "set of the same value", size: 1 << 20, prepare: filled(70, 20), steps: func(b contents) []step {
		return one(setStep(b, "key007", string(bytes.Repeat([]byte{7}, 20))))
	}},
	{name: "overwrite", size: 1 << 20, prepare: filled(70, 20), steps: func(b contents) []step { return one(setStep(b, "key007", "other")) }},
	{name: "delete", size: 1 << 20, prepare: filled(70, 20), steps: func(b contents) []step {
		return one(step{func(s *Store) error { _, err := s.Delete([]byte("key007")); return err }, b.without("key007")})
	}},
	{name: "delete the last", size: 1 << 20, prepare: filled(1, 20), steps: func(b contents) []step {
		return one(step{func(s *Store) error { _, err := s.Delete([]byte("key000")); return err }, contents{}})
	}},
	{name: "collisions", size: 1 << 20, hash: func([]byte) uint64 { return 42 }, prepare: filled(5, 20), steps: func(b contents) []step {
		x := setStep(b, "new", "value")
		return []step{x, {func(s *Store) error { _, err := s.Delete([]byte("key002")); return err }, x.after.without("key002")}}
	}},
	{name: "batch", size: 1 << 20, prepare: filled(40, 20), steps: func(b contents) []step {
		after := maps.Clone(b)
		for i := range 30 {
			after[fmt.Sprintf("key%03d", i+20)] = strings.Repeat("batch", i)
		}
		delete(after, "key003")
		return one(step{func(s *Store) error {
			return s.Update(func(tx *Tx) error {
				for i := range 30 {
					if err := tx.Set(fmt.Appendf(nil, "key%03d", i+20), bytes.Repeat([]byte("batch"), i)); err != nil {
						return err
					}
				}
				_, err := tx.Delete([]byte("key003"))
				return err
			})
		}, after})
	}},
	{name: "group", size: 1 << 20, prepare: filled(40, 20), steps: func(b contents) []step {
		after := maps.Clone(b)
		var edits []*edit
		for i := range 12 {
			key, value := fmt.Sprintf("key%03d", i*5), strings.Repeat("group", i)
			after[key] = value
			edits = append(edits, &edit{verb: set, key: []byte(key), value: []byte(value)})
		}
		delete(after, "key003")
		after["key004"] = "swapped"
		edits = append(edits, &edit{verb: remove, key: []byte("key003")}, &edit{verb: remove, key: []byte("none")},
			&edit{verb: swap, key: []byte("key004"), value: []byte("swapped")})
		return one(step{func(s *Store) error {
			version := s.Version()
			together(s, edits...)
			if s.Version() != version+1 {
				return errors.New("the group is several commits")
			}
			for _, e := range edits {
				if e.err != nil {
					return e.err
				}
			}
			return nil
		}, after})
	}},
	{name: "batch that gives up", size: 1 << 20, prepare: filled(40, 20), steps: func(b contents) []step {
		return one(step{func(s *Store) error {
			_ = s.Update(func(tx *Tx) error {
				for i := range 10 {
					if err := tx.Set(fmt.Appendf(nil, "key%03d", i+35), bytes.Repeat([]byte("x"), 40000)); err != nil {
						return err
					}
					if i == 5 {
						_, _ = tx.Delete([]byte("key036"))
					}
				}
				return fmt.Errorf("no")
			})
			return nil
		}, b})
	}},
	{name: "batch with a long log", size: 4 << 20, prepare: filled(10, 20), steps: func(b contents) []step {
		after := maps.Clone(b)
		for i := range 500 {
			after[fmt.Sprintf("many%d", i)] = "v"
		}
		return one(step{func(s *Store) error {
			return s.Update(func(tx *Tx) error {
				for i := range 500 {
					if err := tx.Set(fmt.Appendf(nil, "many%d", i), []byte("v")); err != nil {
						return err
					}
				}
				return nil
			})
		}, after})
	}},
	{name: "large value", size: 4 << 20, prepare: filled(10, 20), steps: func(b contents) []step {
		x := setStep(b, "large", strings.Repeat("L", 100_000))
		y := setStep(x.after, "large", strings.Repeat("M", 50_000))
		return []step{x, y, {func(s *Store) error { _, err := s.Delete([]byte("large")); return err }, b}}
	}},
	{name: "growth", size: 4 << 20, prepare: filled(10, 20), steps: func(b contents) []step {
		x := setStep(b, "a", strings.Repeat("L", 600_000))
		return []step{x, setStep(x.after, "b", strings.Repeat("M", 500_000))}
	}},
	{name: "slabs and reclaim", size: 1 << 20, prepare: filled(20, 300), steps: func(b contents) []step { return sets(b, 60, 300) }},
	{name: "reclaim of runs", size: 4 << 20, prepare: filled(20, 300), steps: func(b contents) []step { return sets(b, 10, 40_000) }},
	{name: "snapshot held", size: 2 << 20, prepare: filled(20, 300), beside: holder, holds: true,
		steps: func(b contents) []step { return sets(b, 70, 300) }},
	{name: "a deferred page that becomes full", size: 2 << 20, prepare: func(t testing.TB, h *alloc.Heap, s *Store) {
		h.SetEager()
		filled(300, 20)(t, h, s)
	}, beside: holder, warm: nearlyFullDeferred, holds: true, steps: func(b contents) []step {
		x := setStep(b, "key298", "other")
		return []step{x, setStep(x.after, "key299", "other")}
	}},
	{name: "conditional writes", size: 1 << 20, prepare: filled(40, 20), steps: func(b contents) []step {
		var all []step
		then := func(after contents, do func(s *Store) error) { all, b = append(all, step{do, after}), after }
		then(b.with("key003", "swapped"), func(s *Store) error { _, _, err := s.Swap([]byte("key003"), []byte("swapped")); return err })
		then(b.without("key004"), func(s *Store) error { _, _, err := s.Swap([]byte("key004"), nil); return err })
		then(b.with("key003", "again"), func(s *Store) error {
			_, err := s.CompareAndSwap([]byte("key003"), []byte("swapped"), []byte("again"))
			return err
		})
		then(b.without("key003"), func(s *Store) error {
			_, err := s.CompareAndSwap([]byte("key003"), []byte("again"), nil)
			return err
		})
		then(b.with("new", "modified"), func(s *Store) error {
			return s.Modify([]byte("new"), func([]byte, bool) ([]byte, bool) { return []byte("modified"), true })
		})
		then(b.without("new"), func(s *Store) error {
			return s.Modify([]byte("new"), func([]byte, bool) ([]byte, bool) { return nil, false })
		})
		return all
	}},
	{name: "idle slots of others", size: 1 << 20, prepare: filled(20, 300), beside: func(t testing.TB, h *alloc.Heap) {
		for range 3 {
			other, _ := attachPlain(t, h)
			require.NoError(t, other.Set([]byte("key000"), nil))
			require.NoError(t, other.Set([]byte("key000"), bytes.Repeat([]byte{0}, 300))) // as it was
		}
	}, steps: func(b contents) []step {
		var all []step
		for i := range 5 {
			key, value := fmt.Sprintf("big%d", i), strings.Repeat("x", 200_000)
			all = append(all, step{func(s *Store) error { _ = s.Set([]byte(key), []byte(value)); return nil }, nil})
		}
		return all
	}},
	{name: "snapshot let go", size: 2 << 20, steps: func(b contents) []step {
		var sn *Snapshot
		all := []step{{func(s *Store) (err error) { sn, err = s.Snapshot(); return err }, b}}
		all = append(all, sets(b, 40, 300)...)
		last := all[len(all)-1].after
		all = append(all, step{func(s *Store) error { return sn.Close() }, last})
		return append(all, sets(last, 40, 300)...)
	}},
	{name: "close", size: 1 << 20, prepare: filled(20, 300), steps: func(b contents) []step {
		all := sets(b, 5, 300)
		return append(all, step{func(s *Store) error { return s.Close() }, all[len(all)-1].after})
	}},
	{name: "full", size: 1 << 20, prepare: filled(20, 300), steps: func(b contents) []step {
		var all []step
		for i := range 6 {
			key, value := fmt.Sprintf("big%d", i), strings.Repeat("x", 200_000)
			all = append(all, step{func(s *Store) error { _ = s.Set([]byte(key), []byte(value)); return nil }, nil})
		}
		return append(all, step{func(s *Store) error { _, err := s.Delete([]byte("key001")); return err }, nil})
	}},
	{name: "no memory", size: 1 << 20, limit: 500 << 10, prepare: filled(20, 300), steps: func(b contents) []step {
		var all []step
		for i := range 4 {
			key, value := fmt.Sprintf("big%d", i), strings.Repeat("x", 120_000)
			all = append(all, step{func(s *Store) error { _ = s.Set([]byte(key), []byte(value)); return nil }, nil})
		}
		return append(all, step{func(s *Store) error { _, err := s.Delete([]byte("key001")); return err }, nil})
	}},
	{name: "keeping house", size: 4 << 20, prepare: sparseStore, steps: func(b contents) (all []step) {
		keep := step{func(s *Store) error { _, err := s.keep(func() error { return nil }); return err }, b}
		all = append(all, keep, keep, setStep(b, "key0130", strings.Repeat("v", 301)))
		keep.after = all[2].after
		return append(all, keep, step{func(s *Store) error {
			if s.Stats().PunchedPages == 0 {
				return errors.New("no memory was given back")
			}
			return nil
		}, keep.after})
	}},
	{name: "full of sparse slabs", size: 1 << 20, prepare: fullOfSparseSlabs, steps: func(b contents) []step {
		st := setStep(b, "large", strings.Repeat("x", 9000))
		return one(step{func(s *Store) error {
			version := s.Version()
			if err := st.do(s); err != nil {
				return err
			}
			if s.Version() == version+1 {
				return errors.New("nothing was moved to make room")
			}
			return nil
		}, st.after})
	}},
	{name: "much deleted", size: 4 << 20, prepare: filled(600, 2000), steps: func(b contents) []step {
		return one(step{func(s *Store) error {
			return s.Update(func(tx *Tx) error {
				for k := range tx.All() {
					if _, err := tx.Delete(k); err != nil {
						return err
					}
				}
				return nil
			})
		}, contents{}})
	}},
}...)

// base is a story's prepared store, to be cloned, whose preparer has died with
// its handle open.
func (st *story) base(t testing.TB) (*alloc.Heap, contents) {
	h, err := alloc.NewHeap(st.size)
	require.NoError(t, err)
	s, _ := attachPlain(t, h)
	s.hostile = st.hash
	if st.prepare != nil {
		st.prepare(t, h, s)
	}
	h.SetLimit(st.limit)
	if st.warm == nil {
		if s.a.Closed() {
			s, _ = attachPlain(t, h)
		}
		return h, read(t, s)
	}
	trial := h.Clone()
	if st.beside != nil {
		st.beside(t, trial)
	}
	s, _ = attachPlain(t, trial)
	st.warm(t, trial, s)
	return h, read(t, s)
}

// run performs the steps as an actor that dies at the given change, and
// returns how many steps were acknowledged and whether it died.
func (st *story) run(t testing.TB, m *mortal, before contents) (done int, died bool) {
	var die func()
	steps := st.steps(before)
	if st.beside != nil {
		st.beside(t, m.heap)
	}
	died = m.live(func() {
		var s *Store
		m.warm = st.warm != nil
		s, die = m.attach(t)
		s.hostile = st.hash
		if st.warm != nil {
			st.warm(t, m.heap, s)
			m.warm = false
		}
		for _, x := range steps {
			if err := x.do(s); err != nil {
				t.Fatalf("%s: step %d: %v", st.name, done, err)
			}
			done++
		}
	})
	if die != nil {
		die()
	}
	require.Empty(t, m.stray, "%s: the actor touched what may not be there", st.name)
	return done, died
}

// verify checks that the store is sound, shows the contents after done steps
// or one more, and can be used.
func (st *story) verify(t testing.TB, h *alloc.Heap, before contents, done int, what string) {
	s, _ := attachPlain(t, h)
	s.hostile = st.hash
	rep, err := s.Check(t.Context(), nil)
	if err != nil {
		t.Fatalf("%s: %s: %v\n%+v", st.name, what, err, rep)
	}
	if rep.LeakedBytes != 0 || rep.InFlightBytes != 0 || !rep.Quiet {
		t.Fatalf("%s: %s: %+v", st.name, what, rep)
	}
	if hidden := s.a.Hidden(); len(hidden) > 0 {
		t.Fatalf("%s: %s: no hint tells of %d free pages and slabs, the first at %#x", st.name, what, len(hidden), hidden[0])
	}
	got := read(t, s)
	allowed := []contents{before}
	for _, x := range st.steps(before) {
		allowed = append(allowed, x.after)
	}
	ok := false
	for _, c := range allowed[done:min(done+2, len(allowed))] {
		ok = ok || c == nil || maps.Equal(c, got)
	}
	if !ok {
		t.Fatalf("%s: %s: after %d steps the contents are %v", st.name, what, done, slices.Sorted(maps.Keys(got)))
	}
	for i := range 3 {
		if err := s.Set(fmt.Appendf(nil, "more%d", i), []byte("more")); err != nil {
			if st.size == 1<<20 { // the stories about a full store
				_, err = s.Delete([]byte("key000"))
			}
			if err != nil {
				t.Fatalf("%s: %s: going on: %v", st.name, what, err)
			}
		}
	}
	if err := s.Close(); err != nil {
		t.Fatalf("%s: %s: closing: %v", st.name, what, err)
	}
	s, _ = attachPlain(t, h)
	s.hostile = st.hash
	if rep, err := s.Check(t.Context(), nil); err != nil || rep.LeakedBytes != 0 {
		t.Fatalf("%s: %s: at the end: %v %+v", st.name, what, err, rep)
	}
}

func TestCrashPoints(t *testing.T) {
	t.Parallel()
	var points, pairs atomic.Int64
	t.Cleanup(func() { t.Logf("%d deaths, %d deaths of adopters", points.Load(), pairs.Load()) })
	for i := range stories {
		st := &stories[i]
		t.Run(st.name, func(t *testing.T) {
			t.Parallel()
			defer func() {
				if t.Failed() && !quit.Swap(true) {
					t.Logf("found after %d deaths", points.Load()+pairs.Load())
				}
			}()
			base, before := st.base(t)
			whole := &mortal{heap: base.Clone(), dieAt: -1}
			st.run(t, whole, before)
			if st.holds {
				s, _ := attachPlain(t, whole.heap)
				rep, err := s.Check(t.Context(), nil)
				require.NoError(t, err)
				require.NotZero(t, rep.HeldBytes)
				require.NoError(t, s.Close())
			}
			st.verify(t, whole.heap, before, len(st.steps(before)), "without a death")

			rng := rand.New(rand.NewPCG(1, uint64(i)))
			stride := 1
			switch {
			case *crashAll:
			case testing.Short(): // in an emulator
				stride = 1 + whole.changes/30
			default:
				stride = 1 + whole.changes/testdir.Scale(30, 200)
			}
			for at := 0; at < whole.changes; at += 1 + rng.IntN(2*stride-1) {
				if quit.Load() {
					return
				}
				m := &mortal{heap: base.Clone(), dieAt: at}
				done, died := st.run(t, m, before)
				require.True(t, died, "change %d of %d", at, whole.changes)
				after := m.heap.Clone()
				st.verify(t, m.heap, before, done, fmt.Sprintf("death at change %d", at))
				points.Add(1)

				// The adopter dies too, at each of its changes, and a third one
				// takes over from both.
				adopter := &mortal{heap: after.Clone(), dieAt: -1}
				adopter.adopt(t)
				adopter.heap.Free()
				m.heap.Free()
				every := 1
				if testing.Short() {
					every += adopter.changes
				} else if !*crashAll {
					every += whole.changes / stride * adopter.changes / testdir.Scale(90, 1500)
				}
				dense := 0 // of an adopter that has to judge an intent, each of the first
				if intends(after) && !testing.Short() {
					dense = testdir.Scale(4, 40)
				}
				for j := min(rng.IntN(every), dense); j < adopter.changes; {
					b := &mortal{heap: after.Clone(), dieAt: j}
					require.True(t, b.adopt(t))
					st.verify(t, b.heap, before, done, fmt.Sprintf("death at change %d, of the adopter at %d", at, j))
					b.heap.Free()
					pairs.Add(1)
					if j++; j > dense {
						j += every - 1
					}
				}
				after.Free()
			}
		})
	}
}

// Deaths in the middle of claiming and freeing many pages leave the count of free
// pages right, but for the moment between a change and its count.
func TestDeathsAndFreePages(t *testing.T) {
	t.Parallel()
	first, smaller, last := strings.Repeat("L", 120_000), strings.Repeat("M", 80_000), strings.Repeat("N", 120_000)
	st := story{name: "large values", size: 1 << 20, prepare: filled(10, 20), steps: func(b contents) []step {
		x := setStep(b, "large", first)
		y := setStep(x.after, "large", smaller)
		z := setStep(y.after, "large", last) // of pages that were freed
		return append([]step{x, y, z}, sets(z.after, 3, 20)...)
	}}
	base, before := st.base(t)
	base.SetEager()
	whole := &mortal{heap: base.Clone(), dieAt: -1}
	st.run(t, whole, before)
	wrong := 0
	for at := range whole.changes {
		m := &mortal{heap: base.Clone(), dieAt: at}
		st.run(t, m, before)
		s, _ := attachPlain(t, m.heap)
		if counted, found := s.a.FreePages(); max(counted-found, found-counted) > 2 {
			t.Logf("death at change %d: %d pages are free, %d are counted", at, found, counted)
			wrong++
		}
		m.heap.Free()
	}
	t.Logf("%d deaths, %d in such a moment", whole.changes, wrong)
	require.Positive(t, whole.changes)
	require.LessOrEqual(t, wrong, 6)
}

// intends reports whether a slot has an intent.
func intends(h *alloc.Heap) bool {
	m := h.Mem()
	for off := uint64(layout.OffOwners); off < layout.OffDir; off += 8 {
		page := m.Load(off - layout.OffOwners + layout.OffDir)
		if page != 0 && page%4096 == 0 && m.Load(page+layout.SlotIntent) != 0 {
			return true
		}
	}
	return false
}

// adopt attaches, which adopts the dead, and leaves the handle behind as a dead
// process does.
func (m *mortal) adopt(t testing.TB) (died bool) {
	var die func()
	died = m.live(func() { _, die = m.attach(t) })
	if die != nil {
		die()
	}
	require.Empty(t, m.stray)
	return died
}
