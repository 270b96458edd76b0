package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/seed-869cc763/shmkv/cmd/shmctl/internal/text"
	"github.com/seed-869cc763/shmkv/shm"
)

func newMap() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "map STORE",
		Short: "Draw the file as a picture or as text",
		Long: `map draws the file data, from left to right and down: each slab, and each run of
pages that is one value. The colour tells the size of its blocks. As PNG or SVG
with --output, a cell is as wide as its pages. From below, the full colour is the
share of blocks in use, red that of blocks that were replaced and are not
reclaimed yet, and pale yellow that of free blocks. In a store with more pages than
there is room for, a square stands for several pages, and shows what has most of it.

Without --output it prints the map as text, with a character for a square. Each
kind has a character of its own. On a terminal it is coloured too, unless NO_COLOR
is set.

It reads tables and lists, no keys and no values. Others may write meanwhile; so
it shows roughly what is there. The picture appears when it is complete, and takes
the place of one that is there.`,
		Example: "  shmctl map /dev/shm/cache\n  shmctl map /dev/shm/cache --output cache.png",
		RunE: func(cmd *cobra.Command, args []string) error {
			path, _, err := storeArguments(cmd, args, "STORE", 0, 0)
			if err != nil {
				return err
			}
			units := int64(textUnits)
			show := func(_ context.Context, m *storeMap, st shm.Stats) error {
				return m.print(cmd.OutOrStdout(), path, st, hasColours(cmd.OutOrStdout()))
			}
			if cmd.Flags().Changed("output") {
				var encode func(*drawing, io.Writer) error
				switch strings.ToLower(filepath.Ext(output)) {
				case ".png":
					encode = (*drawing).png
				case ".svg":
					encode = (*drawing).svg
				default:
					return usagef("map: found --output %q, expected a name that ends in .png or .svg", output)
				}
				units = mapUnits
				show = func(ctx context.Context, m *storeMap, st shm.Stats) error {
					return writeFile(ctx, output, func(w io.Writer) error { return encode(m.draw(path, st), w) })
				}
			}
			return withStore(openToRead, path, func(s *shm.Store) error {
				return interruptible(cmd, func(ctx context.Context) error {
					m, err := mapStore(ctx, s, units)
					if err != nil {
						return err
					}
					return show(ctx, m, s.Stats())
				})
			})
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", "`FILE` to write, .png or .svg")
	return cmd
}

// storeMap is a file in units of one size: pages, or several of them in a store
// that has more pages than a picture has room for.
type storeMap struct {
	unitBytes int64
	units     []mapUnit
	whole     mapUnit
}

// mapUnit is what a part of the file is.
type mapUnit struct {
	bytes                 [runKind + 1]int64
	used, retired, vacant int64 // of its slabs and runs
	begins                bool  // an extent
}

// mapStore makes a map of no more than so many units, and a few that the file grows by
// meanwhile.
func mapStore(ctx context.Context, s *shm.Store, units int64) (*storeMap, error) {
	m := &storeMap{unitBytes: 4 << 10}
	for s.Stats().FileBytes/m.unitBytes > units {
		m.unitBytes *= 2
	}
	x := s.Inspect().Extents(ctx)
	for e := range x.All() {
		m.add(e)
	}
	return m, x.Err()
}

// add spreads an extent over the units that it lies in.
func (m *storeMap) add(e shm.Extent) {
	kind := kindOf(e)
	for at, end := e.Offset, e.Offset+e.Bytes; at < end; {
		i := at / m.unitBytes
		n := min((i+1)*m.unitBytes, end) - at
		for int64(len(m.units)) <= i {
			m.units = append(m.units, mapUnit{})
		}
		for _, u := range []*mapUnit{&m.units[i], &m.whole} {
			u.bytes[kind] += n
			u.begins = u.begins || at == e.Offset
			if blocks := int64(e.Blocks); blocks > 0 {
				u.retired += n * int64(e.Retired) / blocks
				u.vacant += n * int64(e.Free) / blocks
				u.used += n * (blocks - int64(e.Retired+e.Free)) / blocks
			}
		}
		at += n
	}
}

// main is the kind that has most of a unit.
func (u *mapUnit) main() int {
	best := 0
	for kind, n := range u.bytes {
		if n > u.bytes[best] {
			best = kind
		}
	}
	return best
}

// title describes the store.
func (m *storeMap) title(path string, st shm.Stats) string {
	return fmt.Sprintf("%s: version %s, %s, %s of file, %s of blocks in use", text.Printable([]byte(path)), text.Count(st.Version),
		text.Things(st.Entries, "entry", "entries"), text.Size(st.FileBytes), text.Size(m.whole.used))
}

// mapLegend is a kind, and how much of it there is.
type mapLegend struct {
	mapKind
	bytes int64
}

// legend has the kinds that are there, and always what blocks can be.
func (m *storeMap) legend() (all []mapLegend) {
	for kind, n := range m.whole.bytes {
		if n > 0 {
			all = append(all, mapLegend{mapKinds[kind], n})
		}
	}
	return append(all, mapLegend{mapKinds[retiredKind], m.whole.retired}, mapLegend{mapKinds[vacantKind], m.whole.vacant})
}
