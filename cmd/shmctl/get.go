package main

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

func newGet() *cobra.Command {
	var asJSON, key64 bool
	cmd := &cobra.Command{
		Use:   "get STORE KEY",
		Short: "Print the value of a key",
		Long: `get prints the value of KEY, byte for byte; on a terminal a newline follows.
With --json it prints a record as dump does. It exits with 3 if the key is not
in the store.`,
		Example: "  shmctl get /dev/shm/cache greeting",
		Args:    arguments("STORE KEY", 2, 2),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			key, err := keyArgument(args[1], key64)
			if err != nil {
				return err
			}
			s, err := openToRead(args[0])
			if err != nil {
				return err
			}
			defer closing(s, &err)
			value, err := s.Get(key)
			if err != nil {
				return fmt.Errorf("get %s: %w", printable(key), err)
			}
			out := cmd.OutOrStdout()
			if asJSON {
				return newRecordWriter(out).record(key, value)
			}
			if isTerminal(out) {
				value = append(value, '\n')
			}
			_, err = out.Write(value)
			return err
		},
	}
	jsonFlag(cmd, &asJSON)
	keyFlag(cmd, &key64)
	return cmd
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
