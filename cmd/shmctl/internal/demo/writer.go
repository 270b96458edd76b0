package demo

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/seed-869cc763/shmkv/shm"
)

// writerJob is the job of a writer.
type writerJob struct {
	First, Of int           // its share
	From      progress      // where to begin
	Rounds    int           // most rounds; 0 = no limit
	Least     int           // rounds to finish even after Time
	Time      time.Duration // after this time stop before the next step
	Hold      int           // stop in the middle of this round, to be killed; 0 = do not
}

// Write is the main function of a writer process.
func Write(dir, job string, in io.Reader, out io.Writer) (err error) {
	records, err := inheritData()
	if err != nil {
		return err
	}
	var j writerJob
	err = json.Unmarshal([]byte(job), &j)
	share := share{j.First, j.Of, len(records)}
	if err != nil || j.Of < 1 || j.First < 0 || share.len() < 1 || j.From.Round < 1 {
		return fmt.Errorf("%s: found job %q for %d records", WriterVerb, job, len(records))
	}
	s, err := shm.Open(dir, &shm.Options{MustExist: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	p := attend(in, out)
	if err := p.ready(); err != nil {
		return err
	}
	w := writer{job: j, share: share, s: s, records: records, parent: p, at: j.From, begin: time.Now()}
	return w.run()
}

// writer is the state of a writer process.
type writer struct {
	job     writerJob
	share   share
	s       *shm.Store
	records []dataRecord
	parent  *parent

	at    progress // committed records
	work  work
	begin time.Time
	value []byte
}

func (w *writer) run() error {
	for !w.finished() {
		end, batch := w.share.step(w.at.At)
		if err := w.step(end, batch); err != nil {
			return err
		}
		if w.at.At = end; end == w.share.len() {
			w.at = progress{w.at.Round + 1, 0}
		}
	}
	w.work.Seconds = time.Since(w.begin).Seconds()
	return w.parent.out.Encode(message{Done: true, Progress: w.at, Work: w.work})
}

func (w *writer) finished() bool {
	switch {
	case w.parent.stopped():
		return true
	case w.at.Round <= w.job.Least:
		return false
	}
	return w.job.Rounds > 0 && w.at.Round > w.job.Rounds || time.Since(w.begin) >= w.job.Time
}

// step writes the records from the current position to end.
func (w *writer) step(end int, batch bool) error {
	if !batch {
		r := w.records[w.share.record(w.at.At)]
		w.value = appendRevision(w.value[:0], r.value, w.at.Round)
		w.work.Singles++
		return w.s.Set(r.key, w.value)
	}
	hold := w.at.Round == w.job.Hold && w.at.At == w.share.middleBatch()
	half := (w.at.At + end + 1) / 2
	err := w.s.Update(func(tx *shm.Tx) error {
		for pos := w.at.At; pos < end; pos++ {
			if hold && pos == half {
				return w.hold(pos - w.at.At)
			}
			r := w.records[w.share.record(pos)]
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

// hold reports to the parent that it is in the middle of a transaction, and waits to be
// killed. If the parent dies first, hold returns and the transaction is rolled back.
func (w *writer) hold(written int) error {
	w.work.Seconds = time.Since(w.begin).Seconds()
	if err := w.parent.out.Encode(message{Holding: true, Progress: w.at, Written: written, Work: w.work}); err != nil {
		return err
	}
	<-w.parent.gone
	return errStopped
}
