package main

import (
	"bufio"
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
		Use:   "get STORE [KEY]",
		Short: "Print the value of a key, or of many",
		Long: `get prints the value of KEY, byte for byte. On a terminal a newline follows, and
a value that is not text is quoted as in Go. With --json it prints a record as
dump does. It exits with 3 if the key is not in the store.

Instead of KEY, --prefix or --glob choose keys of one version: a line for each
has the key, a tab and the value, both quoted as in Go where they would not stay
on their line. It exits with 3 if there is none.

` + matchHelp,
		Example: "  shmctl get /dev/shm/cache greeting\n  shmctl get /dev/shm/cache --glob 'user:*:name'",
		RunE: func(cmd *cobra.Command, args []string) error {
			n := 1
			if match.given() {
				n = 0
			}
			path, keys, err := storeArguments(cmd, args, "STORE KEY, or STORE with --prefix or --glob", n, n)
			if err != nil {
				return err
			}
			if err := match.compile(); err != nil {
				return err
			}
			var key []byte
			if !match.given() {
				if key, err = keyArgument(keys[0], key64); err != nil {
					return err
				}
			}
			return withStore(openToRead, path, func(s *shm.Store) error {
				if match.given() {
					return getMatching(s, cmd.OutOrStdout(), match, asJSON(cmd))
				}
				return get(s, cmd.OutOrStdout(), key, asJSON(cmd))
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

func getMatching(s *shm.Store, w io.Writer, match keyMatch, asJSON bool) error {
	out := bufio.NewWriterSize(w, 64<<10)
	print := newRecordWriter(out).record
	if !asJSON {
		print = func(key, value []byte) error {
			_, err := fmt.Fprintf(out, "%s\t%s\n", text.Printable(key), text.Printable(value))
			return err
		}
	}
	found := false
	err := s.View(func(sn *shm.Snapshot) error {
		return each(sn, func(key, value []byte) error {
			if !match.matches(key) {
				return nil
			}
			found = true
			return print(key, value)
		})
	})
	if err = flush(out, err); err == nil && !found {
		return fmt.Errorf("get: no key matches: %w", shm.ErrNotFound)
	}
	return err
}

// printableText writes a value for a terminal, which would obey control
// characters: text of one or more lines as it is, anything else quoted.
func printableText(b []byte) string {
	text := string(b)
	control := func(r rune) bool { return r != '\n' && r != '\t' && !unicode.IsPrint(r) }
	if !utf8.Valid(b) || strings.ContainsFunc(text, control) {
		return strconv.Quote(text)
	}
	return text
}
