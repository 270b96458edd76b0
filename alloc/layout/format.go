package layout

import (
	"math/bits"
)

// Geometry, which is part of the format.
const (
	FormatVersion = 4

	PageShift = 12
	PageSize  = 1 << PageShift

	MaxProcs     = 256 // open handles at one time
	MaxSlots     = 256 // writers at one time
	MaxSnapPins  = 512 // pins of snapshots at one time
	ReservePages = 16  // pages that only deletes, adoption and compaction may take

	// MinSize and MaxSize bound the size of a store. A process has 2^47 bytes of
	// address space, of which a writable handle maps twice the size. So it can open
	// the largest store twice, and has room for a copy and for what else it maps.
	MinSize = 1 << 20
	MaxSize = 1 << 44
)

// Offsets in the file data.
const (
	OffSuper       = 0x0000
	SuperSize      = 512
	OffRoot        = 0x1000 // offset | version<<48
	OffEnd         = 0x1008 // bytes of the file that may be touched
	OffPunched     = 0x1010 // not 0 once there may be holes below the end
	OffHorizon     = 0x1040 // newest version whose garbage may have been reused
	OffSegHints    = 0x1080 // a word a segment
	OffFreePages   = 0x1200 // backed free pages, about
	OffReserve     = 0x1240 // pages in reserve, about
	OffGate        = 0x1280 // owner of a large batch that asks for room, or 0
	OffSlotHigh    = 0x12c0 // slots ever used
	OffHintSeq     = 0x1300 // raised whenever a hint bit is newly set
	OffKeeper      = 0x1380 // until when a handle keeps house
	OffIdleSince   = 0x1388 // since when offIdleLow is watched
	OffIdleLow     = 0x1390 // the fewest free pages since then
	OffOwners      = 0x2000 // a word a slot: owner or 0
	OffDir         = 0x3000 // a word a slot: offset of its page or 0
	OffKept        = 0x1400 // version of the newest checkpoint that is on disk, or 0
	OffKeeping     = 0x1408 // version of the checkpoint that is being taken, or 0
	OffCkptCount   = 0x1410 // checkpoints that were taken
	OffCkptTime    = 0x1418 // how long that took, in nanoseconds
	OffDurable     = 0x1420 // newest version that survives a crash, or 0
	OffJournalBase = 0x1428 // checksum of the checkpoint that the journal follows, or 0
	OffJournalAt   = 0x1430 // offset in the journal behind the last record
	OffJournalLast = 0x1438 // checksum of the last record, or of the checkpoint
	OffBoot        = 0x1440 // BootWord of those who have the store open for writing, or 0
	OffTraced      = 0x1448 // raised while a process recovers the store
	OffFlushFailed = 0x1450 // when the system could not write data to the disk, or 0
	OffHome        = 0x1458 // the file that data was when all of it was last on disk, or 0
	OffCkpts       = 0x4000 // two pages, each of them a Checkpoint
	OffTable       = 0x6000 // of the first segment; ends the header
)

// endRewritten stands in the place of the end in what was rewritten, for readers
// that have no proc (rule D6).
const EndRewritten = 0

// Words of a root node. The payload belongs to the layer above.
const (
	RootBirth      = 0
	RootSuperseded = 8
	RootPayload    = 16
	RootSize       = 88
)

// Words of a slot's page.
const (
	SlotIndex      = 8 * 0
	SlotIntent     = 8 * 1 // offset of the new root, or 0
	SlotIntentTail = 8 * 2 // the queue's tail once it is committed
	SlotQueueHead  = 8 * 3
	SlotQueueTail  = 8 * 4
	SlotLogTop     = 8 * 5 // Place
	SlotRec        = 8 * 6 // Record, or 0
	SlotRecPages   = 8 * 7
	SlotRecGen     = 8 * 8 // generation of every page but the head
	SlotRecHeadGen = 8 * 9
	SlotRefillAt   = 8 * 10 // offset of the bitmap word, or 0
	SlotRefillMask = 8 * 11
	SlotLook       = 8 * 12 // deferred page being looked through, or 0
	SlotReturn     = 8 * 13 // Item of the block that is being given back, or 0
	SlotReturnNext = 8 * 14 // the block below it in its magazine
	SlotIntentOld  = 8 * 15 // the root that the intended one replaces
	SlotDeferred   = 8 * 16 // open deferred pages, or 0
	DeferredCount  = 8
	SlotCounts     = 8 * 24 // see Counts
	SlotSlabs      = 8 * 32
	SlotMags       = 8 * 112
	SlotLog        = 8 * 192
	SlotLogCap     = 512 - 192
)

// The kinds of records of pages.
const (
	RecClaim = 1 // being claimed; back to holes unless they are linked by now
	RecFree  = 2 // being freed; go on
	RecTake  = 3 // a shared page being taken; share it again unless it is linked by now
)

// Words of a queue page and of a deferred page.
const (
	ChunkNext  = 0  // the next page of a queue
	ChunkKey   = 8  // what holds a deferred page's blocks: see heldKey
	ChunkCount = 16 // items of a deferred page
	ChunkItems = 32
	ItemSize   = 16 // {block, version at which it was retired}
	ChunkCap   = (PageSize - ChunkItems) / ItemSize
)

// Words of a log page.
const (
	LogPrev  = 0
	LogItems = 8
	LogCap   = (PageSize - LogItems) / 8
)

// Offsets in the file procs.
const (
	OffProcsSuper  = 0x0000
	ProcsSuperSize = 48
	OffWaitSeq     = 0x0100
	OffWaitFlag    = 0x0108
	OffPinHigh     = 0x0140 // snapshot pins ever used
	OffProcsBoot   = 0x0180 // BootWord of the boot that the procs and pins are of
	OffBells       = 0x0800
	BellSize       = 32
	BellBits       = 6
	Bells          = 1 << BellBits // end where the procs begin
	OffProcs       = 0x1000
	ProcSize       = 64
	OffSlotPins    = OffProcs + MaxProcs*ProcSize
	SlotPinSize    = 64
	OffSnapPins    = OffSlotPins + MaxSlots*SlotPinSize
	SnapPinSize    = 32
	ProcsSize      = OffSnapPins + MaxSnapPins*SnapPinSize
)

// Words of a proc and of a pin.
const (
	ProcState   = 0 // ProcWord
	ProcPid     = 8
	ProcStarted = 16 // Unix time in nanoseconds
	ProcName    = 24 // 16 bytes
	ProcFlags   = 40 // 1: read-only
	ProcHints   = 48 // offset of the group whose hints are being taken down | hintNote, or 0

	PinVersion = 0 // 0: nothing pinned
	PinOwner   = 8
	PinSince   = 16 // Unix time in nanoseconds, see clock
)

// A segment is a doubling of the file: [0, 1 MiB), [1 MiB, 2 MiB), [2, 4) and
// so on. Each starts with its table: a hint word for every 256 pages, then a
// descriptor for every page. So the table grows with the file, and a run of
// pages can be as long as half the store.
type Segment struct {
	Start  uint64 // of the segment
	Stop   uint64
	Hints  uint64 // of the hint words
	Descs  uint64 // of the descriptors
	First  uint64 // page behind the table
	DescAt uint64 // descs less what makes descAt + page number*64 right
}

const (
	MaxSegments = 25 // up to MaxSize
	DescSize    = 64
	GroupPages  = 256
	GroupShift  = 8
)

var Segments = func() (s [MaxSegments]Segment) {
	for k := range s {
		g := &s[k]
		table := uint64(OffTable)
		g.Stop = 1 << (20 + k)
		if k > 0 {
			g.Start = 1 << (19 + k)
			table = g.Start
		}
		pages := (g.Stop - g.Start) >> PageShift
		g.Hints = table
		g.Descs = table + RoundUp(pages>>GroupShift*8, 64)
		g.First = RoundUp(g.Descs+pages*DescSize, PageSize)
		g.DescAt = g.Descs - g.Start>>PageShift*DescSize
	}
	return s
}()

func SegmentOf(off uint64) *Segment { return &Segments[bits.Len64(off>>20)] }

// desc returns the offset of the descriptor of the page at off.
func Desc(off uint64) uint64 {
	return Segments[bits.Len64(off>>20)].DescAt + off>>PageShift*DescSize
}

// hintWord returns the offset of the hint word of the page at off.
func HintWord(off uint64) uint64 {
	g := SegmentOf(off)
	return g.Hints + (off-g.Start)>>(PageShift+GroupShift)*8
}

// Words of a page's descriptor.
const (
	DescState  = 0
	DescBitmap = 8  // 4 words: blocks that are not free
	DescInfo   = 40 // a run's or slab's first page: its pages; others of a slab: the first page
)

// The states of a page.
const (
	PageHole        = iota // free, without memory behind it
	PageFree               // free
	PageClaimed            // taken by its owner, not yet anything
	PageSlabOwned          // first page of a slab; the owner alone sets bits
	PageSlabShared         // first page of a slab that nobody owns
	PageRun                // first page of a run: one block of its own
	PageCont               // further page of a slab or run
	PageChunk              // queue or log or deferred page of its owner
	PageChunkShared        // deferred page that nobody owns
	PageSlot               // a slot's page, for ever
	PageReserve            // free, for those who may take the last
)

var PageStateNames = [...]string{"hole", "free", "claimed", "slab-owned", "slab-shared", "run", "cont",
	"chunk-owned", "chunk-shared", "slot", "reserve"}

// pageState is a descriptor's first word: state (4 bits), size class (8),
// owning slot (12), generation (40), raised by every change.
type PageState uint64

func MakeState(state, class, owner int, gen uint64) PageState {
	return PageState(uint64(state) | uint64(class)<<4 | uint64(owner)<<12 | gen<<24)
}
func (p PageState) State() int  { return int(p & 15) }
func (p PageState) Class() int  { return int(p >> 4 & 255) }
func (p PageState) Owner() int  { return int(p >> 12 & 4095) }
func (p PageState) Gen() uint64 { return uint64(p >> 24) }

// free reports whether the page can be claimed by anybody.
func (p PageState) Free() bool { return p.State() <= PageFree }

// Hint bits beyond those of the size classes.
const (
	HintFree    = 60
	HintChunk   = 61
	HintReserve = 62
	HintHole    = 63
)

// hintOf returns the hint bit of a size class; large classes share some.
func HintOf(class int) int {
	if class < 52 {
		return class
	}
	return 52 + (class-52)/4
}

func RoundUp(n, to uint64) uint64 { return (n + to - 1) / to * to }
