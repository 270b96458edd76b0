package record

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/internal/testdir"
	"github.com/seed-869cc763/shmkv/shm"
)

// A model is records, and what each session knows of them, in Go maps. The sessions belong to
// several handles, whose calls take turns.
type model struct {
	t        *testing.T
	rnd      *rand.Rand
	storages []*Storage
	sessions []*modelSession
	records  map[ID]Record
	changed  map[ID]modelChange
	owner    map[ID]*modelSession // who was given an id that is not stored
	fresh    map[ID]*modelSession
	gone     map[ID]int // when ids were collected that were not given again
	clock    int
	running  *collection
	counts   struct{ conflicts, commits, collected, reused, refused int }
}

type modelChange struct {
	at int
	by *modelSession
}

type modelSession struct {
	s    *Session
	at   int
	view map[ID]Record
	held map[ID]bool
}

func same(a, b Record) bool {
	return a.ID == b.ID && string(a.Data) == string(b.Data) && slices.Equal(a.Refs, b.Refs)
}

func (m *model) open() {
	s, err := m.storages[m.rnd.IntN(len(m.storages))].Session()
	require.NoError(m.t, err)
	m.sessions = append(m.sessions, &modelSession{s, m.clock, m.visible(), map[ID]bool{}})
}

func (m *model) close() {
	i := m.rnd.IntN(len(m.sessions))
	s := m.sessions[i]
	require.NoError(m.t, s.s.Close())
	m.sessions = slices.Delete(m.sessions, i, i+1)
	maps.DeleteFunc(m.fresh, func(_ ID, by *modelSession) bool { return by == s })
	if m.owner[0] == s {
		delete(m.owner, 0)
	}
}

func (m *model) newIDs(s *modelSession) {
	n := 1 + m.rnd.IntN(4)
	got, err := s.s.NewIDs(nil, n)
	require.NoError(m.t, err)
	require.Len(m.t, got, n)
	for _, id := range got {
		require.NotContains(m.t, m.records, id)
		require.NotContains(m.t, m.owner, id, "was given before")
		if at, was := m.gone[id]; was {
			m.counts.reused++
			for _, other := range m.sessions {
				require.GreaterOrEqual(m.t, other.at, at, "%d is given again, of which a session was not told", id)
			}
			for _, r := range m.records {
				require.NotContains(m.t, r.Refs, id)
			}
			delete(m.gone, id)
		}
		m.owner[id] = s
	}
}

// since returns the ids that others have changed since the last sync of a session.
func (m *model) since(s *modelSession) map[ID]bool {
	all := map[ID]bool{}
	for id, c := range m.changed {
		if c.at > s.at && c.by != s {
			all[id] = true
		}
	}
	return all
}

func (m *model) sync(s *modelSession) {
	got, err := s.s.Sync()
	require.NoError(m.t, err)
	may := m.since(s)
	told := map[ID]bool{}
	for _, id := range got {
		require.False(m.t, told[id], "%d was told twice", id)
		told[id] = true
		delete(s.held, id)
		if !may[id] { // garbage that a sweep has yet to delete
			require.NotEqual(m.t, phaseIdle, m.head().phase)
			require.NotContains(m.t, m.reachable(), id)
		}
	}
	for id := range may {
		was, had := s.view[id]
		is, has := m.records[id]
		if had != has || !same(was, is) {
			require.True(m.t, told[id], "%d has changed", id)
		}
	}
	s.at, s.view = m.clock, m.visible()
}

func (m *model) load(s *modelSession) {
	id := ID(m.rnd.IntN(40))
	got, err := s.s.Load(id)
	want, there := s.view[id]
	switch {
	case err == nil:
		require.True(m.t, there, "%d", id)
		require.True(m.t, same(want, got), "%v %v", want, got)
		s.held[id] = true
	case errors.Is(err, shm.ErrNotFound):
		require.True(m.t, !there || m.isGarbage(id), "%d", id)
		s.held[id] = true
	default:
		require.ErrorIs(m.t, err, ErrConflict)
		require.True(m.t, m.since(s)[id] || m.isGarbage(id), "%d", id)
	}
}

func (m *model) head() head {
	k, err := m.storages[0].snapshot()
	require.NoError(m.t, err)
	defer k.sn.Close()
	return k.head
}

// isGarbage reports whether a record waits for a sweep.
func (m *model) isGarbage(id ID) bool {
	if m.head().phase != phaseSweep || m.reachable()[id] {
		return false
	}
	k, err := m.storages[0].snapshot()
	require.NoError(m.t, err)
	defer k.sn.Close()
	seen, err := marked(k.books, id)
	require.NoError(m.t, err)
	return !seen
}

// visible returns the records without those that wait for a sweep.
func (m *model) visible() map[ID]Record {
	all := maps.Clone(m.records)
	maps.DeleteFunc(all, func(id ID, _ Record) bool { return m.isGarbage(id) })
	return all
}

func (m *model) some(from []ID, n int) (ids []ID) {
	for range n {
		if len(from) > 0 {
			ids = append(ids, from[m.rnd.IntN(len(from))])
		}
	}
	return ids
}

func (m *model) commit(s *modelSession) {
	may := slices.Sorted(maps.Keys(s.view)) // also of ids that others have deleted since
	for id, by := range m.owner {
		if by == s {
			may = append(may, id)
		}
	}
	slices.Sort(may)
	c := s.s.Begin()
	stored := map[ID]Record{}
	for _, id := range append(m.some(may, 1+m.rnd.IntN(3)), m.some([]ID{0}, m.rnd.IntN(2))...) {
		r := Record{id, fmt.Appendf(nil, "%d.%d", id, m.rnd.IntN(3)), m.some(may, m.rnd.IntN(4))}
		if _, there := s.view[id]; !there && m.owner[id] != s && id != 0 {
			continue
		}
		stored[id] = r
		require.NoError(m.t, c.Store(r))
	}
	if len(stored) == 0 { // which conflicts with nothing
		require.NoError(m.t, c.End())
		return
	}
	conflict, given, garbage := false, true, false
	used := map[ID]bool{}
	for id, r := range stored {
		used[id] = true
		for _, ref := range r.Refs {
			used[ref] = true
		}
	}
	conflicts := map[ID]bool{}
	for id := range m.since(s) {
		_, is := stored[id]
		_, there := m.records[id]
		if conflicts[id] = is || there && s.held[id] || !there && used[id]; conflicts[id] {
			conflict = true
		}
	}
	for id, r := range stored {
		_, there := m.records[id]
		given = given && (there || id == 0 || m.owner[id] == s)
		for _, used := range append(r.Refs, id) {
			_, there := m.records[used]
			garbage = garbage || there && m.isGarbage(used)
		}
	}
	err := c.End()
	if garbage && err != nil {
		require.ErrorIs(m.t, err, ErrConflict)
		m.counts.refused++
		return
	}
	switch {
	case conflict && err != nil:
		require.ErrorIs(m.t, err, ErrConflict)
		m.counts.conflicts++
		return
	case !given:
		require.Error(m.t, err)
		return
	}
	require.NoError(m.t, err)
	require.False(m.t, garbage)
	defer func() {
		for id := range stored {
			require.Contains(m.t, m.records, id)
		}
	}()
	if conflict { // only if the changes took each other back
		for id, is := range conflicts {
			if is {
				require.True(m.t, same(m.records[id], s.view[id]), "%d: %v %v, changed %v at %d", id, m.records[id], s.view[id], m.changed[id], s.at)
			}
		}
	}
	m.counts.commits++
	m.clock++
	var linked []ID // by new references of records that are not fresh, or by older ones to new records
	for id, r := range stored {
		old, there := m.records[id]
		if id != 0 && (!there || m.fresh[id] != nil) {
			m.fresh[id] = s
			continue
		}
		for _, ref := range r.Refs {
			_, isStored := stored[ref]
			_, there := m.records[ref]
			if !slices.Contains(old.Refs, ref) || isStored && !there {
				linked = append(linked, ref)
			}
		}
	}
	for id, r := range stored {
		m.records[id], s.view[id], s.held[id] = r, r, true
		m.changed[id] = modelChange{m.clock, s}
		delete(m.owner, id)
	}
	for ; len(linked) > 0; linked = linked[1:] {
		if id := linked[0]; m.fresh[id] != nil {
			delete(m.fresh, id)
			linked = append(linked, m.records[id].Refs...)
		}
	}
	m.collected()
}

// reachable returns the ids that no collection may take.
func (m *model) reachable() map[ID]bool {
	all := map[ID]bool{}
	todo := append(slices.Collect(maps.Keys(m.fresh)), 0)
	for len(todo) > 0 {
		id := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if r, there := m.records[id]; there && !all[id] {
			all[id] = true
			todo = append(todo, r.Refs...)
		}
	}
	return all
}

// collected takes notice of what a step has deleted.
func (m *model) collected() {
	there := map[ID]bool{}
	err := m.storages[0].store.View(func(sn *shm.Snapshot) error {
		for key := range sn.Map(m.storages[0].recordsN).All() {
			id, err := idOf(key)
			require.NoError(m.t, err)
			there[id] = true
		}
		return sn.Err()
	})
	require.NoError(m.t, err)
	keep := m.reachable()
	deleted := false
	for id := range m.records {
		if there[id] {
			continue
		}
		require.False(m.t, keep[id], "%d was collected", id)
		if !deleted {
			m.clock++
			deleted = true
		}
		delete(m.records, id)
		m.changed[id] = modelChange{m.clock, nil}
		m.gone[id] = m.clock
		m.counts.collected++
	}
	require.Len(m.t, there, len(m.records))
}

// step makes one step of a collection, which another handle may take over.
func (m *model) step() {
	if m.running == nil {
		m.running = &collection{st: m.storages[m.rnd.IntN(len(m.storages))], records: stepRecords}
		h := m.head()
		if h.phase == phaseIdle {
			begun, err := m.running.begin()
			require.NoError(m.t, err)
			require.True(m.t, begun)
		} else {
			require.NoError(m.t, m.running.takeOver(h.steps))
		}
	}
	_, err := m.running.step()
	require.NoError(m.t, err)
	m.collected()
	if h := m.head(); h.phase == phaseIdle {
		m.running = nil
	} else if m.rnd.IntN(4) == 0 {
		m.running = nil // as if its process had died
	}
}

func (m *model) pack() {
	_, err := m.storages[m.rnd.IntN(len(m.storages))].Pack(m.t.Context())
	require.NoError(m.t, err)
	m.running = nil
	m.collected()
	keep := m.reachable()
	for id := range m.records {
		require.True(m.t, keep[id], "%d is garbage", id)
	}
}

func TestModel(t *testing.T) { runModels(t, testdir.Scale(15, 300), nil) }

// A commit deletes some records to which no other refers.
func TestModelPerCommit(t *testing.T) { runModels(t, testdir.Scale(5, 100), PerCommit(2)) }

func runModels(t *testing.T, n int, garbage GarbagePolicy) {
	was := stuckAfter
	stepRecords, stuckAfter = 3, time.Millisecond
	defer func() { stepRecords, stuckAfter = defaultStep, was }()
	for range n {
		seed := rand.Uint64()
		t.Run(fmt.Sprint(seed), func(t *testing.T) { runModel(t, seed, garbage) })
	}
}

func runModel(t *testing.T, seed uint64, garbage GarbagePolicy) {
	dir := t.TempDir()
	m := &model{
		t: t, rnd: rand.New(rand.NewPCG(seed, 0)), records: map[ID]Record{}, changed: map[ID]modelChange{},
		owner: map[ID]*modelSession{}, fresh: map[ID]*modelSession{}, gone: map[ID]int{},
	}
	for range 3 {
		m.storages = append(m.storages, open(t, dir, &Options{Garbage: garbage}))
	}
	for range 500 {
		if len(m.sessions) == 0 || len(m.sessions) < 5 && m.rnd.IntN(20) == 0 {
			m.open()
		}
		s := m.sessions[m.rnd.IntN(len(m.sessions))]
		switch n := m.rnd.IntN(100); {
		case n < 10:
			m.newIDs(s)
		case n < 30:
			m.load(s)
		case n < 60:
			m.sync(s)
		case n < 85:
			m.commit(s)
		case n < 97:
			m.step()
		case n < 98:
			m.pack()
		case n < 99:
			m.close()
		}
		require.NoError(t, m.storages[0].Check(t.Context()))
	}
	m.pack()
	t.Logf("%+v", m.counts)
}
