package node

import (
	"fmt"
	"hash/crc32"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sum returns the checksum of the leaf l: the CRC-32C of its head, key, value and, with
// HasMap, the word of its map. It does not cover the birth, which the commit writes, and
// the bytes between the value and the further words.
func (r Reader) sum(l Leaf) uint64 {
	sum := crc32.Checksum(r.Mem.Bytes(l.Off+HeadOff, HeaderSize-HeadOff+l.KeyLen()+l.ValueLen()), castagnoli)
	if l.Flags()&HasMap != 0 {
		sum = crc32.Update(sum, castagnoli, r.Mem.Bytes(l.wordOff(HasMap), WordSize))
	}
	return uint64(sum)
}

// Digest returns a number that the contents of the leaf l determine, made from its checksum,
// or 0 if it has none. The sum of the digests of leaves tells whether they are those that
// were written. The Reader has read l by Leaf or LeafHead.
func (r Reader) Digest(l Leaf) uint64 {
	if l.Flags()&HasSum == 0 {
		return 0
	}
	return mix(mix(l.head) + r.Mem.Word(l.wordOff(HasSum)))
}

// mix is the finalizer of SplitMix64 (Steele, Lea, Flood 2014).
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// CheckSum returns a region.CorruptError that names the key if the leaf l, which the
// Reader has read by Leaf or LeafHead, has a checksum that is not that of its contents.
func (r Reader) CheckSum(l Leaf) error {
	if l.Flags()&HasSum == 0 {
		return nil
	}
	found, want := r.Mem.Word(l.wordOff(HasSum)), r.sum(l)
	if found == want {
		return nil
	}
	return Corrupt(l.Off, fmt.Sprintf("checksum of the entry of key %.40q", r.Key(l)), fmt.Sprintf("%#x", want), "%#x", found)
}
