package shm

import (
	"bytes"
	"fmt"
	"runtime/debug"

	"github.com/seed-869cc763/shmkv/alloc/region"
	"github.com/seed-869cc763/shmkv/hamt"
	"github.com/seed-869cc763/shmkv/node"
)

// optimisticTries is how often a read tries without leaving a trace before it
// pins the version it reads.
const optimisticTries = 4

// readOnlyTries is how often, where pinning is not permitted (rule R4). Each
// try fails only if reclaim overtook it, by more commits than it lags.
const readOnlyTries = 10000

// Get returns the value of key, copied, or ErrNotFound.
func (s *Store) Get(key []byte) ([]byte, error) {
	value, err := s.Append(nil, key)
	if value == nil && err == nil {
		value = []byte{} // empty is not absent
	}
	return value, err
}

// Append appends the value of key to dst, which costs no allocation if it
// fits, and returns the extended slice. On an error, which may be ErrNotFound,
// it returns dst as it was; its spare room may have been written to. key may lie
// in that room: it is read before it is overwritten.
//
// It leaves no trace in the store: it reads the root, walks, copies, and then finds out
// whether the memory that it has read could have been reused meanwhile. If so it tries
// again, and after a few tries pins the version.
func (s *Store) Append(dst, key []byte) ([]byte, error) {
	h := s.hashOf(key)
	if cap(dst) > len(dst) && region.Overlap(key, dst[len(dst):cap(dst)]) {
		key = bytes.Clone(key) // a try that fails may have copied over it
	}
	for range optimisticTries {
		got, status, held := s.try(h, dst, key, false)
		if held {
			switch status {
			case node.Present:
				return got, nil
			case node.Absent:
				return dst, ErrNotFound
			}
			break
		}
	}
	return s.appendSlow(dst, key, h)
}

// try looks for a value and copies it while it may be reused: unless held, its
// results mean nothing.
//
// Where a stray reference may lead to a hole in the file it is guarded. It looks
// for holes after it has read the root and the end, and before it follows the
// root: whoever makes the first hole announces it long before (see
// alloc.Arena.Punched).
func (s *Store) try(h uint64, dst, key []byte, inGuard bool) (got []byte, status node.Status, held bool) {
	g, ok := s.a.Glance()
	if !ok {
		return dst, node.Damaged, true
	}
	if !inGuard && s.a.Punched() {
		return s.tryGuarded(h, dst, key)
	}
	m := s.a.Mem()
	l, status := hamt.NewReader(m, g.End()).Find(node.Ref(s.rootWord(g.Root(), rootTrie)), h, key)
	if status != node.Present {
		return dst, status, s.a.Held(g)
	}
	n := uint64(l.ValueLen)
	if n > uint64(cap(dst)-len(dst)) && !s.a.Held(g) {
		return dst, status, false // a length that is garbage must not allocate (rule R2)
	}
	got = m.AppendTo(dst, l.ValueOff(), n)
	return got, status, s.a.Held(g)
}

// tryGuarded is try under a guard. A fault is damage, or a sign that the root was
// overtaken: a read under a pin tells.
func (s *Store) tryGuarded(h uint64, dst, key []byte) (got []byte, status node.Status, held bool) {
	if guarded(func() { got, status, held = s.try(h, dst, key, true) }) {
		return dst, node.Damaged, true
	}
	return got, status, held
}

// guarded calls read and reports whether it touched what has no memory behind
// it: a hole in the file when the file system is full, or a file cut short.
func guarded(read func()) (faulted bool) {
	old := debug.SetPanicOnFault(true)
	defer func() {
		debug.SetPanicOnFault(old)
		if e := recover(); e != nil {
			if _, faulted = e.(interface{ Addr() uintptr }); !faulted {
				panic(e)
			}
		}
	}()
	read()
	return false
}

// appendSlow reads under a pin, where what is read does not change.
func (s *Store) appendSlow(dst, key []byte, h uint64) ([]byte, error) {
	if s.a.Closed() {
		return dst, s.fail("reading", ErrClosed)
	}
	if !s.a.CanPin() {
		return s.appendUnpinned(dst, key, h)
	}
	got := dst
	err := s.View(func(sn *Snapshot) error {
		value, err := sn.Get(key)
		got = append(dst, value...)
		return err
	})
	return got, err
}

func (s *Store) appendUnpinned(dst, key []byte, h uint64) ([]byte, error) {
	for range readOnlyTries {
		got, status, held := s.try(h, dst, key, false)
		switch {
		case !held:
			continue
		case status == node.Present:
			return got, nil
		case status == node.Absent:
			return dst, ErrNotFound
		}
		if err := s.explain(h, key); err != nil {
			return dst, s.fail("reading", err)
		}
	}
	return dst, s.fail("reading without write permission on procs: writers were too fast, and pinning is not possible", ErrReadOnly)
}

// explain is the damage on the way to key, or nil if there is none or what was
// read may have been reused.
func (s *Store) explain(h uint64, key []byte) error {
	g, ok := s.a.Glance()
	if !ok {
		_, err := s.a.Limit()
		return damage(err)
	}
	var err error
	r := hamt.NewReader(s.a.Mem(), g.End())
	if guarded(func() { err = r.Explain(node.Ref(s.rootWord(g.Root(), rootTrie)), h, key) }) {
		err = fmt.Errorf("%w: data has no memory behind it where it is used", ErrCorrupt)
	}
	if !s.a.Held(g) {
		return nil
	}
	return err
}

// damage is the error of a lookup that found damage, explained or not.
func damage(explained error) error {
	if explained == nil {
		return ErrCorrupt
	}
	return explained
}

// Has reports whether key is in the store.
func (s *Store) Has(key []byte) (bool, error) {
	h := s.hashOf(key)
	for range optimisticTries {
		g, ok := s.a.Glance()
		if !ok || s.a.Punched() {
			break
		}
		r := hamt.NewReader(s.a.Mem(), g.End())
		_, status := r.Find(node.Ref(s.rootWord(g.Root(), rootTrie)), h, key)
		if s.a.Held(g) && status != node.Damaged {
			return status == node.Present, nil
		}
	}
	_, err := s.Append(nil, key)
	if err == ErrNotFound {
		return false, nil
	}
	return err == nil, err
}

// GetMany looks many keys up in one version and calls fn for each, in order.
// The value is valid in fn only; without ok the key is not in the store. Large
// stores answer it several times faster for a key than Get, because the waits
// for memory overlap. It ends with ErrClosed if the store is closed meanwhile.
func (s *Store) GetMany(keys [][]byte, fn func(i int, value []byte, ok bool)) error {
	u, ok := s.a.Enter()
	if !ok {
		return s.fail("taking a snapshot of", ErrClosed)
	}
	defer s.a.Leave(u)
	p, err := s.pinned(s.a.PinBriefly())
	if err != nil {
		return err
	}
	defer s.a.Unpin(p.pin)
	m := many{s, s.reader(), p.trie, fn}
	if len(keys) == 1 {
		h := s.hashOf(keys[0])
		l, status := m.r.Find(p.trie, h, keys[0])
		return m.tell(0, node.Result{Leaf: l, Status: status}, h, keys[0])
	}
	for base := 0; base < len(keys); base += manyKeys {
		if err := m.get(base, keys[base:min(base+manyKeys, len(keys))]); err != nil {
			return err
		}
	}
	return nil
}

// manyKeys is how many keys GetMany looks up before it calls fn.
const manyKeys = 64

// many is a GetMany under way.
type many struct {
	s    *Store
	r    hamt.Reader
	trie node.Ref
	fn   func(i int, value []byte, ok bool)
}

// get looks up to manyKeys keys up, the first of which has the number base.
func (m *many) get(base int, keys [][]byte) error {
	var hashes [manyKeys]uint64
	var out [manyKeys]node.Result
	for i, key := range keys {
		hashes[i] = m.s.hashOf(key)
	}
	m.r.FindMany(m.trie, hashes[:len(keys)], keys, out[:len(keys)])
	for i, key := range keys {
		if err := m.tell(base+i, out[i], hashes[i], key); err != nil {
			return err
		}
	}
	return nil
}

// tell calls fn with what was found.
func (m *many) tell(i int, found node.Result, h uint64, key []byte) error {
	if m.s.a.Closed() {
		return m.s.fail("reading", ErrClosed)
	}
	switch found.Status {
	case node.Present:
		m.fn(i, m.r.Value(found.Leaf), true)
	case node.Absent:
		m.fn(i, nil, false)
	default:
		return m.s.fail("reading", damage(m.r.Explain(m.trie, h, key)))
	}
	return nil
}
