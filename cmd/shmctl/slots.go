package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-869cc763/shmkv/cmd/shmctl/internal/text"
	"github.com/seed-869cc763/shmkv/shm"
)

// attached is what slots reports.
type attached struct {
	Path      string        `json:"path"`
	Version   uint64        `json:"version"`
	Processes []shm.Process `json:"processes"`
}

func newSlots() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "slots STORE",
		Short: "Show who is attached, what each pins, and since when",
		Long: `slots lists the open handles on the store, this command's too, and the versions
that each keeps from being reclaimed. A process that died is listed until it is
adopted: by the next writer that needs what it held, or by shmctl check. Process
ids are those of each process's own pid namespace. --json also tells what was
counted in each writer's slot, by all who have had it.`,
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
		for _, pin := range p.Pins { // one on a line, the others below the first
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
