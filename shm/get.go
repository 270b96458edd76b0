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

// GetVersion returns the value of key, copied, and the version of the commit that last
// wrote the entry. Two reads that return the same version have returned the same value.
// The store may also write an entry by itself, without a change, when it moves it to
// give space back.
func (s *Store) GetVersion(key []byte) (value []byte, version uint64, err error) {
	l := lookup{key: key, hash: s.hashOf(key), copies: true}
	if err := s.read(&l); err != nil {
		return nil, 0, err
	}
	if l.dst == nil {
		l.dst = []byte{}
	}
	return l.dst, l.birth, nil
}

// Append appends the value of key to dst, which costs no allocation if it
// fits, and returns the extended slice. On an error, which may be ErrNotFound,
// it returns dst as it was; its spare room may have been written to. key may lie
// in that room: it is read before it is overwritten.
//
// It leaves no trace in the store: it reads the root, walks, copies, and then checks
// whether the memory that it has read could have been reused since. If so it tries again,
// and after a few tries it pins the version.
func (s *Store) Append(dst, key []byte) ([]byte, error) {
	if cap(dst) > len(dst) && region.Overlap(key, dst[len(dst):cap(dst)]) {
		key = bytes.Clone(key) // a try that fails may have copied over it
	}
	l := lookup{key: key, hash: s.hashOf(key), dst: dst, copies: true}
	if err := s.read(&l); err != nil {
		return dst, err
	}
	return l.dst, nil
}

// Has reports whether key is in the store.
func (s *Store) Has(key []byte) (bool, error) {
	return found(s.read(&lookup{key: key, hash: s.hashOf(key)}))
}

// found makes the result of a Has of the error of a lookup.
func found(err error) (bool, error) {
	if err == ErrNotFound {
		return false, nil
	}
	return err == nil, err
}

// A lookup is a read of one key of the current version, and its result.
type lookup struct {
	key    []byte
	hash   uint64
	copies bool // the value is wanted, and the birth
	dst    []byte
	birth  uint64
}

// read carries out a lookup. Only without an error it has changed dst.
func (s *Store) read(l *lookup) error {
	for range optimisticTries {
		got, status, valid := s.try(l, false)
		if valid && status == node.Present {
			l.dst = got
			return nil
		}
		if valid && status == node.Absent {
			return ErrNotFound
		}
		if valid {
			break
		}
	}
	return s.readSlowly(l)
}

// try looks for a value and copies it while it may be reused: unless valid, its
// results mean nothing.
//
// Where a stray reference may lead to a hole in the file it is guarded. It looks for holes
// after it has read the root and the end, and before it follows the root: the process that
// makes the first hole announces it long before (see alloc.Arena.Punched).
func (s *Store) try(l *lookup, inGuard bool) (got []byte, status node.Status, valid bool) {
	g, ok := s.a.Stamp()
	if !ok {
		return l.dst, node.Damaged, true
	}
	if !inGuard && s.a.Punched() {
		return s.tryGuarded(l)
	}
	m := s.a.Mem()
	leaf, status := hamt.NewReader(m, g.End()).Find(s.trieAt(g.Root()), l.hash, l.key)
	if status != node.Present || !l.copies {
		return l.dst, status, s.a.Valid(g)
	}
	n := uint64(leaf.ValueLen)
	if n > uint64(cap(l.dst)-len(l.dst)) && !s.a.Valid(g) {
		return l.dst, status, false // a length that is garbage must not allocate (rule R2)
	}
	l.birth = m.Word(leaf.Off)
	got = m.AppendTo(l.dst, leaf.ValueOff(), n)
	return got, status, s.a.Valid(g)
}

// tryGuarded is try under a guard. A fault is damage, or a sign that the root was
// overtaken: a read under a pin tells.
func (s *Store) tryGuarded(l *lookup) (got []byte, status node.Status, valid bool) {
	if guarded(func() { got, status, valid = s.try(l, true) }) {
		return l.dst, node.Damaged, true
	}
	return got, status, valid
}

// guarded calls read and reports whether it touched a place without memory: a hole in the
// file when the file system is full, or the missing part of a truncated file.
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

// readSlowly reads under a pin, where nothing changes that it reads.
func (s *Store) readSlowly(l *lookup) error {
	if s.a.Closed() {
		return s.fail("reading", ErrClosed)
	}
	if !s.a.CanPin() {
		return s.readUnpinned(l)
	}
	return s.View(func(sn *Snapshot) error {
		value, birth, err := sn.find(l.hash, l.key)
		if err == nil && l.copies {
			l.dst, l.birth = append(l.dst, value...), birth
		}
		return err
	})
}

func (s *Store) readUnpinned(l *lookup) error {
	for range readOnlyTries {
		got, status, valid := s.try(l, false)
		switch {
		case !valid:
			continue
		case status == node.Present:
			l.dst = got
			return nil
		case status == node.Absent:
			return ErrNotFound
		}
		if err := s.explain(l); err != nil {
			return s.fail("reading", err)
		}
	}
	return s.fail("reading", fmt.Errorf("%w, and writers were too fast for a read without a pin", ErrCannotPin))
}

// explain returns the damage on the way to a key. It returns nil if there is none, or if
// the memory that it has read may have been reused.
func (s *Store) explain(l *lookup) error {
	g, ok := s.a.Stamp()
	if !ok {
		_, err := s.a.Limit()
		return damage(err)
	}
	var err error
	r := hamt.NewReader(s.a.Mem(), g.End())
	if guarded(func() { err = r.Explain(s.trieAt(g.Root()), l.hash, l.key) }) {
		err = errNoMemory
	}
	if !s.a.Valid(g) {
		return nil
	}
	return err
}
