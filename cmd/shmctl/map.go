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
		Long: `map draws the file data from left to right and from top to bottom: each slab, and
each run of pages of one large value. The colour shows the block size. Each square
is a page or, in a large store, several pages, and shows the kind that takes most of
them.

With --output, map writes a picture as PNG or SVG. In a square, the full colour at
the bottom is the share of blocks in use, red above it the share of blocks that were
replaced and not yet reclaimed, and pale yellow the share of free blocks. FILE
appears when it is complete, and replaces an existing file.

Without --output, map prints text with one character for each square. Each kind has
its own character, and a colour on a terminal unless NO_COLOR is set.

map reads tables and lists, but no keys and values. Others may write meanwhile, so
the map is approximate.`,
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

// storeMap is the map of a file in units of equal size: one page, or several pages in a
// store with more pages than the picture has squares.
type storeMap struct {
	unitBytes int64
	units     []mapUnit
	whole     mapUnit // the sum of units
}

// mapUnit is the map of a part of the file.
type mapUnit struct {
	bytes                 [runKind + 1]int64 // by kind
	used, retired, vacant int64              // bytes of blocks in slabs and runs
	begins                bool               // an extent begins here
}

// mapStore makes a map of at most the given number of units. If the file grows
// meanwhile, the map has more.
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

// add adds an extent to the units that it overlaps.
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

// main returns the kind that takes most of a unit.
func (u *mapUnit) main() int {
	best := 0
	for kind, n := range u.bytes {
		if n > u.bytes[best] {
			best = kind
		}
	}
	return best
}

// title returns a line that describes the store.
func (m *storeMap) title(path string, st shm.Stats) string {
	return fmt.Sprintf("%s: version %s, %s, %s of file, %s of blocks in use", text.Printable([]byte(path)), text.Count(st.Version),
		text.Things(st.Entries, "entry", "entries"), text.Size(st.FileBytes), text.Size(m.whole.used))
}

// mapLegend is a line of the legend: a kind and its total size.
type mapLegend struct {
	mapKind
	bytes int64
}

// legend returns the kinds that occur in the map, followed by retired and free blocks.
func (m *storeMap) legend() (all []mapLegend) {
	for kind, n := range m.whole.bytes {
		if n > 0 {
			all = append(all, mapLegend{mapKinds[kind], n})
		}
	}
	return append(all, mapLegend{mapKinds[retiredKind], m.whole.retired}, mapLegend{mapKinds[vacantKind], m.whole.vacant})
}
