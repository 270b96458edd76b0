package demo

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"github.com/seed-869cc763/shmkv/shm"
)

// readerJob is the job of a reader.
type readerJob struct {
	Shares int
	Seed   uint64        // for the random choice of records
	Time   time.Duration // most time to read
}

// Read is the main function of a reader process.
func Read(dir, job string, in io.Reader, out io.Writer) (err error) {
	records, err := inheritData()
	if err != nil {
		return err
	}
	var j readerJob
	if err := json.Unmarshal([]byte(job), &j); err != nil || j.Shares < 1 || j.Shares > len(records) {
		return fmt.Errorf("%s: found job %q for %d records", ReaderVerb, job, len(records))
	}
	s, err := shm.Open(dir, &shm.Options{ReadOnly: true, MustExist: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	p := attend(in, out)
	if err := p.ready(); err != nil {
		return err
	}
	r := reader{s: s, records: records, shares: j.Shares, newest: make([]int, len(records)), rng: newRNG(j.Seed)}
	begin := time.Now()
	for !p.stopped() && time.Since(begin) < j.Time {
		if err := r.round(); err != nil {
			return err
		}
	}
	r.work.Seconds = time.Since(begin).Seconds()
	return p.out.Encode(message{Done: true, Work: r.work})
}

func newRNG(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0)) }

// reader is the state of a reader process. It verifies all values that it reads. See
// plan.go for I1 to I4.
type reader struct {
	s       *shm.Store
	records []dataRecord
	shares  int
	newest  []int // last revision seen of each record
	rng     *rand.Rand
	value   []byte
	work    work
}

// round reads some single records, then a cycle of one share in one version.
func (r *reader) round() error {
	for range 2 * cycleRecords {
		i := r.rng.IntN(len(r.records))
		var err error
		r.value, err = r.s.Append(r.value[:0], r.records[i].key)
		if _, err := r.see(i, r.value, err); err != nil {
			return err
		}
		r.work.Gets++
	}
	return r.view()
}

// see verifies I1 and I4 for one lookup.
func (r *reader) see(i int, value []byte, err error) (revision int, _ error) {
	if revision, err = seenRevision(r.records[i], value, err); err != nil {
		return 0, err
	}
	if revision < r.newest[i] {
		return 0, fmt.Errorf("key %s: found revision %d after revision %d", r.records[i].key, revision, r.newest[i])
	}
	r.newest[i] = revision
	return revision, nil
}

// view verifies I2 and I3 for a cycle.
func (r *reader) view() error {
	s := share{r.rng.IntN(r.shares), r.shares, len(r.records)}
	from := r.rng.IntN(s.len()) / cycleRecords * cycleRecords
	to := min(from+cycleRecords, s.len())
	return r.s.View(func(sn *shm.Snapshot) error {
		r.work.Views++
		var first, last int
		for pos := from; pos < to; pos++ {
			i := s.record(pos)
			value, err := sn.Get(r.records[i].key)
			revision, err := r.see(i, value, err)
			if err != nil {
				return fmt.Errorf("version %d: %w", sn.Version(), err)
			}
			if pos == from {
				first, last = revision, revision
			}
			if revision > last || revision < first-1 || pos-from < batchRecords && revision != first {
				return fmt.Errorf("version %d: key %s: found revision %d at position %d of a cycle that began with %d and went on with %d",
					sn.Version(), r.records[i].key, revision, pos-from, first, last)
			}
			last = revision
			r.work.Viewed++
		}
		return nil
	})
}
