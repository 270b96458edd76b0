package main

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/seed-869cc763/shmkv/cmd/shmctl/internal/demo"
)

func newDemo() *cobra.Command {
	var o demo.Options
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Load real data with many processes, kill one, and prove that nothing is lost",
		Long: `demo loads the package index of this Debian machine (or else the sources of the
Go installation) into a new store. Several writer processes work at once, each
on its share, in transactions and single writes, round after round with a new
revision of each record, while reader processes read and verify every value.
In the second round one writer is killed with SIGKILL in the middle of a
transaction; what it left behind is adopted, and another one takes its share
over. In the end demo compares each record with the source, proves the ledger
as check does, prints what happened, and removes the store.

It takes about as many seconds as --seconds says, and exits with a code other
than 0 if anything was wrong.`,
		Example: "  shmctl demo\n  shmctl demo --keep --dir /dev/shm/demo && shmctl stat /dev/shm/demo",
		Args:    arguments("no arguments", 0, 0),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.Validate(); err != nil {
				return usagef("demo: %w", err)
			}
			interrupt, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			progress := cmd.OutOrStdout()
			if asJSON(cmd) {
				progress = io.Discard
			}
			r, err := demo.Run(interrupt, o, progress, cmd.ErrOrStderr())
			if r != nil {
				if e := printResult(cmd, r); err == nil {
					err = e
				}
			}
			switch {
			case err == nil:
				return nil
			case interrupt.Err() != nil:
				return fmt.Errorf("demo: %w", errInterrupted)
			}
			return fmt.Errorf("demo: %w", err)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Dir, "dir", "", "`STORE` to create, which must not exist (default a new one under /dev/shm, or else the temporary directory)")
	f.BoolVar(&o.Keep, "keep", false, "leave the store there")
	f.IntVar(&o.Writers, "writers", 3, "writer processes at a time")
	f.IntVar(&o.Readers, "readers", 2, "reader processes")
	f.Float64Var(&o.Seconds, "seconds", 5, "how long to write; the first round is finished in any case")
	f.IntVar(&o.Rounds, "rounds", 0, "stop after that many rounds, if that is sooner (0 = no bound)")
	f.IntVar(&o.Records, "records", 0, "use no more of the data set than that many records (0 = all, up to 64 MiB)")
	jsonFlag(cmd)
	return cmd
}

// newDemoProcess is a verb for a process of the demo.
func newDemoProcess(verb string, run func(dir, job string, in io.Reader, out io.Writer) error) *cobra.Command {
	return &cobra.Command{
		Use:    verb + " STORE JOB",
		Short:  "A process of shmctl demo",
		Hidden: true,
		Args:   arguments("STORE JOB", 2, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return run(args[0], args[1], cmd.InOrStdin(), cmd.OutOrStdout())
		},
	}
}
