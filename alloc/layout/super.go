package layout

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc64"

	"github.com/seed-869cc763/shmkv/alloc/region"
)

// The first words of the two files. The last byte of a magic catches files
// that went through a text conversion.
const (
	MagicData  = 0x0a1a00766b6d6873 // "shmkv\0\x1a\n"
	MagicProcs = 0x0a1a73636f727068 // "hprocs\x1a\n"
)

// geometry packs what an implementation must share to read a store.
const Geometry = PageShift | MaxProcs<<8 | MaxSlots<<24 | MaxSnapPins<<40

// ErrVersion is matched by errors about a store of another format.
var ErrVersion = errors.New("another format version")

type StoreID [2]uint64

func (id StoreID) String() string { return fmt.Sprintf("%016x%016x", id[0], id[1]) }

// Origin is what a store was made to show: a version of another store.
type Origin struct {
	Store   [2]uint64 // its id; 0 in a store that was made empty
	Version uint64
	At      uint64 // the version of this store that shows it
	Backup  bool   // it may only be read, so that it goes on to show that (rule D7)
}

// flagBackup is the one bit of the superblock's flags that has a meaning.
const FlagBackup = 1

// superblock is what data starts with; it never changes.
type Superblock struct {
	MaxSize uint64
	HashID  uint64
	Seed    [2]uint64
	ID      StoreID
	Created int64 // Unix time in nanoseconds
	Origin  Origin
}

var CrcTable = crc64.MakeTable(crc64.ECMA)

func (s *Superblock) Encode() []byte {
	b := make([]byte, SuperSize)
	flags := uint64(0)
	if s.Origin.Backup {
		flags = FlagBackup
	}
	for i, w := range []uint64{MagicData, FormatVersion, Geometry, s.MaxSize, s.HashID, s.Seed[0], s.Seed[1],
		s.ID[0], s.ID[1], uint64(s.Created),
		s.Origin.Store[0], s.Origin.Store[1], s.Origin.Version, s.Origin.At, flags} {
		binary.LittleEndian.PutUint64(b[8*i:], w)
	}
	sum := crc64.Checksum(b[:SuperSize-8], CrcTable)
	binary.LittleEndian.PutUint64(b[SuperSize-8:], sum)
	return b
}

func DecodeSuper(b []byte) (s Superblock, err error) {
	w := func(i int) uint64 { return binary.LittleEndian.Uint64(b[8*i:]) }
	if w(0) != MagicData {
		return s, region.Corrupt(0, "magic of data (not a store?)", fmt.Sprintf("%#x", w(0)), fmt.Sprintf("%#x", uint64(MagicData)))
	}
	if w(1) != FormatVersion {
		return s, fmt.Errorf("%w: found %d, this build reads %d", ErrVersion, w(1), FormatVersion)
	}
	if sum := crc64.Checksum(b[:SuperSize-8], CrcTable); sum != w(SuperSize/8-1) {
		return s, region.Corrupt(SuperSize-8, "superblock checksum", fmt.Sprintf("%#x", w(SuperSize/8-1)), fmt.Sprintf("%#x", sum))
	}
	if w(2) != Geometry {
		return s, fmt.Errorf("%w: found geometry %#x, this build reads %#x", ErrVersion, w(2), uint64(Geometry))
	}
	s = Superblock{w(3), w(4), [2]uint64{w(5), w(6)}, StoreID{w(7), w(8)}, int64(w(9)),
		Origin{[2]uint64{w(10), w(11)}, w(12), w(13), w(14)&FlagBackup != 0}}
	if w(14)&^FlagBackup != 0 {
		return s, fmt.Errorf("%w: found flags %#x in the superblock, this build knows %#x", ErrVersion, w(14), FlagBackup)
	}
	if s.MaxSize < MinSize || s.MaxSize > MaxSize || s.MaxSize%PageSize != 0 {
		return s, region.Corrupt(24, "maximum size", s.MaxSize, fmt.Sprintf("a multiple of %d from %d to %d", PageSize, MinSize, uint64(MaxSize)))
	}
	if s.HashID != HashSip13 {
		return s, fmt.Errorf("%w: found hash %d, this build reads %d", ErrVersion, s.HashID, HashSip13)
	}
	return s, nil
}

// hashSip13 stands in the superblock for SipHash-1-3 (hamt.Hash), the one hash
// that this format knows.
const HashSip13 = 1

func EncodeProcsSuper(id StoreID) []byte {
	b := make([]byte, ProcsSuperSize)
	for i, w := range []uint64{MagicProcs, FormatVersion, Geometry, id[0], id[1]} {
		binary.LittleEndian.PutUint64(b[8*i:], w)
	}
	binary.LittleEndian.PutUint64(b[ProcsSuperSize-8:], crc64.Checksum(b[:ProcsSuperSize-8], CrcTable))
	return b
}

func DecodeProcsSuper(b []byte) (id StoreID, err error) {
	w := func(i int) uint64 { return binary.LittleEndian.Uint64(b[8*i:]) }
	if w(0) != MagicProcs {
		return id, region.Corrupt(0, "magic of procs (not a store?)", fmt.Sprintf("%#x", w(0)), fmt.Sprintf("%#x", uint64(MagicProcs)))
	}
	if sum := crc64.Checksum(b[:ProcsSuperSize-8], CrcTable); sum != w(5) {
		return id, region.Corrupt(40, "checksum of procs", fmt.Sprintf("%#x", w(5)), fmt.Sprintf("%#x", sum))
	}
	if w(1) != FormatVersion || w(2) != Geometry {
		return id, fmt.Errorf("%w: found %d with geometry %#x in procs, this build reads %d with %#x",
			ErrVersion, w(1), w(2), FormatVersion, uint64(Geometry))
	}
	return StoreID{w(3), w(4)}, nil
}

func FormatProcs(m region.Mem, id StoreID) { m.Write(OffProcsSuper, EncodeProcsSuper(id)) }

// FirstEnd is the end of an empty store: the header, the first table, the reserve, and a
// slab for the root node.
var FirstEnd = Segments[0].First + ReservePages*PageSize + PageSize

// format writes an empty store into memory that reads as zeros up to FirstEnd. Its
// first version has an empty root node.
func Format(m region.Mem, s Superblock, version uint64) {
	seg := &Segments[0]
	m.Write(OffSuper, s.Encode())
	p := seg.First
	for ; p < seg.First+ReservePages*PageSize; p += PageSize {
		m.Store(Desc(p)+DescState, uint64(MakeState(PageReserve, 0, 0, 1)))
	}
	m.Store(OffReserve, ReservePages)
	c := ClassOf(RootSize)
	m.Store(Desc(p)+DescState, uint64(MakeState(PageSlabShared, c, 0, 1)))
	m.Store(Desc(p)+DescInfo, 1)
	m.Store(Desc(p)+DescBitmap, 1)
	m.Store(p+RootBirth, version)
	m.Store(HintWord(p), 1<<HintOf(c)|1<<HintReserve)
	m.Store(OffSegHints, 1<<HintOf(c)|1<<HintReserve)
	m.Store(OffEnd, FirstEnd)
	m.Store(OffHorizon, version)
	m.Store(OffRoot, p|version<<48)
}
