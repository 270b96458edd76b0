package demo

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"

	"github.com/seed-869cc763/shmkv/shm"
)

// The plan of the demo. Each record of the data set belongs to one writer. The writer
// goes through its share in rounds, always in the same order. In round r it stores each
// record with revision r. It alternates between a batch of records in one transaction and
// some records that it writes singly.
//
// So the progress of a writer determines the revision of each record in its share. In
// each version of the store, as a View of a reader shows it:
//
//	I1  a value consists of its source record and a revision, byte for byte
//	I2  the records of one batch have the same revision
//	I3  along a share the revisions never increase, and decrease by one at most
//
// And in all versions that one reader sees:
//
//	I4  a record never gets an older revision
//
// A lost write, or a transaction that became visible in part, violates one of these or
// fails the comparison with the writers' progress at the end.
const (
	batchRecords  = 100
	singleRecords = 20
	cycleRecords  = batchRecords + singleRecords
)

// share is the part of the records that one writer writes: every of-th record, from the
// first on. A position numbers the records of a share from 0.
type share struct{ first, of, records int }

func (s share) len() int           { return (s.records - s.first + s.of - 1) / s.of }
func (s share) record(pos int) int { return s.first + pos*s.of }

// step returns the end of the step that begins at pos, and whether the step is a batch.
func (s share) step(pos int) (end int, batch bool) {
	if in := pos % cycleRecords; in < batchRecords {
		return min(pos-in+batchRecords, s.len()), true
	}
	return pos + 1, false
}

// middleBatch returns the position of the batch in the middle of the share.
func (s share) middleBatch() int { return s.len() / 2 / cycleRecords * cycleRecords }

// progress is the progress of a writer: the records at positions before At have revision
// Round, the others revision Round-1. A record of revision 0 is absent.
type progress struct {
	Round int `json:"round"`
	At    int `json:"at"`
}

func (p progress) revision(pos int) int {
	if pos < p.At {
		return p.Round
	}
	return p.Round - 1
}

const revisionMark = "\nDemo-Revision: "

// appendRevision appends the value of a record with a revision.
func appendRevision(dst, source []byte, revision int) []byte {
	dst = append(append(dst, source...), revisionMark...)
	return append(strconv.AppendInt(dst, int64(revision), 10), '\n')
}

// revisionOf verifies I1 and returns the revision.
func revisionOf(r dataRecord, value []byte) (int, error) {
	tail, ok := bytes.CutPrefix(value, r.value)
	if ok {
		tail, ok = bytes.CutPrefix(tail, []byte(revisionMark))
	}
	if ok {
		tail, ok = bytes.CutSuffix(tail, []byte("\n"))
	}
	revision, err := strconv.Atoi(string(tail))
	if !ok || err != nil || revision < 1 {
		return 0, fmt.Errorf("key %s: found a value of %d bytes that is not its record of %d bytes with a revision", r.key, len(value), len(r.value))
	}
	return revision, nil
}

// seenRevision verifies the result of a lookup and returns the revision, 0 if the record
// is absent.
func seenRevision(r dataRecord, value []byte, err error) (int, error) {
	switch {
	case errors.Is(err, shm.ErrNotFound):
		return 0, nil
	case err != nil:
		return 0, err
	}
	return revisionOf(r, value)
}

// verifyShare compares the records of a share in a snapshot with a progress. It returns
// the number of correct records and an error for the first incorrect one.
func verifyShare(sn *shm.Snapshot, records []dataRecord, s share, p progress) (right int, wrong error) {
	for pos := range s.len() {
		r := records[s.record(pos)]
		value, err := sn.Get(r.key)
		found, err := seenRevision(r, value, err)
		if err == nil && found != p.revision(pos) {
			err = fmt.Errorf("key %s: found revision %d, expected %d", r.key, found, p.revision(pos))
		}
		if err == nil {
			right++
		} else if wrong == nil {
			wrong = err
		}
	}
	return right, wrong
}
