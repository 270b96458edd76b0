//go:build shmhook

package shm

import (
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
	"github.com/seed-869cc763/shmkv/node"
)

// Power cuts. Processes work on a store on a simulated disk. At some access the power
// fails: of each page that is not flushed the disk has some version since its last flush,
// or sectors of several. The next boot recovers the store, and may fail as well. Then the
// store must be one whole version that is not older than the last finished Sync, its
// ledger must add up, and the work goes on.

var flagCuts = flag.Int("cuts", 0, "power cuts of each seed of TestPowerCuts; 0: 10, or 60 with SHMKV_LONG=1")

// A powerCut ends all processes of a machine, a kill one of them.
type (
	powerCut struct{}
	kill     struct{}
)

// A machine is a system that runs processes on a store, and loses power now and then.
type machine struct {
	t    testing.TB
	rng  *rand.Rand
	heap *alloc.Heap

	left   int // changes until the power fails; 0: it does not
	toKill int // changes until the process of the operation under way is killed; 0: it is not
	off    bool
	killed bool
	acting *Store
	wide   bool   // not only then
	during func() // what others do while an operation waits for the disk
	stores []*Store
	held   []*Snapshot
	die    []func()

	model   contents            // what the last finished operation left
	after   contents            // what the operation under way will leave
	states  map[uint64]contents // by version
	synced  uint64              // version of the last finished Sync
	cuts    int
	newest  bool  // all entries have checksums, and recoveries try the newest version
	trusted int   // how many have trusted it
	journal int   // of four processes, how many write a journal
	records int   // how many of its records recoveries have found
	calls   []int // left, at each call of the system
}

// hook is called before each access of a process. Changes and calls count.
func (m *machine) hook(op region.Op, _ uint64) {
	if m.off {
		panic(powerCut{})
	}
	if op == region.OpLoad || op == region.OpRead {
		return // what happens before it is as what happens before the next change
	}
	if op == region.OpCall {
		m.calls = append(m.calls, m.left)
	}
	if m.left--; m.left == 0 {
		m.off = true
		panic(powerCut{})
	}
	if m.killed {
		panic(kill{})
	}
	if m.toKill--; m.toKill == 0 {
		m.killed = true
		panic(kill{})
	}
	if m.rng.IntN(300) == 0 {
		m.heap.WriteBack()
	}
	if during, toKill := m.during, m.toKill; during != nil && (op == region.OpCall || m.wide && m.rng.IntN(4) == 0) {
		m.during, m.toKill = nil, 0
		during()
		m.during, m.toKill = during, toKill
	}
}

// run calls fn until it ends, the process is killed, or the power fails.
func (m *machine) run(fn func()) {
	defer func() {
		if e := recover(); e != nil && !m.off && !m.killed {
			panic(e) // else what deferred calls of the dead stumble over is not real
		}
	}()
	fn()
}

// attach starts a process.
func (m *machine) attach() {
	if m.heap.SetNewer(nil); m.journal > 0 && m.rng.IntN(4) < m.journal {
		m.heap.SetNewer(newer)
	}
	a, die, err := m.heap.Attach(m.hook)
	require.NoError(m.t, err)
	s := newStore(a, "heap")
	if s.sums = uint64(len(m.die)%2) * node.HasSum; m.newest {
		s.sums = node.HasSum
	}
	m.stores, m.die = append(m.stores, s), append(m.die, die)
}

// kill kills a process.
func (m *machine) kill(i int) {
	s := m.stores[i]
	m.held = slices.DeleteFunc(m.held, func(sn *Snapshot) bool { return sn.s == s })
	m.die[i]()
	m.stores, m.die = slices.Delete(m.stores, i, i+1), slices.Delete(m.die, i, i+1)
}

// step does one random operation by a random process, which may be killed in it.
func (m *machine) step() {
	m.during, m.toKill, m.killed = nil, 0, false
	if len(m.stores) == 0 {
		m.run(m.attach)
		return
	}
	i := m.rng.IntN(len(m.stores))
	s := m.stores[i]
	m.acting = s
	soon := m.rng.IntN(4) == 0 // something happens in the operation
	if soon && m.rng.IntN(2) == 0 {
		m.toKill = 1 + m.rng.IntN(1<<m.rng.IntN(10))
	} else if soon {
		m.left = 1 + m.rng.IntN(1<<m.rng.IntN(10))
	}
	m.run(func() {
		switch m.rng.IntN(12) {
		case 0, 1:
			m.sync(i)
			for m.journal > 0 && m.rng.IntN(3) > 0 {
				m.operate(s)
				m.sync(max(0, slices.Index(m.stores, s)))
			}
		case 2:
			m.acting = nil
			m.attach()
		case 3:
			if len(m.stores) > 1 && m.rng.IntN(2) == 0 {
				m.close(i)
			} else {
				m.closeAll()
			}
		default:
			m.operate(s)
		}
	})
	m.during, m.toKill = nil, 0
	if m.killed {
		m.killed = false
		if at := slices.Index(m.stores, m.acting); at >= 0 {
			m.kill(at)
		}
		if len(m.stores) == 0 {
			m.run(m.attach)
		}
		if !m.off { // who knows whether it was committed
			m.run(func() { m.model = allMaps(m.t, m.stores[0]); m.states[m.stores[0].Version()] = m.model })
		}
	}
}

// sync takes a checkpoint while others work.
func (m *machine) sync(i int) {
	s, version := m.stores[i], m.stores[i].Version()
	if len(m.stores) > 1 {
		j := (i + 1 + m.rng.IntN(len(m.stores)-1)) % len(m.stores)
		m.during = func() {
			for range m.rng.IntN(20) {
				m.operate(m.stores[j])
			}
		}
	}
	if m.journal > 0 && m.rng.IntN(8) == 0 {
		require.NoError(m.t, s.a.Checkpoint(syncPatience))
	} else {
		require.NoError(m.t, s.Sync())
	}
	m.during = nil
	m.synced = version
}

// closeAll lets all processes close the store.
func (m *machine) closeAll() {
	for _, sn := range m.held {
		require.NoError(m.t, sn.Close())
	}
	m.held = nil
	for len(m.stores) > 1 {
		m.close(0)
	}
	// Another process may open the store while the last one closes it.
	last, opened := m.stores[0], false
	if m.rng.IntN(2) == 0 {
		m.during = func() {
			if !opened && m.rng.IntN(8) == 0 {
				opened = true
				m.attach()
				m.some(1)
			}
		}
	}
	version := last.Version()
	m.acting = last
	require.NoError(m.t, last.Close())
	m.during = nil
	i := slices.Index(m.stores, last)
	m.stores, m.die = slices.Delete(m.stores, i, i+1), slices.Delete(m.die, i, i+1)
	if !opened {
		m.synced = version
	}
}

// close lets a process close the store.
func (m *machine) close(i int) {
	s := m.stores[i]
	m.acting = s
	for _, sn := range m.held {
		if sn.s == s {
			require.NoError(m.t, sn.Close())
		}
	}
	m.held = slices.DeleteFunc(m.held, func(sn *Snapshot) bool { return sn.s == s })
	require.NoError(m.t, s.Close())
	i = slices.Index(m.stores, s)
	m.stores, m.die = slices.Delete(m.stores, i, i+1), slices.Delete(m.die, i, i+1)
}

// operate does one random operation of a process.
func (m *machine) operate(s *Store) {
	m.after = maps.Clone(m.model)
	key := fmt.Sprintf("key%03d", m.rng.IntN(60))
	value := fmt.Sprintf("%d.%s", m.rng.IntN(1000), strings.Repeat("v", m.rng.IntN(1<<m.rng.IntN(11))))
	if m.rng.IntN(40) == 0 {
		value += strings.Repeat("L", 33_000+m.rng.IntN(30_000))
	}
	name := fmt.Sprintf("map%d", m.rng.IntN(3))
	var err error
	switch m.rng.IntN(22) {
	case 0, 1, 2, 3:
		delete(m.after, "/"+key)
		_, err = s.Delete([]byte(key))
	case 4, 5, 6, 7, 8:
		m.after[name+"/"], m.after[name+"/"+key] = "ordered", value
		err = s.Ordered(name).Set([]byte(key), []byte(value))
	case 9, 10:
		if m.after[name+"/"] != "" {
			delete(m.after, name+"/"+key)
			_, err = s.Ordered(name).Delete([]byte(key))
		}
	case 11:
		if m.rng.IntN(4) == 0 {
			maps.DeleteFunc(m.after, func(k, _ string) bool { return strings.HasPrefix(k, name+"/") })
			_, err = s.DropMap(name)
		}
	case 12:
		from := fmt.Sprintf("key%03d", m.rng.IntN(60))
		err = s.Update(func(tx *Tx) error {
			for j := range 20 {
				k := fmt.Sprintf("%s.%d", from, j)
				m.after["/"+k] = value
				if err := tx.Set([]byte(k), []byte(value)); err != nil {
					return err
				}
			}
			return nil
		})
	case 13:
		if len(m.held) < 3 {
			var sn *Snapshot
			if sn, err = s.Snapshot(); err == nil {
				m.held = append(m.held, sn)
			}
		} else {
			j := m.rng.IntN(len(m.held))
			err = m.held[j].Close()
			m.held = slices.Delete(m.held, j, j+1)
		}
	case 14:
		_, err = s.Compact(m.t.Context(), nil)
	default:
		m.after["/"+key] = value
		err = s.Set([]byte(key), []byte(value))
	}
	if errors.Is(err, ErrFull) {
		m.after = m.model
		err = nil
	}
	require.NoError(m.t, err)
	m.model = m.after
	m.states[s.Version()] = m.model
}

// anyVersion picks a version of each page, or of each sector of a few. It loses pages of
// checkpoints now and then.
func anyVersion(rng *rand.Rand) func(off uint64, versions int) int {
	page, kept := uint64(1), 0
	return func(off uint64, versions int) int {
		if p := off &^ 4095; p != page {
			page, kept = p, rng.IntN(versions)
			switch {
			case p >= layout.OffCkpts && p < layout.OffTable && rng.IntN(8) == 0:
				kept = -1
			case rng.IntN(4) == 0:
				kept = -2
			}
		}
		if kept == -2 {
			return rng.IntN(versions)
		}
		return kept
	}
}

// reboot lets the next boot recover the store, with further power cuts now and then.
func (m *machine) reboot(pick func(off uint64, versions int) int) {
	for {
		m.cuts++
		before := m.heap
		m.heap = before.Crash(pick)
		before.Free()
		pick = anyVersion(m.rng)
		m.stores, m.die, m.held = nil, nil, nil
		m.off, m.left, m.during = false, 0, nil
		if m.rng.IntN(3) == 0 {
			m.left = 1 + m.rng.IntN(1<<m.rng.IntN(16))
		}
		if m.run(m.attach); !m.off {
			break
		}
	}
	m.left = 0
	if r := m.stores[0].Recovery(); r != nil {
		if m.newest && r.Distrust == "" {
			m.trusted++
		}
		m.records += r.Records
	}
	m.verify()
}

// mostlyNewest picks the newest version of most pages.
func mostlyNewest(rng *rand.Rand) func(off uint64, versions int) int {
	few, other := rng.IntN(3), anyVersion(rng)
	return func(off uint64, versions int) int {
		if few > 0 && rng.IntN(60) == 0 {
			few--
			return other(off, versions)
		}
		return versions - 1
	}
}

// verify checks that the store is a whole version.
func (m *machine) verify() {
	s := m.stores[0]
	version, found := s.Version(), allMaps(m.t, s)
	require.GreaterOrEqual(m.t, version, m.synced, "the recovered version, and that of the last Sync")
	var before, behind uint64
	for v := range m.states {
		if v <= version && v > before {
			before = v
		}
		if v >= version && (behind == 0 || v < behind) {
			behind = v
		}
	}
	wants := []contents{m.states[before], m.states[behind]}
	if behind == 0 {
		wants[1] = m.after
	}
	if !maps.Equal(found, wants[0]) && !maps.Equal(found, wants[1]) {
		require.Equal(m.t, wants[0], found, "version %d, between %d and %d", version, before, behind)
	}
	rep, err := s.Check(m.t.Context(), nil)
	require.NoError(m.t, err)
	require.Zero(m.t, rep.LeakedBytes)
	m.model, m.after, m.states = found, found, map[uint64]contents{version: found}
	m.synced = version
}

// newMachine returns a machine with an empty store, which a process has opened.
func newMachine(t testing.TB, seed, size uint64) *machine {
	h, err := alloc.NewHeap(size)
	require.NoError(t, err)
	h.UseDisk()
	h.SetTrace(tracer(nil))
	if seed%3 == 0 {
		h.SetEager()
	}
	m := &machine{t: t, rng: rand.New(rand.NewPCG(seed, 5)), heap: h, model: contents{}, after: contents{}, states: map[uint64]contents{1: {}}}
	m.attach()
	return m
}

func TestPowerCuts(t *testing.T) {
	t.Parallel()
	var cuts, trusted, records atomic.Int64
	t.Cleanup(func() {
		t.Logf("%d power cuts, after %d of which the newest version was trusted; recoveries found %d records of journals", cuts.Load(), trusted.Load(), records.Load())
		if trusted.Load() == 0 {
			t.Error("the newest version was never trusted")
		}
		if records.Load() == 0 {
			t.Error("no recovery found a record of the journal")
		}
	})
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			m := newMachine(t, seed, 2<<20<<(seed%2))
			m.wide = seed%2 == 0
			if m.newest = seed%4 > 1; m.newest {
				m.heap.SetProve(proveNewest)
				m.stores[0].sums = node.HasSum
			}
			if seed%3 > 0 {
				m.journal = 3
			}
			most := testdir.Scale(10, 60)
			if *flagCuts > 0 {
				most = *flagCuts
			}
			for m.cuts < most {
				m.left = 1 + m.rng.IntN(200<<m.rng.IntN(9))
				for !m.off {
					m.step()
				}
				if m.newest && m.rng.IntN(2) == 0 {
					m.reboot(mostlyNewest(m.rng))
				} else {
					m.reboot(anyVersion(m.rng))
				}
			}
			cuts.Add(int64(m.cuts))
			trusted.Add(int64(m.trusted))
			records.Add(int64(m.records))
		})
	}
}

// A powerCutScene of TestPowerCutPoints: what has happened, and during what the power fails.
type powerCutScene struct {
	name    string
	prepare func(m *machine)
	act     func(m *machine)
}

var powerCutScenes = []powerCutScene{
	{"opening of a new store", func(m *machine) { m.renew() }, func(m *machine) { m.attach(); m.some(3); m.sync(0) }},
	{"first opening", func(m *machine) { m.some(3); m.closeAll() }, func(m *machine) { m.attach() }},
	{"opening after a lone opening", func(m *machine) { m.closeAll(); m.attach(); m.closeAll() }, func(m *machine) { m.attach() }},
	{"closing", func(m *machine) { m.some(30) }, func(m *machine) { m.closeAll() }},
	{"closing what has a checkpoint", func(m *machine) { m.some(30); m.sync(0); m.attach(); m.kill(0) }, func(m *machine) { m.closeAll() }},
	{"sync", func(m *machine) { m.some(30) }, func(m *machine) { m.sync(0); m.some(1) }},
	{"two syncs", func(m *machine) { m.some(30); m.sync(0); m.some(10) }, func(m *machine) { m.sync(0); m.some(5); m.sync(0) }},
	{"sync after a killed one", func(m *machine) {
		m.some(30)
		m.sync(0)
		m.some(30)
		m.attach()
		m.killIn(m.heap.Flushes()+1, 1)
		m.some(30)
	},
		func(m *machine) { m.sync(0); m.some(5) }},
	{"sync after one that was killed later", func(m *machine) {
		m.some(30)
		m.sync(0)
		m.some(30)
		m.attach()
		m.killIn(m.heap.Flushes()+1, 2)
		m.some(30)
	},
		func(m *machine) { m.sync(0); m.some(5) }},
	{"sync beside others after a killed one", func(m *machine) {
		m.some(30)
		m.sync(0)
		m.some(30)
		m.attach()
		m.killIn(m.heap.Flushes()+1, 2)
		m.attach()
	}, func(m *machine) { m.sync(0); m.some(5) }},
	{"one of two closes", func(m *machine) { m.some(30); m.attach() }, func(m *machine) { m.close(0); m.some(20) }},
	{"recovery", func(m *machine) {
		m.some(30)
		m.sync(0)
		m.some(30)
		m.heap = m.heap.Crash(anyVersion(m.rng))
		m.stores, m.die = nil, nil
	},
		func(m *machine) { m.attach(); m.some(1) }},
}

// renew makes a new store, which nobody has opened.
func (m *machine) renew() {
	h, err := alloc.NewHeap(1 << 20)
	require.NoError(m.t, err)
	h.UseDisk()
	h.SetTrace(tracer(nil))
	m.heap, m.stores, m.die = h, nil, nil
}

// some sets and deletes keys of two maps.
func (m *machine) some(n int) {
	for range n {
		s := m.stores[len(m.stores)-1]
		key := fmt.Sprintf("key%02d", m.rng.IntN(30))
		value := fmt.Sprint(m.rng.IntN(1000))
		m.after = maps.Clone(m.model)
		if m.rng.IntN(2) == 0 {
			m.after["map/"], m.after["map/"+key] = "ordered", value
			require.NoError(m.t, s.Ordered("map").Set([]byte(key), []byte(value)))
		} else {
			m.after["/"+key] = value
			require.NoError(m.t, s.Set([]byte(key), []byte(value)))
		}
		m.model = m.after
		m.states[s.Version()] = m.model
	}
}

// killIn kills the first process in a Sync, at the n-th call of the system after a number
// of flushes.
func (m *machine) killIn(flushes, n int) {
	m.during = func() {
		if m.heap.Flushes() == flushes {
			n--
		}
		if n == 0 {
			m.killed = true
			panic(kill{})
		}
	}
	m.run(func() { _ = m.stores[0].Sync() })
	require.True(m.t, m.killed)
	m.during, m.killed = nil, false
	m.kill(0)
}

// The power fails in a Sync, while others make the file grow. The disk has the newest
// checkpoint, and of all else what was flushed last, also of the length of the file.
func TestPowerCutWhileTheFileGrows(t *testing.T) {
	t.Parallel()
	m := newMachine(t, 1, 2<<20)
	m.some(30)
	m.attach()
	begun := m.stores[0].a.FileBytes()
	m.during = func() {
		c := *m
		c.heap, c.during, c.states = m.heap.Clone(), nil, maps.Clone(m.states)
		c.reboot(func(off uint64, versions int) int {
			if off >= layout.OffCkpts && off < layout.OffTable {
				return versions - 1
			}
			return 0
		})
		key, value := fmt.Sprint("large", c.heap.Flushes(), len(m.model)), strings.Repeat("g", 100_000)
		c.heap.Free()
		m.after = maps.Clone(m.model)
		m.after["/"+key] = value
		require.NoError(t, m.stores[1].Set([]byte(key), []byte(value)))
		m.model = m.after
		m.states[m.stores[1].Version()] = m.model
	}
	require.NoError(t, m.stores[0].Sync())
	require.Greater(t, m.stores[0].a.FileBytes(), begun)
}

// A process dies when it has written the record of its checkpoint. The power fails in the
// next Sync, while another process reuses all blocks that it may. The disk has the record
// of the dead process, or has lost it.
func TestPowerCutAfterADeath(t *testing.T) {
	t.Parallel()
	m := newMachine(t, 1, 1<<20)
	m.some(30)
	m.sync(0)
	m.some(30)
	m.attach()
	m.killIn(m.heap.Flushes()+1, 2)
	m.attach()
	cuts := 0
	m.during = func() {
		m.some(60)
		for page := range layout.CkptPages + 1 {
			c := *m
			c.heap, c.during, c.states = m.heap.Clone(), nil, maps.Clone(m.states)
			c.reboot(func(off uint64, versions int) int {
				if page < layout.CkptPages && off&^4095 == layout.CkptOff(page) {
					return 0
				}
				return versions - 1
			})
			c.heap.Free()
			cuts++
		}
	}
	require.NoError(t, m.stores[0].Sync())
	require.Greater(t, cuts, 3*layout.CkptPages)
}

// The power fails at each access of some operations, and the disk has of all pages but one
// what was flushed last, or what was written last.
func TestPowerCutPoints(t *testing.T) {
	t.Parallel()
	var cuts atomic.Int64
	t.Cleanup(func() { t.Logf("%d power cuts", cuts.Load()) })
	for i, sc := range slices.Concat(powerCutScenes, journalScenes) {
		t.Run(sc.name, func(t *testing.T) {
			t.Parallel()
			start := func() *machine {
				m := newMachine(t, uint64(3*i), 1<<20)
				sc.prepare(m)
				return m
			}
			whole := start()
			whole.left, whole.calls = 1<<40, nil
			sc.act(whole)
			n := 1<<40 - whole.left
			// All changes around calls of the system, flushes among them, and some others.
			var points []int
			for _, left := range whole.calls {
				for at := -4; at <= 4; at++ {
					points = append(points, 1<<40-left+at)
				}
			}
			for at := 1; at <= n; at += 1 + n/testdir.Scale(10, 400) {
				points = append(points, at)
			}
			slices.Sort(points)
			points = slices.DeleteFunc(slices.Compact(points), func(at int) bool { return at < 1 })
			whole.rng.Shuffle(len(points), func(i, j int) { points[i], points[j] = points[j], points[i] })
			for _, at := range points[:min(len(points), testdir.Scale(3, 100))] {
				m := start()
				m.left = at
				m.run(func() { sc.act(m) })
				if !m.off {
					continue
				}
				pages := m.heap.Unflushed()
				picks := []func(off uint64, versions int) int{anyVersion(m.rng), anyVersion(m.rng)}
				var some []func(off uint64, versions int) int // of which a few are tried
				for _, page := range append(pages, 1) {
					one := func(first, others func(versions int) int) func(uint64, int) int {
						return func(off uint64, versions int) int {
							if off&^4095 == page {
								return first(versions)
							}
							return others(versions)
						}
					}
					oldest, newest, lost := func(int) int { return 0 }, func(versions int) int { return versions - 1 }, func(int) int { return -1 }
					switch {
					case page >= layout.OffCkpts && page < layout.OffTable:
						picks = append(picks, one(oldest, newest), one(newest, oldest), one(lost, newest), one(lost, oldest))
					case page < layout.OffTable:
						picks = append(picks, one(oldest, newest), one(newest, oldest))
					default:
						some = append(some, one(oldest, newest), one(newest, oldest))
					}
				}
				m.rng.Shuffle(len(some), func(i, j int) { some[i], some[j] = some[j], some[i] })
				for j, pick := range append(picks, some[:min(len(some), testdir.Scale(2, 8))]...) {
					c := *m
					c.heap, c.rng = m.heap.Clone(), rand.New(rand.NewPCG(uint64(at), uint64(j)))
					c.states = maps.Clone(m.states)
					c.reboot(pick)
					c.some(2)
					c.heap.Free()
					cuts.Add(int64(c.cuts))
				}
				m.heap.Free()
			}
		})
	}
}

// After a flush has failed no checkpoint is taken, by any process, also if flushes succeed
// again. The last checkpoint stays, and after a crash there are new ones.
func TestFlushFails(t *testing.T) {
	for flush := range 2 { // of data, of the record
		m := newMachine(t, 1, 1<<20)
		m.some(10)
		m.sync(0)
		kept := m.model
		m.some(10)
		if flush == 0 {
			m.heap.FailFlushes(true)
		} else {
			from := m.heap.Flushes()
			m.during = func() { m.heap.FailFlushes(m.heap.Flushes() > from) }
			m.wide = true
		}
		for range 100 { // during is called at calls of the system
			if err := m.stores[0].Sync(); err != nil {
				require.ErrorIs(t, err, ErrFlush)
				break
			}
			m.some(1)
		}
		m.during = nil
		require.False(t, m.stores[0].Stats().Checkpoints.Failed.IsZero())
		m.heap.FailFlushes(false)
		m.attach()
		for _, s := range m.stores {
			require.ErrorIs(t, s.Sync(), ErrFlush)
		}
		if flush == 0 {
			m.synced = 0
			m.reboot(func(uint64, int) int { return 0 })
			require.Equal(t, kept, m.model)
		} else {
			m.reboot(anyVersion(m.rng))
		}
		m.some(1)
		m.sync(0)
		require.True(t, m.stores[0].Stats().Checkpoints.Failed.IsZero())
	}
}

// A recovery takes no space. It makes do with what there is.
func TestRecoveryWithoutSpace(t *testing.T) {
	m := newMachine(t, 1, 1<<20)
	m.some(100)
	m.sync(0)
	m.some(10)
	m.heap.SetLimit(4096)
	m.reboot(anyVersion(m.rng))
	require.NoError(t, m.stores[0].Close())
}
