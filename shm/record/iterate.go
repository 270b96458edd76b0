package record

import (
	"errors"
	"fmt"
	"iter"

	"github.com/seed-869cc763/shmkv/shm"
)

// All iterates over all records of the current version, in no order, garbage included that was not
// collected yet. A record's slices are the caller's. The loop ends after an error.
func (st *Storage) All() iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		k, err := st.snapshot()
		if err != nil {
			yield(Record{}, err)
			return
		}
		defer k.sn.Close()
		for key, value := range k.records.All() {
			r, err := k.record(key, value)
			if errors.Is(err, shm.ErrNotFound) {
				continue
			}
			if !yield(r, err) || err != nil {
				return
			}
		}
		if err := k.sn.Err(); err != nil {
			yield(Record{}, err)
		}
	}
}

// record returns the record of an entry, or shm.ErrNotFound if it is garbage that a sweep has yet
// to delete.
func (k known) record(key, value []byte) (Record, error) {
	id, err := idOf(key)
	if err != nil {
		return Record{}, err
	}
	if k.head.phase == phaseSweep {
		seen, err := marked(k.books, id)
		if err != nil {
			return Record{}, err
		}
		if !seen {
			return Record{}, shm.ErrNotFound
		}
	}
	r, err := Parse(append(key[:idSize:idSize], value...))
	if err != nil {
		return Record{}, corrupt("%v", err)
	}
	return r, nil
}

// Stats are the numbers of a storage.
type Stats struct {
	Records    int64  `json:"records"`
	Unreferred int64  `json:"unreferred"` // records that no other refers to, which are garbage; see PerCommit
	Fresh      int64  `json:"fresh"`      // new records to which only such records have referred yet
	Waiting    int64  `json:"waiting"`    // ids of collected records that wait to be given again
	NextID     ID     `json:"next_id"`    // the least that was never given or stored
	Stamp      uint64 `json:"stamp"`      // number of the last commit that changed records
	Sessions   int64  `json:"sessions"`   // of this handle
	Untold     int64  `json:"untold"`     // changed ids that some session of this handle was not told of
	Packing    bool   `json:"packing"`
	Importing  bool   `json:"importing"` // an import has begun and has not ended
}

// Stats returns the Stats of the current version.
func (st *Storage) Stats() (Stats, error) {
	k, err := st.snapshot()
	if err != nil {
		return Stats{}, err
	}
	defer k.sn.Close()
	s := Stats{Records: int64(k.records.Len()), NextID: k.head.next, Stamp: k.head.stamp, Packing: k.head.phase != phaseIdle, Importing: k.head.importing != 0}
	for tag, n := range map[byte]*int64{tagUnreferred: &s.Unreferred, tagFresh: &s.Fresh, tagWaiting: &s.Waiting} {
		count, err := k.books.Count(book(tag), book(tag+1))
		if err != nil {
			return Stats{}, err
		}
		*n = int64(count)
	}
	st.turn.Lock()
	defer st.turn.Unlock()
	s.Sessions, s.Untold = int64(len(st.sessions)), int64(len(st.changes.newest))
	return s, nil
}

// Get returns the record of an id in the current version, for tools. Programs load in a Session.
func (st *Storage) Get(id ID) (Record, error) {
	k, err := st.snapshot()
	if err != nil {
		return Record{}, err
	}
	defer k.sn.Close()
	value, err := k.records.Get(id.key())
	var r Record
	if err == nil {
		r, err = k.record(id.key(), value)
	}
	if err != nil {
		return Record{}, fmt.Errorf("record: reading %d: %w", id, err)
	}
	return r, nil
}

// Len returns the number of records of the current version, garbage included.
func (st *Storage) Len() int { return st.records.Len() }
