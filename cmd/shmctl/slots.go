package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-869cc763/shmkv/cmd/shmctl/internal/text"
	"github.com/seed-869cc763/shmkv/shm"
)

// attached is the result of slots.
type attached struct {
	Path      string        `json:"path"`
	Version   uint64        `json:"version"`
	Processes []shm.Process `json:"processes"`
}

func newSlots() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "slots STORE",
		Short: "Show the attached processes and the versions that they pin",
		Long: `slots lists the open handles on the store, including that of this command, and the
versions that each handle pins. It lists a dead process until it is adopted, by the
next writer that needs its slots or by shmctl check. Each process ID is that in the
process's own PID namespace. --json also shows the counters of the writers' slots,
which include those of earlier owners.`,
		Example: "  shmctl slots /dev/shm/cache",
		RunE: func(cmd *cobra.Command, args []string) error {
			path, _, err := storeArguments(cmd, args, "STORE", 0, 0)
			if err != nil {
				return err
			}
			return withStore(openToRead, path, func(s *shm.Store) error {
				found, err := s.Inspect().Processes()
				if err != nil {
					return err
				}
				return printResult(cmd, attached{path, s.Version(), found})
			})
		},
	}
	jsonFlag(cmd)
	return cmd
}

func (a attached) Print(w io.Writer) error {
	now := time.Now()
	rows := [][]string{{"PID", "NAME", "MODE", "STATE", "ATTACHED", "WRITERS", "PINS"}}
	for _, p := range a.Processes {
		mode, state := "read-write", "alive"
		if p.ReadOnly {
			mode = "read-only"
		}
		switch {
		case p.Self:
			state = "this one"
		case !p.Alive:
			state = "dead"
		}
		row := []string{fmt.Sprint(p.Pid), text.Printable([]byte(p.Name)), mode, state, text.Ago(p.Started, now), text.Count(p.Writers)}
		if len(p.Pins) == 0 {
			rows = append(rows, append(row, "none"))
		}
		for _, pin := range p.Pins { // one pin on each line
			rows = append(rows, append(row, a.pin(pin, now)))
			row = make([]string, len(row))
		}
	}
	return text.Table(w, "rllllrl", rows...)
}

func (a attached) pin(p shm.Pin, now time.Time) string {
	return fmt.Sprintf("version %s (%s behind), %s", text.Count(p.Version), text.Count(a.Version-min(p.Version, a.Version)), pinKind(p, now))
}

func pinKind(p shm.Pin, now time.Time) string {
	if p.Writer {
		return "a transaction under way"
	}
	return "a snapshot taken " + text.Ago(p.Since, now)
}
