package main

import (
	"github.com/seed-869cc763/shmkv/cmd/shmctl/internal/text"
	"github.com/seed-869cc763/shmkv/shm"
)

// Sizes of the picture's parts, in pixels.
const (
	mapWidth  = 1200
	mapHeight = 900 // most pixels of the squares
	mapMargin = 16
	mapLine   = 20                                                             // height of a line of text
	mapColumn = 292                                                            // width of a column of the legend
	largeUnit = 24                                                             // largest square for a unit
	smallUnit = 6                                                              // smallest square
	mapUnits  = (mapWidth - 2*mapMargin) / smallUnit * (mapHeight / smallUnit) // most units
)

// draw returns a picture of the map.
func (m *storeMap) draw(path string, st shm.Stats) *drawing {
	side := largeUnit
	columns := func() int { return (mapWidth - 2*mapMargin) / side }
	rows := func() int { return (len(m.units) + columns() - 1) / columns() }
	for side > smallUnit && rows()*side > mapHeight {
		side--
	}
	d := &drawing{width: mapWidth}
	y := mapMargin + mapLine
	d.text(mapMargin, y, m.title(path, st))
	y += mapLine
	d.text(mapMargin, y, "from left to right and down, "+text.Size(m.unitBytes)+" to a square")
	y += mapLine
	for i := range m.units {
		m.units[i].draw(d, mapMargin+i%columns()*side, y+i/columns()*side, side)
	}
	y += rows()*side + mapLine

	item := 0
	for _, l := range m.legend() {
		x, y := mapMargin+item%4*mapColumn, y+item/4*mapLine
		d.rect(x, y, 12, 12, l.colour.rgba())
		d.text(x+18, y+11, l.label+"  "+text.Size(l.bytes))
		item++
	}
	d.height = y + (item+3)/4*mapLine + mapMargin
	return d
}

// draw draws the square of a unit. For slabs and runs it stacks the shares of blocks in
// use, retired blocks and free blocks.
func (u *mapUnit) draw(d *drawing, x, y, side int) {
	kind := u.main()
	colour := mapKinds[kind].colour.rgba()
	width, height := side, side-1
	if u.begins {
		x, width = x+1, width-1
	}
	all := u.used + u.retired + u.vacant
	if kind < slabKind || all == 0 {
		d.rect(x, y, width, height, colour)
		return
	}
	// Round up, so that each nonzero share is visible.
	part := func(n int64) int { return int((n*int64(height) + all - 1) / all) }
	retired := part(u.retired)
	used := min(part(u.used), height-retired)
	d.rect(x, y, width, height-used-retired, mapKinds[vacantKind].colour.rgba())
	d.rect(x, y+height-used-retired, width, retired, mapKinds[retiredKind].colour.rgba())
	d.rect(x, y+height-used, width, used, colour)
}
