package shm

import (
	"runtime/debug"

	"github.com/seed-869cc763/shmkv/alloc"
	"github.com/seed-869cc763/shmkv/hamt"
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
// it returns dst as it was.
//
// It leaves no trace in the store: it reads the root, walks, copies, and then
// looks whether what it read could have been reused meanwhile. If so it tries
// again, and after a few tries pins the version.
func (s *Store) Append(dst, key []byte) ([]byte, error) {
	h := s.hashOf(key)
	for range optimisticTries {
		if s.a.Closed() {
			break
		}
		g, err := s.a.Glance()
		if err != nil {
			return dst, s.fail("reading", err)
		}
		var got []byte
		var status hamt.Status
		if s.a.Punched() {
			got, status = s.lookGuarded(g, h, dst, key)
		} else {
			got, status = s.look(g, h, dst, key)
		}
		if s.a.Held(g) {
			switch status {
			case hamt.Present:
				return got, nil
			case hamt.Absent:
				return dst, ErrNotFound
			}
			break
		}
	}
	return s.appendSlow(dst, key, h)
}

// look finds and copies what may be reused meanwhile: the result means nothing
// until Held says so.
func (s *Store) look(g alloc.Glance, h uint64, dst, key []byte) ([]byte, hamt.Status) {
	r := hamt.NewReader(s.a.Mem(), g.End())
	trie := hamt.Ref(s.rootWord(g.Root(), rootTrie))
	l, status := r.Find(trie, h, key)
	if status != hamt.Present {
		return dst, status
	}
	n := uint64(l.ValueLen)
	if n > uint64(cap(dst)-len(dst)) && !s.a.Held(g) {
		return dst, status // a length that is garbage must not allocate (rule R2)
	}
	return s.a.Mem().AppendTo(dst, l.ValueOff(), n), status
}

// lookGuarded is look where a stray reference may lead to a hole in the file:
// when there is no memory left to put behind it, touching it faults.
func (s *Store) lookGuarded(g alloc.Glance, h uint64, dst, key []byte) (got []byte, status hamt.Status) {
	old := debug.SetPanicOnFault(true)
	defer func() {
		debug.SetPanicOnFault(old)
		if e := recover(); e != nil {
			if _, fault := e.(interface{ Addr() uintptr }); !fault {
				panic(e)
			}
			got, status = dst, hamt.Damaged
		}
	}()
	return s.look(g, h, dst, key)
}

// appendSlow reads under a pin, where what is read does not change.
func (s *Store) appendSlow(dst, key []byte, h uint64) ([]byte, error) {
	if s.a.Closed() {
		return dst, s.fail("reading", ErrClosed)
	}
	if !s.a.CanPin() {
		return s.appendUnpinned(dst, key, h)
	}
	sn, err := s.Snapshot()
	if err != nil {
		return dst, err
	}
	defer func() { _ = sn.Close() }()
	value, err := sn.Get(key)
	if err != nil {
		return dst, err
	}
	got := append(dst, value...)
	if s.a.Closed() {
		return dst, s.fail("reading", ErrClosed)
	}
	return got, nil
}

func (s *Store) appendUnpinned(dst, key []byte, h uint64) ([]byte, error) {
	for range readOnlyTries {
		g, err := s.a.Glance()
		if err != nil {
			return dst, s.fail("reading", err)
		}
		got, status := s.lookGuarded(g, h, dst, key)
		if !s.a.Held(g) {
			continue
		}
		switch status {
		case hamt.Present:
			return got, nil
		case hamt.Absent:
			return dst, ErrNotFound
		}
		r := hamt.NewReader(s.a.Mem(), g.End())
		return dst, s.fail("reading", damage(r.Explain(hamt.Ref(s.rootWord(g.Root(), rootTrie)), h, key)))
	}
	return dst, s.fail("reading without write permission on slots: writers were too fast, and pinning is not possible", ErrReadOnly)
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
		if s.a.Closed() || s.a.Punched() {
			break
		}
		g, err := s.a.Glance()
		if err != nil {
			return false, s.fail("reading", err)
		}
		r := hamt.NewReader(s.a.Mem(), g.End())
		_, status := r.Find(hamt.Ref(s.rootWord(g.Root(), rootTrie)), h, key)
		if s.a.Held(g) && status != hamt.Damaged {
			return status == hamt.Present, nil
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
// for memory overlap.
func (s *Store) GetMany(keys [][]byte, fn func(i int, value []byte, ok bool)) error {
	const batch = 64
	var hashes [batch]uint64
	var out [batch]hamt.Result
	return s.View(func(sn *Snapshot) error {
		for base := 0; base < len(keys); base += batch {
			part := keys[base:min(base+batch, len(keys))]
			for i, key := range part {
				hashes[i] = s.hashOf(key)
			}
			sn.r.FindMany(sn.trie, hashes[:len(part)], part, out[:len(part)])
			for i := range part {
				switch out[i].Status {
				case hamt.Present:
					fn(base+i, sn.r.Value(out[i].Leaf), true)
				case hamt.Absent:
					fn(base+i, nil, false)
				default:
					return s.fail("reading", damage(sn.r.Explain(sn.trie, hashes[i], part[i])))
				}
			}
			if s.a.Closed() {
				return s.fail("reading", ErrClosed)
			}
		}
		return nil
	})
}
