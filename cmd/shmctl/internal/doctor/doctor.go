// Package doctor looks for causes of trouble with stores, and gives advice.
//
// A check looks at one part of the machine or of the store, and adds findings: a
// finding describes the part, calls it ok, a warning or a problem, and may have
// advice. A store works with a warning, but not as well or as long as its users may
// think; with a problem it does not work.
//
// The machine is the kernel, the file system, memory and limits. It is looked at
// first, through the functions and the root directory of type machine, which
// tests replace. A store is then opened to read. No check changes anything.
package doctor

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/seed-869cc763/shmkv/cmd/shmctl/internal/text"
)

// SharedMemory is where stores are by default.
const SharedMemory = "/dev/shm"

// ErrProblem is matched by the error of Verdict if there is a problem.
var ErrProblem = errors.New("doctor found a problem")

// Report has the findings of all checks.
type Report struct {
	Path     string    `json:"path"`
	Findings []Finding `json:"findings"`
}

// Finding is the result of one check.
type Finding struct {
	Check  string `json:"check"`
	Level  Level  `json:"level"`
	Found  string `json:"found"`
	Advice string `json:"advice,omitempty"`
}

// Level tells how bad a finding is.
type Level string

// The levels.
const (
	OK      Level = "ok"
	Warning Level = "warning"
	Problem Level = "problem"
)

// ExamineMachine looks at the machine, for stores in SharedMemory.
func ExamineMachine() (Report, error) { return examine(SharedMemory, false) }

// ExamineStore looks at the machine and at the store in the directory path.
func ExamineStore(path string) (Report, error) { return examine(path, true) }

func examine(path string, isStore bool) (Report, error) {
	d := doctor{Report: Report{Path: path}, machine: thisMachine, now: time.Now()}
	err := d.examine(isStore)
	return d.Report, err
}

// Print prints a line for each finding, with its advice below.
func (r Report) Print(w io.Writer) error {
	var rows [][]string
	for _, f := range r.Findings {
		rows = append(rows, []string{string(f.Level), f.Check, f.Found})
		if f.Advice != "" {
			rows = append(rows, []string{"", "", "-> " + f.Advice})
		}
	}
	return text.Table(w, "lll", rows...)
}

// Verdict is an error that matches ErrProblem if there is a problem.
func (r Report) Verdict() error {
	problems := 0
	for _, f := range r.Findings {
		if f.Level == Problem {
			problems++
		}
	}
	if problems == 0 {
		return nil
	}
	return fmt.Errorf("%w: %s, %s", ErrProblem, r.Path, text.Things(problems, "line", "lines"))
}

type doctor struct {
	Report
	machine machine
	now     time.Time
}

func (d *doctor) find(check string, l Level, advice, found string, args ...any) {
	d.Findings = append(d.Findings, Finding{check, l, fmt.Sprintf(found, args...), advice})
}

// examine makes all checks.
func (d *doctor) examine(isStore bool) error {
	if err := d.examineMachine(); err != nil {
		return err
	}
	maxSize := int64(defaultMaxSize)
	if isStore {
		maxSize = d.examineStore()
	}
	d.addressSpace(maxSize)
	return nil
}
