package demo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/seed-869cc763/shmkv/cmd/shmctl/internal/text"
	"github.com/seed-869cc763/shmkv/shm"
)

// prove verifies the store at the end, when nobody else uses it, and fills the report. It
// returns the first problem.
func (d *demo) prove(ctx context.Context) error {
	r := &d.report
	r.Problems = []string{} // encodes as [] in JSON
	var wrong error
	note := func(err error) {
		if err != nil {
			r.Problems = append(r.Problems, text.OneLine(err))
			if wrong == nil {
				wrong = err
			}
		}
	}
	slices.SortStableFunc(d.processes, func(a, b *process) int { return cmp.Compare(a.place, b.place) })
	for _, p := range d.processes {
		r.Processes = append(r.Processes, processReport{p.name, p.pid(), p.writer, p.victim, p.last.Progress, p.last.Work.operations(), p.last.Work.perSecond(), p.last.Work})
	}
	r.sumUp()
	note(d.s.View(func(sn *shm.Snapshot) error {
		if sn.Len() != len(d.data.records) {
			note(fmt.Errorf("found %d entries, expected %d", sn.Len(), len(d.data.records)))
		}
		r.Versions = sn.Version() - r.FirstVersion
		for _, p := range d.processes {
			if !p.writer {
				continue
			}
			right, err := verifyShare(sn, d.data.records, p.share, p.last.Progress)
			r.Verified += right
			note(err)
		}
		return nil
	}))
	if r.Killed.Process == "" {
		note(errors.New("no writer was killed"))
	}
	late, err := d.s.Inspect().Adopt()
	note(err)
	if late > 0 {
		note(fmt.Errorf("found %s at the end, expected none", text.Things(late, "dead process", "dead processes")))
	}
	ledger, err := d.s.Check(ctx, nil)
	note(err)
	if ledger != nil {
		r.Ledger = *ledger
		if ledger.LeakedBytes != 0 || ledger.InFlightBytes != 0 {
			note(fmt.Errorf("%w: found %d bytes leaked and %d in flight at the end, expected none", shm.ErrCorrupt, ledger.LeakedBytes, ledger.InFlightBytes))
		}
	}
	r.Stats = d.s.Stats()
	r.Store, r.Kept = filepath.Clean(d.Dir), d.Keep
	r.Data, r.DataBytes, r.Records = d.data.origin, d.data.bytes, len(d.data.records)
	r.Sound = wrong == nil
	return wrong
}
