package demo

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"

	"github.com/seed-869cc763/shmkv/shm"
)

// The demo's plan. Each record of the data set belongs to one writer. The
// writer goes through its share in rounds, always in the same order, and
// stores in round r the record with revision r. It goes in steps: a batch of
// records in one transaction, then some records each by itself, and again.
//
// So at any moment a single number for each share, its progress, says which
// revision each of its records has, and in every version of the store, as a
// reader's View shows it,
//
//	I1  a value is its source record and a revision, byte for byte
//	I2  the records of one batch have the same revision
//	I3  along a share the revisions never rise, and fall by one at most
//
// and what one reader sees of a record, now and later,
//
//	I4  never goes back to an older revision
//
// A write that was lost, or half a transaction that became visible, breaks one
// of these, or the comparison with the writers' progress at the end.
const (
	batchRecords  = 100
	singleRecords = 20
	cycleRecords  = batchRecords + singleRecords
)

// share is what one writer writes: every of-th record, from the first on.
// Within it records have positions.
type share struct{ first, of, records int }

func (s share) len() int           { return (s.records - s.first + s.of - 1) / s.of }
func (s share) record(pos int) int { return s.first + pos*s.of }

// step returns where the step that begins at pos ends, and whether it is a
// batch.
func (s share) step(pos int) (end int, batch bool) {
	if in := pos % cycleRecords; in < batchRecords {
		return min(pos-in+batchRecords, s.len()), true
	}
	return pos + 1, false
}

// middleBatch returns where the batch in the middle of the share begins.
func (s share) middleBatch() int { return s.len() / 2 / cycleRecords * cycleRecords }

// progress is how far a writer is: the positions before At have the revision
// Round, the others the one before. Revision 0 is absence.
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

// appendRevision appends the value of a record in a revision.
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

// seenRevision verifies what a lookup returned; absence is revision 0.
func seenRevision(r dataRecord, value []byte, err error) (int, error) {
	switch {
	case errors.Is(err, shm.ErrNotFound):
		return 0, nil
	case err != nil:
		return 0, err
	}
	return revisionOf(r, value)
}

// verifyShare compares a share, as a snapshot shows it, with a progress: not a
// record more, and not one less. It returns how many records are right and the
// first that is not.
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
