package shm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/seed-869cc763/shmkv/alloc"
)

// together carries out edits of one lane as the requests of one group, in their order.
func together(s *Store, edits ...*edit) {
	l := &s.writers.lanesOf(edits[0])[0]
	var all []*request
	for _, e := range edits {
		e.hash = s.hashIn(e.to, e.key)
		if e.verb == swap || e.verb == compareAndSwap {
			e.decide = e.conditional
		}
		r := s.writers.request(e)
		r.next = l.queue.Load()
		l.queue.Store(r)
		all = append(all, r)
	}
	u, ok := s.a.Enter()
	if !ok {
		panic("the store is closed")
	}
	for i, r := range all {
		if r.state.Load() != done {
			if !l.lead() {
				panic("the lane has a leader")
			}
			s.lead(l, nil, r)
		}
		edits[i].outcome = r.outcome
		s.writers.put(r)
	}
	s.a.Leave(u)
}

func plainStore(t testing.TB, size uint64) (*alloc.Heap, *Store) {
	h, err := alloc.NewHeap(size)
	require.NoError(t, err)
	a, _, err := h.Attach(nil)
	require.NoError(t, err)
	return h, newStore(a, "heap")
}

func requireSound(t testing.TB, s *Store) {
	t.Helper()
	rep, err := s.Check(t.Context(), nil)
	require.NoError(t, err)
	require.Zero(t, rep.LeakedBytes)
	require.Zero(t, rep.InFlightBytes)
	require.Equal(t, int64(s.Stats().Entries), rep.Entries)
}

// Requests of one group see each other, in their order, get their own results, and are
// one commit.
func TestGroup(t *testing.T) {
	_, s := plainStore(t, 1<<20)
	require.NoError(t, s.Set([]byte("there"), []byte("0")))
	before := s.Stats()
	b := func(v string) []byte { return []byte(v) }
	edits := []*edit{
		{verb: remove, key: b("there")},
		{verb: remove, key: b("there")},
		{verb: swap, key: b("there"), value: b("1")},
		{verb: swap, key: b("there"), value: b("2")},
		{verb: compareAndSwap, key: b("there"), old: b("1"), value: b("3")},
		{verb: compareAndSwap, key: b("there"), old: b("2"), value: b("4")},
		{verb: set, key: b("new"), value: b("")},
		{verb: compareAndSwap, key: b("new"), value: b("5")},
		{verb: compareAndSwap, key: b("new"), old: b(""), value: b("6")},
		{verb: swap, key: b("new")},
		{verb: compareAndSwap, key: b("none")},
		{verb: compareAndSwap, key: b("none"), value: b("")},
	}
	together(s, edits...)
	for i, want := range []outcome{
		{ok: true, changed: true},
		{},
		{changed: true},
		{ok: true, changed: true, was: b("1")},
		{},
		{ok: true, changed: true},
		{changed: true},
		{},
		{ok: true, changed: true},
		{ok: true, changed: true, was: b("6")},
		{ok: true},
		{ok: true, changed: true},
	} {
		require.Equal(t, want, edits[i].outcome, "request %d", i)
	}
	after := s.Stats()
	require.Equal(t, before.Version+1, after.Version)
	require.Equal(t, before.Commits+1, after.Commits)
	require.Equal(t, before.Changes+8, after.Changes)
	for key, want := range map[string]string{"there": "4", "none": ""} {
		got, err := s.Get(b(key))
		require.NoError(t, err)
		require.Equal(t, want, string(got))
	}
	require.Equal(t, 2, s.Len())

	// A group that changes nothing commits nothing.
	edits = []*edit{{verb: remove, key: b("x")}, {verb: compareAndSwap, key: b("there"), old: b("x"), value: b("y")}}
	together(s, edits...)
	require.Equal(t, outcome{}, edits[0].outcome)
	require.Equal(t, outcome{}, edits[1].outcome)
	require.Equal(t, after.Version, s.Version())
	requireSound(t, s)
	require.NoError(t, s.Close())
}

// A group that looks at a long value is begun again under a pin, and leaves nothing of its
// first try.
func TestGroupWithLongValue(t *testing.T) {
	_, s := plainStore(t, 1<<20)
	long := make([]byte, copiedMost+1)
	number := func(i int) []byte { return fmt.Appendf(nil, "key %d", i) }
	for i := range 100 {
		require.NoError(t, s.Set([]byte("long"), long))
		edits := []*edit{
			{verb: set, key: number(i), value: number(i)},
			{verb: remove, key: number(i - 1)},
			{verb: swap, key: []byte("long"), value: []byte("short")},
		}
		together(s, edits...)
		for _, e := range edits {
			require.NoError(t, e.err)
		}
		require.Equal(t, len(long), len(edits[2].was))
		require.Equal(t, 2, s.Len())
	}
	requireSound(t, s)
	require.NoError(t, s.Close())
}

// In a full store each request of a group gets its own error, and those that free
// space succeed.
func TestGroupInFullStore(t *testing.T) {
	_, s := plainStore(t, 1<<20)
	n := 0
	for ; ; n++ {
		if err := s.Set(fmt.Appendf(nil, "key%04d", n), make([]byte, 1500)); err != nil {
			require.ErrorIs(t, err, ErrFull)
			break
		}
	}
	var edits []*edit
	for i := range 40 {
		edits = append(edits,
			&edit{verb: set, key: fmt.Appendf(nil, "more%d", i), value: make([]byte, 1900)},
			&edit{verb: compareAndSwap, key: fmt.Appendf(nil, "other%d", i), value: make([]byte, 1900)})
	}
	edits = append(edits, &edit{verb: remove, key: []byte("key0000")}, &edit{verb: swap, key: []byte("key0001")}, &edit{verb: remove, key: []byte("none")})
	together(s, edits...)
	refused := 0
	for _, e := range edits[:80] {
		if e.err != nil {
			require.ErrorIs(t, e.err, ErrFull)
			refused++
		}
		_, err := s.Get(e.key)
		require.Equal(t, e.err == nil, err == nil)
	}
	require.Greater(t, refused, 20)
	require.Equal(t, outcome{ok: true, changed: true}, edits[80].outcome)
	require.NoError(t, edits[81].err)
	require.Len(t, edits[81].was, 1500)
	require.Equal(t, outcome{}, edits[82].outcome)
	requireSound(t, s)
	require.NoError(t, s.Close())
}

// Who leads hands the lead on after a bounded number of changes, with the rest of the
// requests left to those who wait.
func TestLeadEnds(t *testing.T) {
	_, s := plainStore(t, 4<<20)
	l := &s.writers.lanes[0]
	var all []*request
	for i := range 3 * ledMost {
		e := &edit{verb: set, key: fmt.Append(nil, i)}
		e.hash = s.hashOf(e.key)
		r := s.writers.request(e)
		r.next = l.queue.Load()
		l.queue.Store(r)
		all = append(all, r)
	}
	sleeper := all[ledMost]
	sleeper.state.Store(parked)
	require.True(t, l.lead())
	u, _ := s.a.Enter()
	s.lead(l, nil, all[0])
	s.a.Leave(u)
	require.Equal(t, ledMost, s.Len())
	for i, r := range all {
		require.Equal(t, i < ledMost, r.state.Load() == done, "request %d", i)
	}
	require.False(t, l.led.Load())
	require.Len(t, sleeper.wake, 1, "the first that waits is woken")
	require.NoError(t, s.Close())
}

// A caller that is about to sleep looks once more whether anybody leads.
func TestNobodySleepsWithoutALeader(t *testing.T) {
	_, s := plainStore(t, 1<<20)
	l := &s.writers.lanes[0]
	r := s.writers.request(&edit{verb: set, key: []byte("key")})
	r.wake <- struct{}{} // which it would take if it slept
	l.park(r)
	require.Equal(t, waiting, r.state.Load())
	require.Len(t, r.wake, 1)
	require.NoError(t, s.Close())
}

// Who leads and panics, of a fault in its own memory, does not keep the lead, nor a pin.
func TestFaultWhileLeading(t *testing.T) {
	_, s := plainStore(t, 4<<20)
	page, err := unix.Mmap(-1, 0, 4096, unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANON)
	require.NoError(t, err)
	defer func() { require.NoError(t, unix.Munmap(page)) }()
	for range 2 * unnamedLanes {
		func() {
			defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
			require.Panics(t, func() { _ = s.Set([]byte("key"), page[:100]) })
		}()
		require.False(t, s.writers.lanes[0].led.Load())
		require.NoError(t, s.Set([]byte("key"), nil))
	}
	requireSound(t, s)
	require.NoError(t, s.Close())
}

const historyKeys = 3

// An event is an operation on one key, for a history.
type event struct {
	verb     verb
	read     bool
	new, old uint64 // 0: absent
	seen     uint64
	ok       bool
}

var eventModel = porcupine.Model{
	Init: func() any { return uint64(0) },
	Step: func(state, input, _ any) (bool, any) {
		now, e := state.(uint64), input.(*event)
		switch {
		case e.read:
			return e.seen == now, now
		case e.verb == set:
			return true, e.new
		case e.verb == remove:
			return e.ok == (now != 0), uint64(0)
		case e.verb == swap:
			return e.seen == now && e.ok == (now != 0), e.new
		case now == e.old:
			return e.ok, e.new
		}
		return !e.ok, now
	},
}

func bytesOf(n uint64) []byte {
	if n == 0 {
		return nil
	}
	return binary.LittleEndian.AppendUint64(nil, n)
}

func numberOf(b []byte) uint64 {
	if b == nil {
		return 0
	}
	return binary.LittleEndian.Uint64(b)
}

// Goroutines of two handles use all kinds of writes on a few keys; each key's history
// is linearizable. The lanes are made to look crowded now and then, so that groups come
// about on any number of processors.
func TestGroupsAreLinearizable(t *testing.T) {
	h, s := plainStore(t, 16<<20)
	b, _, err := h.Attach(nil)
	require.NoError(t, err)
	handles := []*Store{s, newStore(b, "heap")}
	var clock, ids atomic.Int64
	var mu sync.Mutex
	histories := map[int][]porcupine.Operation{}
	const goroutines = 16
	n := 300
	if testing.Short() {
		n = 60
	}
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(g), 7))
			s := handles[min(g/12, 1)]
			var own [historyKeys][]porcupine.Operation
			var last [historyKeys]uint64
			for range n {
				if rng.IntN(8) == 0 {
					s.writers.lanes[rng.IntN(allLanes)].crowded.Store(true)
				}
				k := rng.IntN(historyKeys)
				key := []byte{byte(k)}
				e := &event{verb: verb(rng.IntN(4)), new: uint64(ids.Add(1)), old: last[k]}
				if rng.IntN(4) == 0 {
					e.new = 0
				}
				call := clock.Add(1)
				var err error
				switch kind := rng.IntN(6); {
				case kind == 0:
					e.read = true
					var v []byte
					if v, err = s.Get(key); errors.Is(err, ErrNotFound) {
						v, err = nil, nil
					}
					e.seen = numberOf(v)
				case kind == 1: // as a swap
					e.verb = swap
					err = s.Modify(key, func(old []byte, exists bool) ([]byte, bool) {
						e.seen, e.ok = numberOf(old), exists
						return bytesOf(e.new), e.new != 0
					})
				case e.verb == set:
					e.new = max(e.new, uint64(ids.Add(1)))
					err = s.Set(key, bytesOf(e.new))
				case e.verb == remove:
					e.ok, err = s.Delete(key)
				case e.verb == swap:
					var was []byte
					was, e.ok, err = s.Swap(key, bytesOf(e.new))
					e.seen = numberOf(was)
				default:
					e.ok, err = s.CompareAndSwap(key, bytesOf(e.old), bytesOf(e.new))
				}
				if err != nil {
					t.Errorf("%v", err)
					return
				}
				own[k] = append(own[k], porcupine.Operation{ClientId: g, Input: e, Call: call, Return: clock.Add(1)})
				if last[k] = e.seen; !e.read && e.verb != swap {
					last[k] = e.new
				}
			}
			mu.Lock()
			defer mu.Unlock()
			for k, l := range own {
				histories[k] = append(histories[k], l...)
			}
		})
	}
	wg.Wait()
	for k, l := range histories {
		if result := porcupine.CheckOperationsTimeout(eventModel, l, time.Minute); result != porcupine.Ok {
			t.Errorf("key %d: %v", k, result)
		}
	}
	st := s.Stats()
	t.Logf("%d changes in %d commits", st.Changes, st.Commits)
	require.Greater(t, st.Changes, st.Commits, "no group has come about")
	requireSound(t, s)
	for _, s := range handles {
		require.NoError(t, s.Close())
	}
}

// Each of many goroutines gets its share: while one makes a number of sets, none of
// the others makes none.
func TestGroupsAreFair(t *testing.T) {
	_, s := plainStore(t, 16<<20)
	const goroutines, rounds = 64, 400
	var counts [goroutines]atomic.Int64
	var stop atomic.Bool
	var wg sync.WaitGroup
	least := func() int64 {
		l := counts[0].Load()
		for i := range counts {
			l = min(l, counts[i].Load())
		}
		return l
	}
	for g := range goroutines {
		wg.Go(func() {
			for i := 0; !stop.Load(); i++ {
				if err := s.Set(fmt.Append(nil, g, i%10), fmt.Append(nil, i)); err != nil {
					t.Errorf("%v", err)
					return
				}
				counts[g].Add(1)
				if g == 0 && i%rounds == 0 && i > 0 {
					runtime.Gosched()
				}
			}
		})
	}
	for least() < rounds {
		runtime.Gosched()
	}
	stop.Store(true)
	wg.Wait()
	requireSound(t, s)
	require.NoError(t, s.Close())
}

// Close beside groups: each write has its result or ErrClosed, and Close returns.
func TestCloseBesideGroups(t *testing.T) {
	for round := range 30 {
		h, watch := plainStore(t, 4<<20)
		a, _, err := h.Attach(nil)
		require.NoError(t, err)
		s := newStore(a, "heap")
		const goroutines = 16
		var made [goroutines]int
		var wg sync.WaitGroup
		for g := range goroutines {
			wg.Go(func() {
				for i := range 10_000 {
					if i%16 == 0 {
						s.writers.lanes[i/16%allLanes].crowded.Store(true)
					}
					err := s.Set(fmt.Append(nil, g, "/", i), []byte{1})
					if errors.Is(err, ErrClosed) {
						made[g] = i
						return
					}
					if err != nil {
						t.Errorf("%v", err)
					}
				}
				made[g] = 10_000
			})
		}
		for s.Len() < 10*round {
			runtime.Gosched()
		}
		require.NoError(t, s.Close())
		wg.Wait()
		require.NoError(t, s.Close())
		require.Equal(t, 1, h.Attached())
		sum := 0
		for g, n := range made {
			sum += n
			for i := range n {
				has, err := watch.Has(fmt.Append(nil, g, "/", i))
				require.NoError(t, err)
				require.True(t, has)
			}
		}
		require.Equal(t, sum, watch.Len())
		requireSound(t, watch)
		require.NoError(t, watch.Close())
	}
}

// A caller can take the lead just after another leader has carried out its request. If the
// handle is closed then, the request keeps its outcome.
func TestLeadAfterOutcome(t *testing.T) {
	_, s := plainStore(t, 1<<20)
	u, ok := s.a.Enter()
	require.True(t, ok)
	key := []byte("key")
	l, r := &s.writers.lanes[0], s.writers.request(&edit{verb: set, key: key, value: key, hash: s.hash(key)})
	l.waiting = append(l.waiting, r)
	require.True(t, l.lead())
	s.lead(l, nil, r)
	require.Equal(t, done, r.state.Load())
	require.NoError(t, r.err)
	require.True(t, r.changed)

	require.NoError(t, s.Close())
	require.True(t, l.lead())
	s.lead(l, nil, r)
	require.Equal(t, done, r.state.Load())
	require.NoError(t, r.err)

	r = s.writers.request(&edit{verb: set, key: key, value: key, hash: s.hash(key)})
	l.waiting = append(l.waiting, r)
	require.True(t, l.lead())
	s.lead(l, nil, r)
	require.Equal(t, done, r.state.Load())
	require.ErrorIs(t, r.err, ErrClosed)
	s.a.Leave(u)
}

// A function of Modify that panics, ends its goroutine or blocks hurts no other write.
func TestFunctionsBesideGroups(t *testing.T) {
	_, s := plainStore(t, 16<<20)
	block, blocked := make(chan struct{}), make(chan struct{})
	key := []byte("key")
	var held sync.WaitGroup
	held.Go(func() {
		once := false
		err := s.Modify([]byte("blocked"), func([]byte, bool) ([]byte, bool) {
			if !once {
				once = true
				close(blocked)
				<-block
			}
			return nil, true
		})
		if err != nil {
			t.Errorf("%v", err)
		}
	})
	<-blocked
	var wg sync.WaitGroup
	for g := range 12 {
		wg.Go(func() {
			for i := range 200 {
				var err error
				switch {
				case g < 6:
					err = s.Set(fmt.Append(nil, g), bytes.Repeat([]byte{1}, i))
				case g < 9:
					func() {
						defer func() { _ = recover() }()
						_ = s.Modify(key, func([]byte, bool) ([]byte, bool) { panic("no") })
					}()
				default:
					end := make(chan struct{})
					go func() {
						defer close(end)
						_ = s.Modify(key, func([]byte, bool) ([]byte, bool) { runtime.Goexit(); return nil, true })
					}()
					<-end
				}
				if err != nil {
					t.Errorf("%v", err)
				}
			}
		})
	}
	wg.Wait()
	close(block)
	held.Wait()
	has, err := s.Has(key)
	require.NoError(t, err)
	require.False(t, has)
	require.Equal(t, 7, s.Len())
	requireSound(t, s)
	require.NoError(t, s.Close())
}

// An empty value in the queue is not an absent one, whatever else is empty.
func TestEmptyInTheQueue(t *testing.T) {
	h, err := alloc.NewHeap(4 << 20)
	require.NoError(t, err)
	a, _, err := h.Attach(nil)
	require.NoError(t, err)
	s := newStore(a, "heap")
	defer func() { require.NoError(t, s.Close()) }()
	for _, e := range []*edit{
		{verb: swap, key: []byte{}, value: []byte{}},
		{verb: compareAndSwap, key: []byte{}, value: []byte{}},
		{verb: compareAndSwap, key: []byte{}, value: []byte{}, old: []byte{}},
		{verb: swap, key: []byte{}},
	} {
		r := s.writers.request(e)
		require.Equal(t, e.value == nil, r.value == nil)
		require.Equal(t, e.old == nil, r.old == nil)
	}
}

// A write of a group that frees nothing does not let the sets after it take the reserve
// (rule B6).
func TestGroupLeavesTheReserve(t *testing.T) {
	for _, first := range []*edit{nil, {verb: remove, key: []byte("none")}, {verb: swap, key: []byte("none")}} {
		h, err := alloc.NewHeap(1 << 20)
		require.NoError(t, err)
		a, _, err := h.Attach(nil)
		require.NoError(t, err)
		s := newStore(a, "heap")
		s.StopKeeping()
		for _, size := range []int{1500, 100} {
			for n := 0; err == nil; n++ {
				err = s.Set(fmt.Appendf(nil, "%d %d", size, n), make([]byte, size))
			}
			require.ErrorIs(t, err, ErrFull)
			err = nil
		}
		var all []*edit
		if first != nil {
			all = append(all, first)
		}
		for i := range 3 {
			all = append(all, &edit{verb: set, key: fmt.Appendf(nil, "more %d", i), value: make([]byte, 1900)})
		}
		together(s, all...)
		for _, e := range all {
			if e.verb == set {
				require.ErrorIs(t, e.err, ErrFull)
			} else {
				require.NoError(t, e.err)
			}
		}
		requireSound(t, s)
		require.NoError(t, s.Close())
	}
}
