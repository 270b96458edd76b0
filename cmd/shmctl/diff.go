package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/seed-869cc763/shmkv/cmd/shmctl/internal/text"
	"github.com/seed-869cc763/shmkv/shm"
)

var errDiffer = errors.New("the stores differ")

func newDiff() *cobra.Command {
	var of mapChoice
	cmd := &cobra.Command{
		Use:   "diff A B",
		Short: "Compare two stores",
		Long: `diff compares one version of store A with one version of store B, all their maps or
the one of --map. It prints a line for each key that differs, those of a hash map in
no particular order:

  - KEY  VALUE         in A only
  + KEY  VALUE         in B only
  ~ KEY  OLD -> NEW    in both

Lines of a named map have "map NAME" and two spaces before KEY. If only one store has
the map, or if it is of two kinds, there is such a line without KEY, with the kind as
value.

diff shortens values of more than 64 bytes. With --json each line is an object with
"change" ("removed", "added" or "changed"), "map", "key", "old" and "new", and values
are complete. "map" is missing for keys of the unnamed map, and "key" for the kind of
a map. A name, key or value that is not valid UTF-8 is in base64, as "map64", "key64",
"old64" or "new64". The exit code is 6 if the stores differ. diff looks up every key
of each store in the other, and holds a snapshot of both until it ends.`,
		Example: "  shmctl diff /dev/shm/cache /var/backups/cache\n  shmctl diff /dev/shm/cache /var/backups/cache --map scores",
		Args:    arguments("A B", 2, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := of.parse(); err != nil {
				return err
			}
			return withStores(openToRead, args, func(stores []*shm.Store) error {
				out := bufio.NewWriterSize(cmd.OutOrStdout(), 64<<10)
				d := differ{show: func(c change) error { return c.print(out) }}
				if asJSON(cmd) {
					enc := newEncoder(out)
					d.show = func(c change) error { return enc.Encode(c.json()) }
				}
				err := flush(out, d.stores(stores[0], stores[1], &of))
				if err == nil && d.keys+d.maps > 0 {
					err = fmt.Errorf("diff %s %s: %w in %s", args[0], args[1], errDiffer, d.sum())
				}
				return err
			})
		},
	}
	jsonFlag(cmd)
	of.flags(cmd)
	return cmd
}

// A differ shows the differences of two stores, and counts them.
type differ struct {
	show func(change) error
	keys int
	maps int // that only one store has, or of two kinds
}

// stores compares the chosen map, or else all maps.
func (d *differ) stores(a, b *shm.Store, of *mapChoice) error {
	return a.View(func(a *shm.Snapshot) error {
		return b.View(func(b *shm.Snapshot) error {
			if of.given() {
				there, err := d.named(a, b, of.name)
				if err == nil && !there {
					err = of.missing()
				}
				return err
			}
			if err := d.views(unnamedView(a), unnamedView(b)); err != nil {
				return err
			}
			names, err := namesIn(a, b)
			if err != nil {
				return err
			}
			for _, name := range names {
				if _, err := d.named(a, b, name); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

// namesIn returns the names of all maps in two snapshots, in order.
func namesIn(a, b *shm.Snapshot) ([]string, error) {
	names := map[string]bool{}
	for _, sn := range []*shm.Snapshot{a, b} {
		all, err := sn.Maps()
		if err != nil {
			return nil, err
		}
		for _, m := range all {
			names[m.Name] = true
		}
	}
	return slices.Sorted(maps.Keys(names)), nil
}

// named compares a named map in two snapshots, and reports whether one of them has it.
func (d *differ) named(a, b *shm.Snapshot, name string) (there bool, err error) {
	old, err := viewOf(a, name)
	if err != nil {
		return false, err
	}
	now, err := viewOf(b, name)
	if err != nil {
		return false, err
	}
	if old.kind != now.kind {
		d.maps++
		c := change{in: &name, ofMap: true, Change: shm.Change{Old: kindBytes(old.kind), New: kindBytes(now.kind)}}
		if err := d.show(c); err != nil {
			return false, err
		}
	}
	return old.kind != 0 || now.kind != 0, d.views(old, now)
}

// kindBytes returns the name of a kind, or nil for no kind.
func kindBytes(k shm.Kind) []byte {
	if k == 0 {
		return nil
	}
	return []byte(k.String())
}

// views shows each key of a map that differs. The slices of a change are valid only during
// the call.
func (d *differ) views(a, b mapView) error {
	show := func(key []byte, c shm.Change) error {
		d.keys++
		return d.show(change{in: a.name, key: key, Change: c})
	}
	err := a.each(func(key, old []byte) error {
		switch value, err := b.Get(key); {
		case errors.Is(err, shm.ErrNotFound):
			return show(key, shm.Change{Old: old})
		case err != nil:
			return err
		case !bytes.Equal(old, value):
			return show(key, shm.Change{Old: old, New: value})
		}
		return nil
	})
	if err != nil {
		return err
	}
	return b.each(func(key, value []byte) error {
		if there, err := a.Has(key); there || err != nil {
			return err
		}
		return show(key, shm.Change{New: value})
	})
}

// sum returns the number of differences.
func (d *differ) sum() string {
	var parts []string
	if d.keys > 0 {
		parts = append(parts, text.Things(d.keys, "key", "keys"))
	}
	if d.maps > 0 {
		parts = append(parts, text.Things(d.maps, "map", "maps"))
	}
	return strings.Join(parts, " and ")
}

// A change is a key whose values differ, or a map whose kinds do.
type change struct {
	in    *string // the named map; nil: the unnamed one
	ofMap bool    // the values are the kinds of the map, and there is no key
	key   []byte
	shm.Change
}

func (c change) print(w io.Writer) error {
	var names []string
	if c.in != nil {
		names = append(names, "map "+text.Printable([]byte(*c.in)))
	}
	if !c.ofMap {
		names = append(names, text.Printable(c.key))
	}
	sign, values := "~", text.Brief(c.Old)+" -> "+text.Brief(c.New)
	switch {
	case c.New == nil:
		sign, values = "-", text.Brief(c.Old)
	case c.Old == nil:
		sign, values = "+", text.Brief(c.New)
	}
	_, err := fmt.Fprintf(w, "%s %s  %s\n", sign, strings.Join(names, "  "), values)
	return err
}

// jsonChange is the JSON form of a change.
type jsonChange struct {
	Change string `json:"change"`
	jsonName
	Key   *string `json:"key,omitempty"`
	Key64 []byte  `json:"key64,omitempty"`
	Old   *string `json:"old,omitempty"`
	Old64 []byte  `json:"old64,omitempty"`
	New   *string `json:"new,omitempty"`
	New64 []byte  `json:"new64,omitempty"`
}

func (c change) json() jsonChange {
	j := jsonChange{Change: "changed"}
	if c.in != nil {
		j.jsonName = nameOf(*c.in)
	}
	if !c.ofMap {
		j.Key, j.Key64 = textOr64(c.key)
	}
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
