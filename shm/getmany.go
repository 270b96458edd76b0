package shm

import (
	"iter"

	"github.com/seed-869cc763/shmkv/node"
)

// GetMany looks many keys up in one version and calls fn for each, in order. The value is
// valid in fn only; without ok the key is not in the store. Large stores answer it several
// times faster for a key than Get, because the waits for memory overlap. To stop before the
// last key, loop over [Snapshot.GetMany] in a View.
func (k *keyed) GetMany(keys [][]byte, fn func(i int, value []byte, ok bool)) error {
	u, ok := k.s.a.Enter()
	if !ok {
		return k.fail("taking a snapshot of", ErrClosed)
	}
	defer k.s.a.Leave(u)
	pin, err := k.s.pinned(k.s.a.PinBriefly())
	if err != nil {
		return err
	}
	defer k.s.a.Unpin(pin)
	v, err := k.to.viewAt(k.s.a.Mem(), k.s.a.Known(), pin.Off)
	if err != nil {
		return k.fail("reading", err)
	}
	m := many{s: k.s, to: k.to, view: v}
	return m.run(keys, func(i int, value []byte) bool {
		fn(i, value, value != nil)
		return true
	})
}

// GetMany iterates over the values of keys, by their index in keys and in order; nil
// means that the key is not there. The slices are memory of the store, as those of Get
// are. The loop ends early if the store is damaged, or if the snapshot is closed: Err
// tells.
func (m *mapView) GetMany(keys [][]byte) iter.Seq2[int, []byte] {
	return func(yield func(i int, value []byte) bool) {
		m.loop(func() error {
			many := many{s: m.sn.s, to: m.to, sn: m.sn, view: m.view()}
			return many.run(keys, yield)
		})
	}
}

// manyKeys is how many keys GetMany looks up before it calls fn.
const manyKeys = 64

// many is a GetMany under way. The function that gets the values is no field: it would be
// allocated, and those who call GetMany again and again want it on their stack.
type many struct {
	s  *Store
	to *target
	sn *Snapshot // that may be closed in between, or nil
	view
}

// run calls fn for each key, until fn returns false. The value is nil if the key is not there.
func (m *many) run(keys [][]byte, fn func(i int, value []byte) bool) error {
	if m.ordered || len(keys) == 1 {
		for i, key := range keys {
			h := m.s.hashIn(m.to, key)
			l, status := m.lookUp(h, key)
			if more, err := m.tell(i, node.Result{Leaf: l, Status: status}, h, key, fn); err != nil || !more {
				return err
			}
		}
		return nil
	}
	for base := 0; base < len(keys); base += manyKeys {
		if more, err := m.get(base, keys[base:min(base+manyKeys, len(keys))], fn); err != nil || !more {
			return err
		}
	}
	return nil
}

// get looks up to manyKeys keys up, the first of which has the number base.
func (m *many) get(base int, keys [][]byte, fn func(i int, value []byte) bool) (more bool, err error) {
	var hashes [manyKeys]uint64
	var out [manyKeys]node.Result
	for i, key := range keys {
		hashes[i] = m.s.hashIn(m.to, key)
	}
	m.r.FindMany(m.tree.Root, hashes[:len(keys)], keys, out[:len(keys)])
	for i, key := range keys {
		if more, err := m.tell(base+i, out[i], hashes[i], key, fn); err != nil || !more {
			return false, err
		}
	}
	return true, nil
}

// tell calls fn with a result.
func (m *many) tell(i int, found node.Result, h uint64, key []byte, fn func(i int, value []byte) bool) (more bool, err error) {
	if m.sn != nil {
		if err := m.sn.check(); err != nil {
			return false, err // and what was found may have been reused
		}
	}
	switch found.Status {
	case node.Present:
		return fn(i, m.r.Value(found.Leaf)), nil
	case node.Absent:
		return fn(i, nil), nil
	}
	return false, m.s.failAt(m.to.op("reading"), m.outcome(found.Status, h, key))
}
