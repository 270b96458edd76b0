//go:build shmhook

package shm

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/alloc"
)

// Scenes of named maps. In the contents of a store, the entry of a named map has the key
// "name/key", and the map itself has the key "name/" and its kind as the value.

// A place is a named map in a scene.
type place struct {
	name string
	kind Kind
}

func hashAt(name string) place    { return place{name, KindHash} }
func orderedAt(name string) place { return place{name, KindOrdered} }

func (p place) String() string { return fmt.Sprintf("%v %s", p.kind, p.name) }

// in returns the calls on the map.
func (p place) in(s *Store) *keyed {
	if p.kind == KindOrdered {
		return &s.Ordered(p.name).keyed
	}
	return &s.Map(p.name).keyed
}

// inTx returns the calls on the map in a transaction.
func (p place) inTx(tx *Tx) *txKeyed {
	if p.kind == KindOrdered {
		return &tx.Ordered(p.name).txKeyed
	}
	return &tx.Map(p.name).txKeyed
}

// readMaps adds the named maps of a snapshot to its contents.
func readMaps(sn *Snapshot, c contents) error {
	infos, err := sn.Maps()
	if err != nil {
		return err
	}
	for _, info := range infos {
		p := place{info.Name, info.Kind}
		c[p.name+"/"] = p.kind.String()
		var m mapView
		if p.kind == KindOrdered {
			m = sn.Ordered(p.name).mapView
		} else {
			m = sn.Map(p.name).mapView
		}
		n, last := 0, []byte(nil)
		for k, v := range m.All() {
			if p.kind == KindOrdered && n > 0 && bytes.Compare(last, k) >= 0 {
				return fmt.Errorf("%v has %q after %q", p, k, last)
			}
			c[p.name+"/"+string(k)] = string(v)
			last = k
			n++
		}
		if n != m.Len() || int64(n) != info.Entries {
			return fmt.Errorf("%v: %d entries were found, %d and %d are counted", p, n, m.Len(), info.Entries)
		}
	}
	return sn.Err()
}

// put is the effect of a set in a named map.
func (p place) put(c contents, key, value string) string {
	if k := c[p.name+"/"]; k != "" && k != p.kind.String() {
		return "wrong kind"
	}
	c[p.name+"/"] = p.kind.String()
	c[p.name+"/"+key] = value
	return "<nil>"
}

// told is the text of an error.
func told(err error) string {
	if errors.Is(err, ErrKind) {
		return "wrong kind"
	}
	return fmt.Sprint(err)
}

func actPut(p place, key, value string) op {
	return op{fmt.Sprintf("put %s=%s in %v", key, value, p),
		func(a *actor) string { return told(p.in(a.store).Set([]byte(key), []byte(value))) },
		func(c contents, _ string) string { return p.put(c, key, value) }}
}

func actTake(p place, key string) op {
	return op{fmt.Sprintf("take %s from %v", key, p),
		func(a *actor) string {
			existed, err := p.in(a.store).Delete([]byte(key))
			return fmt.Sprint(existed, " ", told(err))
		},
		func(c contents, _ string) string {
			if k := c[p.name+"/"]; k != "" && k != p.kind.String() {
				return "false wrong kind"
			}
			_, there := c[p.name+"/"+key]
			delete(c, p.name+"/"+key)
			return fmt.Sprint(there, " <nil>")
		}}
}

func actSwapIn(p place, key, value string) op {
	return op{fmt.Sprintf("swap %s=%s in %v", key, value, p),
		func(a *actor) string {
			was, existed, err := p.in(a.store).Swap([]byte(key), []byte(value))
			return fmt.Sprintf("%s %v %v", was, existed, err)
		},
		func(c contents, _ string) string {
			was, existed := c[p.name+"/"+key]
			p.put(c, key, value)
			return fmt.Sprintf("%s %v <nil>", was, existed)
		}}
}

func actFetch(p place, key string) op {
	return op{fmt.Sprintf("fetch %s of %v", key, p),
		func(a *actor) string {
			v, err := p.in(a.store).Get([]byte(key))
			if err == ErrNotFound {
				return "absent"
			}
			return fmt.Sprintf("%s %v", v, err)
		},
		func(c contents, _ string) string {
			if v, ok := c[p.name+"/"+key]; ok {
				return v + " <nil>"
			}
			return "absent"
		}}
}

// keys returns the keys of a map in order.
func (p place) keys(c contents) (keys []string) {
	for k := range c {
		if rest, ok := strings.CutPrefix(k, p.name+"/"); ok && rest != "" {
			keys = append(keys, rest)
		}
	}
	slices.Sort(keys)
	return keys
}

func actHigher(p place, key string) op {
	return op{fmt.Sprintf("higher than %s in %v", key, p),
		func(a *actor) string {
			k, v, err := a.store.Ordered(p.name).Higher([]byte(key))
			return fmt.Sprintf("%s %s %v", k, v, err)
		},
		func(c contents, _ string) string {
			for _, k := range p.keys(c) {
				if k > key {
					return fmt.Sprintf("%s %s <nil>", k, c[p.name+"/"+k])
				}
			}
			return fmt.Sprintf("  %v", ErrNotFound)
		}}
}

func actRank(p place, key string) op {
	return op{fmt.Sprintf("rank of %s in %v", key, p),
		func(a *actor) string {
			i, found, err := a.store.Ordered(p.name).Rank([]byte(key))
			return fmt.Sprint(i, found, err)
		},
		func(c contents, _ string) string {
			i, found := slices.BinarySearch(p.keys(c), key)
			return fmt.Sprint(i, found, nil)
		}}
}

// actShift moves an entry from one map to another, in a transaction.
func actShift(from, to place, key string) op {
	return op{fmt.Sprintf("shift %s from %v to %v", key, from, to),
		func(a *actor) string {
			return fmt.Sprint(a.store.Update(func(tx *Tx) error {
				v, err := from.inTx(tx).Get([]byte(key))
				if err == ErrNotFound {
					return nil
				}
				if err != nil {
					return err
				}
				if err := to.inTx(tx).Set([]byte(key), v); err != nil {
					return err
				}
				_, err = from.inTx(tx).Delete([]byte(key))
				return err
			}))
		},
		func(c contents, _ string) string {
			if v, ok := c[from.name+"/"+key]; ok {
				delete(c, from.name+"/"+key)
				to.put(c, key, v)
			}
			return "<nil>"
		}}
}

func actDropMap(name string) op {
	return op{"drop " + name,
		func(a *actor) string { existed, err := a.store.DropMap(name); return fmt.Sprint(existed, err) },
		func(c contents, _ string) string {
			_, there := c[name+"/"]
			maps.DeleteFunc(c, func(k, _ string) bool { return strings.HasPrefix(k, name+"/") })
			return fmt.Sprint(there, " <nil>")
		}}
}

func actTakeApart() op {
	return op{"take apart", func(a *actor) string { return fmt.Sprint(takeApart(a.store)) }, ignoring}
}

// actViewMaps reads all maps of a snapshot, twice.
func actViewMaps() op {
	return op{"look at all maps",
		func(a *actor) (text string) {
			err := a.store.View(func(sn *Snapshot) error {
				a, b := contents{}, contents{}
				if err := errors.Join(readMaps(sn, a), readMaps(sn, b)); err != nil {
					return err
				}
				if !maps.Equal(a, b) {
					return fmt.Errorf("a snapshot changed from %v to %v", a, b)
				}
				text = fmt.Sprint(a)
				return nil
			})
			return text + fmt.Sprint(err)
		},
		func(c contents, _ string) string {
			named := maps.Clone(c)
			maps.DeleteFunc(named, func(k, _ string) bool { return !strings.Contains(k, "/") })
			return fmt.Sprint(named) + "<nil>"
		}}
}

func actMoveNodes(p place) op {
	return op{fmt.Sprintf("move the nodes of %v", p),
		func(a *actor) string { return fmt.Sprint(moveNodes(a.store, p)) }, ignoring}
}

func actMoveRecord(name string) op {
	return op{"move the record of " + name,
		func(a *actor) string { return fmt.Sprint(moveRecord(a.store, name)) }, ignoring}
}

// withMap prepares a map of n entries, in ascending order.
func withMap(p place, n int) func(testing.TB, *alloc.Heap, *Store) {
	return func(t testing.TB, h *alloc.Heap, s *Store) {
		filled(3, 8)(t, h, s)
		for i := range n {
			require.NoError(t, p.in(s).Set(fmt.Appendf(nil, "k%02d", i), fmt.Append(nil, i)))
		}
	}
}

// aboutToJoin prepares an ordered map of two bottom nodes: a delete of k01 joins them.
func aboutToJoin(p place) func(testing.TB, *alloc.Heap, *Store) {
	return func(t testing.TB, h *alloc.Heap, s *Store) {
		withMap(p, 32)(t, h, s)
		require.NoError(t, p.in(s).Set([]byte("k05+"), nil)) // parts the full node
		joins := func(key string) bool {
			trial, _ := attachPlain(t, h.Clone())
			_, err := p.in(trial).Delete([]byte(key))
			require.NoError(t, err)
			nodes, err := nodesOf(trial, p)
			require.NoError(t, err)
			return len(nodes) == 1
		}
		for i := 31; !joins("k01"); i-- {
			require.Greater(t, i, 2)
			if key := fmt.Sprintf("k%02d", i); !joins(key) {
				_, err := p.in(s).Delete([]byte(key))
				require.NoError(t, err)
			}
		}
		nodes, err := nodesOf(s, p)
		require.NoError(t, err)
		require.Len(t, nodes, 3)
	}
}

// withDropped prepares a dropped map of n entries, and the named map m.
func withDropped(p place, n int) func(testing.TB, *alloc.Heap, *Store) {
	return func(t testing.TB, h *alloc.Heap, s *Store) {
		withMap(p, n)(t, h, s)
		require.NoError(t, hashAt("m").in(s).Set([]byte("a"), []byte("0")))
		dropOnly(t, s, p.name)
	}
}

func mapScenes() []scene {
	o, h, m := orderedAt("o"), hashAt("h"), hashAt("m")
	all := []scene{
		{name: "a split beside inserts", prepare: withMap(o, 32), actors: [][]op{
			{actPut(o, "k05+", "x")}, {actPut(o, "k20+", "y"), actTake(o, "k03")}}},
		{name: "two nodes joined beside deletes", prepare: aboutToJoin(o), actors: [][]op{
			{actTake(o, "k01")}, {actTake(o, "k02"), actPut(o, "k02+", "x")}}},
		{name: "two writers of one named map", prepare: withMap(h, 3), actors: [][]op{
			{actPut(h, "a", "1"), actTake(h, "k01")}, {actTake(h, "a"), actPut(h, "k01", "z")}}},
		{name: "two writers of two named maps", prepare: withMap(o, 3), actors: [][]op{
			{actPut(o, "a", "1"), actTake(o, "k01")}, {actPut(h, "a", "2"), actPut(h, "b", "3")}}},
		{name: "a writer of the unnamed map beside one of a named map", hash: crowdedHash, prepare: withMap(o, 3), actors: [][]op{
			{actSet("key001", "1"), actSet("a", "2"), actDelete("key002")}, {actPut(o, "a", "1"), actPut(o, "k01", "2"), actTake(o, "k02")}}},
		{name: "a writer beside a drop", prepare: withMap(o, 3), actors: [][]op{
			{actPut(o, "a", "1"), actFetch(o, "k01")}, {actDropMap("o"), actPut(h, "o", "1")}}},
		{name: "two drops of one map", prepare: withMap(o, 2), actors: [][]op{
			{actDropMap("o"), actPut(o, "a", "1"), actDropMap("o")}, {actDropMap("o"), actPut(hashAt("o"), "b", "2")}}},
		{name: "writers beside the taking apart of a map", prepare: withDropped(o, dropStep*7/4), actors: [][]op{
			{actPut(m, "a", "1"), actSet("a", "1")}, {actTakeApart(), actPut(o, "a", "2")}}},
		{name: "two take one map apart", prepare: withDropped(h, 5), actors: [][]op{
			{actTakeApart(), actTakeApart()}, {actTakeApart(), actDropMap("m"), actTakeApart()}}},
		{name: "two make one map", prepare: filled(1, 8), actors: [][]op{
			{actPut(o, "a", "1"), actFetch(o, "b")}, {actPut(o, "b", "2"), actFetch(o, "a")}}},
		{name: "two make maps of one name and two kinds", prepare: filled(1, 8), actors: [][]op{
			{actPut(orderedAt("m"), "a", "1")}, {actPut(hashAt("m"), "b", "2"), actTake(m, "c")}}},
		{name: "readers beside a split", deep: true, prepare: withMap(o, 32), actors: [][]op{
			{actPut(o, "k05+", "x"), actTake(o, "k06")}, {actFetch(o, "k06"), actHigher(o, "k05"), actRank(o, "k30")}}},
		{name: "a split and readers, loads out of order", weak: true, prepare: withMap(o, 32), actors: [][]op{
			{actPut(o, "k05+", "x")}, {actHigher(o, "k05"), actRank(o, "k06")}}},
		{name: "moves of nodes beside a writer", prepare: withMap(o, 33), actors: [][]op{
			{actMoveNodes(o)}, {actPut(o, "k05+", "x"), actTake(o, "k06")}}},
		{name: "moves of a record beside writers", prepare: withMap(o, 2), actors: [][]op{
			{actMoveRecord("o"), actMoveRecord("o")}, {actPut(o, "a", "x"), actPut(h, "a", "y")}, {actDropMap("o")}}},
		{name: "shifts between maps and a viewer", prepare: withMap(o, 3), actors: [][]op{
			{actShift(o, h, "k01"), actShift(h, o, "k01")}, {actViewMaps()}, {actPut(h, "b", "1"), actTake(o, "k01")}}},
	}
	for _, crowd := range []bool{false, true} {
		name := map[bool]string{false: "sharers", true: "crowd"}[crowd]
		all = append(all, scene{name: name + " of named maps", crowd: crowd, size: 4 << 20, prepare: roomy, handles: []int{0, 0, 2}, actors: [][]op{
			{actPut(o, "a", "1"), actSwapIn(h, "b", "2")}, {actSwapIn(o, "a", "3"), actTake(h, "b")}, {actPut(o, "a", "4"), actSet("key001", "5"), actDropMap("h")}}})
	}
	return all
}
