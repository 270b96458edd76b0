package alloc

import (
	"math/bits"

	"github.com/seed-869cc763/shmkv/alloc/layout"
)

// eachBlock calls visit for the blocks in use of a window, until it returns false.
// It reports whether all is slabs that nobody owns, and free pages.
func (a *Arena) eachBlock(w span, visit func(off uint64, c int) bool) bool {
	for p := w.from; p < w.to; {
		u := a.unitAt(p, w.to, true)
		if u.fixed {
			return false
		}
		if u.class >= 0 && !a.eachUsed(p, int(u.class), func(off uint64) bool { return visit(off, int(u.class)) }) {
			return false
		}
		p += uint64(u.pages) << layout.PageShift
	}
	return true
}

// eachUsed calls visit for the blocks of a slab that are not free when their turn
// comes, until it returns false, and then reports false.
func (a *Arena) eachUsed(p uint64, c int, visit func(off uint64) bool) bool {
	for i := range 4 {
		at := layout.Desc(p) + layout.DescBitmap + uint64(i)*8
		for todo := slabMask(c, i); ; {
			if todo &= a.ro.Load(at); todo == 0 {
				break
			}
			if !visit(p + uint64(64*i+bits.TrailingZeros64(todo))*layout.Classes[c].Size) {
				return false
			}
			todo &= todo - 1
		}
	}
	return true
}

// usedBlocks counts the blocks of a slab that are not free.
func (a *Arena) usedBlocks(p uint64, c int) (n int) {
	for i := range 4 {
		n += bits.OnesCount64(a.ro.Load(layout.Desc(p)+layout.DescBitmap+uint64(i)*8) & slabMask(c, i))
	}
	return n
}

// holdsAny reports whether a snapshot holds a block of the window, or one is not
// published: moving that frees nothing now. What only a checkpoint holds is free after the
// next one.
func (s *Slot) holdsAny(w span) bool {
	a := s.a
	newest := uint64(0)
	for i := range min(int(a.shared.Load(layout.OffPinHigh)), layout.MaxSnapPins) {
		newest = max(newest, a.shared.Load(snapPin(i)+layout.PinVersion))
	}
	return !a.eachBlock(w, func(off uint64, _ int) bool {
		birth := a.ro.Load(off)
		return birth > newest && birth <= layout.MaxVersion
	})
}

// isFree reports whether all pages of a window are free, and whether they are free
// or in the reserve.
func (a *Arena) isFree(w span) (free, spent bool) {
	free, spent = true, true
	for p := w.from; p < w.to; p += layout.PageSize {
		if st := a.page(p); !st.Free() {
			free = false
			spent = spent && st.State() == layout.PageReserve
		}
	}
	return free, spent
}
