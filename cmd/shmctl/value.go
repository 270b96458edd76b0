package main

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/seed-869cc763/shmkv/cmd/shmctl/internal/text"
	"github.com/seed-869cc763/shmkv/shm"
)

// A valueInput is where a verb that sets a value gets it from: the last argument, or standard
// input.
type valueInput struct{ empty bool }

func (in *valueInput) flags(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&in.empty, "empty", false, "set an empty value if standard input is empty")
}

// read returns the value. rest is KEY [VALUE|-], which args ends in.
func (in *valueInput) read(cmd *cobra.Command, path string, args, rest []string) ([]byte, error) {
	verb := verbOf(cmd)
	if os.Getenv(storeVariable) != "" && len(args) == 2 && isTerminal(cmd.InOrStdin()) {
		return nil, usagef("%s: found STORE %s, KEY %s and no VALUE, expected STORE KEY VALUE also where %s is set, or - as VALUE to type it",
			verb, text.Printable([]byte(path)), text.Printable([]byte(rest[0])), storeVariable)
	}
	if len(rest) == 2 && rest[1] != "-" {
		if in.empty {
			return nil, usagef("%s: found VALUE and --empty, expected one of them", verb)
		}
		return []byte(rest[1]), nil
	}
	value, err := io.ReadAll(io.LimitReader(cmd.InOrStdin(), shm.MaxValue+1))
	if err != nil {
		return nil, fmt.Errorf("reading the value: %w", err)
	}
	if len(value) == 0 && !in.empty {
		return nil, fmt.Errorf("%s %s: found nothing on standard input, expected a value (--empty, or '' as VALUE, sets an empty one)", verb, text.Printable([]byte(rest[0])))
	}
	return value, nil
}
