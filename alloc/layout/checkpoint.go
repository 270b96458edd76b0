package layout

import (
	"encoding/binary"
	"hash/crc64"
	"hash/fnv"
	"time"
)

// A Checkpoint is a version of the store that is on disk as a whole. It stands at the
// beginning of one of two pages, which are written in turn.
type Checkpoint struct {
	Version uint64
	Root    uint64 // offset of the root node
	End     uint64 // bytes of data that the version may lie in
	Time    int64  // when it was taken, Unix time in nanoseconds
}

const (
	// CkptPages is the number of pages for checkpoints.
	CkptPages = 2
	// CkptSize is the size of a Checkpoint in bytes. It lies within one sector.
	CkptSize = 64

	magicCkpt = 0x0a1a74706b63686b // "khckpt\x1a\n"
)

// At returns when the checkpoint was taken.
func (c Checkpoint) At() time.Time { return time.Unix(0, c.Time).UTC() }

// CkptOff returns the offset of the i-th checkpoint.
func CkptOff(i int) uint64 { return OffCkpts + uint64(i)*PageSize }

// Encode returns the checkpoint of the store id.
func (c Checkpoint) Encode(id StoreID) []byte {
	b := make([]byte, CkptSize)
	for i, w := range []uint64{magicCkpt, c.Version, c.Root, c.End, uint64(c.Time), id[0], id[1]} {
		binary.LittleEndian.PutUint64(b[8*i:], w)
	}
	binary.LittleEndian.PutUint64(b[CkptSize-8:], crc64.Checksum(b[:CkptSize-8], CrcTable))
	return b
}

// Sum returns the checksum of the checkpoint of the store id, which a journal names.
func (c Checkpoint) Sum(id StoreID) uint64 {
	return binary.LittleEndian.Uint64(c.Encode(id)[CkptSize-8:])
}

// DecodeCheckpoint returns the checkpoint in b. It reports false if there is none of the
// store id, or a torn one.
func DecodeCheckpoint(b []byte, id StoreID) (c Checkpoint, ok bool) {
	w := func(i int) uint64 { return binary.LittleEndian.Uint64(b[8*i:]) }
	c = Checkpoint{w(1), w(2), w(3), int64(w(4))}
	return c, w(0) == magicCkpt && w(5) == id[0] && w(6) == id[1] &&
		w(7) == crc64.Checksum(b[:CkptSize-8], CrcTable) && c.Version > 0 && c.Version <= MaxVersion
}

// A BootWord says under which boot of the system a store is open for writing: 40 bits of
// a hash of the boot's id, then a number of 24 bits. The number is 0 while the store is
// open, and that of a handle that is about to close it as the last one otherwise.
type BootWord uint64

const closerBits = 24

// BootOpening stands in the place of a BootWord while the first handle under a boot opens
// the store. It is that of no boot.
const BootOpening BootWord = 1

// BootOf returns the BootWord of a boot with this id. It is not 0.
func BootOf(id string) BootWord {
	h := fnv.New64a()
	_, _ = h.Write([]byte(id))
	return BootWord(max(h.Sum64()>>closerBits, 1) << closerBits)
}

// HomeOf identifies a file by its device, its inode number and when it was made. It is not
// 0.
func HomeOf(device, inode, made uint64) uint64 {
	h := fnv.New64a()
	_ = binary.Write(h, binary.LittleEndian, [3]uint64{device, inode, made})
	return max(h.Sum64(), 1)
}

// Boot returns the word without the number.
func (w BootWord) Boot() BootWord { return w >> closerBits << closerBits }

// ClosedBy returns the word with the number of a handle.
func (w BootWord) ClosedBy(number uint64) BootWord {
	return w.Boot() | BootWord(max(number&(1<<closerBits-1), 1))
}
