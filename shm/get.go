package shm

import (
	"bytes"
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
func (k *keyed) Get(key []byte) ([]byte, error) {
	value, err := k.Append(nil, key)
	if value == nil && err == nil {
		value = []byte{} // empty is not absent
	}
	return value, err
}

// GetVersion returns the value of key, copied, and the version of the commit that last
// wrote the entry. Two reads that return the same version have returned the same value.
// The store may also write an entry by itself, without a change, when it moves it to
// give space back.
func (k *keyed) GetVersion(key []byte) (value []byte, version uint64, err error) {
	if value, version, err = k.read(nil, key, wanted); err == nil && value == nil {
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
func (k *keyed) Append(dst, key []byte) ([]byte, error) {
	if cap(dst) > len(dst) && region.Overlap(key, dst[len(dst):cap(dst)]) {
		key = bytes.Clone(key) // a try that fails may have copied over it
	}
	got, _, err := k.read(dst, key, wanted)
	return got, err
}

// Has reports whether key is in the store.
func (k *keyed) Has(key []byte) (bool, error) {
	_, _, err := k.read(nil, key, 0)
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
func (k *keyed) read(dst, key []byte, m mode) (got []byte, birth uint64, err error) {
	h := k.s.hashIn(k.to, key)
	for range optimisticTries {
		got, birth, status, valid := k.try(h, dst, key, m)
		if valid {
			switch status {
			case node.Present:
				return got, birth, nil
			case node.Absent:
				return dst, 0, ErrNotFound
			}
			break
		}
		k.s.repeated.Add(1)
	}
	return k.readSlowly(h, dst, key, m)
}

// try looks for a value and copies it while it may be reused: unless valid, its
// results mean nothing.
//
// Where a stray reference may lead to a hole in the file it is guarded. It looks
// for holes after it has read the root and the end, and before it follows the
// root: the process that makes the first hole announces it long before (see
// alloc.Arena.Punched).
func (k *keyed) try(h uint64, dst, key []byte, m mode) (got []byte, birth uint64, status node.Status, valid bool) {
	g, ok := k.a.Stamp()
	if !ok {
		return dst, 0, node.Damaged, true
	}
	if m&inGuard == 0 && k.a.Punched() {
		return k.tryGuarded(h, dst, key, m)
	}
	mem := k.a.Mem()
	r := hamt.NewReader(mem, g.End())
	var l node.Leaf
	if k.to == nil {
		l, status = r.Find(trieAt(mem, g.Root()), h, key)
	} else {
		l, status = k.lookUpNamed(r, g, h, key)
	}
	if status != node.Present || m&wanted == 0 {
		return dst, 0, status, k.a.Valid(g)
	}
	n := l.ValueLen()
	if n > uint64(cap(dst)-len(dst)) && !k.a.Valid(g) {
		return dst, 0, status, false // a length that is garbage must not allocate (rule R2)
	}
	birth = mem.Word(l.Off)
	got = mem.AppendTo(dst, l.ValueOff(), n)
	return got, birth, status, k.a.Valid(g)
}

// tryGuarded is try under a guard. A fault is damage, or a sign that the root was
// overtaken: a read under a pin tells.
func (k *keyed) tryGuarded(h uint64, dst, key []byte, m mode) (got []byte, birth uint64, status node.Status, valid bool) {
	if guarded(func() { got, birth, status, valid = k.try(h, dst, key, m|inGuard) }) {
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

// readSlowly reads under a pin, where nothing changes that it reads, if that is permitted.
func (k *keyed) readSlowly(h uint64, dst, key []byte, m mode) (got []byte, birth uint64, err error) {
	got = dst
	err = k.look(func(v view, now hold) error {
		l, err := v.find(h, key)
		if err == nil && m&wanted != 0 && now.valid() {
			birth = v.r.Birth(l)
			got = v.r.Mem.AppendTo(dst, l.ValueOff(), l.ValueLen())
		}
		return err
	})
	if err != nil {
		return dst, 0, err
	}
	return got, birth, nil
}
