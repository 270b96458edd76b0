package alloc

import (
	"encoding/binary"
	"fmt"
	"hash/crc64"

	"github.com/seed-869cc763/shmkv/alloc/region"
)

// The first words of the two files. The last byte of a magic catches files
// that went through a text conversion.
const (
	magicData  = 0x0a1a00766b6d6873 // "shmkv\0\x1a\n"
	magicSlots = 0x0a1a73746f6c7368 // "hslots\x1a\n"
)

// geometry packs what an implementation must share to read a store.
const geometry = pageShift | maxEntries<<8 | maxSlots<<24 | maxSnapPins<<40

type storeID [2]uint64

func (id storeID) String() string { return fmt.Sprintf("%016x%016x", id[0], id[1]) }

// Origin is what a store was made to show: a version of another store.
type Origin struct {
	Store   [2]uint64 // its id; 0 in a store that was made empty
	Version uint64
	At      uint64 // the version of this store that shows it
	Backup  bool   // it may only be read, so that it goes on to show that (rule D7)
}

// flagBackup is the one bit of the superblock's flags that has a meaning.
const flagBackup = 1

// superblock is what data starts with; it never changes.
type superblock struct {
	maxSize uint64
	hashID  uint64
	seed    [2]uint64
	id      storeID
	created int64 // Unix time in nanoseconds
	origin  Origin
}

var crcTable = crc64.MakeTable(crc64.ECMA)

func (s *superblock) encode() []byte {
	b := make([]byte, superSize)
	flags := uint64(0)
	if s.origin.Backup {
		flags = flagBackup
	}
	for i, w := range []uint64{magicData, FormatVersion, geometry, s.maxSize, s.hashID, s.seed[0], s.seed[1],
		s.id[0], s.id[1], uint64(s.created),
		s.origin.Store[0], s.origin.Store[1], s.origin.Version, s.origin.At, flags} {
		binary.LittleEndian.PutUint64(b[8*i:], w)
	}
	sum := crc64.Checksum(b[:superSize-8], crcTable)
	binary.LittleEndian.PutUint64(b[superSize-8:], sum)
	return b
}

func decodeSuper(b []byte) (s superblock, err error) {
	w := func(i int) uint64 { return binary.LittleEndian.Uint64(b[8*i:]) }
	if w(0) != magicData {
		return s, region.Corrupt(0, "magic of data (not a store?)", fmt.Sprintf("%#x", w(0)), fmt.Sprintf("%#x", uint64(magicData)))
	}
	if w(1) != FormatVersion {
		return s, fmt.Errorf("%w: found %d, this build reads %d", ErrVersion, w(1), FormatVersion)
	}
	if sum := crc64.Checksum(b[:superSize-8], crcTable); sum != w(superSize/8-1) {
		return s, region.Corrupt(superSize-8, "superblock checksum", fmt.Sprintf("%#x", w(superSize/8-1)), fmt.Sprintf("%#x", sum))
	}
	if w(2) != geometry {
		return s, fmt.Errorf("%w: found geometry %#x, this build reads %#x", ErrVersion, w(2), uint64(geometry))
	}
	s = superblock{w(3), w(4), [2]uint64{w(5), w(6)}, storeID{w(7), w(8)}, int64(w(9)),
		Origin{[2]uint64{w(10), w(11)}, w(12), w(13), w(14)&flagBackup != 0}}
	if w(14)&^flagBackup != 0 {
		return s, fmt.Errorf("%w: found flags %#x in the superblock, this build knows %#x", ErrVersion, w(14), flagBackup)
	}
	if s.maxSize < MinSize || s.maxSize > MaxSize || s.maxSize%pageSize != 0 {
		return s, region.Corrupt(24, "maximum size", s.maxSize, fmt.Sprintf("a multiple of %d from %d to %d", pageSize, MinSize, uint64(MaxSize)))
	}
	if s.hashID != hashSip13 {
		return s, fmt.Errorf("%w: found hash %d, this build reads %d", ErrVersion, s.hashID, hashSip13)
	}
	return s, nil
}

// hashSip13 stands in the superblock for SipHash-1-3 (hamt.Hash), the one hash
// that this format knows.
const hashSip13 = 1

func encodeSlotsSuper(id storeID) []byte {
	b := make([]byte, slotsSuperSize)
	for i, w := range []uint64{magicSlots, FormatVersion, geometry, id[0], id[1]} {
		binary.LittleEndian.PutUint64(b[8*i:], w)
	}
	binary.LittleEndian.PutUint64(b[slotsSuperSize-8:], crc64.Checksum(b[:slotsSuperSize-8], crcTable))
	return b
}

func decodeSlotsSuper(b []byte) (id storeID, err error) {
	w := func(i int) uint64 { return binary.LittleEndian.Uint64(b[8*i:]) }
	if w(0) != magicSlots {
		return id, region.Corrupt(0, "magic of slots (not a store?)", fmt.Sprintf("%#x", w(0)), fmt.Sprintf("%#x", uint64(magicSlots)))
	}
	if sum := crc64.Checksum(b[:slotsSuperSize-8], crcTable); sum != w(5) {
		return id, region.Corrupt(40, "checksum of slots", fmt.Sprintf("%#x", w(5)), fmt.Sprintf("%#x", sum))
	}
	if w(1) != FormatVersion || w(2) != geometry {
		return id, fmt.Errorf("%w: found %d with geometry %#x in slots, this build reads %d with %#x",
			ErrVersion, w(1), w(2), FormatVersion, uint64(geometry))
	}
	return storeID{w(3), w(4)}, nil
}

func formatSlots(m region.Mem, id storeID) { m.Write(offSlotsSuper, encodeSlotsSuper(id)) }

// format writes an empty store into memory that reads as zeros: the header,
// the first table, the reserve, and its first version, an empty root node in a
// slab of its own.
func format(m region.Mem, b backing, s superblock, version uint64) error {
	seg := &segments[0]
	end := seg.first + reservePages*pageSize + pageSize
	if err := b.back(0, end); err != nil {
		return err
	}
	m.Write(offSuper, s.encode())
	p := seg.first
	for ; p < seg.first+reservePages*pageSize; p += pageSize {
		m.Store(desc(p)+descState, uint64(makeState(pageReserve, 0, 0, 1)))
	}
	m.Store(offReserve, reservePages)
	c := classOf(rootSize)
	m.Store(desc(p)+descState, uint64(makeState(pageSlabShared, c, 0, 1)))
	m.Store(desc(p)+descInfo, 1)
	m.Store(desc(p)+descBitmap, 1)
	m.Store(p+rootBirth, version)
	m.Store(hintWord(p), 1<<hintOf(c)|1<<hintReserve)
	m.Store(offSegHints, 1<<hintOf(c)|1<<hintReserve)
	m.Store(offEnd, end)
	m.Store(offHorizon, version)
	m.Store(offRoot, p|version<<48)
	return nil
}
