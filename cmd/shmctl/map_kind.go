package main

import (
	"image/color"
	"math/bits"

	"github.com/seed-869cc763/shmkv/shm"
)

// mapKind is a kind of file content, with its character and colour in a map. The
// characters and colours of all kinds are easy to distinguish.
type mapKind struct {
	label  string
	char   byte
	colour paletteColour
}

// mapKinds contains the kinds of pages, from slabKind on slabs by block size, then runs,
// and at the end the states of blocks in slabs and runs.
var mapKinds = [...]mapKind{
	{"tables and slots", '#', 242}, {"lists", '%', 94}, {"free pages", '.', 249}, {"holes", '_', 189}, {"other", '?', 16},
	{"blocks to 32 B", 'a', 17}, {"blocks to 64 B", 'b', 26}, {"blocks to 128 B", 'c', 39}, {"blocks to 256 B", 'd', 51},
	{"blocks to 512 B", 'e', 30}, {"blocks to 1 KiB", 'f', 48}, {"blocks to 2 KiB", 'g', 28}, {"blocks to 4 KiB", 'h', 208},
	{"blocks to 8 KiB", 'i', 204}, {"blocks to 16 KiB", 'j', 165}, {"blocks to 32 KiB", 'k', 125},
	{"larger values", 'L', 52},
	{"replaced, not reclaimed", '!', 160},
	{"free in slabs", '-', 229},
}

const (
	tableKind = iota
	listKind
	freeKind
	holeKind
	otherKind
	slabKind
	retiredKind = len(mapKinds) - 2
	vacantKind  = len(mapKinds) - 1
	runKind     = retiredKind - 1
)

// kindOf returns the kind of an extent.
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

// paletteColour is the number of one of the 256 colours of terminals, from 16 on. Users
// can change colours 0 to 15.
type paletteColour uint8

// rgba returns the RGB values: 16 to 231 form a cube of six levels a side, 232 to 255 are
// greys.
func (c paletteColour) rgba() color.RGBA {
	if c >= 232 {
		v := 8 + 10*uint8(c-232)
		return color.RGBA{v, v, v, 0xff}
	}
	levels := [...]uint8{0, 0x5f, 0x87, 0xaf, 0xd7, 0xff}
	c -= 16
	return color.RGBA{levels[c/36], levels[c/6%6], levels[c%6], 0xff}
}
