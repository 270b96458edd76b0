package main

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-869cc763/shmkv/cmd/shmctl/internal/text"
)

// sharedMemory is where stores are by default.
const sharedMemory = "/dev/shm"

// finding is what one check of doctor found.
type finding struct {
	Check  string `json:"check"`
	Level  level  `json:"level"`
	Found  string `json:"found"`
	Advice string `json:"advice,omitempty"`
}

type level string

const (
	levelOK      level = "ok"
	levelWarning level = "warning" // works, but not as well or as long as one may think
	levelProblem level = "problem" // does not work
)

// findings is what doctor reports.
type findings struct {
	Path     string    `json:"path"`
	Findings []finding `json:"findings"`
}

var errProblem = errors.New("doctor found a problem")

func newDoctor() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "doctor [STORE]",
		Short: "Look for what may go wrong, with advice",
		Long: `doctor looks at the kernel, at the file system of STORE, or else at ` + sharedMemory + `,
at memory, huge pages and limits, and at STORE: who may use it, who died in it,
who holds old snapshots, how full it is, who still uses one that was removed. Each line is ok, a warning or a
problem; advice stands below. It changes nothing, and is cheap: whether the
contents are sound is for shmctl check to prove. It exits with 7 if there is a
problem.`,
		Example: "  shmctl doctor\n  shmctl doctor /dev/shm/cache",
		Args:    arguments("[STORE]", 0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			d := doctor{machine: thisMachine, now: time.Now()}
			d.Path = sharedMemory
			if len(args) == 1 {
				d.Path = args[0]
			}
			if err := d.examine(len(args) == 1); err != nil {
				return err
			}
			print := d.print
			if asJSON {
				print = func(w io.Writer) error { return printJSON(w, d.findings) }
			}
			if err := print(cmd.OutOrStdout()); err != nil {
				return err
			}
			return d.verdict()
		},
	}
	jsonFlag(cmd, &asJSON)
	return cmd
}

type doctor struct {
	findings
	machine machine
	now     time.Time
}

func (d *doctor) find(check string, l level, advice, found string, args ...any) {
	d.Findings = append(d.Findings, finding{check, l, fmt.Sprintf(found, args...), advice})
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

// verdict is an error if there is a problem.
func (d *doctor) verdict() error {
	problems := 0
	for _, f := range d.Findings {
		if f.Level == levelProblem {
			problems++
		}
	}
	if problems == 0 {
		return nil
	}
	return fmt.Errorf("%w: %s, %s", errProblem, d.Path, text.Things(problems, "line", "lines"))
}

func (d *doctor) print(w io.Writer) error {
	var rows [][]string
	for _, f := range d.Findings {
		rows = append(rows, []string{string(f.Level), f.Check, f.Found})
		if f.Advice != "" {
			rows = append(rows, []string{"", "", "-> " + f.Advice})
		}
	}
	return text.Table(w, "lll", rows...)
}
