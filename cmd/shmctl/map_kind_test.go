package main

import (
	"image/color"
	"testing"

	"github.com/lucasb-eyer/go-colorful"
	"github.com/stretchr/testify/require"
)

// All kinds have different characters, and colours that are easy to distinguish from each
// other and from the white background. A distance of 2 between two colours is just visible
// side by side.
func TestMapKindsDiffer(t *testing.T) {
	const distance = 15
	white := mapKind{label: "white", char: ' ', colour: 231}
	require.Equal(t, color.RGBA{0xff, 0xff, 0xff, 0xff}, white.colour.rgba())
	seen := []mapKind{white}
	for _, k := range mapKinds {
		require.True(t, k.char > ' ' && k.char <= '~', "%s: %q", k.label, k.char)
		require.GreaterOrEqual(t, k.colour, paletteColour(16), k.label)
		c, _ := colorful.MakeColor(k.colour.rgba())
		for _, other := range seen {
			require.NotEqual(t, other.label, k.label)
			require.NotEqual(t, other.char, k.char, "%s, %s", other.label, k.label)
			d, _ := colorful.MakeColor(other.colour.rgba())
			require.GreaterOrEqual(t, 100*c.DistanceCIEDE2000(d), float64(distance), "%s, %s", other.label, k.label)
		}
		seen = append(seen, k)
	}
}

func TestPaletteColour(t *testing.T) {
	for c, want := range map[paletteColour]color.RGBA{
		16: {0, 0, 0, 0xff}, 17: {0, 0, 0x5f, 0xff}, 160: {0xd7, 0, 0, 0xff}, 208: {0xff, 0x87, 0, 0xff}, 242: {0x6c, 0x6c, 0x6c, 0xff}, 255: {0xee, 0xee, 0xee, 0xff},
	} {
		require.Equal(t, want, c.rgba(), c)
	}
}
