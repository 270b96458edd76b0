package main

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/seed-869cc763/shmkv/cmd/shmctl/internal/text"
	"github.com/seed-869cc763/shmkv/shm"
)

func newGet() *cobra.Command {
	var key64 bool
	var match keyMatch
	cmd := &cobra.Command{
		Use:   "get STORE [KEY...]",
		Short: "Print the value of a key, or of many",
		Long: `get prints the value of KEY byte for byte. On a terminal it adds a newline, and
quotes a value that is not text as in Go. With --json it prints a record as dump
does. The exit code is 3 if the key is not in the store.

With several keys, get prints a line for each in their order: the key, a tab and
the value. Both are quoted as in Go if they are empty, begin with a quote or contain
characters that are not printable. All values are of one version. The exit code is 3
if one or more keys are not in the store.

--prefix and --glob select keys of one version instead of KEY. get prints them in
the same way, in no particular order. The exit code is 3 if no key matches.

` + matchHelp,
		Example: "  shmctl get /dev/shm/cache greeting\n  shmctl get /dev/shm/cache greeting photo --json\n  shmctl get /dev/shm/cache --glob 'user:*:name'",
		RunE: func(cmd *cobra.Command, args []string) error {
			least, most := 1, unlimited
			if match.given() {
				least, most = 0, 0
			}
			path, rest, err := storeArguments(cmd, args, "STORE KEY..., or STORE with --prefix or --glob", least, most)
			if err != nil {
				return err
			}
			if err := match.compile(); err != nil {
				return err
			}
			keys, err := keyArguments(rest, key64)
			if err != nil {
				return err
			}
			return withStore(openToRead, path, func(s *shm.Store) error {
				if len(keys) == 1 {
					return get(s, cmd.OutOrStdout(), keys[0], asJSON(cmd))
				}
				out := bufio.NewWriterSize(cmd.OutOrStdout(), 64<<10)
				print := newRecordWriter(out).record
				if !asJSON(cmd) {
					print = func(key, value []byte) error {
						_, err := fmt.Fprintf(out, "%s\t%s\n", text.Printable(key), text.Printable(value))
						return err
					}
				}
				if match.given() {
					return flush(out, getMatching(s, match, print))
				}
				return flush(out, getMany(s, keys, print))
			})
		},
	}
	jsonFlag(cmd)
	keyFlag(cmd, &key64)
	match.flags(cmd)
	return cmd
}

func get(s *shm.Store, out io.Writer, key []byte, asJSON bool) error {
	value, err := s.Get(key)
	if err != nil {
		return fmt.Errorf("get %s: %w", text.Printable(key), err)
	}
	if asJSON {
		return newRecordWriter(out).record(key, value)
	}
	if isTerminal(out) {
		_, err = fmt.Fprintln(out, printableText(value))
	} else {
		_, err = out.Write(value)
	}
	return err
}

func getMany(s *shm.Store, keys [][]byte, print func(key, value []byte) error) error {
	var absent [][]byte
	var failed error
	err := s.GetMany(keys, func(i int, value []byte, ok bool) {
		switch {
		case !ok:
			absent = append(absent, keys[i])
		case failed == nil:
			failed = print(keys[i], value)
		}
	})
	return cmp.Or(err, failed, absentKeys("get", absent))
}

func getMatching(s *shm.Store, match keyMatch, print func(key, value []byte) error) error {
	found := false
	err := s.View(func(sn *shm.Snapshot) error {
		return match.each(sn, func(key, value []byte) error {
			found = true
			return print(key, value)
		})
	})
	if err == nil && !found {
		err = fmt.Errorf("get: no key matches: %w", shm.ErrNotFound)
	}
	return err
}

// printableText returns a value for a terminal: lines of text as they are, any other
// value quoted, because a terminal interprets control characters.
func printableText(b []byte) string {
	text := string(b)
	control := func(r rune) bool { return r != '\n' && r != '\t' && !unicode.IsPrint(r) }
	if !utf8.Valid(b) || strings.ContainsFunc(text, control) {
		return strconv.Quote(text)
	}
	return text
}
