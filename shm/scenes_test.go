//go:build shmhook

package shm

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/alloc"
	"github.com/seed-869cc763/shmkv/alloc/layout"
)

func actSet(key, value string) op {
	return op{"set " + key + "=" + value[:min(len(value), 10)],
		func(a *actor) string {
			err := a.store.Set([]byte(key), []byte(value))
			if errors.Is(err, ErrFull) {
				return "full"
			}
			return fmt.Sprint(err)
		},
		func(c contents, got string) string {
			if got == "full" {
				return got
			}
			c[key] = value
			return "<nil>"
		}}
}

func actGet(key string) op {
	return op{"get " + key,
		func(a *actor) string {
			v, err := a.store.Get([]byte(key))
			if err == ErrNotFound {
				return "absent"
			}
			return fmt.Sprintf("%s %v", v, err)
		},
		func(c contents, _ string) string {
			if v, ok := c[key]; ok {
				return v + " <nil>"
			}
			return "absent"
		}}
}

func actDelete(key string) op {
	return op{"delete " + key,
		func(a *actor) string { existed, err := a.store.Delete([]byte(key)); return fmt.Sprint(existed, err) },
		func(c contents, _ string) string { _, ok := c[key]; delete(c, key); return fmt.Sprint(ok, " <nil>") }}
}

func actAppend(key string) op {
	return op{"append to " + key,
		func(a *actor) string {
			return fmt.Sprint(a.store.Modify([]byte(key), func(old []byte, _ bool) ([]byte, bool) {
				return append(append([]byte{}, old...), '+'), true
			}))
		},
		func(c contents, _ string) string { c[key] += "+"; return "<nil>" }}
}

// actMove moves what one key has to another, in a transaction.
func actMove(from, to string) op {
	return op{"move " + from + " to " + to,
		func(a *actor) string {
			return fmt.Sprint(a.store.Update(func(tx *Tx) error {
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
		func(c contents, _ string) string {
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
		func(a *actor) (text string) {
			err := a.store.View(func(sn *Snapshot) error {
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
		func(c contents, _ string) string { return fmt.Sprint(c.without(closedMark)) + "<nil>" }}
}

// actPeek reads one key of a snapshot.
func actPeek(key string) op {
	o := actGet(key)
	o.name = "peek at " + key
	o.do = func(a *actor) string {
		sn, err := a.store.Snapshot()
		if err != nil {
			return err.Error()
		}
		defer func() { _ = sn.Close() }()
		v, err := sn.Get([]byte(key))
		if err == ErrNotFound {
			return "absent"
		}
		if errors.Is(err, ErrClosed) {
			return "an open snapshot is closed"
		}
		return fmt.Sprintf("%s %v", v, err)
	}
	return o
}

// actLook reads one key in a View, twice.
func actLook(key string) op {
	o := actGet(key)
	o.name = "look at " + key
	o.do = func(a *actor) (text string) {
		err := a.store.View(func(sn *Snapshot) error {
			v, err := sn.Get([]byte(key))
			if err != nil {
				return err
			}
			text = string(v)
			if again, err := sn.Get([]byte(key)); err != nil || string(again) != text {
				return fmt.Errorf("a View saw %q change to %q, %w", text, again, err)
			}
			return nil
		})
		if err == ErrNotFound {
			return "absent"
		}
		return fmt.Sprintf("%s %v", text, err)
	}
	return o
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
		func(a *actor) string { _, err := a.store.Inspect().Adopt(); return fmt.Sprint(err) },
		func(contents, string) string { return "<nil>" }}
}

// actKeep does what a handle's keeper does at a time.
func actKeep() op {
	return op{"keep house",
		func(a *actor) string { _, err := a.store.keep(func() error { return nil }); return fmt.Sprint(err) },
		func(contents, string) string { return "<nil>" }}
}

func actClose() op {
	return op{"close",
		func(a *actor) string { return fmt.Sprint(a.store.Close()) },
		func(c contents, _ string) string { c[closedMark] = ""; return "<nil>" }}
}

// closedMark stands in the contents once the handle that a scene is about was
// closed.
const closedMark = "\x00closed"

// besideClose is an operation of a handle that another actor closes. It succeeds, or
// it does nothing and says that the handle is closed; it says so if it begins after
// Close has. A reader's bound is not its own: it may be the last user, who ends the
// handle.
func besideClose(o op) op {
	return op{"closing: " + o.name,
		func(a *actor) string {
			closed := a.store.a.Closed()
			got := o.do(a)
			if strings.Contains(got, ErrClosed.Error()) {
				return "closed"
			} else if closed {
				return "in a closed handle: " + got
			}
			return got
		},
		func(c contents, got string) string {
			if _, closed := c[closedMark]; closed && got == "closed" {
				return got
			}
			return o.model(c, got)
		}}
}

// ignoring is the model of an operation that changes nothing and that answers
// either <nil> or an error.
func ignoring(contents, string) string { return "<nil>" }

// actReadAll reads all of a snapshot in a loop, which no Close of the store ends.
func actReadAll() op {
	return op{"read all",
		func(a *actor) string {
			sn, err := a.store.Snapshot()
			if err != nil {
				return err.Error()
			}
			defer func() { _ = sn.Close() }()
			c := contents{}
			for k, v := range sn.All() {
				c[string(k)] = string(v)
			}
			if sn.Err() != nil {
				return "a loop over an open snapshot was cut short"
			}
			return fmt.Sprint(c)
		},
		func(c contents, _ string) string { return fmt.Sprint(c.without(closedMark)) }}
}

// actGetMany reads keys with GetMany. What it was told before an error counts too.
func actGetMany(keys ...string) op {
	return op{"get " + strings.Join(keys, ", "),
		func(a *actor) string {
			var many [][]byte
			for _, k := range keys {
				many = append(many, []byte(k))
			}
			text := ""
			err := a.store.GetMany(many, func(_ int, value []byte, ok bool) { text += fmt.Sprintf("%s %v ", value, ok) })
			if err != nil {
				return err.Error()
			}
			return text
		},
		func(c contents, _ string) (text string) {
			for _, k := range keys {
				v, ok := c[k]
				text += fmt.Sprintf("%s %v ", v, ok)
			}
			return text
		}}
}

func actCheck() op {
	return op{"check",
		func(a *actor) string { _, err := a.store.Check(a.st.t.Context(), nil); return fmt.Sprint(err) }, ignoring}
}

func actCompact() op {
	return op{"compact",
		func(a *actor) string { _, err := a.store.Compact(a.st.t.Context(), nil); return fmt.Sprint(err) }, ignoring}
}

// actWait waits for a version that does not come, and looks a few times.
func actWait() op {
	return op{"wait",
		func(a *actor) string {
			_, err := a.store.Wait(&fewLooks{Context: a.st.t.Context(), left: 6}, 1<<40)
			if errors.Is(err, context.Canceled) {
				return "<nil>"
			}
			return fmt.Sprint(err)
		}, ignoring}
}

// fewLooks is a context that is done when it was looked at a few times.
type fewLooks struct {
	context.Context
	left int
}

func (c *fewLooks) Done() <-chan struct{} { return nil }

func (c *fewLooks) Err() error {
	if c.left--; c.left < 0 {
		return context.Canceled
	}
	return nil
}

// actKill lets another process die in the middle of a transaction, unobserved.
func actKill() op {
	return op{"kill",
		func(a *actor) string {
			m := &mortal{heap: a.st.heap, dieAt: 300}
			var die func()
			died := m.live(func() {
				var s *Store
				s, die = m.attach(a.st.t)
				_ = s.Update(func(tx *Tx) error {
					for i := range 20 {
						if err := tx.Set(fmt.Append(nil, "dead", i), []byte("x")); err != nil {
							return err
						}
					}
					return nil
				})
			})
			require.True(a.st.t, died)
			die()
			return ""
		},
		func(contents, string) string { return "" }}
}

// actIdle makes the handle idle.
func actIdle() op {
	return op{"idle", func(a *actor) string { return fmt.Sprint(a.store.Idle()) }, ignoring}
}

// closers are the scenes in which one goroutine closes a handle while another of
// the same process is inside of it, and another process is at work. Whatever is
// done through the handle is whole, or was not done.
func closers() (all []scene) {
	beside := func(name string, ops ...op) {
		for i := range ops {
			ops[i] = besideClose(ops[i])
		}
		all = append(all, scene{name: name + " beside close", prepare: filled(3, 8), handles: []int{0, 0, 2}, actors: [][]op{
			ops, {actClose()}, {actSet("key001", "1"), actSet("key002", "2"), actDelete("key000")}}})
	}
	beside("get", actGet("key001"), actGet("absent"), actPeek("key001"))
	beside("set", actSet("a", "1"), actDelete("key001"))
	beside("update", actMove("key001", "a"), actAppend("key002"))
	beside("read all", actReadAll())
	beside("get many", actGetMany("key000", "absent", "key002"))
	beside("check", actCheck())
	beside("compact", actCompact())
	beside("wait", actWait(), actSet("a", "1"))
	beside("adopt", actAdopt())
	all[len(all)-1].warm = func() []op { return []op{actKill()} }
	all = append(all, scene{name: "take-over of an idle slot beside close", prepare: full, focus: owners, handles: []int{0, 0, 2}, actors: [][]op{
		{besideClose(actSet("b", "1"))}, {actClose()}, {actSet("a", strings.Repeat("A", 60_000))}}})
	return all
}

// groups are the scenes in which goroutines of one process share commits, beside another
// process.
func groups() (all []scene) {
	for _, crowd := range []bool{false, true} {
		name := map[bool]string{false: "sharers", true: "crowd"}[crowd]
		beside := func(what string, handles []int, actors ...[]op) {
			all = append(all, scene{name: name + " of " + what, crowd: crowd, size: 4 << 20, prepare: roomy, handles: handles, actors: actors})
		}
		beside("two keys", []int{0, 0}, []op{actSet("a", "1"), actDelete("key001")}, []op{actSet("b", "2"), actSwap("key001", "x")})
		beside("one key", []int{0, 0, 0}, []op{actSwap("a", "1"), actDelete("a")}, []op{actCompareAndSwap("a", "1", "2")}, []op{actDelete("a"), actSwap("a", "3")})
		beside("one key and another process", []int{0, 0, 2}, []op{actSwap("a", "1"), actDelete("a")}, []op{actSet("key001", "2"), actSwap("a", "4")},
			[]op{actSet("a", "3"), actSet("key001", "5"), actSet("key002", "6")})
		beside("keys that an update moves", []int{0, 0, 0}, []op{actMove("key001", "a")}, []op{actSet("key001", "1"), actDelete("a")}, []op{actAppend("key001"), actSet("b", "1")})
		closing := []op{besideClose(actSet("a", "1")), besideClose(actDelete("a"))}
		beside("keys beside close", []int{0, 0, 0, 3}, closing, []op{besideClose(actSwap("key001", "2"))}, []op{actClose()}, []op{actSet("key001", "1")})
	}
	return all
}

// roomy prepares a store that has free pages, so that no goroutine raises the end: others
// of its process wait for it then, which the scheduler does not see.
func roomy(t testing.TB, h *alloc.Heap, s *Store) {
	filled(6, 8)(t, h, s)
	require.NoError(t, s.Set([]byte("large"), make([]byte, 600_000)))
	_, err := s.Delete([]byte("large"))
	require.NoError(t, err)
}

func actSwap(key, value string) op {
	return op{"swap " + key + "=" + value,
		func(a *actor) string {
			was, existed, err := a.store.Swap([]byte(key), []byte(value))
			return fmt.Sprintf("%s %v %v", was, existed, err)
		},
		func(c contents, _ string) string {
			was, existed := c[key]
			c[key] = value
			return fmt.Sprintf("%s %v <nil>", was, existed)
		}}
}

func actCompareAndSwap(key, old, value string) op {
	return op{"swap " + key + " from " + old + " to " + value,
		func(a *actor) string {
			return fmt.Sprint(a.store.CompareAndSwap([]byte(key), []byte(old), []byte(value)))
		},
		func(c contents, _ string) string {
			if c[key] != old {
				return "false <nil>"
			}
			c[key] = value
			return "true <nil>"
		}}
}

// actOpen opens a second handle, as a process that comes later does, writes
// with it, and closes it.
func actOpen(key, value string) op {
	return op{"open, set " + key + "=" + value,
		func(a *actor) string {
			s := a.attach(a.st.t)
			return fmt.Sprint(s.Set([]byte(key), []byte(value)), s.Close())
		},
		func(c contents, _ string) string { c[key] = value; return "<nil> <nil>" }}
}

// actEvacuate does with one entry what Compact does with each that it moves.
func actEvacuate(key string) op {
	return op{"move " + key,
		func(a *actor) string { return fmt.Sprint(moveEntry(a.store, key)) },
		func(contents, string) string { return "<nil>" }}
}

// usual prepares a store whose queue holds much, so that the next commits
// reclaim at the usual pace.
func usual(t testing.TB, h *alloc.Heap, s *Store) {
	filled(20, 30)(t, h, s)
	for i := range 100 {
		require.NoError(t, s.Set([]byte("churn"), fmt.Appendf(nil, "%d", i)))
	}
}

// atItsEnd prepares a store in which the first set that follows growth puts the
// root node beyond the end that was.
func atItsEnd(t testing.TB, h *alloc.Heap, s *Store) {
	require.NoError(t, s.Close())
	for i := range 500 {
		trial := h.Clone()
		a, _ := attachPlain(t, trial)
		b, _ := attachPlain(t, trial)
		require.NoError(t, a.Set([]byte("actor0"), nil))
		require.NoError(t, b.Set([]byte("actor1"), nil))
		for grown = range 100 {
			end := a.a.FileBytes()
			require.NoError(t, a.Set(fmt.Appendf(nil, "grow%d", grown), make([]byte, 3000)))
			if g, _ := a.a.Stamp(); g.Root() >= end {
				return
			}
		}
		other, _ := attachPlain(t, h)
		require.NoError(t, other.Set(fmt.Appendf(nil, "key%d", i), make([]byte, 3000*(i%2))))
		require.NoError(t, other.Close())
	}
	t.Fatal("no commit puts the root node beyond the end")
}

// grown is how many sets it takes until then.
var grown int

func growth() (all []op) {
	for i := range grown {
		all = append(all, actSet(fmt.Sprintf("grow%d", i), string(make([]byte, 3000))))
	}
	return all
}

// atItsQueuesEnd prepares a store in which the first slot's page of retired blocks
// is nearly full.
func atItsQueuesEnd(t testing.TB, h *alloc.Heap, s *Store) {
	filled(3, 8)(t, h, s)
	m := h.Mem()
	for i := 0; m.Load(m.Load(layout.OffDir)+layout.SlotQueueTail)%4096 < layout.ChunkCap-5; i++ {
		require.NoError(t, s.Set([]byte("churn"), fmt.Append(nil, i)))
	}
}

// full prepares a store whose memory is nearly used up.
func full(t testing.TB, h *alloc.Heap, s *Store) {
	filled(12, 3000)(t, h, s)
	h.SetLimit(h.BackedBytes() + 24<<10)
}

func equalHash([]byte) uint64 { return 42 }

// crowdedHash makes a deep trie of few keys: the root has two branches, and these
// have four children each.
func crowdedHash(key []byte) uint64 {
	h := fnv.New64a()
	_, _ = h.Write(key)
	return h.Sum64() &^ 0xf3e
}

// otherSide is the i-th of the keys that a filled store does not have and that lie
// below the other branch of a crowded root than key001: their inserts leave alone
// what the writer of key001 has copied.
func otherSide(i int) string {
	for n := 0; ; n++ {
		key := fmt.Sprintf("other%d", n)
		if (crowdedHash([]byte(key))^crowdedHash([]byte("key001")))&1 == 0 {
			continue
		}
		if i--; i < 0 {
			return key
		}
	}
}

// allUsed prepares a store in which a large value needs more space than there is.
func allUsed(t testing.TB, h *alloc.Heap, s *Store) {
	filled(3, 8)(t, h, s)
	for i := 0; h.Mem().Load(layout.OffEnd) < 1<<20; i++ {
		require.NoError(t, s.Set(fmt.Appendf(nil, "fill%d", i), make([]byte, 20_000)))
	}
}

// The words that some scenes are about.

// ends is how far the store may be touched.
func ends(_ *scene, _ int, off uint64) bool { return off == layout.OffEnd }

func owners(_ *scene, _ int, off uint64) bool { return off >= layout.OffOwners && off < layout.OffDir }

// adopted is whose slots are, and the magazines that an adopter empties.
func adopted(_ *scene, actor int, off uint64) bool {
	magazine := inPages(off) && off%4096 >= layout.SlotMags && off%4096 < layout.SlotMags+8*80
	return owners(nil, actor, off) || actor == 2 && magazine
}

// inPages reports whether off is in a page that can hold blocks, or be a slot's.
func inPages(off uint64) bool { return off >= layout.Segments[0].First && off < alloc.ProcsBit }

// intents is the root word, the marks of root nodes, and the intents, tails and
// logs of slots.
func intents(sc *scene, _ int, off uint64) bool {
	switch in := off % 4096; {
	case off-in == sc.rootPage:
		return in%layout.RootSize == layout.RootSuperseded
	case inPages(off):
		return in == layout.SlotIntent || in == layout.SlotQueueTail || in == layout.SlotLogTop
	}
	return off == layout.OffRoot
}

// pinWords is all words of procs, those by which goroutines share pins, and hotWords.
func pinWords(sc *scene, actor int, off uint64) bool {
	return off&alloc.ProcsBit != 0 || hotWords(sc, actor, off)
}

// hotWords is the root word and the horizon.
func hotWords(_ *scene, _ int, off uint64) bool {
	return off == layout.OffRoot || off == layout.OffHorizon
}

// judging is the root word, the marks of root nodes, and the first actor's tail,
// which it sets after its commit.
func judging(sc *scene, actor int, off uint64) bool {
	if off&^4095 == sc.rootPage {
		return off%4096%layout.RootSize == layout.RootSuperseded
	}
	return off == layout.OffRoot || actor == 0 && inPages(off) && off%4096 == layout.SlotQueueTail
}

// ownSlab is what the owner has done before: its leaves fill a slab, and its
// magazine of their class is empty.
func ownSlab() (all []op) {
	for i := range 4 {
		all = append(all, actSet(fmt.Sprintf("own%d", i), strings.Repeat("o", 1000)))
	}
	return all
}

// returning is the owner's blocks of 1024 bytes as it brings them into use, and the
// giver's magazine of them.
func returning(_ *scene, actor int, off uint64) bool {
	magazine := layout.SlotMags + 8*uint64(layout.ClassOf(1024))
	return inPages(off) && (actor == 0 && off%1024 == 0 || actor == 1 && off%4096 == magazine)
}

// tables is the states and bitmaps of pages.
func tables(_ *scene, _ int, off uint64) bool {
	return off >= layout.OffTable && off < layout.Segments[0].First
}

// bitmaps is the bitmaps alone.
func bitmaps(s *scene, actor int, off uint64) bool {
	return tables(s, actor, off) && off%64 >= layout.DescBitmap && off%64 < layout.DescBitmap+32
}

// slabLinks is which slabs slots have.
func slabLinks(_ *scene, _ int, off uint64) bool {
	return inPages(off) && off%4096 >= layout.SlotSlabs && off%4096 < layout.SlotMags
}

var scenes = slices.Concat(closers(), groups(), mapScenes(), bellScenes(), []scene{
	{name: "two inserts", prepare: filled(3, 8), actors: [][]op{{actSet("a", "1")}, {actSet("b", "2")}}},
	{name: "writer and reader of one key", deep: true, prepare: filled(1, 8), actors: [][]op{{actSet("key000", "1")}, {actGet("key000")}}},
	{name: "writer and holder of one key", deep: true, prepare: filled(1, 8), actors: [][]op{{actSet("key000", "1")}, {actPeek("key000")}}},
	{name: "two holders in one handle", prepare: filled(1, 8), focus: pinWords, handles: []int{0, 0, 2}, actors: [][]op{
		{actPeek("key000"), actPeek("key000")}, {actPeek("key000")}, {actSet("key000", "1"), actSet("key000", "2")}}},
	{name: "viewer and holder in one handle", prepare: filled(1, 8), focus: pinWords, handles: []int{0, 0, 2}, actors: [][]op{
		{actLook("key000"), actLook("key000")}, {actPeek("key000")}, {actSet("key000", "1"), actSet("key000", "2")}}},
	{name: "two writers of one key", prepare: filled(1, 8), actors: [][]op{{actAppend("a"), actAppend("a")}, {actAppend("a"), actAppend("a")}}},
	{name: "three writers of one key", prepare: filled(1, 8), actors: [][]op{{actAppend("a")}, {actAppend("a")}, {actSet("a", "x")}}},
	{name: "two writers of two keys", prepare: filled(3, 8), actors: [][]op{{actSet("a", "1"), actSet("key001", "x")}, {actSet("b", "2"), actSet("key002", "y")}}},
	{name: "insert and delete", prepare: filled(3, 8), actors: [][]op{{actSet("a", "1"), actDelete("key001")}, {actDelete("a"), actSet("key001", "z")}}},
	{name: "collisions", hash: equalHash, prepare: filled(3, 8), actors: [][]op{{actSet("a", "1"), actDelete("key001")}, {actSet("key001", "z"), actGet("a")}}},
	{name: "writer and reader", prepare: filled(3, 8), actors: [][]op{{actSet("key001", "1"), actSet("key001", "2")}, {actGet("key001"), actGet("absent")}}},
	{name: "writer and reader, loads out of order", weak: true, prepare: filled(3, 8), actors: [][]op{{actSet("key001", "1"), actSet("key002", "2")}, {actGet("key001")}}},
	{name: "growth and reader", lazy: true, prepare: atItsEnd, warm: growth, actors: [][]op{
		{actSet("more", string(make([]byte, 3000))), actSet("actor1", "x")}, {actGet("actor0"), actGet("grow1")}}},
	{name: "two growers", size: 4 << 20, deep: true, lazy: true, prepare: allUsed, focus: ends, actors: [][]op{
		{actSet("a", strings.Repeat("A", 60_000))}, {actSet("b", strings.Repeat("B", 90_000)), actGet("a")}}},
	{name: "overtaken twice by inserts and deletes", deep: true, lazy: true, hash: crowdedHash, prepare: filled(12, 8), focus: hotWords, actors: [][]op{
		{actSet("key001", "1"), actSet("key001", "2")}, {actSet(otherSide(0), "1"), actSet(otherSide(1), "22"), actDelete(otherSide(0)), actSet(otherSide(2), "3")}}},
	{name: "writer and viewer", prepare: filled(3, 8), actors: [][]op{{actSet("key001", "1"), actSet("key001", "2"), actSet("key002", "3")}, {actView()}}},
	{name: "mover and viewers", prepare: filled(3, 8), actors: [][]op{{actMove("key001", "a"), actMove("a", "key001")}, {actView()}, {actView()}}},
	{name: "two movers", prepare: filled(3, 8), actors: [][]op{{actMove("key001", "a")}, {actMove("key001", "b")}}},
	{name: "two writers and a viewer", prepare: filled(3, 8), actors: [][]op{{actSet("key001", "1")}, {actSet("key001", "2")}, {actView()}}},
	{name: "writer and adopter", prepare: filled(3, 8), actors: [][]op{{actSet("a", "1"), actSet("a", "2")}, {actAdopt(), actSet("b", "1"), actAdopt()}}},
	{name: "writer and two adopters", prepare: filled(3, 8), actors: [][]op{{actSet("a", "1"), actDelete("key001")}, {actAdopt()}, {actAdopt(), actSet("a", "3")}}},
	{name: "two writers and an adopter", prepare: filled(3, 8), actors: [][]op{{actSet("a", "1")}, {actSet("b", "2")}, {actAdopt(), actAdopt()}}},
	{name: "viewer and adopter", prepare: filled(3, 8), actors: [][]op{{actView()}, {actSet("key001", "1"), actAdopt(), actSet("key001", "2")}}},
	{name: "writer and compactor of one key", prepare: filled(3, 8), actors: [][]op{
		{actEvacuate("key001"), actEvacuate("a")}, {actAppend("key001"), actAppend("a"), actDelete("a")}}},
	{name: "writer, keeper and adopter", size: 4 << 20, prepare: sparseStore, focus: tables, actors: [][]op{
		{actSet("key0130", strings.Repeat("x", 300)), actDelete("key0260")}, {actKeep(), actKeep()}, {actAdopt()}}},
	{name: "two keepers", size: 4 << 20, prepare: sparseStore, focus: tables, actors: [][]op{{actKeep(), actKeep()}, {actKeep(), actKeep()}}},
	{name: "idler", prepare: filled(3, 8), handles: []int{0, 0, 2}, actors: [][]op{
		{actSet("a", "1"), actAppend("key001")}, {actIdle(), actIdle()}, {actSet("key001", "1"), actDelete("a")}}},
	{name: "idler in a full store", prepare: full, focus: owners, handles: []int{0, 0, 2}, actors: [][]op{
		{actSet("b", "1")}, {actIdle()}, {actSet("a", strings.Repeat("A", 60_000))}}},
	{name: "closer", prepare: filled(3, 8), actors: [][]op{{actSet("a", "1"), actClose()}, {actSet("a", "2"), actView()}}},
	{name: "opener", prepare: filled(3, 8), actors: [][]op{{actOpen("a", "1")}, {actSet("a", "2"), actAdopt()}}},
	{name: "large values", size: 4 << 20, prepare: filled(3, 8), actors: [][]op{
		{actSet("large", strings.Repeat("L", 40_000)), actDelete("large")}, {actSet("large", strings.Repeat("M", 70_000)), actGet("large")}}},
	{name: "full", prepare: full, actors: [][]op{
		{actSet("a", strings.Repeat("A", 9000)), actDelete("key001")}, {actSet("b", strings.Repeat("B", 9000)), actSet("key002", "x")}}},
	{name: "taker and owner of an idle slot", prepare: full, focus: owners, actors: [][]op{
		{actSet("a", strings.Repeat("A", 60_000))}, {actSet("b", "1"), actSet("c", "2")}}},
	{name: "two takers of an idle slot", prepare: full, focus: owners, actors: [][]op{
		{actSet("a", strings.Repeat("A", 60_000))}, {actSet("b", strings.Repeat("B", 60_000))}, {actSet("c", "2"), actSet("c", "3")}}},
	{name: "taker and adopter of a dead one's idle slot", deep: true, prepare: full, focus: adopted, actors: [][]op{
		{actSet("b", "1"), actSet("c", "2")}, {actSet("a", strings.Repeat("A", 60_000))}, {actAdopt()}}},
	{name: "owner, giver and adopter", deep: true, prepare: filled(3, 8), warm: ownSlab, focus: returning, actors: [][]op{
		{actSet("own4", strings.Repeat("x", 1000))}, {actDelete("own0")}, {actAdopt()}}},
	{name: "two writers at the end of a queue's page", prepare: atItsQueuesEnd, focus: intents, actors: [][]op{
		{actSet("a", "1"), actSet("a", "2")}, {actSet("b", "1"), actSet("b", "2")}}},
	{name: "two writers of a deep trie", hash: crowdedHash, prepare: filled(12, 8), actors: [][]op{
		{actSet("key001", "1"), actAppend("key002")}, {actSet("key003", "2"), actDelete("key002"), actDelete("key004")}}},
	{name: "three writers of a deep trie", hash: crowdedHash, prepare: filled(12, 8), actors: [][]op{
		{actSet("a", "1"), actDelete("key002")}, {actDelete("a"), actSet("key002", "2")}, {actAppend("key002"), actAppend("a")}}},
	{name: "overtaken and overtaken again", deep: true, hash: crowdedHash, prepare: filled(12, 8), focus: hotWords, actors: [][]op{
		{actSet("key001", "1")}, {actSet("key001", "2"), actSet("key001", "3"), actSet("key001", "4"), actSet("key001", "5"), actSet("key003", "6")}}},
	{name: "owner and giver of a slab", deep: true, prepare: filled(3, 8), warm: ownSlab, focus: bitmaps, actors: [][]op{
		{actSet("own4", strings.Repeat("x", 1000))}, {actDelete("own0"), actDelete("own1"), actClose()}}},
	{name: "a slab given up", deep: true, prepare: filled(3, 500), focus: slabLinks, actors: [][]op{
		{actSet("key001", strings.Repeat("x", 500)), actDelete("key002"), actSet("z", "1"), actSet("z", "2")}, {actDelete("key000"), actSet("key005", strings.Repeat("y", 500))}, {actKeep(), actAdopt()}}},
	{name: "two writers and a judge", deep: true, prepare: filled(3, 8), focus: intents, actors: [][]op{
		{actSet("a", "1")}, {actSet("b", "2")}, {actAdopt()}}},
	{name: "a judge and a root that comes back", deep: true, prepare: filled(3, 8), focus: judging, actors: [][]op{
		{actSet("a", "1")}, {actSet("b", "2"), actSet("b", "3"), actSet("b", "4")}, {actAdopt()}}},
	{name: "a large value replaced", size: 4 << 20, prepare: filled(3, 8), focus: intents, actors: [][]op{
		{actSet("large", strings.Repeat("L", 40_000))}, {actSet("large", "small")}, {actAdopt()}}},
	{name: "usual pace, reader", lazy: true, prepare: usual, actors: [][]op{churn(34), {actGet("key003"), actGet("churn"), actGet("key003")}}},
	{name: "usual pace, adopters", lazy: true, prepare: usual, actors: [][]op{churn(34), {actAdopt(), actSet("key001", "1")}, {actAdopt(), actMove("key001", "x")}}},
}, diskScenes())
