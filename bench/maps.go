package main

import (
	"bytes"
	"encoding/binary"
	"sync"

	"github.com/maypok86/otter/v2"
	"github.com/puzpuzpuz/xsync/v4"
)

// The maps of one process share nothing with other processes, and their values are objects of the Go heap. They are
// used as a program would use them: keys are arrays, so a lookup does not allocate, a write copies the value, and so
// does a read except in place.

type mapKey = [keyBytes]byte

// indexOf is the inverse of putKey.
func indexOf(key []byte) uint64 { return binary.BigEndian.Uint64(key[8:]) }

// copyOut appends the value of a lookup to dst.
func copyOut(dst, value []byte, found bool) ([]byte, error) {
	if !found {
		return dst, errAbsent
	}
	return append(dst, value...), nil
}

// removed returns the error of a removal.
func removed(existed bool) error {
	if !existed {
		return errAbsent
	}
	return nil
}

// inPlace makes a view of a function that finds values. These maps have no versions, so the view shows the newest
// values.
func inPlace(load func(key mapKey) ([]byte, bool)) (func(key []byte) ([]byte, error), func() error, error) {
	find := func(key []byte) ([]byte, error) {
		value, ok := load(mapKey(key))
		if !ok {
			return nil, errAbsent
		}
		return value, nil
	}
	return find, func() error { return nil }, nil
}

type xsyncTable struct{ m *xsync.Map[mapKey, []byte] }

func openXsync(task) (table, error) { return xsyncTable{xsync.NewMap[mapKey, []byte]()}, nil }

func (x xsyncTable) read(dst, key []byte) ([]byte, error) {
	value, ok := x.m.Load(mapKey(key))
	return copyOut(dst, value, ok)
}

func (x xsyncTable) write(key, value []byte) error {
	x.m.Store(mapKey(key), bytes.Clone(value))
	return nil
}

func (x xsyncTable) remove(key []byte) error {
	_, existed := x.m.LoadAndDelete(mapKey(key))
	return removed(existed)
}

func (x xsyncTable) view() (func(key []byte) ([]byte, error), func() error, error) {
	return inPlace(x.m.Load)
}

func (x xsyncTable) scan(each func(key, value []byte) error) (err error) {
	x.m.Range(func(key mapKey, value []byte) bool {
		err = each(key[:], value)
		return err == nil
	})
	return err
}

func (x xsyncTable) close() error { return nil }

type syncTable struct{ m *sync.Map }

func openSyncMap(task) (table, error) { return syncTable{new(sync.Map)}, nil }

func (s syncTable) load(key mapKey) ([]byte, bool) {
	value, ok := s.m.Load(key)
	if !ok {
		return nil, false
	}
	return value.([]byte), true
}

func (s syncTable) read(dst, key []byte) ([]byte, error) {
	value, ok := s.load(mapKey(key))
	return copyOut(dst, value, ok)
}

func (s syncTable) write(key, value []byte) error {
	s.m.Store(mapKey(key), bytes.Clone(value))
	return nil
}

func (s syncTable) remove(key []byte) error {
	_, existed := s.m.LoadAndDelete(mapKey(key))
	return removed(existed)
}

func (s syncTable) view() (func(key []byte) ([]byte, error), func() error, error) {
	return inPlace(s.load)
}

func (s syncTable) scan(each func(key, value []byte) error) (err error) {
	s.m.Range(func(key, value any) bool {
		k := key.(mapKey)
		err = each(k[:], value.([]byte))
		return err == nil
	})
	return err
}

func (s syncTable) close() error { return nil }

// An otterTable is a cache with space for all entries, so that it evicts none.
type otterTable struct {
	cache *otter.Cache[mapKey, []byte]
}

func openOtter(t task) (table, error) {
	c, err := otter.New(&otter.Options[mapKey, []byte]{MaximumSize: 2*t.n + 1000})
	return otterTable{c}, err
}

func (o otterTable) read(dst, key []byte) ([]byte, error) {
	value, ok := o.cache.GetIfPresent(mapKey(key))
	return copyOut(dst, value, ok)
}

func (o otterTable) write(key, value []byte) error {
	o.cache.Set(mapKey(key), bytes.Clone(value))
	return nil
}

func (o otterTable) remove(key []byte) error {
	_, existed := o.cache.Invalidate(mapKey(key))
	return removed(existed)
}

func (o otterTable) view() (func(key []byte) ([]byte, error), func() error, error) {
	return inPlace(o.cache.GetIfPresent)
}

func (o otterTable) scan(each func(key, value []byte) error) error {
	for key, value := range o.cache.All() {
		if err := each(key[:], value); err != nil {
			return err
		}
	}
	return nil
}

func (o otterTable) close() error {
	o.cache.StopAllGoroutines()
	return nil
}
