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

// Get returns the value of key, copied, or ErrNotFound. The slice of an empty value is not
// nil, so the result of a Get can be the old value of a CompareAndSwap.
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
	if value, version, err = s.read(nil, key, wanted); err == nil && value == nil {
		value = []byte{}
	}
	return value, version, err
}

// Append appends the value of key to dst, which costs no allocation if it
// fits, and returns the extended slice. On an error, which may be ErrNotFound,
// it returns dst as it was; its spare room may have been written to. key may lie
// in that room: it is read before it is overwritten.
//
// It leaves no trace in the store: it reads the root, walks, copies, and then checks
// whether the memory that it has read could have been reused since. If so it tries
// again, and after a few tries it pins the version.
func (s *Store) Append(dst, key []byte) ([]byte, error) {
	if cap(dst) > len(dst) && region.Overlap(key, dst[len(dst):cap(dst)]) {
		key = bytes.Clone(key) // a try that fails may have copied over it
	}
	got, _, err := s.read(dst, key, wanted)
	return got, err
}

// Has reports whether key is in the store.
func (s *Store) Has(key []byte) (bool, error) {
	_, _, err := s.read(nil, key, 0)
	return found(err)
}

// found makes the result of a Has of the error of a lookup.
func found(err error) (bool, error) {
	if err == ErrNotFound {
		return false, nil
	}
	return err == nil, err
}

// A mode is how a lookup is carried out. Together with the other arguments it fits the
// registers of a call.
type mode uint8

const (
	wanted  mode = 1 << iota // the value and the birth of the entry are wanted
	inGuard                  // a fault is caught already
)

// read appends the value of key to dst, if it is wanted, and returns the birth of the
// entry. On an error it returns dst.
func (s *Store) read(dst, key []byte, m mode) (got []byte, birth uint64, err error) {
	h := s.hashOf(key)
	for range optimisticTries {
		got, birth, status, valid := s.try(h, dst, key, m)
		if valid {
			switch status {
			case node.Present:
				return got, birth, nil
			case node.Absent:
				return dst, 0, ErrNotFound
			}
			break
		}
		s.repeated.Add(1)
	}
	return s.readSlowly(h, dst, key, m)
}

// try looks for a value and copies it while it may be reused: unless valid, its
// results mean nothing.
//
// Where a stray reference may lead to a hole in the file it is guarded. It looks
// for holes after it has read the root and the end, and before it follows the
// root: the process that makes the first hole announces it long before (see
// alloc.Arena.Punched).
func (s *Store) try(h uint64, dst, key []byte, m mode) (got []byte, birth uint64, status node.Status, valid bool) {
	g, ok := s.a.Stamp()
	if !ok {
		return dst, 0, node.Damaged, true
	}
	if m&inGuard == 0 && s.a.Punched() {
		return s.tryGuarded(h, dst, key, m)
	}
	mem := s.a.Mem()
	l, status := hamt.NewReader(mem, g.End()).Find(s.trieAt(g.Root()), h, key)
	if status != node.Present || m&wanted == 0 {
		return dst, 0, status, s.a.Valid(g)
	}
	n := l.ValueLen()
	if n > uint64(cap(dst)-len(dst)) && !s.a.Valid(g) {
		return dst, 0, status, false // a length that is garbage must not allocate (rule R2)
	}
	birth = mem.Word(l.Off)
	got = mem.AppendTo(dst, l.ValueOff(), n)
	return got, birth, status, s.a.Valid(g)
}

// tryGuarded is try under a guard. A fault is damage, or a sign that the root was
// overtaken: a read under a pin tells.
func (s *Store) tryGuarded(h uint64, dst, key []byte, m mode) (got []byte, birth uint64, status node.Status, valid bool) {
	if guarded(func() { got, birth, status, valid = s.try(h, dst, key, m|inGuard) }) {
		return dst, 0, node.Damaged, true
	}
	return got, birth, status, valid
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
func (s *Store) readSlowly(h uint64, dst, key []byte, m mode) (got []byte, birth uint64, err error) {
	if s.a.Closed() {
		return dst, 0, s.fail("reading", ErrClosed)
	}
	if !s.a.CanPin() {
		return s.readUnpinned(h, dst, key, m)
	}
	got = dst
	err = s.View(func(sn *Snapshot) error {
		value, version, err := sn.find(h, key)
		if err == nil && m&wanted != 0 {
			got, birth = append(dst, value...), version
		}
		return err
	})
	return got, birth, err
}

func (s *Store) readUnpinned(h uint64, dst, key []byte, m mode) ([]byte, uint64, error) {
	for range readOnlyTries {
		got, birth, status, valid := s.try(h, dst, key, m)
		switch {
		case !valid:
			s.repeated.Add(1)
			continue
		case status == node.Present:
			return got, birth, nil
		case status == node.Absent:
			return dst, 0, ErrNotFound
		}
		if err := s.explain(h, key); err != nil {
			return dst, 0, s.fail("reading", err)
		}
	}
	return dst, 0, s.fail("reading", fmt.Errorf("%w, and writers were too fast for a read without a pin", ErrCannotPin))
}

// explain returns the damage on the way to a key. It returns nil if there is none, or if
// the memory that it has read may have been reused.
func (s *Store) explain(h uint64, key []byte) error {
	g, ok := s.a.Stamp()
	if !ok {
		_, err := s.a.Limit()
		return damage(err)
	}
	var err error
	r := hamt.NewReader(s.a.Mem(), g.End())
	if guarded(func() { err = r.Explain(s.trieAt(g.Root()), h, key) }) {
		err = errNoMemory
	}
	if !s.a.Valid(g) {
		return nil
	}
	return err
}
