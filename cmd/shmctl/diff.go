package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/seed-869cc763/shmkv/cmd/shmctl/internal/text"
	"github.com/seed-869cc763/shmkv/shm"
)

var errDiffer = errors.New("the stores differ")

func newDiff() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "diff A B",
		Short: "Compare two stores",
		Long: `diff compares one version of store A with one version of store B. It prints a line
for each key that differs, in no particular order:

  - KEY  VALUE         in A only
  + KEY  VALUE         in B only
  ~ KEY  OLD -> NEW    in both

diff shortens values of more than 64 bytes. With --json each line is an object with
"change" ("removed", "added" or "changed"), "key", "old" and "new", and values are
complete. A key or value that is not valid UTF-8 is in base64, as "key64", "old64"
or "new64". The exit code is 6 if the stores differ. diff looks up every key of each
store in the other, and holds a snapshot of both until it ends.`,
		Example: "  shmctl diff /dev/shm/cache /var/backups/cache",
		Args:    arguments("A B", 2, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withStores(openToRead, args, func(stores []*shm.Store) error {
				out := bufio.NewWriterSize(cmd.OutOrStdout(), 64<<10)
				print := func(key []byte, c shm.Change) error { return printChange(out, key, c) }
				if asJSON(cmd) {
					enc := newEncoder(out)
					print = func(key []byte, c shm.Change) error { return enc.Encode(changeOf(key, c)) }
				}
				keys := 0
				err := flush(out, diff(stores[0], stores[1], func(key []byte, c shm.Change) error {
					keys++
					return print(key, c)
				}))
				if err == nil && keys > 0 {
					err = fmt.Errorf("diff %s %s: %w in %s", args[0], args[1], errDiffer, text.Things(keys, "key", "keys"))
				}
				return err
			})
		},
	}
	jsonFlag(cmd)
	return cmd
}

// diff calls fn for each key that differs. The slices are valid only during the call.
func diff(a, b *shm.Store, fn func(key []byte, c shm.Change) error) error {
	return a.View(func(a *shm.Snapshot) error {
		return b.View(func(b *shm.Snapshot) error {
			err := each(a, func(key, old []byte) error {
				switch value, err := b.Get(key); {
				case errors.Is(err, shm.ErrNotFound):
					return fn(key, shm.Change{Old: old})
				case err != nil:
					return err
				case !bytes.Equal(old, value):
					return fn(key, shm.Change{Old: old, New: value})
				}
				return nil
			})
			if err != nil {
				return err
			}
			return each(b, func(key, value []byte) error {
				if there, err := a.Has(key); there || err != nil {
					return err
				}
				return fn(key, shm.Change{New: value})
			})
		})
	})
}

func printChange(w *bufio.Writer, key []byte, c shm.Change) (err error) {
	switch name := text.Printable(key); {
	case c.New == nil:
		_, err = fmt.Fprintf(w, "- %s  %s\n", name, text.Brief(c.Old))
	case c.Old == nil:
		_, err = fmt.Fprintf(w, "+ %s  %s\n", name, text.Brief(c.New))
	default:
		_, err = fmt.Fprintf(w, "~ %s  %s -> %s\n", name, text.Brief(c.Old), text.Brief(c.New))
	}
	return err
}

// jsonChange is the JSON form of a change.
type jsonChange struct {
	Change string  `json:"change"`
	Key    *string `json:"key,omitempty"`
	Key64  []byte  `json:"key64,omitempty"`
	Old    *string `json:"old,omitempty"`
	Old64  []byte  `json:"old64,omitempty"`
	New    *string `json:"new,omitempty"`
	New64  []byte  `json:"new64,omitempty"`
}

func changeOf(key []byte, c shm.Change) jsonChange {
	j := jsonChange{Change: "changed"}
	j.Key, j.Key64 = textOr64(key)
	if c.Old != nil {
		j.Old, j.Old64 = textOr64(c.Old)
	} else {
		j.Change = "added"
	}
	if c.New != nil {
		j.New, j.New64 = textOr64(c.New)
	} else {
		j.Change = "removed"
	}
	return j
}
