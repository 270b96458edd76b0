package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-869cc763/shmkv/cmd/shmctl/internal/text"
	"github.com/seed-869cc763/shmkv/shm"
)

// recovered is the result of recover.
type recovered struct {
	Path     string        `json:"path"`
	DryRun   bool          `json:"dry_run"`
	Recovery *shm.Recovery `json:"recovery"` // nil: there was no need
}

func newRecover() *cobra.Command {
	var dry, newest bool
	cmd := &cobra.Command{
		Use:   "recover STORE",
		Short: "Recover a store on a disk after a crash of the system",
		Long: `recover makes a store usable again if the system has crashed while it was open: the store
goes back to its newest checkpoint, and from there to the last commit in its journal. Each
command and program that opens the store does so too. You may kill recover at any time,
and run it again.

With --dry-run it changes nothing, and tells what a recovery would find. It examines the
checkpoint, and counts the records of the journal.

With --newest it tries the newest version first. That may be on the disk, although no
checkpoint was taken of it. It is trusted only if all entries have a checksum (see
--checksums of set and load, and Options.Checksums of package shm) and a digest of them
proves that they are those of this version.`,
		Example: "  shmctl recover /var/lib/app/store --dry-run\n  shmctl recover /var/lib/app/store",
		RunE: func(cmd *cobra.Command, args []string) error {
			path, _, err := storeArguments(cmd, args, "STORE", 0, 0)
			if err != nil {
				return err
			}
			bar := newProgress(cmd.ErrOrStderr(), cmd.Name())
			r := recovered{Path: path, DryRun: dry}
			err = interruptible(cmd, func(context.Context) (err error) {
				r.Recovery, err = shm.Recover(path, &shm.RecoverOptions{DryRun: dry, Newest: newest, Progress: bar.show})
				return err
			})
			bar.clear()
			if err != nil {
				return err
			}
			return printResult(cmd, r)
		},
	}
	jsonFlag(cmd)
	cmd.Flags().BoolVar(&dry, "dry-run", false, "change nothing, and tell what a recovery would find")
	cmd.Flags().BoolVar(&newest, "newest", false, "try the newest version before the last checkpoint")
	return cmd
}

func (r recovered) Print(w io.Writer) error {
	if r.Recovery == nil {
		_, err := fmt.Fprintf(w, "%s: no recovery is needed\n", r.Path)
		return err
	}
	verb := "recovered"
	if r.DryRun {
		verb = "can be recovered"
	}
	_, err := fmt.Fprintf(w, "%s: %s; %s\n", r.Path, verb, recovery(r.Recovery))
	return err
}

// recovery describes what a recovery has found.
func recovery(r *shm.Recovery) string {
	what := "checkpoint of version"
	if r.Records > 0 {
		what = fmt.Sprintf("checkpoint and %s of the journal up to version", text.Things(r.Records, "record", "records"))
	}
	s := fmt.Sprintf("%s %s, %v old, with %s in %s; traced in %v", what, text.Count(r.Version), r.Age.Round(time.Second),
		text.Things(r.Entries, "entry", "entries"), text.Size(r.Bytes), r.Duration.Round(time.Millisecond))
	if r.Changed > 0 {
		s += fmt.Sprintf("; %s with a wrong checksum: see shmctl check", text.Things(r.Changed, "entry", "entries"))
	}
	if r.Distrust != "" {
		s += "; the newest version is not trusted: " + r.Distrust
	}
	return s
}
