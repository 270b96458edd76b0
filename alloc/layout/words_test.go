package layout

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// What is packed comes out again, and nothing leaks from one field to the next.
func TestWords(t *testing.T) {
	const off = 1<<44 - 8
	for _, class := range []int{0, NumClasses - 1, ClassPage, ClassRun} {
		i := MakeItem(off, class)
		require.Equal(t, uint64(off), i.Off())
		require.Equal(t, class, i.Class())
		require.False(t, i.IsRoot())
		require.True(t, i.AsRoot().IsRoot())
		require.Equal(t, uint64(off), i.AsRoot().Off())
		require.Equal(t, class, i.AsRoot().Class())
		require.Equal(t, i, i.AsRoot().Block())
	}

	p := Place(5*PageSize + 254)
	require.Equal(t, uint64(5*PageSize), p.Page())
	require.Equal(t, uint64(254), p.Index())

	d := MakingPage(9 * PageSize)
	require.True(t, d.IsMaking())
	require.Equal(t, uint64(9*PageSize), d.Page())
	require.False(t, DirWord(9*PageSize).IsMaking())

	r := MakeRecord(7*PageSize, RecTake)
	require.Equal(t, uint64(7*PageSize), r.Page())
	require.Equal(t, RecTake, r.Kind())

	for _, proc := range []int{0, MaxProcs - 1} {
		for _, gen := range []uint64{0, 1<<32 - 1, 1<<32 + 5} {
			o := MakeOwner(proc, gen)
			require.Equal(t, proc, o.Proc())
			require.False(t, o.IsIdle())
			c := o.Claim(1<<16 - 1)
			require.Equal(t, proc, c.Proc())
			require.NotEqual(t, o, c)
			require.True(t, c.Idle().IsIdle())
			require.Equal(t, proc, c.Idle().Proc())
			require.Equal(t, c, c.Idle().InUse())
		}
		g := MakeGate(proc, 500, 1<<32+9)
		require.Equal(t, proc, g.Proc())
		require.Equal(t, uint64(500), g.Millis())
	}
	require.Equal(t, -1, Owner(0).Proc())
	require.Equal(t, -1, Gate(0).Proc())

	w := MakeProcWord(1<<40 + 3)
	require.Equal(t, uint64(1<<40+3), w.Gen())
	require.True(t, w.Taken())
	require.False(t, w.Left().Taken())
	require.Equal(t, w.Gen(), w.Left().Gen())

	require.Equal(t, w.Gen(), w.Dead().Gen())
	require.True(t, w.Dead().Taken())
	require.NotEqual(t, w, w.Dead())
	require.Equal(t, w.Left(), w.Dead().Left())

	for _, gen := range []uint64{0, 1, 1<<48 - 1} {
		h := MakeHandle(MaxProcs-1, gen)
		require.Equal(t, MaxProcs-1, h.Proc())
		require.Equal(t, gen, h.Gen())
		require.Equal(t, gen, MakeProcWord(gen).Gen())
	}
	require.Equal(t, -1, Handle(0).Proc())

	for _, bell := range []BellWord{0, 1, 2, 1<<64 - 2, 1<<64 - 1} {
		require.True(t, bell.Listened().IsListened())
		require.False(t, bell.Rung().IsListened())
		require.NotEqual(t, uint32(bell.Listened()), uint32(bell.Rung().Listened()), "a sleeper sees that it has rung")
	}
	require.EqualValues(t, OffProcs, BellOff(Bells))

	mark := MakeMark(MaxSlots - 1)
	require.Equal(t, mark, (mark | 77).Mark())
	require.Equal(t, uint64(77), (mark | 77).Index())
	require.False(t, mark.IsReturn())
	require.True(t, MakeReturn(MaxSlots-1).IsReturn())
	require.False(t, Head(MaxVersion).IsReturn())
}

// The version follows from the horizon and the tag, also where the tag wraps around.
func TestVersionOfRootWord(t *testing.T) {
	for _, horizon := range []uint64{0, 1, 1<<16 - 1, 1 << 16, MaxVersion - 1<<16} {
		for _, lead := range []uint64{0, 1, 1<<16 - 1} {
			w := MakeRoot(1<<44-64, horizon+lead)
			require.Equal(t, uint64(1<<44-64), w.Off())
			require.Equal(t, horizon+lead, w.VersionFrom(horizon))
			require.Equal(t, lead, w.Lead(horizon))
		}
	}
}

// The bits of a slab's blocks are in the four words of its descriptor.
func TestBit(t *testing.T) {
	p := Segments[0].First + 3*PageSize
	seen := map[[2]uint64]bool{}
	for block := range uint64(256) {
		at, mask := Bit(p, block)
		require.Equal(t, Desc(p)+DescBitmap+block/64*8, at)
		require.Less(t, at, Desc(p)+DescInfo)
		seen[[2]uint64{at, mask}] = true
	}
	require.Len(t, seen, 256)
}
