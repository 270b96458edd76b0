package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/seed-869cc763/shmkv/cmd/shmctl/internal/doctor"
)

func newDoctor() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "doctor [STORE]",
		Short: "Look for what may go wrong, with advice",
		Long: `doctor looks at the kernel, at the file system of STORE, or else at ` + doctor.SharedMemory + `,
at memory, huge pages and limits, and at STORE: who may use it, who died in it,
who holds old snapshots, how full it is, who still uses one that was removed. Each line is ok, a warning or a
problem; advice stands below. It changes nothing, and is cheap: whether the
contents are sound is for shmctl check to prove. It exits with 7 if there is a
problem.`,
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
