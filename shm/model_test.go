package shm_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/alloc"
	"github.com/seed-869cc763/shmkv/shm"
)

// The model of a store is a Go map. A world is a store with its model, driven
// through several handles in turn by random operations. Each operation is done
// to both, and what it returns is compared; what a snapshot must show is a copy
// of the map.
type world struct {
	t    *testing.T
	rng  *rand.Rand
	kind worldKind

	attach  func() (*shm.Store, func())
	handles []*member
	model   map[string]string
	version uint64
	keys    []string

	snaps []*keptSnapshot
	dead  int // handles that died and were not adopted yet
	fulls int // how often the store was full
	ops   map[string]int
}

// worldKind is one set of conditions that the whole suite runs under.
type worldKind struct {
	name     string
	hash     func(key []byte) uint64 // nil: the store's own
	file     bool                    // in files, not on the heap
	maxSize  int64
	steps    int
	seeds    []uint64
	keys     int
	maxValue int // of all but the rare large values
	large    int // of those
	fills    bool
}

// member is a handle with how to end it.
type member struct {
	s   *shm.Store
	die func() // nil in files
}

// keptSnapshot is a snapshot with what it must show.
type keptSnapshot struct {
	sn      *shm.Snapshot
	by      *member
	model   map[string]string
	version uint64
}

func fnvHash(key []byte) uint64 {
	h := fnv.New64a()
	_, _ = h.Write(key)
	return h.Sum64()
}

func TestModel(t *testing.T) {
	t.Parallel()
	const big = 256 << 20
	for _, k := range []worldKind{
		{name: "heap", maxSize: big, steps: 2500, seeds: []uint64{1, 2, 3}, keys: 300, maxValue: 8 << 10, large: 200 << 10},
		{name: "files", file: true, maxSize: big, steps: 2500, seeds: []uint64{4, 5}, keys: 300, maxValue: 8 << 10, large: 3 << 20},
		{name: "many small", maxSize: big, steps: 6000, seeds: []uint64{6}, keys: 3000, maxValue: 200, large: 2000},
		{name: "few keys", maxSize: big, steps: 4000, seeds: []uint64{7, 8}, keys: 4, maxValue: 200, large: 200 << 10},
		{name: "smallest", maxSize: 1 << 20, steps: 4000, seeds: []uint64{9, 10, 11, 1795196602840991422}, keys: 300, maxValue: 6 << 10, large: 200 << 10, fills: true},
		{name: "smallest files", file: true, maxSize: 1, steps: 3000, seeds: []uint64{12, 13}, keys: 300, maxValue: 6 << 10, large: 200 << 10, fills: true},
		{name: "smallest many", maxSize: 1 << 20, steps: 8000, seeds: []uint64{14, 1795196479635433953, 1795196558882321415, 1795196558882317630}, keys: 6000, maxValue: 120, large: 4 << 10, fills: true},
		{name: "all equal", hash: func([]byte) uint64 { return 42 },
			maxSize: big, steps: 2000, seeds: []uint64{15}, keys: 200, maxValue: 300, large: 50 << 10},
		{name: "one bit", hash: func(key []byte) uint64 { return 42 | fnvHash(key)&1<<63 },
			maxSize: big, steps: 2000, seeds: []uint64{16, 17}, keys: 200, maxValue: 300, large: 50 << 10},
		{name: "low bits", hash: func(key []byte) uint64 { return fnvHash(key) & 0xff },
			maxSize: big, steps: 2000, seeds: []uint64{18}, keys: 300, maxValue: 300, large: 50 << 10},
		{name: "high bits", hash: func(key []byte) uint64 { return fnvHash(key) & (7 << 60) },
			maxSize: big, steps: 2000, seeds: []uint64{19}, keys: 200, maxValue: 300, large: 50 << 10},
		{name: "smallest equal", hash: func([]byte) uint64 { return 0 },
			maxSize: 1 << 20, steps: 2500, seeds: []uint64{20, 1795196629739065759, 1795196629739077577}, keys: 300, maxValue: 6 << 10, large: 200 << 10, fills: true},
		{name: "smallest one bit files", file: true, hash: func(key []byte) uint64 { return fnvHash(key) & 1 << 40 },
			maxSize: 1, steps: 2000, seeds: []uint64{21}, keys: 300, maxValue: 6 << 10, large: 200 << 10, fills: true},
	} {
		for _, seed := range k.seeds {
			t.Run(fmt.Sprintf("%s/seed=%d", k.name, seed), func(t *testing.T) {
				if testing.Short() {
					k.steps /= 4
				}
				newWorld(t, k, seed).run()
			})
		}
	}
}

func newWorld(t *testing.T, k worldKind, seed uint64) *world {
	w := &world{t: t, kind: k, rng: rand.New(rand.NewPCG(seed, 99)), model: map[string]string{}, ops: map[string]int{}}
	if k.file {
		dir := t.TempDir() + "/store"
		w.attach = func() (*shm.Store, func()) {
			s, err := shm.Open(dir, &shm.Options{MaxSize: k.maxSize})
			require.NoError(t, err)
			if !k.fills { // the version then shows each move of an entry
				s.StopKeeping()
			}
			return s, nil
		}
	} else {
		h, err := alloc.NewHeap(uint64(k.maxSize))
		require.NoError(t, err)
		w.attach = func() (*shm.Store, func()) {
			s, die, err := shm.AttachHeap(h, "heap")
			require.NoError(t, err)
			return s, die
		}
	}
	seen := map[string]bool{}
	for len(w.keys) < k.keys {
		if key := w.newKey(); !seen[key] {
			seen[key] = true
			w.keys = append(w.keys, key)
		}
	}
	for range 3 {
		w.handles = append(w.handles, w.newMember())
	}
	w.version = w.handles[0].s.Version()
	return w
}

func (w *world) newMember() *member {
	s, die := w.attach()
	s.SetHash(w.kind.hash)
	return &member{s, die}
}

func (w *world) newKey() string {
	switch n := w.rng.IntN(100); {
	case n < 50:
		return w.text(16)
	case n < 95 || w.kind.fills && n < 99:
		return w.text(w.rng.IntN(60))
	case n < 99:
		return w.text(w.rng.IntN(2000))
	}
	if w.rng.IntN(2) == 0 {
		return w.text(shm.MaxKey)
	}
	return w.text(w.rng.IntN(shm.MaxKey))
}

// text is n random bytes, quickly.
func (w *world) text(n int) string {
	b := make([]byte, n+8)
	for i := 0; i < n; i += 8 {
		binary.LittleEndian.PutUint64(b[i:], w.rng.Uint64())
	}
	return string(b[:n])
}

func (w *world) key() string { return w.keys[w.rng.IntN(len(w.keys))] }

// value is never nil, but sometimes empty.
func (w *world) value() []byte {
	n := 0
	switch r := w.rng.IntN(200); {
	case r < 20:
	case r < 120:
		n = w.rng.IntN(150)
	case r < 199:
		n = w.rng.IntN(w.kind.maxValue)
	default:
		n = w.rng.IntN(w.kind.large)
	}
	return []byte(w.text(n))
}

// some is one handle of those that are alive.
func (w *world) some() *member { return w.handles[w.rng.IntN(len(w.handles))] }

// full reports whether an operation failed because the store is full, after
// which the model stays as it was. Any other error fails the test.
func (w *world) full(err error) bool {
	if err == nil {
		return false
	}
	require.ErrorIs(w.t, err, shm.ErrFull)
	require.True(w.t, w.kind.fills, "a large store is full: %v", err)
	w.fulls++
	return true
}

func (w *world) committed(key string, value []byte) {
	was, had := w.model[key]
	switch {
	case value == nil:
		delete(w.model, key)
	case had && was == string(value):
		return // nothing has changed
	default:
		w.model[key] = string(value)
	}
	w.version++
}

func (w *world) run() {
	type op struct {
		name   string
		weight int
		do     func()
	}
	ops := []op{
		{"set", 30, w.set}, {"delete", 15, w.delete}, {"get", 10, w.get}, {"append", 5, w.append},
		{"getmany", 3, w.getMany}, {"has", 5, w.has}, {"swap", 10, w.swap}, {"cas", 15, w.cas},
		{"modify", 10, w.modify}, {"update", 12, w.update}, {"view", 3, w.view},
		{"snapshot", 2, w.snapshot}, {"closesnapshot", 2, w.closeSnapshot}, {"diff", 1, w.diff},
		{"stats", 3, w.stats}, {"end", 1, w.endHandle}, {"adopt", 1, w.adopt},
		{"idle", 1, w.idle},
	}
	sum := 0
	for _, o := range ops {
		sum += o.weight
	}
	for step := range w.kind.steps {
		n := w.rng.IntN(sum)
		for _, o := range ops {
			if n -= o.weight; n < 0 {
				w.ops[o.name]++
				o.do()
				break
			}
		}
		w.catchUp()
		for _, m := range w.handles {
			require.Equal(w.t, w.version, m.s.Version(), "version after step %d", step)
		}
		if step%(w.kind.steps/8) == 0 {
			w.check(w.some().s)
		}
		if w.fulls > 0 && len(w.snaps) > 0 && w.rng.IntN(20) == 0 {
			w.closeSnapshot()
		}
	}
	w.finish()
}

// catchUp notes the version. In a store that may be full it rises by more than the
// model's commits, for entries are moved to make room.
func (w *world) catchUp() {
	if w.kind.fills {
		version := w.handles[0].s.Version()
		require.GreaterOrEqual(w.t, version, w.version)
		w.version = version
	}
}

func (w *world) set() {
	key, value := w.key(), w.value()
	if !w.full(w.some().s.Set([]byte(key), value)) {
		w.committed(key, value)
	}
}

func (w *world) delete() {
	key := w.key()
	existed, err := w.some().s.Delete([]byte(key))
	if w.full(err) {
		return
	}
	_, had := w.model[key]
	require.Equal(w.t, had, existed)
	if had {
		w.committed(key, nil)
	}
}

// is compares what a lookup found with the model.
func is(t *testing.T, model map[string]string, key string, got []byte, err error) {
	t.Helper()
	want, had := model[key]
	if !had {
		require.ErrorIs(t, err, shm.ErrNotFound)
		return
	}
	require.NoError(t, err)
	if want != string(got) {
		require.Failf(t, "wrong value", "key of %d bytes: %d bytes found, %d expected", len(key), len(got), len(want))
	}
}

func (w *world) get() {
	key := w.key()
	got, err := w.some().s.Get([]byte(key))
	is(w.t, w.model, key, got, err)
}

func (w *world) append() {
	key := w.key()
	dst := append(make([]byte, 0, w.rng.IntN(2000)), "before"...)
	got, err := w.some().s.Append(dst, []byte(key))
	require.Equal(w.t, "before", string(got[:6]))
	is(w.t, w.model, key, got[6:], err)
}

func (w *world) has() {
	key := w.key()
	has, err := w.some().s.Has([]byte(key))
	require.NoError(w.t, err)
	_, had := w.model[key]
	require.Equal(w.t, had, has)
}

func (w *world) getMany() {
	keys := make([][]byte, w.rng.IntN(200))
	for i := range keys {
		keys[i] = []byte(w.key())
	}
	next := 0
	err := w.some().s.GetMany(keys, func(i int, value []byte, ok bool) {
		require.Equal(w.t, next, i)
		next++
		err := shm.ErrNotFound
		if ok {
			err = nil
		}
		is(w.t, w.model, string(keys[i]), value, err)
	})
	require.NoError(w.t, err)
	require.Equal(w.t, len(keys), next)
}

func (w *world) swap() {
	key, value := w.key(), w.value()
	if w.rng.IntN(3) == 0 {
		value = nil
	}
	old, existed, err := w.some().s.Swap([]byte(key), value)
	if w.full(err) {
		return
	}
	was, had := w.model[key]
	require.Equal(w.t, had, existed)
	require.Equal(w.t, was, string(old))
	require.Equal(w.t, had, old != nil)
	if had || value != nil {
		w.committed(key, value)
	}
}

func (w *world) cas() {
	key, value := w.key(), w.value()
	if w.rng.IntN(4) == 0 {
		value = nil
	}
	was, had := w.model[key]
	var old []byte // absent
	switch w.rng.IntN(4) {
	case 0:
	case 1:
		old = w.value()
	default:
		if had {
			old = append([]byte{}, was...)
		}
	}
	swapped, err := w.some().s.CompareAndSwap([]byte(key), old, value)
	if w.full(err) {
		require.False(w.t, swapped)
		return
	}
	require.Equal(w.t, had == (old != nil) && was == string(old), swapped)
	if swapped && (had || value != nil) {
		w.committed(key, value)
	}
}

func (w *world) modify() {
	key := w.key()
	var value []byte
	keep := w.rng.IntN(4) > 0
	if keep {
		value = w.value()
	}
	was, had := w.model[key]
	err := w.some().s.Modify([]byte(key), func(old []byte, exists bool) ([]byte, bool) {
		require.Equal(w.t, had, exists)
		require.Equal(w.t, was, string(old))
		if keep && len(value) > 10 { // from the old one, as one does
			n := min(len(old), len(value))
			copy(value, old[:n])
		}
		return value, keep
	})
	if !w.full(err) && (had || keep) {
		w.committed(key, value)
	}
}

var errGiveUp = errors.New("give up")

// update is a transaction of several operations, which commits, gives up,
// panics, or dies.
func (w *world) update() {
	var next map[string]string // set by fn
	wrote := false
	end := w.rng.IntN(20)
	m := w.some()
	// A set that was refused, perhaps only when a later call carried it out, has lost
	// the transaction: a get says so. It is left then.
	lost := false
	isLost := func(tx *shm.Tx) bool {
		_, err := tx.Get(nil)
		lost = err != nil && err != shm.ErrNotFound && w.full(err)
		return lost
	}
	fn := func(tx *shm.Tx) error {
		next, wrote, lost = maps.Clone(w.model), false, false // it may run again
		kept := map[string][]byte{}                           // slices that must stay
		was := map[string]string{}
		for n := 1 + w.rng.IntN(30); n > 0 && !lost; n-- {
			key := w.key()
			switch r := w.rng.IntN(20); {
			case r < 8:
				value := w.value()
				if w.full(tx.Set([]byte(key), value)) {
					require.True(w.t, isLost(tx))
				} else {
					was, had := next[key]
					wrote = wrote || !had || was != string(value)
					next[key] = string(value)
				}
			case r < 13:
				existed, err := tx.Delete([]byte(key))
				if !w.full(err) {
					_, had := next[key]
					require.Equal(w.t, had, existed)
					delete(next, key)
					wrote = wrote || existed
				}
			case isLost(tx): // a delete has found out
			case r < 17:
				got, err := tx.Get([]byte(key))
				is(w.t, next, key, got, err)
				if err == nil && len(got) < 10000 {
					kept[key], was[key] = got, string(got)
				}
			case r < 18:
				has, err := tx.Has([]byte(key))
				require.NoError(w.t, err)
				_, had := next[key]
				require.Equal(w.t, had, has)
			case r < 19 && len(next) < 500:
				w.txAll(tx, next, &wrote, isLost)
			default:
				if n := tx.Len(); !isLost(tx) {
					require.Equal(w.t, len(next), n)
				}
			}
		}
		for key, got := range kept {
			require.Equal(w.t, was[key], string(got), "a slice from Tx.Get has changed")
		}
		switch {
		case end == 0:
			return errGiveUp
		case end == 1:
			panic(errGiveUp)
		}
		return nil
	}
	if end == 2 && m.die != nil {
		w.dieIn(m, fn)
		return
	}
	err := func() (err error) {
		defer func() {
			if end == 1 {
				require.Equal(w.t, errGiveUp, recover())
				err = errGiveUp
			}
		}()
		return m.s.Update(fn)
	}()
	if end <= 1 {
		require.Equal(w.t, errGiveUp, err)
		return
	}
	if lost {
		require.ErrorIs(w.t, err, shm.ErrFull)
	}
	if !w.full(err) && wrote {
		w.model = next
		w.version++
	}
}

// txAll compares an iteration with the state at its beginning while it writes.
func (w *world) txAll(tx *shm.Tx, next map[string]string, wrote *bool, isLost func(*shm.Tx) bool) {
	start := maps.Clone(next)
	stop := -1
	if w.rng.IntN(4) == 0 {
		stop = w.rng.IntN(10)
	}
	seen := 0
	for key, value := range tx.All() {
		want, had := start[string(key)]
		require.True(w.t, had)
		require.Equal(w.t, len(want), len(value))
		require.True(w.t, want == string(value))
		seen++
		if seen == stop {
			return
		}
		if seen > 40 {
			continue
		}
		k := w.key()
		if w.rng.IntN(2) == 0 {
			v := w.value()
			if !w.full(tx.Set([]byte(k), v)) {
				was, had := next[k]
				*wrote = *wrote || !had || was != string(v)
				next[k] = string(v)
			}
		} else if existed, err := tx.Delete([]byte(k)); !w.full(err) {
			delete(next, k)
			*wrote = *wrote || existed
		}
	}
	if seen > 0 || !isLost(tx) {
		require.Equal(w.t, len(start), seen)
	}
}

// dieIn makes a handle die at the end of a transaction's function. The
// goroutine stays where the process ended.
func (w *world) dieIn(m *member, fn func(tx *shm.Tx) error) {
	done := make(chan struct{})
	go func() {
		_ = m.s.Update(func(tx *shm.Tx) error {
			func() {
				defer close(done) // also if a requirement fails
				_ = fn(tx)
				m.die()
			}()
			select {}
		})
	}()
	<-done
	w.lose(m)
}

// lose forgets a handle that has died, and its snapshots.
func (w *world) lose(m *member) {
	w.dead++
	w.snaps = slices.DeleteFunc(w.snaps, func(k *keptSnapshot) bool { return k.by == m })
	w.forget(m)
}

// forget forgets a handle. If it was closed, its snapshots go on.
func (w *world) forget(m *member) {
	w.handles = slices.DeleteFunc(w.handles, func(o *member) bool { return o == m })
	if len(w.handles) == 0 || w.rng.IntN(2) == 0 {
		// Who attaches adopts.
		w.handles = append(w.handles, w.newMember())
		w.dead = 0
	}
}

// endHandle makes a handle die between two operations, or closes it, with its
// snapshots open.
func (w *world) endHandle() {
	m := w.some()
	if m.die != nil && w.rng.IntN(3) > 0 {
		m.die()
		w.lose(m)
	} else {
		require.NoError(w.t, m.s.Close())
		w.forget(m)
	}
	for len(w.handles) < 2 {
		w.handles = append(w.handles, w.newMember())
		w.dead = 0
	}
}

func (w *world) adopt() {
	n, err := w.some().s.Inspect().Adopt()
	require.NoError(w.t, err)
	if !w.kind.fills { // a full store has adopted already, perhaps
		require.Equal(w.t, w.dead, n)
	}
	w.dead = 0
}

func (w *world) idle() { require.NoError(w.t, w.some().s.Idle()) }

func (w *world) view() {
	m := w.some()
	err := m.s.View(func(sn *shm.Snapshot) error {
		require.Equal(w.t, w.version, sn.Version())
		for range 20 {
			key := w.key()
			got, err := sn.Get([]byte(key))
			is(w.t, w.model, key, got, err)
		}
		return nil
	})
	require.NoError(w.t, err)
}

func (w *world) snapshot() {
	if len(w.snaps) > 9 {
		return
	}
	m := w.some()
	sn, err := m.s.Snapshot()
	require.NoError(w.t, err)
	w.snaps = append(w.snaps, &keptSnapshot{sn, m, maps.Clone(w.model), w.version})
}

func (w *world) closeSnapshot() {
	if len(w.snaps) == 0 {
		return
	}
	i := w.rng.IntN(len(w.snaps))
	require.NoError(w.t, w.snaps[i].sn.Close())
	require.NoError(w.t, w.snaps[i].sn.Close())
	w.snaps = slices.Delete(w.snaps, i, i+1)
}

func (w *world) diff() {
	if len(w.snaps) > 1 {
		a, b := w.snaps[w.rng.IntN(len(w.snaps))], w.snaps[w.rng.IntN(len(w.snaps))]
		sameDiff(w.t, a, b)
	}
}

func (w *world) stats() {
	m := w.some()
	st := m.s.Stats()
	require.Equal(w.t, w.version, st.Version)
	require.Equal(w.t, int64(len(w.model)), st.Entries)
	require.Equal(w.t, len(w.model), m.s.Len())
	data := int64(0)
	for k, v := range w.model {
		data += int64(len(k) + len(v))
	}
	require.Equal(w.t, data, st.DataBytes)
	require.LessOrEqual(w.t, st.DataBytes, st.LiveBytes)
	require.LessOrEqual(w.t, st.LiveBytes, st.FileBytes)
	require.LessOrEqual(w.t, st.FileBytes, st.MaxSize)
}

func (w *world) check(s *shm.Store) {
	w.t.Helper()
	rep, err := s.Check(context.Background(), nil)
	for tries := 0; err == nil && !rep.Quiet && tries < 1000; tries++ { // a keeper is at work
		idle()
		rep, err = s.Check(context.Background(), nil)
	}
	if err != nil {
		w.t.Logf("report: %+v", rep)
	}
	require.NoError(w.t, err)
	require.Empty(w.t, rep.Problems)
	require.Zero(w.t, rep.LeakedBytes)
	require.Zero(w.t, rep.InFlightBytes)
	require.Equal(w.t, int64(len(w.model)), rep.Entries)
	require.Equal(w.t, w.version, rep.Version)
	require.True(w.t, rep.Quiet, "%+v", rep)
	require.Equal(w.t, rep.FileBytes, rep.LiveBytes+rep.RetiredBytes+rep.FreeBytes+rep.TableBytes+rep.RoundingBytes)
	w.dead = 0
}

// same compares all that a snapshot shows with its model.
func (w *world) same(k *keptSnapshot) {
	require.Equal(w.t, k.version, k.sn.Version())
	require.Equal(w.t, len(k.model), k.sn.Len())
	seen := map[string]bool{}
	for key, value := range k.sn.All() {
		require.False(w.t, seen[string(key)], "All shows a key twice")
		seen[string(key)] = true
		is(w.t, k.model, string(key), value, nil)
	}
	require.Equal(w.t, len(k.model), len(seen))
	for _, key := range w.keys {
		got, err := k.sn.Get([]byte(key))
		is(w.t, k.model, key, got, err)
		has, err := k.sn.Has([]byte(key))
		require.NoError(w.t, err)
		_, had := k.model[key]
		require.Equal(w.t, had, has)
	}
}

// sameDiff compares a.Diff(b) with the difference of the models.
func sameDiff(t *testing.T, a, b *keptSnapshot) {
	t.Helper()
	want := 0
	for key, v := range a.model {
		if o, had := b.model[key]; !had || o != v {
			want++
		}
	}
	for key := range b.model {
		if _, had := a.model[key]; !had {
			want++
		}
	}
	seen := map[string]bool{}
	for key, c := range a.sn.Diff(b.sn) {
		require.False(t, seen[string(key)], "Diff shows a key twice")
		seen[string(key)] = true
		for _, side := range []struct {
			got   []byte
			model map[string]string
		}{{c.Old, b.model}, {c.New, a.model}} {
			v, had := side.model[string(key)]
			require.Equal(t, had, side.got != nil)
			require.True(t, v == string(side.got))
		}
		require.False(t, c.Old != nil && c.New != nil && string(c.Old) == string(c.New))
	}
	require.Equal(t, want, len(seen))
}

func (w *world) finish() {
	w.snaps = append(w.snaps, func() *keptSnapshot {
		sn, err := w.handles[0].s.Snapshot()
		require.NoError(w.t, err)
		return &keptSnapshot{sn, w.handles[0], w.model, w.version}
	}())
	for _, k := range w.snaps {
		w.same(k)
		for _, o := range w.snaps {
			sameDiff(w.t, k, o)
		}
	}
	w.check(w.handles[0].s)
	for _, k := range w.snaps {
		require.NoError(w.t, k.sn.Close())
	}
	w.snaps = nil
	for _, m := range w.handles {
		w.check(m.s)
	}
	if w.kind.fills {
		// Space that was freed can be used again, down to the last.
		if !testing.Short() {
			require.Positive(w.t, w.fulls, "the store was never full: a weak test")
		}
		s := w.handles[0].s
		for key := range maps.Clone(w.model) {
			existed, err := s.Delete([]byte(key))
			require.NoError(w.t, err, "deleting in a full store")
			require.True(w.t, existed)
			w.committed(key, nil)
		}
		w.catchUp()
		w.check(s)
		// Idle handles keep what is in their magazines: they go first.
		for _, m := range w.handles[1:] {
			require.NoError(w.t, m.s.Close())
		}
		w.handles = w.handles[:1]
		value := []byte(w.text(100 << 10))
		require.NoError(w.t, s.Set([]byte("afterwards"), value), "in an emptied store")
		w.committed("afterwards", value)
		w.catchUp()
		w.keys = append(w.keys, "afterwards")
	}
	for _, m := range w.handles {
		require.NoError(w.t, m.s.Close())
	}
	m := w.newMember()
	w.check(m.s)
	sn, err := m.s.Snapshot()
	require.NoError(w.t, err)
	require.NoError(w.t, m.s.Close())
	w.same(&keptSnapshot{sn, m, w.model, w.version})
	require.NoError(w.t, sn.Close())
	w.t.Logf("version %d, %d entries, full %d times, %v", w.version, len(w.model), w.fulls, w.ops)
}
