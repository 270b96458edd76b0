package demo

import (
	"fmt"
	"io"

	"github.com/seed-869cc763/shmkv/cmd/shmctl/internal/text"
	"github.com/seed-869cc763/shmkv/shm"
)

// A Report is the result of a run.
type Report struct {
	Sound        bool            `json:"sound"`
	Problems     []string        `json:"problems"`
	Seconds      float64         `json:"seconds"`
	Data         string          `json:"data"`
	DataBytes    int64           `json:"data_bytes"`
	Records      int             `json:"records"`
	Verified     int             `json:"verified"` // correct records at the end
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

// rate is the work of several processes together, from the begin of the first one to the
// end of the last one.
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

// killReport describes the kill of the victim and its adoption.
type killReport struct {
	Process      string   `json:"process"`
	Pid          int      `json:"pid"`
	Committed    progress `json:"committed"`     // committed records
	Written      int      `json:"written"`       // records in its open transaction
	OtherCommits int64    `json:"other_commits"` // by others while it was stopped in its transaction
	FoundDead    bool     `json:"found_dead"`
	Slots        int      `json:"slots"` // that it owned
	Pins         int      `json:"pins"`
	Adopted      int      `json:"adopted"`    // number of dead processes
	ByAnother    bool     `json:"by_another"` // another writer had already adopted it
	Verified     int      `json:"verified"`   // correct records of its share after the adoption
}

// sumUp computes the sums over all processes.
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
		return "another writer has already adopted it"
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
	p.line("", "the others committed %s while it was stopped in its transaction", text.Things(k.OtherCommits, "time", "times"))
	p.line("", "%s", k.adoption())
	p.line("", "its %s are as it had committed them, and nothing of the open transaction is visible", text.Things(k.Verified, "record", "records"))
}

// Print prints the report, to follow the printed events.
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
	p.line("verified", "%s of %s: present, equal to the source, in the last revision", text.Count(r.Verified), text.Things(r.Records, "record", "records"))
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
