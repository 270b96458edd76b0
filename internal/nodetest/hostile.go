package nodetest

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/seed-869cc763/shmkv/alloc/region"
	"github.com/seed-869cc763/shmkv/node"
)

// guard fills the words after the end of a hostile region, so that the test sees a
// write there.
const guard = 0x6a7d6a7d6a7d6a7d

// HostileRegion copies words into a region with a guard behind it, and returns the end of
// the words.
func HostileRegion(words []uint64) (mem region.Mem, end uint64) {
	all := make([]uint64, len(words)+1024)
	copy(all, words)
	for i := len(words); i < len(all); i++ {
		all[i] = guard
	}
	return region.FromWords(all), uint64(len(words)) * node.WordSize
}

// RequireGuard fails the test if something was written behind a hostile region's end.
func RequireGuard(t testing.TB, mem region.Mem, end uint64) {
	t.Helper()
	for off := end; off < mem.Size(); off += node.WordSize {
		if mem.Word(off) != guard {
			t.Fatalf("a write beyond the end, at %#x", off)
		}
	}
}

// RequireCorruptOrNil fails the test if err is neither nil, nor ErrFull, nor the error of
// a damaged store that says what was found.
func RequireCorruptOrNil(t testing.TB, err error) {
	t.Helper()
	var c *region.CorruptError
	if err != nil && !errors.Is(err, ErrFull) && !(errors.Is(err, region.ErrCorrupt) && errors.As(err, &c) && c.Found != "") {
		t.Fatalf("not an error of a damaged store: %v", err)
	}
}

// Words returns the words of a heap up to its last block.
func (h *Heap) Words() (all []uint64) {
	for off := uint64(0); off < h.Top; off += node.WordSize {
		all = append(all, h.Mem.Word(off))
	}
	return all
}

// Break overwrites one word with a value that is likely to mislead. root is that of the
// tree, of whose nodes kind is a kind.
func Break(rnd *rand.Rand, words []uint64, root, kind node.Ref) {
	i, j := rnd.IntN(len(words)), rnd.IntN(len(words))
	words[i] = [...]uint64{
		0, 1, ^uint64(0), words[i] ^ 1<<rnd.IntN(64), words[j], uint64(root),
		uint64(len(words))*node.WordSize - node.WordSize | uint64(kind), words[i]&^7 | rnd.Uint64()&7,
	}[rnd.IntN(8)]
}

// ToBytes returns words as the bytes of memory.
func ToBytes(words []uint64) (p []byte) {
	for _, w := range words {
		p = binary.LittleEndian.AppendUint64(p, w)
	}
	return p
}

// ToWords returns the words of which p is the memory, at least n.
func ToWords(p []byte, n int) []uint64 {
	words := make([]uint64, max(n, len(p)/node.WordSize))
	for i := range len(p) / node.WordSize {
		words[i] = binary.LittleEndian.Uint64(p[node.WordSize*i:])
	}
	return words
}

// A Drain is a node.Allocator that allocates anywhere in a hostile region and believes
// the marks that it finds there.
type Drain struct {
	R    node.Reader
	next uint64
}

func (d *Drain) Alloc(size uint64) (uint64, error) {
	size = ClassSize(size)
	if d.next+size > d.R.End {
		return 0, ErrFull
	}
	d.next += size
	return d.next - size, nil
}
func (d *Drain) Mine(off, _ uint64) bool      { return d.R.Mem.Word(off)&1 != 0 }
func (d *Drain) Age(off uint64) uint64        { return d.R.Mem.Word(off) }
func (d *Drain) LogLen() uint64               { return 0 }
func (d *Drain) Discard(off, size uint64)     {}
func (d *Drain) Retire(off, size uint64)      {}
func (d *Drain) Unretire(off uint64)          {}
func (d *Drain) Rewind(n uint64)              {}
func (d *Drain) BlockSize(size uint64) uint64 { return ClassSize(size) }
