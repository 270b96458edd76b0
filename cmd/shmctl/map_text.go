package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/seed-869cc763/shmkv/cmd/shmctl/internal/text"
	"github.com/seed-869cc763/shmkv/shm"
)

// Sizes of the text, in characters.
const (
	textColumns = 64
	textUnits   = 32 * textColumns // most units
)

// hasColours reports whether text written to w may contain colours. See
// https://no-color.org.
func hasColours(w io.Writer) bool {
	return isTerminal(w) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

// print writes the map as text. Each line begins with its offset in the file.
func (m *storeMap) print(w io.Writer, path string, st shm.Stats, colours bool) error {
	show := func(k mapKind) string { return string(k.char) }
	if colours {
		show = mapKind.coloured
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s\nfrom left to right and down, %s to a character\n\n", m.title(path, st), text.Size(m.unitBytes))
	for i := range m.units {
		if i%textColumns == 0 {
			fmt.Fprintf(&b, "%10s  ", text.Size(int64(i)*m.unitBytes))
		}
		b.WriteString(show(mapKinds[m.units[i].shown()]))
		if i%textColumns == textColumns-1 || i == len(m.units)-1 {
			b.WriteByte('\n')
		}
	}
	b.WriteByte('\n')
	for _, l := range m.legend() {
		fmt.Fprintf(&b, "%s  %-24s%12s\n", show(l.mapKind), l.label, text.Size(l.bytes))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// shown returns the kind that takes most of a unit or, if most of its blocks are retired
// or free, that state.
func (u *mapUnit) shown() int {
	kind := u.main()
	switch {
	case kind < slabKind || u.used >= max(u.retired, u.vacant):
		return kind
	case u.retired >= u.vacant:
		return retiredKind
	}
	return vacantKind
}

// coloured returns the character in black or white on the kind's colour.
func (k mapKind) coloured() string {
	c := k.colour.rgba()
	ink := paletteColour(231)
	if 299*int(c.R)+587*int(c.G)+114*int(c.B) > 128*1000 { // brighter than a medium grey
		ink = 16
	}
	return fmt.Sprintf("\x1b[38;5;%d;48;5;%dm%c\x1b[0m", ink, k.colour, k.char)
}
