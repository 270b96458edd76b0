package main

import (
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The text contains each unit once, and a legend of all characters. With colours it has the
// same characters.
func TestMapAsText(t *testing.T) {
	s := newStore(t)
	for i := range 3000 {
		require.NoError(t, s.Set(fmt.Append(nil, "k", i), make([]byte, i)))
	}
	for i := range 1500 {
		_, err := s.Delete(fmt.Append(nil, "k", i*2))
		require.NoError(t, err)
	}
	for _, units := range []int64{textUnits, 100} {
		m, err := mapStore(t.Context(), s, units)
		require.NoError(t, err)
		var plain, coloured strings.Builder
		st := s.Stats()
		require.NoError(t, m.print(&plain, s.Path(), st, false))
		require.NoError(t, m.print(&coloured, s.Path(), st, true))
		require.NotContains(t, plain.String(), "\x1b")
		escapes := regexp.MustCompile(`\x1b\[[0-9;]*m`)
		require.Equal(t, plain.String(), escapes.ReplaceAllString(coloured.String(), ""))

		parts := strings.Split(plain.String(), "\n\n")
		require.Len(t, parts, 3)
		var shown strings.Builder
		for line := range strings.Lines(parts[1]) {
			require.Regexp(t, `^ *[0-9.]+ [KMG]?i?B  [^ ]{1,64}\n?$`, line)
			shown.WriteString(strings.TrimSpace(line[12:]))
		}
		require.Len(t, shown.String(), len(m.units))
		legend := map[rune]string{}
		for line := range strings.Lines(parts[2]) {
			legend[rune(line[0])] = line
		}
		for i, char := range shown.String() {
			k := mapKinds[m.units[i].shown()]
			require.Equal(t, rune(k.char), char)
			require.Contains(t, legend[char], k.label)
			require.Contains(t, coloured.String(), fmt.Sprintf("48;5;%dm%c\x1b[0m", k.colour, char))
		}
	}
}

func TestMapShown(t *testing.T) {
	slab := func(used, retired, vacant int64) *mapUnit {
		u := &mapUnit{used: used, retired: retired, vacant: vacant}
		u.bytes[slabKind] = 10
		return u
	}
	require.Equal(t, slabKind, slab(4, 3, 3).shown())
	require.Equal(t, slabKind, slab(5, 5, 0).shown())
	require.Equal(t, retiredKind, slab(3, 4, 3).shown())
	require.Equal(t, vacantKind, slab(3, 3, 4).shown())
	holes := slab(0, 0, 4) // and a part of a slab
	holes.bytes[holeKind] = 11
	require.Equal(t, holeKind, holes.shown())
}

// Only a terminal gets colours, and only if its user has not set NO_COLOR.
func TestHasColours(t *testing.T) {
	_, line := openTerminal(t)
	t.Setenv("NO_COLOR", "")
	t.Setenv("TERM", "xterm")
	require.True(t, hasColours(line))
	require.False(t, hasColours(io.Discard))
	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer func() { _, _ = r.Close(), w.Close() }()
	require.False(t, hasColours(w))
	t.Setenv("NO_COLOR", "1")
	require.False(t, hasColours(line))
	t.Setenv("NO_COLOR", "")
	t.Setenv("TERM", "dumb")
	require.False(t, hasColours(line))
}

// Each colour of a picture belongs to a kind, and the legend has each kind once.
func TestMapLegend(t *testing.T) {
	s := newStore(t)
	for i := range 3000 {
		require.NoError(t, s.Set(fmt.Append(nil, "k", i), make([]byte, i)))
	}
	m, err := mapStore(t.Context(), s, mapUnits)
	require.NoError(t, err)
	d := m.draw(s.Path(), s.Stats())
	legend := map[string]bool{}
	items := m.legend()
	for _, r := range d.rects[len(d.rects)-len(items):] {
		legend[fmt.Sprint(r.colour)] = true
	}
	require.Len(t, legend, len(items))
	for _, r := range d.rects {
		require.True(t, legend[fmt.Sprint(r.colour)], "%v", r)
	}
	require.Greater(t, len(items), 8)
	var all int64
	for _, l := range items[:len(items)-2] {
		all += l.bytes
	}
	require.Equal(t, s.Stats().FileBytes, all)
}
