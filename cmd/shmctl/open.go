package main

import (
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
