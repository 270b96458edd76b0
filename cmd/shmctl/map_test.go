package main

import (
	"encoding/xml"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/shm"
)

// pictures returns the map of a store as PNG and SVG.
func pictures(t *testing.T, path string) (image.Image, string) {
	t.Helper()
	dir := t.TempDir()
	var files [2]*os.File
	for i, name := range []string{"map.png", "map.SVG"} {
		name = filepath.Join(dir, name)
		code, out, stderr := runs("", "map", path, "-o", name)
		require.Equal(t, exitOK, code, stderr)
		require.Empty(t, out)
		var err error
		files[i], err = os.Open(name)
		require.NoError(t, err)
		defer func() { _ = files[i].Close() }()
	}
	img, err := png.Decode(files[0])
	require.NoError(t, err)
	text, err := io.ReadAll(files[1])
	require.NoError(t, err)
	for d := xml.NewDecoder(strings.NewReader(string(text))); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else {
			require.NoError(t, err)
		}
	}
	return img, string(text)
}

func TestMap(t *testing.T) {
	path := filepath.Join(t.TempDir(), `a<b>&"`)
	s, err := shm.Open(path, nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	for i := range 2000 {
		require.NoError(t, s.Set(fmt.Append(nil, "k", i), make([]byte, 400)))
	}
	require.NoError(t, s.Set([]byte("large"), make([]byte, 100_000)))
	img, text := pictures(t, path)
	require.Equal(t, mapWidth, img.Bounds().Dx())
	count := func(c color.RGBA) (n int) {
		for y := range img.Bounds().Dy() {
			for x := range img.Bounds().Dx() {
				if img.At(x, y) == c {
					n++
				}
			}
		}
		return n
	}
	blocks := mapKinds[slabKind+4] // blocks to 512 B, for values of 400 bytes
	require.Equal(t, "blocks to 512 B", blocks.label)
	require.Greater(t, count(blocks.colour.rgba()), 100*largeUnit*largeUnit/2)
	require.Greater(t, count(mapKinds[runKind].colour.rgba()), 20*largeUnit*largeUnit/2)
	retired := count(mapKinds[retiredKind].colour.rgba())
	require.Contains(t, text, "a&lt;b&gt;&amp;")
	require.Contains(t, text, "version 2,002, 2,001 entries")
	require.Contains(t, text, ">larger values  100.0 KiB<")

	// Blocks that a snapshot holds are red.
	sn, err := s.Snapshot()
	require.NoError(t, err)
	defer func() { _ = sn.Close() }()
	for i := range 1000 {
		require.NoError(t, s.Set(fmt.Append(nil, "k", i), nil))
	}
	img, _ = pictures(t, path)
	require.Greater(t, count(mapKinds[retiredKind].colour.rgba()), retired+50*largeUnit*largeUnit/2)
}

// A map of any unit size contains all bytes, and its picture has the right size.
func TestMapUnits(t *testing.T) {
	s := newStore(t)
	for i := range 3000 {
		require.NoError(t, s.Set(fmt.Append(nil, "k", i), make([]byte, i)))
	}
	var before mapUnit
	for _, unit := range []int64{4 << 10, 16 << 10, 1 << 20, 1 << 30} {
		m := storeMap{unitBytes: unit}
		x := s.Inspect().Extents(t.Context())
		for e := range x.All() {
			m.add(e)
		}
		require.NoError(t, x.Err())
		file := s.Stats().FileBytes
		require.Len(t, m.units, int((file+unit-1)/unit))
		var sum mapUnit
		for i, u := range m.units {
			var bytes int64
			for kind, n := range u.bytes {
				sum.bytes[kind] += n
				bytes += n
			}
			require.Equal(t, min(unit, file-int64(i)*unit), bytes)
			sum.used += u.used
			sum.retired += u.retired
			sum.vacant += u.vacant
		}
		sum.begins = true
		require.Equal(t, m.whole, sum)
		if unit > 4<<10 {
			require.Equal(t, before.bytes, sum.bytes)
		}
		before = sum
	}
	m := storeMap{unitBytes: 4096, units: make([]mapUnit, mapUnits)}
	d := m.draw("full", shm.Stats{})
	require.Less(t, d.height, mapHeight+12*mapLine)
}

func TestKindOf(t *testing.T) {
	for bytes, want := range map[int64]string{
		16: "blocks to 32 B", 32: "blocks to 32 B", 40: "blocks to 64 B", 1024: "blocks to 1 KiB", 1152: "blocks to 2 KiB", 32 << 10: "blocks to 32 KiB",
	} {
		require.Equal(t, want, mapKinds[kindOf(shm.Extent{Kind: shm.ExtentSlab, BlockBytes: bytes})].label)
	}
	require.Equal(t, "larger values", mapKinds[kindOf(shm.Extent{Kind: shm.ExtentRun, BlockBytes: 1 << 20})].label)
	for kind, want := range map[shm.ExtentKind]int{
		shm.ExtentTable: tableKind, shm.ExtentSlot: tableKind, shm.ExtentList: listKind, shm.ExtentFree: freeKind,
		shm.ExtentReserve: freeKind, shm.ExtentHole: holeKind, shm.ExtentOther: otherKind,
	} {
		require.Equal(t, want, kindOf(shm.Extent{Kind: kind}), kind)
	}
}
