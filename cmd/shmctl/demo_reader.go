package main

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-869cc763/shmkv/shm"
)

func newDemoReader() *cobra.Command {
	var shares int
	var seed uint64
	var limit time.Duration
	cmd := &cobra.Command{
		Use:    "demo-reader STORE",
		Short:  "A reader process of shmctl demo",
		Hidden: true,
		Args:   arguments("STORE", 1, 1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			records, err := inheritData()
			if err != nil {
				return err
			}
			if shares < 1 || shares > len(records) {
				return usagef("demo-reader: found %d shares, expected 1 to %d", shares, len(records))
			}
			s, err := openToRead(args[0])
			if err != nil {
				return err
			}
			defer closing(s, &err)
			p := attend(cmd.InOrStdin(), cmd.OutOrStdout())
			if err := p.ready(); err != nil {
				return err
			}
			r := demoReader{s: s, records: records, shares: shares, newest: make([]int, len(records)), rng: newRNG(seed)}
			begin := time.Now()
			for !p.stopped() && time.Since(begin) < limit {
				if err := r.round(); err != nil {
					return err
				}
			}
			r.work.Seconds = time.Since(begin).Seconds()
			return p.out.Encode(message{Done: true, Work: r.work})
		},
	}
	f := cmd.Flags()
	f.IntVar(&shares, "shares", 1, "number of shares")
	f.Uint64Var(&seed, "seed", 1, "seed of the choice of records")
	f.DurationVar(&limit, "time", time.Second, "time after which to stop in any case")
	return cmd
}

func newRNG(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0)) }

// demoReader is a reader at work. It verifies all that it reads: see
// demo_plan.go for I1 to I4.
type demoReader struct {
	s       *shm.Store
	records []dataRecord
	shares  int
	newest  []int // revision of each record that was seen last
	rng     *rand.Rand
	value   []byte
	work    work
}

// round reads single records, one after the other, and a cycle of one share at
// one version.
func (r *demoReader) round() error {
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

// see verifies I1 and I4 of one lookup.
func (r *demoReader) see(i int, value []byte, err error) (revision int, _ error) {
	if revision, err = seenRevision(r.records[i], value, err); err != nil {
		return 0, err
	}
	if revision < r.newest[i] {
		return 0, fmt.Errorf("key %s: found revision %d after revision %d", r.records[i].key, revision, r.newest[i])
	}
	r.newest[i] = revision
	return revision, nil
}

// view verifies I2 and I3 along a cycle.
func (r *demoReader) view() error {
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
