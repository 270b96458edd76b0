package shm

import (
	"encoding/binary"
	"fmt"

	"github.com/seed-869cc763/shmkv/hamt"
	"github.com/seed-869cc763/shmkv/node"
)

// Named maps.
//
// The root node refers to the directory, a trie whose keys are the names of the maps. The
// value of a name is a record: the kind of the map, its totals, and the root of its tree.
// A commit that changes a map copies the path to its record too. So one root shows all
// maps of a version.
//
// A further trie, that of dropped maps, has the records of maps that are being taken apart:
// see drop.go.
//
// Each leaf of a named map ends with the hash of the map's name, and each leaf of the
// directory with 0 (node.HasMap). When a block is to be moved, a leaf in it or below it
// tells the tree that it belongs to.
//
// Rules:
//
//	M1  A commit that changes a map writes its record, and changes the totals of named
//	    maps in the root node by as much. A map is there from its first entry on.
//	M2  A map is found by its whole name, in the directory as the transaction has changed
//	    it, and is used as the kind that its record states.
//	M3  The leaves of a map have the hash of its name. A move of a node changes what refers
//	    to it, up to the root node.
//	M4  A transaction that has used a named map is not rebased: the winner has replaced the
//	    directory. It is made again.
//	M5  A read without a pin believes nothing of a record or of a map before it has looked
//	    at the horizon again (rule R2).
//	M6  A backup has maps without entries too. A difference drops a map before it makes one
//	    of the other kind.
//
// M7 to M9 are about dropped maps: see drop.go.

// Kind is how a map is built.
type Kind uint8

// The kinds of maps.
const (
	KindHash    Kind = 1 + iota // in no order: see Map
	KindOrdered                 // in the order of bytes: see Ordered
)

// String returns "hash" or "ordered".
func (k Kind) String() string {
	switch k {
	case KindHash:
		return "hash"
	case KindOrdered:
		return "ordered"
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// MarshalText returns String, for JSON.
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// A target is the named map that a call works on. A nil target is the unnamed map.
type target struct {
	name []byte
	hash uint64 // of the name
	kind Kind
}

// target returns the target of a name.
func (s *Store) target(name string, kind Kind) target {
	b := []byte(name)
	return target{b, s.hashOf(b), kind}
}

// ordered reports whether the target is an ordered map.
func (to *target) ordered() bool { return to != nil && to.kind == KindOrdered }

// extra returns the further words of the target's leaves, those with node.HasSum if that
// is sums, which is 0 otherwise.
func (to *target) extra(sums uint64) node.Extra {
	if to == nil {
		return node.Extra{Flags: sums}
	}
	return node.Extra{Flags: node.HasMap | sums, Map: to.hash}
}

// check refuses a name that is too long.
func (to *target) check() error {
	if to != nil && len(to.name) > MaxName {
		return fmt.Errorf("%w: found a map's name of %d bytes, expected at most %d", ErrTooLarge, len(to.name), MaxName)
	}
	return nil
}

// op adds the name of the map to what is being done, for errors.
func (to *target) op(op string) string {
	if to == nil {
		return op
	}
	return fmt.Sprintf("%s map %.40q of", op, to.name)
}

// directoryExtra is the further words of the directory's leaves. They have no checksum,
// because a proof compares all words of a record with the map.
var directoryExtra = node.Extra{Flags: node.HasMap}

// A mapRecord is what the directory says of a map.
type mapRecord struct {
	kind Kind
	node.Tree
}

// The words of a record. In the value of a leaf, zero to seven bytes that are 0 precede
// them, so that they are words of the mapping.
const (
	recordKind = iota
	recordEntries
	recordData
	recordRoot
	recordWords

	recordSize = recordWords * node.WordSize
)

// encode returns the record as the value of a key of the given length, in p.
func (m mapRecord) encode(p *[node.WordSize + recordSize]byte, keyLen int) []byte {
	*p = [len(p)]byte{}
	b := p[:recordAt(uint64(keyLen))-uint64(keyLen)]
	for _, w := range [recordWords]uint64{uint64(m.kind), uint64(m.Entries), uint64(m.DataBytes), uint64(m.Root)} {
		b = binary.LittleEndian.AppendUint64(b, w)
	}
	return b
}

// recordAt returns where a record begins in a value that begins at off.
func recordAt(off uint64) uint64 { return (off + node.WordSize - 1) &^ (node.WordSize - 1) }

// readRecord reads the record in the leaf l of the directory.
func readRecord(r node.Reader, l node.Leaf) (mapRecord, error) {
	m, ok := recordIn(r, l)
	if !ok {
		return m, node.Corrupt(l.Off, "record of a map", "one of kind 1 or 2", "%d bytes, of kind %d", l.ValueLen(), m.kind)
	}
	return m, nil
}

// recordIn reads the record in the leaf l of the directory. Without ok there is none. The
// leaf may be garbage, if the caller finds out afterwards.
func recordIn(r node.Reader, l node.Leaf) (m mapRecord, ok bool) {
	at := recordAt(l.ValueOff())
	if l.ValueOff()+l.ValueLen() != at+recordSize {
		return m, false
	}
	word := func(i uint64) uint64 { return r.Mem.Word(at + i*node.WordSize) }
	k := word(recordKind)
	m = mapRecord{Kind(k), node.Tree{Root: node.Ref(word(recordRoot)), Entries: int64(word(recordEntries)), DataBytes: int64(word(recordData))}}
	return m, k == uint64(KindHash) || k == uint64(KindOrdered)
}

// record looks the target up in a directory. Without there the directory has no such map.
// The directory may be garbage, if the caller finds out afterwards.
func (to *target) record(r hamt.Reader, directory node.Ref) (m mapRecord, there bool, err error) {
	l, status := r.Find(directory, to.hash, to.name)
	switch status {
	case node.Absent:
		return m, false, to.check()
	case node.Damaged:
		return m, false, damage(r.Explain(directory, to.hash, to.name))
	}
	if m, err = readRecord(r.Reader, l); err == nil && m.kind != to.kind {
		err = errKind(to.name, m.kind, to.kind)
	}
	return m, err == nil, err
}

// treeIn is record for lookups. Without ok, record tells what is wrong.
func (to *target) treeIn(r hamt.Reader, directory node.Ref) (tree node.Tree, ok bool) {
	l, status := r.Find(directory, to.hash, to.name)
	if status != node.Present {
		return tree, status == node.Absent && len(to.name) <= MaxName
	}
	m, ok := recordIn(r.Reader, l)
	return m.Tree, ok && m.kind == to.kind
}

func errKind(name []byte, found, expected Kind) error {
	return fmt.Errorf("%w: found map %.40q of kind %v, expected %v", ErrKind, name, found, expected)
}
