package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-869cc763/shmkv/cmd/shmctl/internal/text"
	"github.com/seed-869cc763/shmkv/shm"
)

// syncResult is the result of sync.
type syncResult struct {
	Path        string          `json:"path"`
	Checkpoints shm.Checkpoints `json:"checkpoints"`
}

func newSync() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "sync STORE",
		Short: "Bring a store on a disk to the disk",
		Long: `sync returns when everything that was committed before survives a crash of the system
or a power cut. On a file system that is in memory it does nothing.

If the system has crashed while the store was open, sync recovers it first, as each
command that opens a store for writing.`,
		Example: "  shmctl sync /var/lib/app/store",
		RunE: func(cmd *cobra.Command, args []string) error {
			path, _, err := storeArguments(cmd, args, "STORE", 0, 0)
			if err != nil {
				return err
			}
			return withStore(openToWrite, path, func(s *shm.Store) error {
				if err := s.Sync(); err != nil {
					return err
				}
				return printResult(cmd, syncResult{path, s.Stats().Checkpoints})
			})
		},
	}
	jsonFlag(cmd)
	return cmd
}

func (r syncResult) Print(w io.Writer) error {
	_, err := fmt.Fprintln(w, checkpoint(r.Checkpoints, time.Now()))
	return err
}

// checkpoint describes the newest checkpoint of a store.
func checkpoint(c shm.Checkpoints, now time.Time) string {
	if c.Version == 0 {
		return "no checkpoint: the store is in memory"
	}
	s := fmt.Sprintf("checkpoint of version %s, taken %s", text.Count(c.Version), text.Ago(c.At, now))
	if c.Durable > c.Version {
		s += fmt.Sprintf("; by the journal, version %s is durable", text.Count(c.Durable))
	}
	if !c.Failed.IsZero() {
		s += "; none since, because data could not be written to the disk " + text.Ago(c.Failed, now)
	}
	return s
}
