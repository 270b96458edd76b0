package alloc

import (
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/alloc/region"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestClasses(t *testing.T) {
	below := uint64(0)
	for c, k := range classes {
		require.Greater(t, k.size, below)
		require.Zero(t, k.size%8)
		require.Equal(t, c, classOf(k.size))
		require.Equal(t, c, classOf(below+1), "the least size of class %d", c)
		if below >= 64 {
			require.LessOrEqual(t, float64(k.size-below-1), 0.125*float64(below+1), "rounding in class %d", c)
		}
		require.LessOrEqual(t, k.blocks, uint64(256))
		require.LessOrEqual(t, k.blocks*k.size, k.pages*pageSize)
		for i := range k.blocks {
			require.Equal(t, i, i*k.size*k.recip>>32)
			require.Equal(t, i, (i*k.size+k.size-1)*k.recip>>32)
		}
		below = k.size
	}
	require.EqualValues(t, maxBlock, below)
	require.Equal(t, classRun, classOf(maxBlock+1))
	require.Less(t, hintOf(numClasses-1), hintFree)
}

func TestSegments(t *testing.T) {
	end := uint64(0)
	for k := range segments {
		g := &segments[k]
		require.Equal(t, end, g.start)
		end = g.stop
		if k > 12 {
			continue // as the others, and slow
		}
		require.Equal(t, g, segmentOf(g.start))
		require.Equal(t, g, segmentOf(g.stop-1))
		require.Equal(t, g.descs, desc(g.start))
		require.Equal(t, g.first, roundUp(desc(g.stop-pageSize)+descSize, pageSize), "the table ends where pages begin")
		require.LessOrEqual(t, hintWord(g.stop-1)+8, g.descs)
	}
	require.EqualValues(t, MaxSize, end)
	require.LessOrEqual(t, offSegHints+maxSegments*8, offFreePages)
}

// dump writes the words of m that are not zero, with what they are.
func dump(m *region.Mem, size uint64, name func(off uint64) string) string {
	var b strings.Builder
	for off := uint64(0); off < size; off += 8 {
		if w := m.Word(off); w != 0 {
			var raw [8]byte
			binary.LittleEndian.PutUint64(raw[:], w)
			line := fmt.Sprintf("%06x  % x  %s", off, raw, name(off))
			b.WriteString(strings.TrimSpace(line) + "\n")
		}
	}
	return b.String()
}

func golden(t *testing.T, file, got string) {
	path := "testdata/" + file
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(path, []byte(got), 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), got, "the format has changed: raise FormatVersion, then go test ./alloc -update")
}

// TestGolden holds an empty store, and one after two commits, against dumps. A
// change of the format is a change of these files.
func TestGolden(t *testing.T) {
	h, err := NewHeap(MinSize)
	require.NoError(t, err)
	data, slots := region.FromWords(h.data), region.FromWords(h.slots)
	golden(t, "data-empty.txt", dump(&data, MinSize, nameOfData))
	golden(t, "slots-empty.txt", dump(&slots, slotsSize, nameOfSlots))

	a, _, err := h.Attach(nil)
	require.NoError(t, err)
	s, err := a.Slot(true, false)
	require.NoError(t, err)
	for i := range uint64(2) {
		_, err := s.Begin()
		require.NoError(t, err)
		b, err := s.Alloc(24)
		require.NoError(t, err)
		s.Mem().SetWord(b+8, 0xb10c)
		s.Mem().SetWord(b+16, i)
		won, err := s.Commit([PayloadWords]uint64{i + 1, 24, 0, b})
		require.NoError(t, err)
		require.True(t, won)
		s.End()
	}
	golden(t, "data-two-commits.txt", dump(&data, MinSize, nameOfData))
}

// What a copy was made to show stands behind the other words, which builds that
// know nothing of it pass over.
func TestOriginInSuperblock(t *testing.T) {
	super := superblock{maxSize: MinSize, hashID: hashSip13, id: storeID{1, 2}}
	require.Equal(t, make([]byte, superSize-8-80), super.encode()[80:superSize-8], "of a store that was made empty")
	for _, backup := range []bool{false, true} {
		super.origin = Origin{[2]uint64{3, 4}, 5, 6, backup}
		b := super.encode()
		want := []uint64{3, 4, 5, 6, 0, 0}
		if backup {
			want[4] = 1
		}
		for i, want := range want {
			require.Equal(t, want, binary.LittleEndian.Uint64(b[80+8*i:]))
		}
		got, err := decodeSuper(b)
		require.NoError(t, err)
		require.Equal(t, super, got)
	}
}

func nameOfData(off uint64) string {
	names := map[uint64]string{
		0: "magic", 8: "format version", 16: "geometry", 24: "maximum size", 32: "hash", 40: "seed", 48: "seed",
		56: "store id", 64: "store id", 72: "created", superSize - 8: "checksum",
		offRoot: "root", offEnd: "end", offHorizon: "horizon", offFreePages: "free pages", offReserve: "pages in reserve",
		offSlotHigh: "slots ever used", offHintSeq: "sequence of hints", segments[0].hints: "hints of pages 0 to 255",
	}
	switch {
	case names[off] != "":
		return names[off]
	case off >= offSegHints && off < offFreePages:
		return fmt.Sprintf("hints of segment %d", (off-offSegHints)/8)
	case off >= offOwners && off < offDir:
		return fmt.Sprintf("owner of slot %d", (off-offOwners)/8)
	case off >= offDir && off < offTable:
		return fmt.Sprintf("page of slot %d", (off-offDir)/8)
	case off >= segments[0].descs && off < segments[0].first:
		i := (off - segments[0].descs) / descSize
		field := [8]string{"state", "bitmap", "bitmap", "bitmap", "bitmap", "info"}[off%descSize/8]
		return fmt.Sprintf("page %d, %s", i, field)
	}
	return ""
}

func nameOfSlots(off uint64) string {
	return map[uint64]string{0: "magic", 8: "format version", 16: "geometry", 24: "store id", 32: "store id", 40: "checksum"}[off]
}

func TestRefusedFileSystems(t *testing.T) {
	require.NoError(t, refuseFS(0x01021994), "tmpfs")
	require.NoError(t, refuseFS(0xef53), "ext4")
	require.ErrorContains(t, refuseFS(0x6969), "nfs")
	require.ErrorContains(t, refuseFS(0xff534d42), "cifs")
	require.ErrorContains(t, refuseFS(0x794c7630), "type overlay, expected a local one such as tmpfs, ext4, xfs or btrfs (in a container, put the store on a volume or on a tmpfs")
	for magic := range refusedFS {
		require.ErrorIs(t, refuseFS(magic), errors.ErrUnsupported)
		require.ErrorContains(t, refuseFS(magic), "found a file system of type "+refusedFS[magic]+", expected")
	}
}
