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
		Long: `demo loads the package index of this Debian machine, or else the sources of the Go
installation, into a new store. Several writer processes work at once. Each writes
its share of the records in transactions and single writes, round after round, with
a new revision of each record. Reader processes read and verify every value
meanwhile. In the second round demo kills one writer with SIGKILL in the middle of a
transaction, adopts its slots, and starts another writer on its share. At the end
demo compares each record with the source, accounts for every byte as check does,
prints a report, and removes the store.

demo takes about as long as --seconds says. The exit code is not 0 if demo finds a
problem.`,
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
	f.BoolVar(&o.Keep, "keep", false, "do not remove the store")
	f.IntVar(&o.Writers, "writers", 3, "number of writer processes at a time")
	f.IntVar(&o.Readers, "readers", 2, "number of reader processes")
	f.Float64Var(&o.Seconds, "seconds", 5, "time to write, in seconds; demo always finishes the first round")
	f.IntVar(&o.Rounds, "rounds", 0, "most rounds to write (0 = no limit)")
	f.IntVar(&o.Records, "records", 0, "most records of the data set to use (0 = all, up to 64 MiB)")
	jsonFlag(cmd)
	return cmd
}

// newDemoProcess returns the hidden verb of a process of the demo.
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
