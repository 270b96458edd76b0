package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/seed-869cc763/shmkv/cmd/shmctl/internal/daemon"
	"github.com/seed-869cc763/shmkv/cmd/shmctl/internal/doctor"
	"github.com/seed-869cc763/shmkv/cmd/shmctl/internal/text"
	"github.com/seed-869cc763/shmkv/shm"
)

// The exit codes never change, because scripts rely on them.
const (
	exitOK          = 0
	exitFailure     = 1
	exitUsage       = 2
	exitNotFound    = 3
	exitDamaged     = 4
	exitFull        = 5
	exitDiffer      = 6
	exitProblem     = 7
	exitInUse       = 8
	exitInterrupted = 130
)

// exits gives the meaning of each exit code and the errors that cause it. The first row
// that matches an error counts.
var exits = []struct {
	code    int
	meaning string
	is      []error
}{
	{exitOK, "done", nil},
	{exitFailure, "failure: no such store, no permission, another format version, ...", nil},
	{exitUsage, "wrong usage of the command line", nil},
	{exitNotFound, "a key or map is not in the store, or no key matches", []error{shm.ErrNotFound, errNoMap, errNoRegion}},
	{exitDamaged, "the store is damaged or is none, or check found problems", []error{shm.ErrCorrupt}},
	{exitFull, "the store or its file system is full", []error{shm.ErrFull}},
	{exitDiffer, "diff: the stores differ", []error{errDiffer}},
	{exitProblem, "doctor found a problem", []error{doctor.ErrProblem}},
	{exitInUse, "others have the store open, or rewrite it", []error{shm.ErrInUse}},
	{exitInterrupted, "interrupted", []error{errInterrupted}},
}

var errInterrupted = errors.New("interrupted")

// usageError is an error in the command line.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

func exitCode(err error) int {
	if err == nil {
		return exitOK
	}
	if ended := new(daemon.ExitError); errors.As(err, &ended) {
		return ended.Code
	}
	if usage := (usageError{}); errors.As(err, &usage) {
		return exitUsage
	}
	for _, e := range exits {
		for _, target := range e.is {
			if errors.Is(err, target) {
				return e.code
			}
		}
	}
	return exitFailure
}

// exitHelp returns the table of exit codes for the help text.
func exitHelp() string {
	var b strings.Builder
	b.WriteString("Exit codes:\n")
	for _, e := range exits {
		fmt.Fprintf(&b, "  %3d  %s\n", e.code, e.meaning)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// report prints err, if it is not nil, as one line and returns the exit code. A daemon has
// printed its errors.
func report(stderr io.Writer, err error) int {
	if err != nil && !errors.As(err, new(*daemon.ExitError)) {
		_, _ = fmt.Fprintf(stderr, "shmctl: %s\n", text.OneLine(err))
	}
	return exitCode(err)
}
