package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/seed-869cc763/shmkv/cmd/shmctl/internal/doctor"
)

func newDoctor() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "doctor [STORE]",
		Short: "Look for possible problems and give advice",
		Long: `doctor examines the kernel, the file system of STORE (or ` + doctor.SharedMemory + ` without STORE),
memory, huge pages and limits. Of STORE it examines the permissions, dead
processes, old snapshots, the free space, and processes that still use a store that
was removed from this path. Each line is ok, a warning or a problem, with advice
below it. doctor changes nothing and reads no records: use shmctl check to verify
the contents. The exit code is 7 if doctor finds a problem.`,
		Example: "  shmctl doctor\n  shmctl doctor /dev/shm/cache",
		Args:    arguments("[STORE]", 0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var r doctor.Report
			var err error
			switch path := os.Getenv(storeVariable); {
			case len(args) == 1:
				r, err = doctor.ExamineStore(args[0])
			case path != "":
				r, err = doctor.ExamineStore(path)
			default:
				r, err = doctor.ExamineMachine()
			}
			if err != nil {
				return err
			}
			if err := printResult(cmd, r); err != nil {
				return err
			}
			return r.Verdict()
		},
	}
	jsonFlag(cmd)
	return cmd
}
