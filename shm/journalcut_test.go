//go:build shmhook

package shm

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/alloc"
	"github.com/seed-869cc763/shmkv/alloc/layout"
)

// The scenes of TestPowerCutPoints with a journal.
var journalScenes = []powerCutScene{
	{"first record", func(m *machine) { m.some(10); m.useJournal() }, func(m *machine) { m.durably(3) }},
	{"record", func(m *machine) { m.some(10); m.useJournal(); m.durably(3) }, func(m *machine) { m.durably(2); m.some(1) }},
	{"record of a transaction", func(m *machine) { m.useJournal(); m.durably(3) }, func(m *machine) { m.some(8); m.sync(0) }},
	{"full journal", func(m *machine) { m.useJournal(); m.fillJournal() }, func(m *machine) { m.some(4); m.sync(0); m.durably(3) }},
	{"checkpoint behind records", func(m *machine) { m.some(10); m.useJournal(); m.durably(4); m.some(2) },
		func(m *machine) { require.NoError(m.t, m.stores[0].a.Checkpoint(syncPatience)); m.durably(2) }},
	{"record before a checkpoint of another one", func(m *machine) { m.some(10); m.useJournal(); m.durably(4); m.journal = 0; m.attach() },
		func(m *machine) { m.durably(1); m.some(1); m.sync(1); m.durably(1) }},
	{"records of two", func(m *machine) { m.some(10); m.useJournal(); m.attach(); m.durably(2) },
		func(m *machine) {
			m.some(1)
			m.sync(0)
			m.some(1)
			m.sync(1)
			m.some(1)
			m.sync(0)
		}},
	{"record after one that was killed before the write", killedRecord(2), func(m *machine) { m.durably(2) }},
	{"record after one that was killed before the flush", killedRecord(3), func(m *machine) { m.durably(2) }},
	{"record after one that was killed behind the flush", killedRecord(4), func(m *machine) { m.durably(2) }},
	{"closing behind records", func(m *machine) { m.some(10); m.useJournal(); m.durably(3); m.some(1) }, func(m *machine) { m.closeAll() }},
	{"opening after that", func(m *machine) { m.useJournal(); m.durably(3); m.some(1); m.closeAll() }, func(m *machine) { m.attach(); m.durably(2) }},
	{"replay", func(m *machine) { m.some(10); m.useJournal(); m.durably(4); m.crash() }, func(m *machine) { m.attach(); m.durably(2) }},
	{"replay of what was replayed", func(m *machine) {
		m.some(10)
		m.useJournal()
		m.durably(3)
		m.crash()
		m.attach()
		m.durably(3)
		m.crash()
	},
		func(m *machine) { m.attach(); m.durably(2) }},
}

// useJournal lets a process that writes a journal take the place of all others.
func (m *machine) useJournal() {
	m.journal = 4
	if m.closeAll(); len(m.stores) == 0 {
		m.attach()
	}
}

// durably makes n commits, and a record for each.
func (m *machine) durably(n int) {
	for range n {
		m.some(1)
		version := m.stores[0].Version()
		require.NoError(m.t, m.stores[0].Sync())
		m.synced = version
	}
}

// large sets an entry of n bytes.
func (m *machine) large(n int) {
	m.model = maps.Clone(m.model)
	m.model["/large"] = strings.Repeat("v", n)
	m.after = m.model
	require.NoError(m.t, m.stores[0].Set([]byte("large"), []byte(m.model["/large"])))
	m.states[m.stores[0].Version()] = m.model
}

// fillJournal writes records until there is no room for a large one.
func (m *machine) fillJournal() {
	m.durably(2)
	for before := uint64(0); ; {
		at := m.heap.Mem().Load(layout.OffJournalAt)
		if at < before || at > 14<<10 {
			return
		}
		before = at
		m.durably(1)
	}
}

// killedRecord prepares a store whose last record was written by a process that was killed at
// the n-th call of the system.
func killedRecord(n int) func(m *machine) {
	return func(m *machine) {
		m.some(10)
		m.useJournal()
		m.durably(3)
		m.some(1)
		m.attach()
		calls := n
		m.during = func() {
			if calls--; calls == 0 {
				m.killed = true
				panic(kill{})
			}
		}
		m.run(func() { _ = m.stores[0].Sync() })
		require.True(m.t, m.killed)
		m.during, m.killed = nil, false
		m.kill(0)
		m.some(1)
	}
}

// crash lets the power fail, and nobody opens the store.
func (m *machine) crash() {
	m.heap = m.heap.Crash(anyVersion(m.rng))
	m.stores, m.die = nil, nil
}

// The power fails while a record is flushed. The disk has any of its sectors.
func TestPowerCutInARecord(t *testing.T) {
	t.Parallel()
	m := newMachine(t, 1, 1<<20)
	m.some(10)
	m.useJournal()
	m.durably(3)
	m.large(1500)
	whole, torn := 0, 0
	m.during = func() {
		sectors := 0
		m.heap.Clone().Crash(func(off uint64, versions int) int {
			if off > m.journalFrom() {
				sectors++
			}
			return 0
		})
		for kept := range 1 << sectors {
			c := *m
			c.heap, c.during, c.states = m.heap.Clone(), nil, maps.Clone(m.states)
			i := 0
			c.reboot(func(off uint64, versions int) int {
				if off <= m.journalFrom() {
					return m.rng.IntN(versions)
				}
				i++
				return kept >> (i - 1) & 1
			})
			if c.synced > m.synced {
				whole++
			} else {
				torn++
			}
			c.some(1)
			c.sync(0)
			c.heap.Free()
		}
	}
	require.NoError(t, m.stores[0].Sync())
	require.Positive(t, whole)
	require.Greater(t, torn, 7)
}

// A process dies at any step of a record, for which it makes a new journal if the old one was
// removed. The next one makes its own commit durable.
func TestRecordAfterADeath(t *testing.T) {
	t.Parallel()
	for _, removed := range []bool{false, true} {
		recordAfterADeath(t, removed)
	}
}

func recordAfterADeath(t *testing.T, removed bool) {
	for n := 1; ; n++ {
		m := newMachine(t, 1, 1<<20)
		m.some(10)
		m.useJournal()
		m.attach()
		m.durably(2)
		if removed {
			m.stores[0], m.stores[1], m.die[0], m.die[1] = m.stores[1], m.stores[0], m.die[1], m.die[0]
			m.durably(1) // both have it open
			m.heap.SetJournal(nil)
		}
		m.some(1)
		m.toKill = n
		m.run(func() { _ = m.stores[0].Sync() })
		m.toKill = 0
		if !m.killed {
			require.Greater(t, n, 8)
			break
		}
		m.killed = false
		m.kill(0)
		m.durably(3)
		m.reboot(anyVersion(m.rng))
		require.NoError(t, m.stores[0].Close())
	}
}

// Others reuse all blocks that they may, while a record collects those of its version.
func TestRecordWhileBlocksAreReused(t *testing.T) {
	t.Parallel()
	m := newMachine(t, 3, 1<<20) // which reclaims at once
	m.some(10)
	m.useJournal()
	m.durably(2)
	m.heap.SetNewer(func(a *alloc.Arena, root alloc.Root, after uint64, visit func(off, size uint64) error) error {
		m.some(60)
		return newer(a, root, after, visit)
	})
	m.journal = 0
	a, die, err := m.heap.Attach(m.hook)
	require.NoError(t, err)
	m.stores, m.die = append(m.stores, newStore(a, "heap")), append(m.die, die)
	records := 0
	for range 5 {
		m.some(1)
		version := m.stores[0].Version()
		require.NoError(t, m.stores[len(m.stores)-1].Sync())
		m.synced = version
		c := *m
		c.heap, c.states, c.records = m.heap.Clone(), maps.Clone(m.states), 0
		c.reboot(anyVersion(m.rng))
		c.heap.Free()
		records += c.records
	}
	require.Positive(t, records)
}

// journalFrom is an offset before those of the journal for the pick function of Crash.
func (m *machine) journalFrom() uint64 { return m.heap.Mem().Size() }

// A journal is left of another store: its files were removed, but for the journal.
func TestJournalOfAnotherStore(t *testing.T) {
	other := newMachine(t, 1, 1<<20)
	other.some(10)
	other.useJournal()
	other.durably(5)
	m := newMachine(t, 2, 1<<20)
	m.heap.SetJournal(other.heap.Journal())
	m.some(5)
	m.sync(0)
	m.reboot(anyVersion(m.rng))
	require.Zero(t, m.records)
	m.journal = 4
	m.attach()
	m.sync(1)
	m.some(1)
	m.sync(1)
	m.reboot(anyVersion(m.rng))
}

// The disk has a newest version that is whole. It is trusted if it is newer than the last
// record, and not if it is older.
func TestNewestBesideJournal(t *testing.T) {
	for _, older := range []bool{false, true} {
		m := newMachine(t, 1, 1<<20)
		m.newest = true
		m.heap.SetProve(proveNewest)
		m.stores[0].sums = 1 << 1
		m.some(10)
		m.useJournal()
		m.durably(2)
		if older {
			m.some(1)
			m.heap.WriteBack()
			m.durably(3)
			m.reboot(func(off uint64, versions int) int {
				if off&^4095 == layout.OffRoot {
					return 1 // as it was written back
				}
				return versions - 1
			})
			require.Zero(t, m.trusted)
			require.Equal(t, 4, m.records)
		} else {
			m.some(3)
			want := m.model
			m.reboot(func(_ uint64, versions int) int { return versions - 1 })
			require.Equal(t, 1, m.trusted)
			require.Zero(t, m.records)
			require.Equal(t, want, m.model)
			m.useJournal()
			m.durably(1)
			m.reboot(anyVersion(m.rng))
		}
	}
}

// A recovery has no space for the blocks of the journal. It says so, and can be repeated.
func TestReplayWithoutSpace(t *testing.T) {
	m := newMachine(t, 1, 4<<20)
	m.some(10)
	m.useJournal()
	m.durably(2)
	used := m.heap.BackedBytes()
	for n := range 2 {
		m.large(5000 + n)
		m.sync(0)
	}
	m.heap = m.heap.Crash(func(uint64, int) int { return 0 })
	m.heap.SetLimit(used)
	for range 2 {
		_, _, err := m.heap.Attach(nil)
		if err != nil {
			require.ErrorIs(t, err, ErrFull)
			require.ErrorContains(t, err, "journal")
		}
	}
	m.heap.SetLimit(0)
	m.reboot(anyVersion(m.rng))
	require.Len(t, m.model["/large"], 5001)
}

// Records whose checksums are right lead to wrong places. A recovery refuses them.
func TestHostileJournal(t *testing.T) {
	m := newMachine(t, 1, 1<<20)
	m.some(10)
	m.useJournal()
	m.durably(1)
	before := m.heap.Mem().Load(layout.OffJournalLast)
	end := m.heap.Mem().Load(layout.OffEnd)
	root := layout.RootWord(m.heap.Mem().Load(layout.OffRoot)).Off()
	block := func(off, size uint64, n int) []byte {
		return append(layout.AppendJournalBlock(nil, off, size), make([]byte, n)...)
	}
	for name, rec := range map[string]struct {
		layout.JournalRecord
		blocks []byte
	}{
		"block in the header":            {layout.JournalRecord{Root: root, End: end}, block(layout.OffRoot, 64, 64)},
		"block in a table":               {layout.JournalRecord{Root: root, End: end}, block(layout.OffTable, 64, 64)},
		"block behind the end":           {layout.JournalRecord{Root: root, End: end}, block(end, 64, 64)},
		"block at the end of all":        {layout.JournalRecord{Root: root, End: end}, block(1<<64-64, 64, 64)},
		"block between others":           {layout.JournalRecord{Root: root, End: end}, block(root+4, 64, 64)},
		"block that is longer":           {layout.JournalRecord{Root: root, End: end}, block(root, 128, 64)},
		"block of a huge size":           {layout.JournalRecord{Root: root, End: end}, block(root, 1<<64-1, 64)},
		"half a block":                   {layout.JournalRecord{Root: root, End: end}, make([]byte, 8)},
		"end behind the largest store":   {layout.JournalRecord{Root: root, End: 1 << 60}, nil},
		"end of half a page":             {layout.JournalRecord{Root: root, End: end - 1}, nil},
		"end of nothing":                 {layout.JournalRecord{Root: root}, nil},
		"root in the header":             {layout.JournalRecord{Root: 8, End: end}, nil},
		"root behind the end":            {layout.JournalRecord{Root: end, End: end}, nil},
		"root of another version":        {layout.JournalRecord{Root: root, End: end, Version: 1}, nil},
		"root that is none":              {layout.JournalRecord{Root: root + 8, End: end}, nil},
		"root with nothing but zeros":    {layout.JournalRecord{Root: root, End: end, Version: 1000}, block(root, layout.RootSize, layout.RootSize)},
		"root that leads to no tree":     {layout.JournalRecord{Root: root, End: end, Version: 1000}, hostileRoot(root, 1000)},
		"version that is not a version":  {layout.JournalRecord{Root: root, End: end, Version: 1 << 60}, nil},
		"record of nothing that follows": {layout.JournalRecord{Root: root, End: end, Version: 1000, Before: 1}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			h := m.heap.Crash(func(_ uint64, versions int) int { return versions - 1 })
			if rec.Before == 0 {
				rec.Before = before
			}
			b := append(make([]byte, layout.JournalHeadSize), rec.blocks...)
			rec.Finish(b)
			journal := h.Journal()
			at := m.heap.Mem().Load(layout.OffJournalAt)
			copy(journal[at:], b)
			h.SetJournal(journal)
			a, _, err := h.Attach(nil)
			if err != nil {
				require.ErrorIs(t, err, ErrCorrupt)
				return
			}
			require.Contains(t, []string{"version that is not a version", "record of nothing that follows"}, name)
			s := newStore(a, "heap")
			require.Equal(t, m.model, allMaps(t, s))
			require.NoError(t, s.Close())
		})
	}
}

// Blocks of any place and size are refused, or replayed within the data. An access outside of
// them panics.
func TestHostileBlocks(t *testing.T) {
	m := newMachine(t, 1, 1<<20)
	m.some(10)
	m.useJournal()
	m.durably(1)
	mem := m.heap.Mem()
	before, end := mem.Load(layout.OffJournalLast), mem.Load(layout.OffEnd)
	root := layout.RootWord(mem.Load(layout.OffRoot)).Off()
	hostile := func(near ...uint64) uint64 {
		v := append(near, 0, end, 1<<20, layout.MaxSize, 1<<63, 1<<m.rng.IntN(64), m.rng.Uint64())[m.rng.IntN(len(near)+7)]
		return v + uint64(m.rng.IntN(3)-1)<<m.rng.IntN(16)
	}
	refused := 0
	for range 500 {
		h := m.heap.Crash(func(_ uint64, versions int) int { return versions - 1 })
		b := make([]byte, layout.JournalHeadSize)
		for range 1 + m.rng.IntN(3) {
			off, size := hostile(root), hostile(64, 4096, 8192)
			b = append(layout.AppendJournalBlock(b, off, size), make([]byte, min(layout.RoundUp(size, 8), 16<<10))...)
		}
		rec := layout.JournalRecord{Root: root, End: end, Version: 1000, Before: before}
		rec.Finish(b)
		journal, at := h.Journal(), mem.Load(layout.OffJournalAt)
		h.SetJournal(append(journal[:at], b...))
		a, _, err := h.Attach(nil)
		if err != nil {
			require.ErrorIs(t, err, ErrCorrupt)
			refused++
			continue
		}
		_ = newStore(a, "heap").Close()
	}
	require.Greater(t, refused, 400)
}

// hostileRoot is the block of a root node that leads to the header.
func hostileRoot(off, version uint64) []byte {
	b := layout.AppendJournalBlock(nil, off, layout.RootSize)
	words := slices.Repeat([]uint64{layout.OffRoot | 1}, layout.RootSize/8)
	words[0] = version
	for _, w := range words {
		for i := range 8 {
			b = append(b, byte(w>>(8*i)))
		}
	}
	return b
}

// Bits of the journal change. The store is a whole version that is not older than the
// checkpoint.
func TestChangedJournal(t *testing.T) {
	m := newMachine(t, 1, 1<<20)
	m.some(10)
	m.useJournal()
	m.durably(1)
	require.NoError(t, m.stores[0].a.Checkpoint(syncPatience))
	kept := m.stores[0].Version()
	m.durably(6)
	journal := m.heap.Journal()
	for range 60 {
		c := *m
		c.heap, c.states, c.synced = m.heap.Clone(), maps.Clone(m.states), kept
		changed := slices.Clone(journal)
		for range 1 + m.rng.IntN(3) {
			changed[m.rng.IntN(6<<10)] ^= 1 << m.rng.IntN(8)
		}
		c.heap.SetJournal(changed)
		c.reboot(anyVersion(m.rng))
		c.heap.Free()
	}
}

// Each recovery finds the records since the one before.
func TestReplayTwice(t *testing.T) {
	m := newMachine(t, 3, 1<<20)
	m.some(10)
	m.useJournal()
	m.durably(2)
	for range 4 {
		m.heap = m.heap.Crash(func(uint64, int) int { return 0 })
		m.stores, m.die = nil, nil
		m.attach()
		m.verify()
		require.Positive(t, m.stores[0].Recovery().Records)
		m.durably(2)
	}
	m.reboot(anyVersion(m.rng))
}

// The journal is lost in a crash of the system. The checkpoint is there, also after a recovery
// that has found records.
func TestLostJournal(t *testing.T) {
	m := newMachine(t, 3, 1<<20) // which reclaims at once
	m.some(10)
	m.useJournal()
	m.durably(1)
	for range 3 {
		for range 3 {
			m.durably(1)
			m.some(60)
			c := *m
			c.heap, c.states, c.synced = m.heap.Clone(), maps.Clone(m.states), m.stores[0].Stats().Checkpoints.Version
			c.heap.SetJournal(nil)
			c.reboot(func(_ uint64, versions int) int { return versions - 1 })
			c.heap.Free()
		}
		m.reboot(anyVersion(m.rng))
	}
	require.Positive(t, m.records)
}

// The journal is removed while two processes use it. Each commit that is durable stays so.
func TestRemovedJournal(t *testing.T) {
	m := newMachine(t, 1, 1<<20)
	m.some(10)
	m.useJournal()
	m.attach()
	m.durably(2)
	for range 6 {
		m.heap.SetJournal(nil)
		for range 3 {
			m.some(1)
			version := m.stores[0].Version()
			require.NoError(t, m.stores[m.rng.IntN(2)].Sync())
			m.synced = version
		}
		c := *m
		c.heap, c.states = m.heap.Clone(), maps.Clone(m.states)
		c.reboot(anyVersion(m.rng))
		c.heap.Free()
	}
}

// A commit that does not fit into the journal gets a checkpoint.
func TestLargerThanTheJournal(t *testing.T) {
	m := newMachine(t, 1, 4<<20)
	m.some(10)
	m.useJournal()
	m.durably(2)
	m.large(20_000)
	m.sync(0)
	require.Equal(t, m.stores[0].Version(), m.stores[0].Stats().Checkpoints.Version)
	m.durably(1)
	require.Less(t, m.stores[0].Stats().Checkpoints.Version, m.stores[0].Stats().Checkpoints.Durable)
	m.reboot(anyVersion(m.rng))
	require.Len(t, m.model["/large"], 20_000)
}
