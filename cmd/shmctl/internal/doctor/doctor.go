// Package doctor looks for possible problems of stores and gives advice.
//
// A check examines one part of the machine or of the store and adds findings. A finding
// describes the part, has the level ok, warning or problem, and may have advice. With a
// warning a store works, but maybe not as well or as long as its users expect. With a
// problem it does not work.
//
// The machine is the kernel, the file system, memory and limits. Its checks run first.
// They use the functions and the root directory of type machine, which tests replace. The
// checks of the store open it for reading. No check changes anything.
package doctor

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/seed-869cc763/shmkv/cmd/shmctl/internal/text"
)

// SharedMemory is the default directory for stores.
const SharedMemory = "/dev/shm"

// ErrProblem matches the error of Verdict.
var ErrProblem = errors.New("doctor found a problem")

// A Report contains the findings of all checks.
type Report struct {
	Path     string    `json:"path"`
	Findings []Finding `json:"findings"`
}

// A Finding is a result of one check.
type Finding struct {
	Check  string `json:"check"`
	Level  Level  `json:"level"`
	Found  string `json:"found"`
	Advice string `json:"advice,omitempty"`
}

// A Level is the severity of a finding.
type Level string

// The levels.
const (
	OK      Level = "ok"
	Warning Level = "warning"
	Problem Level = "problem"
)

// ExamineMachine examines the machine for stores in SharedMemory.
func ExamineMachine() (Report, error) { return examine(SharedMemory, false) }

// ExamineStore examines the machine and the store in the directory path.
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

// Verdict returns an error that matches ErrProblem if a finding is a problem, else nil.
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

// examine runs all checks.
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
