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

	"github.com/seed-869cc763/shmkv/alloc/layout"
	"github.com/seed-869cc763/shmkv/alloc/region"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestClasses(t *testing.T) {
	below := uint64(0)
	for c, k := range layout.Classes {
		require.Greater(t, k.Size, below)
		require.Zero(t, k.Size%8)
		require.Equal(t, c, layout.ClassOf(k.Size))
		require.Equal(t, c, layout.ClassOf(below+1), "the least size of class %d", c)
		if below >= 64 {
			require.LessOrEqual(t, float64(k.Size-below-1), 0.125*float64(below+1), "rounding in class %d", c)
		}
		require.LessOrEqual(t, k.Blocks, uint64(256))
		require.LessOrEqual(t, k.Blocks*k.Size, k.Pages*layout.PageSize)
		for i := range k.Blocks {
			require.Equal(t, i, i*k.Size*k.Recip>>32)
			require.Equal(t, i, (i*k.Size+k.Size-1)*k.Recip>>32)
		}
		below = k.Size
	}
	require.EqualValues(t, layout.MaxBlock, below)
	require.Equal(t, layout.ClassRun, layout.ClassOf(layout.MaxBlock+1))
	require.Less(t, layout.HintOf(layout.NumClasses-1), layout.HintFree)
}

func TestSegments(t *testing.T) {
	end := uint64(0)
	for k := range layout.Segments {
		g := &layout.Segments[k]
		require.Equal(t, end, g.Start)
		end = g.Stop
		if k > 12 {
			continue // as the others, and slow
		}
		require.Equal(t, g, layout.SegmentOf(g.Start))
		require.Equal(t, g, layout.SegmentOf(g.Stop-1))
		require.Equal(t, g.Descs, layout.Desc(g.Start))
		require.Equal(t, g.First, layout.RoundUp(layout.Desc(g.Stop-layout.PageSize)+layout.DescSize, layout.PageSize), "the table ends where pages begin")
		require.LessOrEqual(t, layout.HintWord(g.Stop-1)+8, g.Descs)
	}
	require.EqualValues(t, layout.MaxSize, end)
	require.LessOrEqual(t, layout.OffSegHints+layout.MaxSegments*8, layout.OffFreePages)
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
	h, err := NewHeap(layout.MinSize)
	require.NoError(t, err)
	data, slots := region.FromWords(h.data), region.FromWords(h.slots)
	golden(t, "data-empty.txt", dump(&data, layout.MinSize, nameOfData))
	golden(t, "procs-empty.txt", dump(&slots, layout.ProcsSize, nameOfProcs))

	a, _, err := h.Attach(nil)
	require.NoError(t, err)
	s, err := a.Slot(Brief)
	require.NoError(t, err)
	for i := range uint64(2) {
		_, err := s.Begin()
		require.NoError(t, err)
		b, err := s.Alloc(24)
		require.NoError(t, err)
		s.Mem().SetWord(b+8, 0xb10c)
		s.Mem().SetWord(b+16, i)
		won, err := s.Commit(&[PayloadWords]uint64{i + 1, 24, 0, b})
		require.NoError(t, err)
		require.True(t, won)
		s.End()
	}
	h.Mem().Store(layout.OffBoot, 0) // it differs from boot to boot
	first := layout.Owner(h.Mem().Load(layout.OffOwners))
	h.Mem().Store(layout.OffOwners, uint64(first)&^(1<<48-1)|uint64(layout.MakeOwner(first.Proc(), 1))) // the generation is random
	golden(t, "data-two-commits.txt", dump(&data, layout.MinSize, nameOfData))
}

// What a copy was made to show stands behind the other words, which builds that
// know nothing of it pass over.
func TestOriginInSuperblock(t *testing.T) {
	super := layout.Superblock{MaxSize: layout.MinSize, HashID: layout.HashSip13, ID: layout.StoreID{1, 2}}
	require.Equal(t, make([]byte, layout.SuperSize-8-80), super.Encode()[80:layout.SuperSize-8], "of a store that was made empty")
	for _, backup := range []bool{false, true} {
		super.Origin = layout.Origin{Store: [2]uint64{3, 4}, Version: 5, At: 6, Backup: backup}
		b := super.Encode()
		want := []uint64{3, 4, 5, 6, 0, 0}
		if backup {
			want[4] = 1
		}
		for i, want := range want {
			require.Equal(t, want, binary.LittleEndian.Uint64(b[80+8*i:]))
		}
		got, err := layout.DecodeSuper(b)
		require.NoError(t, err)
		require.Equal(t, super, got)
	}
}

func nameOfData(off uint64) string {
	names := map[uint64]string{
		0: "magic", 8: "format version", 16: "geometry", 24: "maximum size", 32: "hash", 40: "seed", 48: "seed",
		56: "store id", 64: "store id", 72: "created", layout.SuperSize - 8: "checksum",
		layout.OffRoot: "root", layout.OffEnd: "end", layout.OffHorizon: "horizon", layout.OffFreePages: "free pages", layout.OffReserve: "pages in reserve",
		layout.OffSlotHigh: "slots ever used", layout.OffHintSeq: "sequence of hints", layout.Segments[0].Hints: "hints of pages 0 to 255",
	}
	switch {
	case names[off] != "":
		return names[off]
	case off >= layout.OffSegHints && off < layout.OffFreePages:
		return fmt.Sprintf("hints of segment %d", (off-layout.OffSegHints)/8)
	case off >= layout.OffOwners && off < layout.OffDir:
		return fmt.Sprintf("owner of slot %d", (off-layout.OffOwners)/8)
	case off >= layout.OffDir && off < layout.OffTable:
		return fmt.Sprintf("page of slot %d", (off-layout.OffDir)/8)
	case off >= layout.Segments[0].Descs && off < layout.Segments[0].First:
		i := (off - layout.Segments[0].Descs) / layout.DescSize
		field := [8]string{"state", "bitmap", "bitmap", "bitmap", "bitmap", "info"}[off%layout.DescSize/8]
		return fmt.Sprintf("page %d, %s", i, field)
	}
	return ""
}

func nameOfProcs(off uint64) string {
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
