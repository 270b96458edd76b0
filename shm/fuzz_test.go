// The race detector sees nothing of a mapping, and slows processes down.

//go:build !race

package shm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime/debug"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/alloc"
)

// opsWorld is a store on the heap with its model, for FuzzOps.
type opsWorld struct {
	t     *testing.T
	heap  *alloc.Heap
	s     [2]*Store
	model map[string]uint64
	snaps []opsSnapshot
	next  uint64
	fulls int // writes that did not fit
}

// mostFulls is how many writes of one input may not fit: a delete waits 20 ms
// before it says so.
const mostFulls = 50

type opsSnapshot struct {
	sn    *Snapshot
	model map[string]uint64
}

func (w *opsWorld) attach() {
	for i := range w.s {
		a, _, err := w.heap.Attach(nil)
		require.NoError(w.t, err)
		w.s[i] = newStore(a, "heap")
	}
}

// id returns the id of what was read, 0 for nothing.
func (w *opsWorld) id(v []byte, err error) uint64 {
	w.t.Helper()
	if errors.Is(err, ErrNotFound) {
		return 0
	}
	require.NoError(w.t, err)
	id, ok := valueID(v)
	require.True(w.t, ok, "a value of %d bytes that nobody wrote", len(v))
	return id
}

func (w *opsWorld) value(size byte) (uint64, []byte) {
	w.next++
	n := int(size)
	if n > 200 {
		n = (n - 200) * 1500
	}
	return w.next, testValue(w.next, n)
}

func (w *opsWorld) same(what string, sn *Snapshot, model map[string]uint64) {
	got := map[string]uint64{}
	for key, v := range sn.All() {
		got[string(key)] = w.id(v, nil)
	}
	require.Equal(w.t, model, got, what)
	require.Equal(w.t, len(model), sn.Len(), what)
}

// op does one operation, of three bytes.
func (w *opsWorld) op(code, k, size byte) {
	s := w.s[code>>6&1]
	key := string(bytes.Repeat([]byte{k % 32}, int(k%32)*int(k%32)))
	name := []byte(key)
	was, ok := w.model[key]
	full := func(err error) bool {
		if errors.Is(err, ErrFull) {
			w.fulls++
			return true
		}
		require.NoError(w.t, err)
		return false
	}
	switch code % 64 % 12 {
	case 0, 1, 2:
		id, v := w.value(size)
		if !full(s.Set(name, v)) {
			w.model[key] = id
		}
	case 3:
		existed, err := s.Delete(name)
		if !full(err) {
			require.Equal(w.t, ok, existed)
			delete(w.model, key)
		}
	case 4:
		require.Equal(w.t, was, w.id(s.Get(name)))
	case 5:
		id, v := w.value(size)
		old, existed, err := s.Swap(name, v)
		if !full(err) {
			require.Equal(w.t, ok, existed)
			if existed {
				require.Equal(w.t, was, w.id(old, nil))
			}
			w.model[key] = id
		}
	case 6:
		id, v := w.value(size)
		var old []byte
		if ok {
			var err error
			old, err = s.Get(name)
			require.NoError(w.t, err)
		}
		if size%3 == 0 {
			old = []byte("something else")
		}
		swapped, err := s.CompareAndSwap(name, old, v)
		if !full(err) {
			require.Equal(w.t, size%3 != 0, swapped)
			if swapped {
				w.model[key] = id
			}
		}
	case 7, 8:
		w.update(s, k, size, code%64%12 == 8)
	case 9:
		if len(w.snaps) < 4 {
			sn, err := s.Snapshot()
			require.NoError(w.t, err)
			w.snaps = append(w.snaps, opsSnapshot{sn, maps.Clone(w.model)})
		}
	case 10:
		if n := len(w.snaps); n > 0 {
			i := int(size) % n
			w.same("a snapshot", w.snaps[i].sn, w.snaps[i].model)
			require.NoError(w.t, w.snaps[i].sn.Close())
			w.snaps = slices.Delete(w.snaps, i, i+1)
		}
	case 11:
		require.NoError(w.t, s.View(func(sn *Snapshot) error { w.same("a view", sn, w.model); return nil }))
	}
}

var errNo = errors.New("no")

// update writes some keys in a transaction and commits it, or gives it up, or,
// with crash, loses both processes in the middle of it.
func (w *opsWorld) update(s *Store, k, size byte, crash bool) {
	next := maps.Clone(w.model)
	var copied *alloc.Heap
	err := s.Update(func(tx *Tx) error {
		for i := range k%8 + 1 {
			key := string(bytes.Repeat([]byte{(k + i) % 32}, int((k+i)%32)*int((k+i)%32)))
			_, had := next[key]
			if i%3 == 2 {
				existed, err := tx.Delete([]byte(key))
				if err != nil {
					return err
				}
				require.Equal(w.t, had, existed)
				delete(next, key)
				continue
			}
			id, v := w.value(size + i)
			if err := tx.Set([]byte(key), v); err != nil {
				return err
			}
			next[key] = id
			require.Equal(w.t, id, w.id(tx.Get([]byte(key))))
		}
		require.Equal(w.t, len(next), tx.Len())
		if crash {
			copied = w.heap.Clone()
		}
		if size%4 == 0 {
			return errNo
		}
		return nil
	})
	if errors.Is(err, ErrFull) {
		w.fulls++
		return
	}
	if size%4 == 0 {
		require.Equal(w.t, errNo, err)
	} else {
		require.NoError(w.t, err)
		if !crash {
			w.model = next
		}
	}
	if crash {
		w.heap, w.snaps = copied, nil
		w.attach()
	}
}

// FuzzOps does a stream of operations to a store and to a Go map.
func FuzzOps(f *testing.F) {
	f.Add([]byte{})
	var long []byte
	for i := range 600 {
		long = append(long, byte(i*7+i/64), byte(i*13), byte(i*29))
	}
	f.Add(long)
	for code := range byte(12) {
		var some []byte
		for i := range byte(40) {
			some = append(some, i%3, i, i*7, code+64*(i%2), i*3, i*11)
		}
		f.Add(some)
	}
	f.Fuzz(func(t *testing.T, ops []byte) {
		ops = ops[:min(len(ops), 3000)]
		within(t, hangLimit, func() (failed error) {
			defer func() {
				if e := recover(); e != nil {
					failed = fmt.Errorf("panic: %v\n%s", e, debug.Stack())
				}
			}()
			heap, err := alloc.NewHeap(2 << 20)
			if err != nil {
				return err
			}
			w := &opsWorld{t: t, heap: heap, model: map[string]uint64{}}
			w.attach()
			for ; len(ops) >= 3 && w.fulls < mostFulls; ops = ops[3:] {
				w.op(ops[0], ops[1], ops[2])
			}
			for _, k := range w.snaps {
				w.same("a snapshot at the end", k.sn, k.model)
			}
			for _, s := range w.s {
				if err := s.View(func(sn *Snapshot) error { w.same("the end", sn, w.model); return nil }); err != nil {
					return err
				}
				rep, err := s.Check(context.Background(), nil)
				if err != nil || rep.LeakedBytes != 0 {
					return fmt.Errorf("Check: %w %+v", err, rep)
				}
			}
			for _, k := range w.snaps {
				if err := k.sn.Close(); err != nil {
					return err
				}
			}
			return errors.Join(w.s[0].Close(), w.s[1].Close())
		})
	})
}
