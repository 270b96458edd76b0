package demo

import (
	"fmt"
	"io"

	"github.com/seed-869cc763/shmkv/cmd/shmctl/internal/text"
	"github.com/seed-869cc763/shmkv/shm"
)

// Report is the outcome of a run.
type Report struct {
	Sound        bool            `json:"sound"`
	Problems     []string        `json:"problems"`
	Seconds      float64         `json:"seconds"`
	Data         string          `json:"data"`
	DataBytes    int64           `json:"data_bytes"`
	Records      int             `json:"records"`
	Verified     int             `json:"verified"` // records that are right at the end
	Store        string          `json:"store"`
	Kept         bool            `json:"kept"`
	Processes    []processReport `json:"processes"`
	Writes       rate            `json:"writes"`
	Reads        rate            `json:"reads"`
	Versions     uint64          `json:"versions"` // commits
	Killed       killReport      `json:"killed"`
	Ledger       shm.Report      `json:"ledger"`
	Stats        shm.Stats       `json:"stats"`
	FirstVersion uint64          `json:"-"`
}

type processReport struct {
	Name       string   `json:"name"`
	Pid        int      `json:"pid"`
	Writer     bool     `json:"writer"`
	Killed     bool     `json:"killed"`
	Progress   progress `json:"progress"`
	Operations int64    `json:"operations"`
	PerSecond  int64    `json:"operations_per_second"`
	Work       work     `json:"work"`
}

// rate is what several processes did together, from the first one's begin to
// the last one's end.
type rate struct {
	Operations int64   `json:"operations"`
	Seconds    float64 `json:"seconds"`
	PerSecond  int64   `json:"operations_per_second"`
}

func (r *rate) perSecond() {
	if r.Seconds > 0 {
		r.PerSecond = int64(float64(r.Operations) / r.Seconds)
	}
}

// killReport is what became of the writer that was killed.
type killReport struct {
	Process      string   `json:"process"`
	Pid          int      `json:"pid"`
	Committed    progress `json:"committed"`     // what it had committed
	Written      int      `json:"written"`       // records in its open transaction
	OtherCommits int64    `json:"other_commits"` // by others while it hung in there
	FoundDead    bool     `json:"found_dead"`
	Slots        int      `json:"slots"` // that it owned when it was found
	Pins         int      `json:"pins"`
	Adopted      int      `json:"adopted"`    // dead processes
	ByAnother    bool     `json:"by_another"` // another writer had adopted it already
	Verified     int      `json:"verified"`   // records of its share, right after
}

// sumUp adds up the processes.
func (r *Report) sumUp() {
	for _, q := range r.Processes {
		if q.Writer {
			r.Writes.Operations += q.Operations
		} else {
			r.Reads.Operations += q.Operations
			r.Reads.Seconds = max(r.Reads.Seconds, q.Work.Seconds)
		}
	}
	r.Writes.perSecond()
	r.Reads.perSecond()
}

func (k *killReport) adoption() string {
	if k.ByAnother {
		return "another writer has adopted what it left already"
	}
	return fmt.Sprintf("adopted %s, with %s and %s", text.Things(k.Adopted, "dead process", "dead processes"),
		text.Things(k.Slots, "writer's slot", "writers' slots"), text.Things(k.Pins, "pinned version", "pinned versions"))
}

// printer prints the events of a run as they happen.
type printer struct{ w io.Writer }

func (p printer) line(label, format string, args ...any) {
	_, _ = fmt.Fprintf(p.w, "%-10s"+format+"\n", append([]any{label}, args...)...)
}

func (p printer) opening(d *demo) {
	p.line("data", "%s, %s, from %s", text.Things(len(d.data.records), "record", "records"), text.Size(d.data.bytes), d.data.origin)
	p.line("store", "%s", d.Dir)
	p.line("working", "%s and %s, for about %v s", text.Things(d.Writers, "writer", "writers"), text.Things(d.Readers, "reader", "readers"), d.Seconds)
}

func (p printer) killed(k *killReport) {
	p.line("killed", "%s (pid %d) with SIGKILL in round %d, %s into a transaction", k.Process, k.Pid, k.Committed.Round, text.Things(k.Written, "record", "records"))
	p.line("", "while it hung there the others committed %s", text.Things(k.OtherCommits, "time", "times"))
	p.line("", "%s", k.adoption())
	p.line("", "its %s are as it had committed them, and no half of the transaction is there", text.Things(k.Verified, "record", "records"))
}

// Print prints the report, which goes below the events.
func (r *Report) Print(w io.Writer) error {
	p := printer{w}
	rows := [][]string{{"", "pid", "operations", "per second", ""}}
	for _, q := range r.Processes {
		rows = append(rows, []string{q.Name, fmt.Sprint(q.Pid), text.Count(q.Operations), text.Count(q.PerSecond), q.details()})
	}
	rows = append(rows,
		[]string{"all writers", "", text.Count(r.Writes.Operations), text.Count(r.Writes.PerSecond), fmt.Sprintf("in %s", text.Things(r.Versions, "commit", "commits"))},
		[]string{"all readers", "", text.Count(r.Reads.Operations), text.Count(r.Reads.PerSecond), "each value verified"})
	_, _ = fmt.Fprintln(w)
	if err := text.Table(w, "lrrrl", rows...); err != nil {
		return err
	}
	_, _ = fmt.Fprintln(w)
	p.line("verified", "%s of %s: there, equal to the source, in the last revision", text.Count(r.Verified), text.Things(r.Records, "record", "records"))
	p.line("ledger", "each byte of the file accounted for:")
	ledger := text.Ledger(r.Ledger)
	for i := range ledger {
		ledger[i] = append([]string{"        "}, ledger[i]...)
	}
	if err := text.Table(w, "llrl", ledger...); err != nil {
		return err
	}
	p.line("space", "file %s%s; live %s%s", text.Size(r.Stats.FileBytes), text.PerByte(r.Stats.FileBytes, r.Stats.DataBytes),
		text.Size(r.Stats.LiveBytes), text.PerByte(r.Stats.LiveBytes, r.Stats.DataBytes))
	if r.Kept {
		p.line("kept", "%s (shmctl stat, get, keys, ... work on it; rm -r removes it)", r.Store)
	} else {
		p.line("removed", "%s", r.Store)
	}
	for _, problem := range r.Problems {
		p.line("WRONG", "%s", problem)
	}
	verdict := "all is well"
	if !r.Sound {
		verdict = text.Things(len(r.Problems), "problem", "problems")
	}
	p.line("result", "%s, after %.1f s", verdict, r.Seconds)
	return nil
}

func (q processReport) details() string {
	if !q.Writer {
		return fmt.Sprintf("%s gets, and %s in %s", text.Count(q.Work.Gets), text.Count(q.Work.Viewed), text.Things(q.Work.Views, "view", "views"))
	}
	s := fmt.Sprintf("%s sets, and %s in %s", text.Count(q.Work.Singles), text.Count(q.Work.Batched), text.Things(q.Work.Transactions, "transaction", "transactions"))
	if q.Killed {
		s += "; killed"
	}
	return s
}
