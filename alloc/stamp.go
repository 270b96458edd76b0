package alloc

import "github.com/seed-869cc763/shmkv/alloc/layout"

// A Stamp is the words that an optimistic reader notes before it reads.
type Stamp struct {
	horizon uint64
	word    layout.RootWord
	end     uint64
}

// Stamp begins an optimistic read: the horizon, then the root, then the end
// (rules R2 and R1). Without ok the handle is closed or the end is wrong. An attempt to
// pin returns the reason.
func (a *Arena) Stamp() (g Stamp, ok bool) {
	g = Stamp{horizon: a.ro.Load(layout.OffHorizon), word: layout.RootWord(a.ro.Load(layout.OffRoot)), end: a.ro.Load(layout.OffEnd)}
	if g.end != a.end.Load() || a.closed.Load() {
		return a.stampGrown(g)
	}
	return g, true
}

// stampGrown ends a Stamp of a handle that does not know the end yet, or is
// closed.
func (a *Arena) stampGrown(g Stamp) (Stamp, bool) {
	end, err := a.checkEnd(g.end)
	g.end = end
	return g, err == nil && !a.closed.Load()
}

// Root is the offset of the root node, confined to memory that can be touched.
func (g Stamp) Root() uint64 { return min(g.word.Off()&^7, g.end-layout.RootSize) }

// End is the number of bytes of data that may be touched.
func (g Stamp) End() uint64 { return g.end }

// Valid reports whether no block that was reachable from the root can have been reused
// since the Stamp (rule R2). If so, the values that were read in between are those of
// the version; otherwise they mean nothing.
func (a *Arena) Valid(g Stamp) bool {
	a.ro.LoadFence()
	h := a.ro.Load(layout.OffHorizon)
	return h == g.horizon || h-g.horizon <= g.word.Lead(g.horizon)
}
