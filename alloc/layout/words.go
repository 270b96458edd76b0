package layout

// Words that pack several values. The zero word means none, unless it is said otherwise.

const (
	offMask    = 1<<48 - 1
	classShift = 48

	// MaxVersion is the greatest version that a birth can say. A horizon beyond it is
	// damage.
	MaxVersion = offMask
)

// A RootWord is the word that commits replace: the offset of the root node, and the low
// 16 bits of its version as a tag.
type RootWord uint64

// MakeRoot returns the word of a root node and its version.
func MakeRoot(off, version uint64) RootWord { return RootWord(off | version<<48) }

// Off is the offset of the root node.
func (w RootWord) Off() uint64 { return uint64(w) & offMask }

// VersionFrom is the least version from the horizon on that agrees with the tag (rule P1).
func (w RootWord) VersionFrom(horizon uint64) uint64 { return horizon + w.Lead(horizon) }

// Lead is by how much that version is beyond the horizon.
func (w RootWord) Lead(horizon uint64) uint64 { return (uint64(w)>>48 - horizon) & 0xffff }

// An Item names a block in a list or a log: its offset and its class. In a list it says
// whether the block is a root node.
type Item uint64

const rootBit = 1 << 63

// MakeItem returns the item of a block.
func MakeItem(off uint64, class int) Item { return Item(off | uint64(class)<<classShift) }

// Off is the offset of the block.
func (i Item) Off() uint64 { return uint64(i) & offMask }

// Class is the size class of the block, ClassRun, or in a log ClassPage.
func (i Item) Class() int { return int(i >> classShift & 0x7fff) }

// IsRoot reports whether the block is a root node.
func (i Item) IsRoot() bool { return i&rootBit != 0 }

// AsRoot returns the item of the same block as a root node.
func (i Item) AsRoot() Item { return i | rootBit }

// Block returns the item without the note of a root node.
func (i Item) Block() Item { return i &^ rootBit }

// A Place is a place in a list of several pages: a page, and the number of an item in it.
type Place uint64

// Page is the offset of the page.
func (p Place) Page() uint64 { return PageOf(uint64(p)) }

// Index is the number of the item.
func (p Place) Index() uint64 { return uint64(p) & (PageSize - 1) }

// PageOf returns the offset of the page that an offset lies in.
func PageOf(off uint64) uint64 { return off &^ (PageSize - 1) }

// A DirWord is the word of a slot in the directory: the offset of the slot's page, and
// whether the page is being made.
type DirWord uint64

const makingBit = 1

// MakingPage returns the word of a slot whose page is being made.
func MakingPage(page uint64) DirWord { return DirWord(page | makingBit) }

// Page is the offset of the page.
func (w DirWord) Page() uint64 { return uint64(w &^ makingBit) }

// IsMaking reports whether the page is being made.
func (w DirWord) IsMaking() bool { return w&makingBit != 0 }

// A Record says what is done to pages, the first of which it names: RecClaim, RecFree or
// RecTake.
type Record uint64

// MakeRecord returns the record of a kind for a page.
func MakeRecord(page uint64, kind int) Record { return Record(page | uint64(kind)) }

// Page is the offset of the first page.
func (r Record) Page() uint64 { return PageOf(uint64(r)) }

// Kind says what is done.
func (r Record) Kind() int { return int(r & (PageSize - 1)) }

// An Owner names a handle: its proc and the generation of that. The owner of a
// slot also tells the handle's claims of slots apart, and whether the handle uses the
// slot at the moment. If it does not, others may take the slot.
type Owner uint64

const idleBit = 1 << 15

// MakeOwner returns the owner that has a proc in a generation.
func MakeOwner(proc int, gen uint64) Owner { return Owner(uint64(proc+1) | gen&(1<<32-1)<<16) }

// Claim returns the owner of a slot that was claimed as the n-th.
func (o Owner) Claim(n uint64) Owner { return o | Owner(n<<48) }

// Proc is the number of the proc, or -1.
func (o Owner) Proc() int { return int(o&(idleBit-1)) - 1 }

// IsIdle reports whether the slot is not in use.
func (o Owner) IsIdle() bool { return o&idleBit != 0 }

// Idle returns the owner of the slot while it is not in use.
func (o Owner) Idle() Owner { return o | idleBit }

// InUse returns the owner of the slot while it is in use.
func (o Owner) InUse() Owner { return o &^ idleBit }

// A Handle names an open handle for as long as its store exists: its proc and the
// generation of that. 0 names none.
type Handle uint64

// MakeHandle returns the name of the handle that has a proc in a generation.
func MakeHandle(proc int, gen uint64) Handle { return Handle(uint64(proc+1) | gen<<16) }

// Proc is the number of the proc. It is not a proc's in a name that no handle has.
func (h Handle) Proc() int { return int(h&0xffff) - 1 }

// Gen is the generation.
func (h Handle) Gen() uint64 { return uint64(h >> 16) }

// A BellWord is the state of a bell: how often it has rung, and whether somebody listens.
type BellWord uint64

// Listened returns the word of the bell once somebody listens.
func (w BellWord) Listened() BellWord { return w | 1 }

// IsListened reports whether somebody may listen.
func (w BellWord) IsListened() bool { return w&1 != 0 }

// Rung returns the word of a bell, to which somebody listens, after it has rung.
func (w BellWord) Rung() BellWord { return w.Listened() + 1 }

// BellOff returns the offset of a bell.
func BellOff(bell int) uint64 { return OffBells + uint64(bell)*BellSize }

// A ProcWord is the state of a proc: its generation of 48 bits, and whether the proc is
// taken. If its handle is known to be dead, and its slots and pins may not be in order
// yet, the word says so. The first generation of a proc is a random number of 40 bits, so
// that no two handles have the same name: not under two boots, nor in a store and its
// copy, although both procs begin as zeros.
type ProcWord uint64

const (
	takenBit = 1
	deadBit  = 2
)

// MakeProcWord returns the state of a proc that is taken.
func MakeProcWord(gen uint64) ProcWord { return ProcWord(gen<<8 | takenBit) }

// Gen is the generation.
func (w ProcWord) Gen() uint64 { return uint64(w >> 8) }

// Taken reports whether the proc is or was in use.
func (w ProcWord) Taken() bool { return w&0xff != 0 }

// Dead returns the state of the proc once its handle is known to be dead.
func (w ProcWord) Dead() ProcWord { return w | deadBit }

// Left returns the state of the proc once nobody uses it.
func (w ProcWord) Left() ProcWord { return w &^ 0xff }

// A Gate is closed by a proc, for a time, at a version.
type Gate uint64

// MakeGate returns the word of a gate. It tells the low 32 bits of the version.
func MakeGate(proc int, millis, version uint64) Gate {
	return Gate(uint64(proc+1) | millis<<16 | version<<32)
}

// Proc is the number of the proc, or -1.
func (g Gate) Proc() int { return int(g&0x7fff) - 1 }

// Millis is for how many milliseconds the gate is closed.
func (g Gate) Millis() uint64 { return uint64(g >> 16 & 0xffff) }

// A Head is the first word of a block: the version in which it was published, or the
// mark of a slot that has allocated it and not published it yet, or of one that is giving
// it back.
type Head uint64

const (
	markBit   = 1 << 63
	returnBit = 1 << 62
)

// MakeMark returns the head of a block that a slot has allocated. Its log names the block
// in the item of that index, which is added.
func MakeMark(slot int) Head { return markBit | Head(slot)<<48 }

// MakeReturn returns the head of a block that a slot is giving back.
func MakeReturn(slot int) Head { return returnBit | Head(slot) }

// Mark is the head without the index in the log.
func (h Head) Mark() Head { return h &^ offMask }

// Index is the index in the log.
func (h Head) Index() uint64 { return uint64(h) & offMask }

// IsReturn reports whether a slot is giving the block back.
func (h Head) IsReturn() bool { return h.Mark() == returnBit }

// ItemAt returns the offset of the i-th item of a page of a queue or a deferred page.
// The version that retired the block follows the item.
func ItemAt(page, i uint64) uint64 { return page + ChunkItems + i*ItemSize }

// Bit returns where a slab's descriptor has the bit of a block, and the bit. p is the
// slab's first page.
func Bit(p, block uint64) (at, mask uint64) {
	return Desc(p) + DescBitmap + block>>6*8, 1 << (block & 63)
}
