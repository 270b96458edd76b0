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
	var of mapChoice
	var chosen selection
	var items itemFlag
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

--prefix, --glob and --limit select keys of one version instead of KEY, as do the
flags for an ordered map. get prints them in the same way, those of a hash map in no
particular order. The exit code is 3 if no key matches.

` + fmt.Sprintf(itemsHelp, "its value") + "\n\n" + selectionHelp,
		Example: "  shmctl get /dev/shm/cache greeting\n  shmctl get /dev/shm/cache greeting photo --json\n  shmctl get /dev/shm/cache --glob 'user:*:name'\n  shmctl get /dev/shm/cache --map scores --reverse --limit 10",
		RunE: func(cmd *cobra.Command, args []string) error {
			least, most := 1, unlimited
			if chosen.given() {
				least, most = 0, 0
			}
			path, rest, err := storeArguments(cmd, args, "STORE KEY..., or STORE with flags that select keys", least, most)
			if err != nil {
				return err
			}
			if err := cmp.Or(of.parse(), items.check(&of), chosen.parse(&of)); err != nil {
				return err
			}
			keys, err := keyArguments(rest, chosen.key64)
			if err != nil {
				return err
			}
			return withStore(openToRead, path, func(s *shm.Store) error {
				m, err := of.find(s)
				if err != nil {
					return err
				}
				if len(keys) == 1 && !items.on {
					return get(m, cmd.OutOrStdout(), keys[0], asJSON(cmd))
				}
				out := bufio.NewWriterSize(cmd.OutOrStdout(), 64<<10)
				print := newRecordWriter(out).record
				switch {
				case items.on:
					print = items.printer(cmd, out, true)
				case !asJSON(cmd):
					print = func(key, value []byte) error {
						_, err := fmt.Fprintf(out, "%s\t%s\n", text.Printable(key), text.Printable(value))
						return err
					}
				}
				if chosen.given() {
					return flush(out, getSelected(s, &of, &chosen, print))
				}
				return flush(out, getMany(m, keys, print))
			})
		},
	}
	jsonFlag(cmd)
	of.flags(cmd)
	chosen.flags(cmd)
	items.flags(cmd)
	return cmd
}

func get(m keyed, out io.Writer, key []byte, asJSON bool) error {
	value, err := m.Get(key)
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

func getMany(m keyed, keys [][]byte, print func(key, value []byte) error) error {
	var absent [][]byte
	var failed error
	err := m.GetMany(keys, func(i int, value []byte, ok bool) {
		switch {
		case !ok:
			absent = append(absent, keys[i])
		case failed == nil:
			failed = print(keys[i], value)
		}
	})
	return cmp.Or(err, failed, absentKeys("get", absent))
}

func getSelected(s *shm.Store, of *mapChoice, chosen *selection, print func(key, value []byte) error) error {
	found := false
	err := s.View(func(sn *shm.Snapshot) error {
		v, err := of.view(sn)
		if err != nil {
			return err
		}
		return chosen.each(v, func(key, value []byte) error {
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
