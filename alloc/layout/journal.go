package layout

import (
	"encoding/binary"
	"hash/crc64"
	"time"
)

// A JournalRecord brings the store from one version to a later one: it holds all blocks that
// the later version reaches and the one before does not. The records of a journal follow a
// checkpoint. Each names the checksum of what it follows, which is the record before it, or
// the checkpoint. So a record of an earlier use of the journal follows nothing.
//
// A record is a head of JournalHeadSize bytes, then the blocks. Each block is its offset in
// data, its size, and as many bytes, rounded up to whole words.
type JournalRecord struct {
	Before  uint64 // checksum of what it follows
	Version uint64
	Root    uint64 // offset of the root node
	End     uint64 // bytes of data that the version may lie in
	Time    int64  // when it was written, Unix time in nanoseconds
	Bytes   uint64 // of the blocks
	Sum     uint64 // CRC-64/ECMA of the record up to here, and of the blocks
}

const (
	// JournalSize is the size of a journal in bytes.
	JournalSize = 8 << 20
	// JournalHeadSize is the size of a record's head in bytes.
	JournalHeadSize = 8 * 8
	// JournalAlign is what records begin at a multiple of. No write to a record touches a
	// sector of another one.
	JournalAlign = 512

	magicJournal = 0x0a1a746c6e6a686b // "khjnlt\x1a\n"
)

// At returns when the record was written.
func (r JournalRecord) At() time.Time { return time.Unix(0, r.Time).UTC() }

// AppendJournalBlock appends the head of a block of size bytes, which follow it.
func AppendJournalBlock(b []byte, off, size uint64) []byte {
	return binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(b, off), size)
}

// Finish writes the head of a record in front of the blocks in b[JournalHeadSize:], and sets
// r.Bytes and r.Sum.
func (r *JournalRecord) Finish(b []byte) {
	r.Bytes = uint64(len(b) - JournalHeadSize)
	for i, w := range []uint64{magicJournal, r.Before, r.Version, r.Root, r.End, uint64(r.Time), r.Bytes} {
		binary.LittleEndian.PutUint64(b[8*i:], w)
	}
	r.Sum = journalSum(b)
	binary.LittleEndian.PutUint64(b[JournalHeadSize-8:], r.Sum)
}

func journalSum(b []byte) uint64 {
	return crc64.Update(crc64.Checksum(b[:JournalHeadSize-8], CrcTable), CrcTable, b[JournalHeadSize:])
}

// DecodeJournal returns the record at the beginning of b, and its blocks. It reports false if
// there is none that follows what has the checksum before, or a torn one.
func DecodeJournal(b []byte, before uint64) (r JournalRecord, blocks []byte, ok bool) {
	if len(b) < JournalHeadSize {
		return r, nil, false
	}
	w := func(i int) uint64 { return binary.LittleEndian.Uint64(b[8*i:]) }
	r = JournalRecord{w(1), w(2), w(3), w(4), int64(w(5)), w(6), w(7)}
	if w(0) != magicJournal || r.Before != before || r.Version > MaxVersion || r.Bytes > uint64(len(b)-JournalHeadSize) {
		return r, nil, false
	}
	b = b[:JournalHeadSize+r.Bytes]
	return r, b[JournalHeadSize:], journalSum(b) == r.Sum
}

// NextJournalBlock splits the first block off the blocks of a record. Without ok there is
// none in b.
func NextJournalBlock(b []byte) (off, size uint64, block, rest []byte, ok bool) {
	if len(b) < 16 {
		return 0, 0, nil, nil, false
	}
	off, size, b = binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:]), b[16:]
	if size > uint64(len(b)) || RoundUp(size, 8) > uint64(len(b)) {
		return off, size, nil, nil, false
	}
	n := RoundUp(size, 8)
	return off, size, b[:n], b[n:], true
}
