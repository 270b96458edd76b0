package main

import (
	"context"
	"fmt"
	"image/color"
	"io"
	"math/bits"
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
		Short: "Draw the file as a picture",
		Long: `map draws the file data, from left to right and down, as PNG or SVG: each slab,
and each run of pages that is one value, is a cell as wide as its pages. The
colour tells the size of its blocks. From below, the full colour is the share of
blocks in use, red that of blocks that were replaced and are not reclaimed yet,
and the pale one that of free blocks. In a store with more pages than a picture
has room for, a square stands for several pages, and shows what has most of it.

It reads tables and lists, no keys and no values. Others may write meanwhile; so
it shows roughly what is there. The picture appears when it is complete, and takes
the place of one that is there.`,
		Example: "  shmctl map /dev/shm/cache --output cache.png",
		RunE: func(cmd *cobra.Command, args []string) error {
			path, _, err := storeArguments(cmd, args, "STORE", 0, 0)
			if err != nil {
				return err
			}
			var encode func(*drawing, io.Writer) error
			switch strings.ToLower(filepath.Ext(output)) {
			case ".png":
				encode = (*drawing).png
			case ".svg":
				encode = (*drawing).svg
			default:
				return usagef("map: found --output %q, expected a name that ends in .png or .svg", output)
			}
			return withStore(openToRead, path, func(s *shm.Store) error {
				return interruptible(cmd, func(ctx context.Context) error {
					m, err := mapStore(ctx, s)
					if err != nil {
						return err
					}
					return writeFile(ctx, output, func(w io.Writer) error { return encode(m.draw(path, s.Stats()), w) })
				})
			})
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", "`FILE` to write, .png or .svg")
	return cmd
}

// mapKind is what a unit of the file can be shown as.
type mapKind struct {
	label  string
	colour color.RGBA
}

// mapKinds: slabs by the size of their blocks, from slabKind on, then runs.
var mapKinds = [...]mapKind{
	{"tables and slots", grey(0x80)}, {"lists", grey(0xa8)}, {"free pages", grey(0xdc)}, {"holes", grey(0xf0)},
	{"other", grey(0x30)},
	{"blocks to 32 B", rgb(0x5e3c99)}, {"blocks to 64 B", rgb(0x4457b5)}, {"blocks to 128 B", rgb(0x2f7fc1)},
	{"blocks to 256 B", rgb(0x2a9fb5)}, {"blocks to 512 B", rgb(0x1f9e89)}, {"blocks to 1 KiB", rgb(0x35a45a)},
	{"blocks to 2 KiB", rgb(0x6cae3a)}, {"blocks to 4 KiB", rgb(0xa3b52c)}, {"blocks to 8 KiB", rgb(0xd0b02a)},
	{"blocks to 16 KiB", rgb(0xe29a2d)}, {"blocks to 32 KiB", rgb(0xcf7a2f)},
	{"larger values", rgb(0x8c5a3c)},
}

const (
	tableKind = iota
	listKind
	freeKind
	holeKind
	otherKind
	slabKind
	runKind = len(mapKinds) - 1
)

var retiredColour = rgb(0xe0203c)

// Sizes of the picture's parts, in pixels.
const (
	mapWidth  = 1200
	mapHeight = 900 // of the file's part, at most
	mapMargin = 16
	mapLine   = 20 // of text
	mapColumn = 292
	largeUnit = 24 // the square for a unit, where there are few
	smallUnit = 6
	mapUnits  = (mapWidth - 2*mapMargin) / smallUnit * (mapHeight / smallUnit)
)

// storeMap is a file in units of one size: pages, or several of them in a store
// that has more pages than a picture has room for.
type storeMap struct {
	unitBytes int64
	units     []mapUnit
	whole     mapUnit
}

// mapUnit is what a part of the file is.
type mapUnit struct {
	bytes                 [len(mapKinds)]int64
	used, retired, vacant int64 // of its slabs and runs
	begins                bool  // an extent
}

func mapStore(ctx context.Context, s *shm.Store) (*storeMap, error) {
	m := &storeMap{unitBytes: 4 << 10}
	for s.Stats().FileBytes/m.unitBytes > mapUnits {
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

func kindOf(e shm.Extent) int {
	switch e.Kind {
	case shm.ExtentTable, shm.ExtentSlot:
		return tableKind
	case shm.ExtentList:
		return listKind
	case shm.ExtentFree, shm.ExtentReserve:
		return freeKind
	case shm.ExtentHole:
		return holeKind
	case shm.ExtentRun:
		return runKind
	case shm.ExtentSlab:
		return slabKind + max(bits.Len64(uint64(e.BlockBytes-1))-5, 0)
	}
	return otherKind
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

// draw makes a picture of the map.
func (m *storeMap) draw(path string, st shm.Stats) *drawing {
	side := largeUnit
	columns := func() int { return (mapWidth - 2*mapMargin) / side }
	rows := func() int { return (len(m.units) + columns() - 1) / columns() }
	for side > smallUnit && rows()*side > mapHeight {
		side--
	}
	d := &drawing{width: mapWidth}
	y := mapMargin + mapLine
	d.text(mapMargin, y, fmt.Sprintf("%s: version %s, %s, %s of file", text.Printable([]byte(path)), text.Count(st.Version),
		text.Things(st.Entries, "entry", "entries"), text.Size(st.FileBytes)))
	y += mapLine
	d.text(mapMargin, y, fmt.Sprintf("from left to right and down, %s to a square", text.Size(m.unitBytes)))
	y += mapLine
	for i := range m.units {
		m.units[i].draw(d, mapMargin+i%columns()*side, y+i/columns()*side, side)
	}
	y += rows()*side + mapLine

	item := 0
	legend := func(c color.RGBA, label string, bytes int64) {
		x, y := mapMargin+item%4*mapColumn, y+item/4*mapLine
		d.rect(x, y, 12, 12, c)
		d.text(x+18, y+11, label+"  "+text.Size(bytes))
		item++
	}
	for kind, n := range m.whole.bytes {
		if n > 0 {
			legend(mapKinds[kind].colour, mapKinds[kind].label, n)
		}
	}
	item = (item + 3) / 4 * 4
	sample := mapKinds[slabKind+2].colour
	legend(sample, "in use", m.whole.used)
	legend(retiredColour, "replaced, not reclaimed", m.whole.retired)
	legend(pale(sample), "free in slabs", m.whole.vacant)
	d.height = y + (item+3)/4*mapLine + mapMargin
	return d
}

// draw fills a square: the shares of slabs and runs stand one above the other.
func (u *mapUnit) draw(d *drawing, x, y, side int) {
	kind := u.main()
	colour := mapKinds[kind].colour
	width, height := side, side-1
	if u.begins {
		x, width = x+1, width-1
	}
	all := u.used + u.retired + u.vacant
	if kind < slabKind || all == 0 {
		d.rect(x, y, width, height, colour)
		return
	}
	// What there is at all is seen.
	part := func(n int64) int { return int((n*int64(height) + all - 1) / all) }
	retired := part(u.retired)
	used := min(part(u.used), height-retired)
	d.rect(x, y, width, height-used-retired, pale(colour))
	d.rect(x, y+height-used-retired, width, retired, retiredColour)
	d.rect(x, y+height-used, width, used, colour)
}
