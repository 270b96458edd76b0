package alloc

import (
	"cmp"
	"math/bits"
	"slices"

	"github.com/seed-869cc763/shmkv/alloc/layout"
)

// A span is a range of offsets.
type span struct{ from, to uint64 }

// A unit is a free page or a slab, or something that cannot be moved.
type unit struct {
	at    uint64
	pages int32
	class int32 // -1: free
	used  int32 // blocks
	fixed bool
}

// A survey is the units of a part of the file.
type survey struct {
	units []unit
	found []window
	next  uint64                 // where the next one begins, or 0
	pages int                    // looked at
	left  [layout.NumClasses]int // free blocks in shared slabs outside of the planned windows
	empty int                    // free pages outside of them
}

// look surveys up to surveyPages pages from an offset on. holes says that there is
// memory for holes.
func (a *Arena) look(v *survey, from uint64, holes bool) {
	*v = survey{units: v.units[:0], found: v.found[:0]}
	end := a.end.Load()
	if from >= end {
		from = 0
	}
	for k := range layout.Segments {
		g := &layout.Segments[k]
		if g.Start >= end {
			break
		}
		if g.Stop <= from {
			continue
		}
		v.units = append(v.units, unit{fixed: true})
		for p := max(layout.PageOf(from), g.First); p < min(g.Stop, end); {
			u := a.unitAt(p, min(g.Stop, end), holes)
			v.units = append(v.units, u)
			switch {
			case u.fixed:
			case u.class < 0:
				v.empty++
			default:
				v.left[u.class] += int(layout.Classes[u.class].Blocks) - int(u.used)
			}
			p += uint64(u.pages) << layout.PageShift
			if v.pages += int(u.pages); v.pages >= surveyPages {
				v.next = p
				return
			}
		}
	}
}

// unitAt looks at the page p of a segment that ends at stop.
func (a *Arena) unitAt(p, stop uint64, holes bool) unit {
	switch st := a.page(p); st.State() {
	case layout.PageHole:
		return unit{at: p, pages: 1, class: -1, fixed: !holes}
	case layout.PageFree:
		return unit{at: p, pages: 1, class: -1}
	case layout.PageSlabShared:
		c := st.Class()
		if c < layout.NumClasses && p+layout.Classes[c].Pages<<layout.PageShift <= stop {
			return unit{at: p, pages: int32(layout.Classes[c].Pages), class: int32(c), used: int32(a.usedBlocks(p, c))}
		}
	}
	return unit{at: p, pages: 1, fixed: true}
}

// sparse reports whether much is free in slabs that nobody owns, beyond a slack.
func (v *survey) sparse(slack uint64) bool {
	free, slabs := uint64(0), uint64(0)
	for c, n := range v.left {
		free += uint64(n) * layout.Classes[c].Size
	}
	for i := range v.units {
		if u := &v.units[i]; !u.fixed && u.class >= 0 {
			slabs += uint64(u.pages) << layout.PageShift
		}
	}
	return free > slabs/16+slack
}

// A window is units in a row.
type window struct {
	cost  uint64 // of emptying it
	first int    // unit
	stop  int
}

// A demand is the space that the blocks of some units need outside of them.
type demand struct {
	v     *survey
	k     int // pages that are to be emptied
	used  [layout.NumClasses]int
	free  [layout.NumClasses]int
	pages int // of the units
	empty int // of these, free
	fresh int // free pages for the blocks that have no free one outside
	lacks int // blocks for which there is none
	cost  uint64
}

// add counts a unit, or with sign -1 discounts it.
func (d *demand) add(u *unit, sign int) {
	d.pages += sign * int(u.pages)
	c := int(u.class)
	if c < 0 {
		d.empty += sign
		return
	}
	fresh, lacks := d.of(c)
	d.used[c] += sign * int(u.used)
	d.free[c] += sign * (int(layout.Classes[c].Blocks) - int(u.used))
	now, nowLacks := d.of(c)
	d.fresh += now - fresh
	d.lacks += nowLacks - lacks
	d.cost += uint64(sign) * uint64(u.used) * (moveCost + layout.Classes[c].Size)
}

// of returns the pages that the blocks of a class need beyond the free blocks of that
// class. Any free page can become a slab of one page, which helps if the window is longer.
func (d *demand) of(c int) (fresh, lacks int) {
	more := d.used[c] - (d.v.left[c] - d.free[c])
	switch n := int(layout.Classes[c].Blocks); {
	case more <= 0:
		return 0, 0
	case d.k > 1 && layout.Classes[c].Pages == 1:
		return (more + n - 1) / n, 0
	}
	return 0, more
}

// met reports whether the demand can be met.
func (d *demand) met() bool { return d.lacks == 0 && d.fresh <= d.v.empty-d.empty }

// choose returns up to n windows of at least k pages that can be emptied together,
// the cheapest first, of those that cost at least that much.
func (v *survey) choose(k int, least uint64, n int) (chosen []span) {
	v.windows(k, least)
	v.cheapest(8 * n)
	for _, w := range v.found {
		if len(chosen) < n && v.plan(w, k) {
			last := v.units[w.stop-1]
			chosen = append(chosen, span{v.units[w.first].at, last.at + uint64(last.pages)<<layout.PageShift})
		}
	}
	return chosen
}

// cheapest sorts the windows by cost, without the dear ones if there are more than n.
func (v *survey) cheapest(n int) {
	var byLen [65]int
	for _, w := range v.found {
		byLen[bits.Len64(w.cost)]++
	}
	most := 0
	for sum := byLen[0]; most < 64 && sum < n; sum += byLen[most] {
		most++
	}
	v.found = slices.DeleteFunc(v.found, func(w window) bool { return bits.Len64(w.cost) > most })
	slices.SortFunc(v.found, func(a, b window) int {
		return cmp.Or(cmp.Compare(a.cost, b.cost), a.first-b.first)
	})
}

// windows finds the windows of at least k pages of which each could be emptied. They
// may overlap.
func (v *survey) windows(k int, least uint64) {
	d := demand{v: v, k: k}
	lo := 0
	for hi := range v.units {
		if v.units[hi].fixed {
			for ; lo < hi; lo++ {
				d.add(&v.units[lo], -1)
			}
			lo = hi + 1
			continue
		}
		d.add(&v.units[hi], 1)
		for d.pages-int(v.units[lo].pages) >= k {
			d.add(&v.units[lo], -1)
			lo++
		}
		if d.pages >= k && d.cost >= least && d.met() {
			v.found = append(v.found, window{d.cost, lo, hi + 1})
		}
	}
}

// moveCost is what the move of a block costs beside its bytes, in bytes.
const moveCost = 512

// plan takes the space that the blocks of a window need outside of it from what is left,
// if there is enough.
func (v *survey) plan(w window, k int) bool {
	d := demand{v: v, k: k}
	units := v.units[w.first:w.stop]
	for i := range units {
		if units[i].fixed {
			return false // planned already
		}
		d.add(&units[i], 1)
	}
	if !d.met() {
		return false
	}
	v.empty -= d.empty + d.fresh
	for c := range d.used {
		fresh, _ := d.of(c)
		v.left[c] += fresh*int(layout.Classes[c].Blocks) - d.used[c] - d.free[c]
	}
	for i := range units {
		units[i].fixed = true
	}
	return true
}
