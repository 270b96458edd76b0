package main

import (
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-869cc763/shmkv/shm"
)

// writerJob is what the demo tells a writer.
type writerJob struct {
	share  share
	from   progress
	rounds int           // stop after that many; 0 = no bound
	least  int           // rounds that are finished also when time is up
	time   time.Duration // then stop at the next step
	hold   int           // stop for good in the middle of this round; 0 = do not
}

func newDemoWriter() *cobra.Command {
	var j writerJob
	cmd := &cobra.Command{
		Use:    "demo-writer STORE",
		Short:  "A writer process of shmctl demo",
		Hidden: true,
		Args:   arguments("STORE", 1, 1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			records, err := inheritData()
			if err != nil {
				return err
			}
			j.share.records = len(records)
			if j.share.of < 1 || j.share.first < 0 || j.share.len() < 1 || j.from.Round < 1 {
				return usagef("demo-writer: found share %d of %d, from round %d", j.share.first, j.share.of, j.from.Round)
			}
			s, err := shm.Open(args[0], &shm.Options{MustExist: true})
			if err != nil {
				return err
			}
			defer closing(s, &err)
			p := attend(cmd.InOrStdin(), cmd.OutOrStdout())
			if err := p.ready(); err != nil {
				return err
			}
			w := demoWriter{job: j, s: s, records: records, parent: p, at: j.from, begin: time.Now()}
			return w.run()
		},
	}
	f := cmd.Flags()
	f.IntVar(&j.share.first, "first", 0, "first record of the share")
	f.IntVar(&j.share.of, "of", 1, "number of shares")
	f.IntVar(&j.from.Round, "round", 1, "round to begin in")
	f.IntVar(&j.from.At, "at", 0, "position to begin at")
	f.IntVar(&j.rounds, "rounds", 0, "rounds")
	f.IntVar(&j.least, "least", 1, "rounds to finish in any case")
	f.DurationVar(&j.time, "time", time.Second, "time")
	f.IntVar(&j.hold, "hold", 0, "round in the middle of which to hold")
	return cmd
}

// demoWriter is a writer at work.
type demoWriter struct {
	job     writerJob
	s       *shm.Store
	records []dataRecord
	parent  *parent

	at    progress // what is committed
	work  work
	begin time.Time
	value []byte
}

func (w *demoWriter) run() error {
	for !w.finished() {
		end, batch := w.job.share.step(w.at.At)
		if err := w.step(end, batch); err != nil {
			return err
		}
		if w.at.At = end; end == w.job.share.len() {
			w.at = progress{w.at.Round + 1, 0}
		}
	}
	w.work.Seconds = time.Since(w.begin).Seconds()
	return w.parent.out.Encode(message{Done: true, Progress: w.at, Work: w.work})
}

func (w *demoWriter) finished() bool {
	switch {
	case w.parent.stopped():
		return true
	case w.at.Round <= w.job.least:
		return false
	}
	return w.job.rounds > 0 && w.at.Round > w.job.rounds || time.Since(w.begin) >= w.job.time
}

// step writes the records from the present position to end.
func (w *demoWriter) step(end int, batch bool) error {
	if !batch {
		r := w.records[w.job.share.record(w.at.At)]
		w.value = appendRevision(w.value[:0], r.value, w.at.Round)
		w.work.Singles++
		return w.s.Set(r.key, w.value)
	}
	hold := w.at.Round == w.job.hold && w.at.At == w.job.share.middleBatch()
	half := (w.at.At + end + 1) / 2
	err := w.s.Update(func(tx *shm.Tx) error {
		for pos := w.at.At; pos < end; pos++ {
			if hold && pos == half {
				return w.hold(pos - w.at.At)
			}
			r := w.records[w.job.share.record(pos)]
			w.value = appendRevision(w.value[:0], r.value, w.at.Round)
			if err := tx.Set(r.key, w.value); err != nil {
				return err
			}
		}
		return nil
	})
	w.work.Transactions++
	w.work.Batched += int64(end - w.at.At)
	if hold && err == nil {
		return errors.New("the transaction was too small to hold in it")
	}
	return err
}

// hold tells the parent that it is in the middle of a transaction, and waits
// to be killed. If the parent dies instead, the transaction is given up.
func (w *demoWriter) hold(written int) error {
	w.work.Seconds = time.Since(w.begin).Seconds()
	if err := w.parent.out.Encode(message{Holding: true, Progress: w.at, Written: written, Work: w.work}); err != nil {
		return err
	}
	<-w.parent.gone
	return errStopped
}
