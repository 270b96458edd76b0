package alloc

import (
	"math/bits"
)

// Geometry. All of it is part of the format: see the package comment.
const (
	FormatVersion = 2

	pageShift = 12
	pageSize  = 1 << pageShift

	maxEntries   = 256 // open handles at one time
	maxSlots     = 256 // writers at one time
	maxSnapPins  = 512 // pins of snapshots at one time
	reservePages = 16  // pages that only deletes, adoption and compaction may take

	// MaxEntries, MaxSlots and MaxPins are the same for other packages.
	MaxEntries = maxEntries
	MaxSlots   = maxSlots
	MaxPins    = maxSnapPins

	// MinSize and MaxSize bound the size of a store. A process has 2^47 bytes of
	// address space, of which a writable handle maps twice the size. So it can open
	// the largest store twice, and has room for a copy and for what else it maps.
	MinSize = 1 << 20
	MaxSize = 1 << 44
)

// Offsets in the file data.
const (
	offSuper     = 0x0000
	superSize    = 512
	offRoot      = 0x1000 // offset | version<<48
	offEnd       = 0x1008 // bytes of the file that may be touched
	offPunched   = 0x1010 // not 0 once there may be holes below the end
	offHorizon   = 0x1040 // newest version whose garbage may have been reused
	offSegHints  = 0x1080 // a word a segment
	offFreePages = 0x1200 // backed free pages, about
	offReserve   = 0x1240 // pages in reserve, about
	offGate      = 0x1280 // owner of a large batch that asks for room, or 0
	offSlotHigh  = 0x12c0 // slots ever used
	offHintSeq   = 0x1300 // raised whenever a hint bit is newly set
	offKeeper    = 0x1380 // until when a handle keeps house
	offIdleSince = 0x1388 // since when offIdleLow is watched
	offIdleLow   = 0x1390 // the fewest free pages since then
	offOwners    = 0x2000 // a word a slot: owner or 0
	offDir       = 0x3000 // a word a slot: offset of its page or 0
	offTable     = 0x4000 // of the first segment; ends the header
)

// endRewritten stands in the place of the end in what was rewritten, for readers
// that have no entry (rule D6).
const endRewritten = 0

// Words of a root node. The payload belongs to the layer above.
const (
	rootBirth      = 0
	rootSuperseded = 8
	rootPayload    = 16
	rootSize       = 64
)

// Words of a slot's page.
const (
	slotIndex      = 8 * 0
	slotIntent     = 8 * 1 // offset of the new root, or 0
	slotIntentTail = 8 * 2 // the queue's tail once it is committed
	slotQueueHead  = 8 * 3
	slotQueueTail  = 8 * 4
	slotLogTop     = 8 * 5 // page | number of entries in it
	slotRec        = 8 * 6 // first page | recClaim or recFree; or 0
	slotRecPages   = 8 * 7
	slotRecGen     = 8 * 8 // generation of every page but the head
	slotRecHeadGen = 8 * 9
	slotRefillAt   = 8 * 10 // offset of the bitmap word, or 0
	slotRefillMask = 8 * 11
	slotLook       = 8 * 12 // set-aside page being looked through, or 0
	slotReturn     = 8 * 13 // block being given back | class<<48, or 0
	slotReturnNext = 8 * 14 // the block below it in its magazine
	slotIntentOld  = 8 * 15 // the root that the intended one replaces
	slotAside      = 8 * 16 // open set-aside pages, or 0
	asideCount     = 8
	slotCounts     = 8 * 24 // see Counts
	slotSlabs      = 8 * 32
	slotMags       = 8 * 112
	slotLog        = 8 * 192
	slotLogCap     = 512 - 192
)

// What a slot's page record says of the pages that it names.
const (
	recClaim = 1 // being claimed; back to holes unless they are linked by now
	recFree  = 2 // being freed; go on
	recTake  = 3 // a shared page being taken; share it again unless it is linked by now
)

// Words of a queue page and of a set-aside page.
const (
	chunkNext    = 0  // the next page of a queue
	chunkKey     = 8  // what holds a set-aside page's blocks: see heldKey
	chunkCount   = 16 // entries of a set-aside page
	chunkEntries = 32
	chunkEntry   = 16 // {block, version at which it was retired}
	chunkCap     = (pageSize - chunkEntries) / chunkEntry
)

// Words of a log page.
const (
	logPrev    = 0
	logEntries = 8
	logCap     = (pageSize - logEntries) / 8
)

// Offsets in the file slots.
const (
	offSlotsSuper  = 0x0000
	slotsSuperSize = 48
	offWaitSeq     = 0x0100
	offWaitFlag    = 0x0108
	offPinHigh     = 0x0140 // snapshot pins ever used
	offEntries     = 0x1000
	entrySize      = 64
	offSlotPins    = offEntries + maxEntries*entrySize
	slotPinSize    = 64
	offSnapPins    = offSlotPins + maxSlots*slotPinSize
	snapPinSize    = 32
	slotsSize      = offSnapPins + maxSnapPins*snapPinSize
)

// Words of a process entry and of a pin.
const (
	entryState   = 0 // generation<<8 | 1 when taken
	entryPid     = 8
	entryStarted = 16 // Unix time in nanoseconds
	entryName    = 24 // 16 bytes
	entryFlags   = 40 // 1: read-only
	entryHints   = 48 // offset of the group whose hints are being taken down | hintNote, or 0

	pinVersion = 0 // 0: nothing pinned
	pinOwner   = 8
	pinSince   = 16 // Unix time in nanoseconds, see clock
)

// A block's first word: the birth (below 2^48) of what is published, else one
// of these.
const (
	markBit   = 1 << 63 // mine to change: slot<<48 | index in the log
	returnBit = 1 << 62 // being given back: slot
	offMask   = 1<<48 - 1
)

func markOf(slot int) uint64   { return markBit | uint64(slot)<<48 }
func returnOf(slot int) uint64 { return returnBit | uint64(slot) }

// A segment is a doubling of the file: [0, 1 MiB), [1 MiB, 2 MiB), [2, 4) and
// so on. Each starts with its table: a hint word for every 256 pages, then a
// descriptor for every page. So the table grows with the file, and a run of
// pages can be as long as half the store.
type segment struct {
	start  uint64 // of the segment
	stop   uint64
	hints  uint64 // of the hint words
	descs  uint64 // of the descriptors
	first  uint64 // page behind the table
	descAt uint64 // descs less what makes descAt + page number*64 right
}

const (
	maxSegments = 25 // up to MaxSize
	descSize    = 64
	groupPages  = 256
	groupShift  = 8
)

var segments = func() (s [maxSegments]segment) {
	for k := range s {
		g := &s[k]
		table := uint64(offTable)
		g.stop = 1 << (20 + k)
		if k > 0 {
			g.start = 1 << (19 + k)
			table = g.start
		}
		pages := (g.stop - g.start) >> pageShift
		g.hints = table
		g.descs = table + roundUp(pages>>groupShift*8, 64)
		g.first = roundUp(g.descs+pages*descSize, pageSize)
		g.descAt = g.descs - g.start>>pageShift*descSize
	}
	return s
}()

func segmentOf(off uint64) *segment { return &segments[bits.Len64(off>>20)] }

// desc returns the offset of the descriptor of the page at off.
func desc(off uint64) uint64 {
	return segments[bits.Len64(off>>20)].descAt + off>>pageShift*descSize
}

// hintWord returns the offset of the hint word of the page at off.
func hintWord(off uint64) uint64 {
	g := segmentOf(off)
	return g.hints + (off-g.start)>>(pageShift+groupShift)*8
}

// Words of a page's descriptor.
const (
	descState  = 0
	descBitmap = 8  // 4 words: blocks that are not free
	descInfo   = 40 // a run's or slab's first page: its pages; others of a slab: the first page
)

// The states of a page.
const (
	pageHole        = iota // free, without memory behind it
	pageFree               // free
	pageClaimed            // taken by its owner, not yet anything
	pageSlabOwned          // first page of a slab; the owner alone sets bits
	pageSlabShared         // first page of a slab that nobody owns
	pageRun                // first page of a run: one block of its own
	pageCont               // further page of a slab or run
	pageChunk              // queue or log or set-aside page of its owner
	pageChunkShared        // set-aside page that nobody owns
	pageSlot               // a slot's page, for ever
	pageReserve            // free, for those who may take the last
)

var pageStateNames = [...]string{"hole", "free", "claimed", "slab-owned", "slab-shared", "run", "cont",
	"chunk-owned", "chunk-shared", "slot", "reserve"}

// pageState is a descriptor's first word: state (4 bits), size class (8),
// owning slot (12), generation (40), raised by every change.
type pageState uint64

func makeState(state, class, owner int, gen uint64) pageState {
	return pageState(uint64(state) | uint64(class)<<4 | uint64(owner)<<12 | gen<<24)
}
func (p pageState) state() int  { return int(p & 15) }
func (p pageState) class() int  { return int(p >> 4 & 255) }
func (p pageState) owner() int  { return int(p >> 12 & 4095) }
func (p pageState) gen() uint64 { return uint64(p >> 24) }

// free reports whether the page can be claimed by anybody.
func (p pageState) free() bool { return p.state() <= pageFree }

// Hint bits beyond those of the size classes.
const (
	hintFree    = 60
	hintChunk   = 61
	hintReserve = 62
	hintHole    = 63 // older builds announced holes as free pages
)

// hintOf returns the hint bit of a size class; large classes share some.
func hintOf(class int) int {
	if class < 52 {
		return class
	}
	return 52 + (class-52)/4
}

func roundUp(n, to uint64) uint64 { return (n + to - 1) / to * to }
