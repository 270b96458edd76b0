package cache

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-869cc763/shmkv/shm"
)

// RegionsMap is the name of the map in which regions that were invalidated softly, or that
// are to be flushed at a time, have a record. No region may have this name.
const RegionsMap = "cache.regions"

// A rule is what the record of a region says, of two words: how often the region was
// invalidated softly, and when it is to be flushed, in nanoseconds since 1970, or 0.
// Without a record both are 0.
type rule struct {
	generation uint32 // the lower 24 bits, as the tails of items have it
	flushAt    int64
}

// rules is what a handle knows of the record of its region. It holds for a version of the
// store, so a look at the version tells whether the record must be read again.
type rules struct {
	version    atomic.Uint64
	generation atomic.Uint32
	flushAt    atomic.Int64
	quiet      atomic.Uint64 // a version in which no flush at a time to come is awaited

	mu   sync.Mutex // of who reads the record
	room []byte
}

// rules returns the rule of the region. What was committed before the call counts.
func (c *Cache) rules() (rule, error) {
	k := &c.known
	version := c.store.Version()
	if k.version.Load() == version && version != 0 {
		return rule{k.generation.Load(), k.flushAt.Load()}, nil
	}
	return c.readRules(version)
}

func (c *Cache) readRules(version uint64) (r rule, err error) {
	k := &c.known
	k.mu.Lock()
	defer k.mu.Unlock()
	k.room, err = c.regions.Append(k.room[:0], c.name)
	switch {
	case err == shm.ErrNotFound:
	case err != nil:
		return r, err
	default:
		record, err := readRecord(k.room)
		if err != nil {
			return r, err
		}
		r = record.rule()
	}
	// In this order: who finds the version finds what was read for it, or for a later one.
	if version > k.version.Load() {
		k.generation.Store(r.generation)
		k.flushAt.Store(r.flushAt)
		k.version.Store(version)
		if r.flushAt == 0 {
			k.quiet.Store(version)
		}
	}
	return r, nil
}

// A record is the entry of a region in RegionsMap.
type record struct {
	generation uint64
	flushAt    int64
}

func (r record) rule() rule { return rule{uint32(r.generation & generationMask), r.flushAt} }

func readRecord(b []byte) (record, error) {
	if len(b) != 16 {
		return record{}, fmt.Errorf("%w: found a record of a region of %d bytes, expected 16", shm.ErrCorrupt, len(b))
	}
	return record{binary.LittleEndian.Uint64(b), int64(binary.LittleEndian.Uint64(b[8:]))}, nil
}

func (r record) bytes() []byte {
	return binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, r.generation), uint64(r.flushAt))
}

// Invalidate makes the whole region invalid, for all processes at once: with soft, all
// items that were written before become stale; without, they are gone, as after a Flush. An
// item whose write begins after Invalidate has returned is not affected, and one that is
// written at the same time may be stale or not.
func (c *Cache) Invalidate(soft bool) error {
	if !soft {
		return c.Flush(time.Time{})
	}
	return c.write("invalidating", nil, recordNeed, func() error {
		return c.changeRecord(func(r *record) error {
			r.generation++
			return nil
		})
	})
}

const recordNeed = 256

// Flush makes the region empty for all processes at the given time; a time that has come, or
// the zero Time, means at once. It takes one commit, whatever the number of items: the
// region's map is dropped, and its space comes back through the writes that follow. A write
// that begins after that stays. A flush at once also cancels one at a time to come. A time to come is written down for all processes, in place of
// an earlier one that has not come yet; the first call of any process that finds that the
// time has come drops the map before it does its work.
func (c *Cache) Flush(at time.Time) error {
	moment := momentOf(at)
	switch {
	case at.IsZero() || moment != 0 && moment <= c.clock.now():
		return c.write("flushing", nil, recordNeed, func() error { return c.flush(func(record) bool { return true }) })
	case moment == 0:
		return c.fail("flushing", nil, fmt.Errorf("found the time %v, expected one until %v", at, lastTime))
	}
	return c.write("flushing", nil, recordNeed, func() error {
		for {
			if _, err := c.begin(); err != nil {
				return err
			}
			if err := c.changeRecord(func(r *record) error {
				if has(r.flushAt, c.clock.now()) {
					return errDue // it must not be forgotten
				}
				r.flushAt = moment
				return nil
			}); err != errDue {
				return err
			}
		}
	})
}

// errDue: the time of a flush came between two looks at the record.
var errDue = errors.New("a flush is due")

// changeRecord changes the record of the region in one commit.
func (c *Cache) changeRecord(fn func(r *record) error) error {
	return c.regions.Compute(c.name, func(old []byte, exists bool) ([]byte, shm.Action, error) {
		var r record
		var err error
		if exists {
			r, err = readRecord(old)
		}
		if err == nil {
			err = fn(&r)
		}
		if err != nil {
			return nil, shm.ActionKeep, err
		}
		return r.bytes(), shm.ActionSet, nil
	})
}

// flushDue flushes the region because the time in its record has come. If another process
// has done so in between, the record has no such time any more, and nothing happens.
func (c *Cache) flushDue(seen rule) error {
	return c.write("flushing", nil, recordNeed, func() error {
		return c.flush(func(r record) bool { return r.flushAt == seen.flushAt })
	})
}

// flush drops the map of the region, and takes the time of a flush out of its record, in one
// commit, if the record is as wanted. It drops the map of the claims too, so that nobody who is
// creating a value stores it.
func (c *Cache) flush(wanted func(record) bool) error {
	return c.store.Update(func(tx *shm.Tx) error {
		regions := tx.Map(RegionsMap)
		var r record
		b, err := regions.Get(c.name)
		switch {
		case err == shm.ErrNotFound:
		case err != nil:
			return err
		default:
			if r, err = readRecord(b); err != nil {
				return err
			}
		}
		if !wanted(r) {
			return nil
		}
		if r.flushAt != 0 {
			r.flushAt = 0
			if r.generation == 0 {
				_, err = regions.Delete(c.name) // which works in a full store
			} else {
				err = regions.Set(c.name, r.bytes())
			}
			if err != nil {
				return err
			}
		}
		for _, name := range []string{c.region, ClaimsPrefix + c.region} {
			if _, err := tx.Map(name).Drop(); err != nil {
				return err
			}
		}
		return nil
	})
}
