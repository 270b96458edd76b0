package main

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/seed-869cc763/shmkv/shm"
)

// openToRead opens a store that exists, and writes nothing but pins to it.
func openToRead(path string) (*shm.Store, error) {
	return shm.Open(path, &shm.Options{ReadOnly: true, MustExist: true})
}

// openToCheck opens a store that exists, for writing if that is permitted and
// it is no backup: only then can the dead be adopted.
func openToCheck(path string) (*shm.Store, error) {
	s, err := shm.Open(path, &shm.Options{MustExist: true})
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) || errors.Is(err, shm.ErrReadOnly) {
		return openToRead(path)
	}
	return s, err
}

// closing closes a store at the end of a verb, whose own error comes first.
func closing(s *shm.Store, err *error) {
	if e := s.Close(); *err == nil {
		*err = e
	}
}

// arguments checks how many there are; form is what the usage line calls them.
func arguments(form string, least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < least || most >= 0 && len(args) > most {
			return fmt.Errorf("%s: found %d arguments, expected %s (see %s --help)", cmd.Name(), len(args), form, cmd.CommandPath())
		}
		return nil
	}
}

const unlimited = -1

// keyFlag adds the flag with which keys of any bytes, zeros too, can be named
// on a command line.
func keyFlag(cmd *cobra.Command, on *bool) {
	cmd.Flags().BoolVar(on, "key64", false, "KEY is written in base64")
}

func keyArgument(arg string, in64 bool) ([]byte, error) {
	if !in64 {
		return []byte(arg), nil
	}
	key, err := base64.StdEncoding.Strict().DecodeString(arg)
	if err != nil {
		return nil, usagef("key %q: %w", arg, err)
	}
	return key, nil
}

func jsonFlag(cmd *cobra.Command, on *bool) {
	cmd.Flags().BoolVar(on, "json", false, "print JSON")
}

// maxSizeFlag adds the size of a store that the verb creates.
func maxSizeFlag(cmd *cobra.Command, n *bytesValue) {
	cmd.Flags().Var(n, "max-size", "what a store that is created now may grow to, as in 512MiB (default 64GiB)")
}
