package alloc

import (
	"context"
	"fmt"
	"maps"
	"math/bits"
	"slices"

	"github.com/seed-869cc763/shmkv/alloc/layout"
	"github.com/seed-869cc763/shmkv/alloc/region"
)

// A finding is an inconsistency that a pass saw.
type finding struct {
	what string
	// proof is the words that would have changed if the pass had seen a block or a
	// page in the middle of a move: see Ledger.
	proof  [3]uint64
	block  bool   // at its offset there is a block
	absent bool   // it is in no list, which only a pass that read all lists can tell
	size   uint64 // of the leaked block or pages, in bytes
	agreed int    // earlier passes that saw the same
}

// audit is one pass.
type audit struct {
	Ledger
	a      *Arena
	end    uint64
	seen   []uint64           // a bit for every 8 bytes: where blocks and pages of lists begin
	before map[uint64]finding // findings of the pass before, by offset
	wrong  map[uint64]finding // findings of this pass
	places map[uint64]uint64  // of blocks in before: a hash of the places where this pass found them
	sure   []string           // inconsistencies below the pinned root, which does not move
	steady bool               // nothing moved, though a slot may be in use
	part   bool               // a list could not be followed to its end
	use    [layout.NumClasses + 1]ClassUse
	// moving is the blocks and pages that a slot in use may be moving, so that they
	// are in two places or in none. They stay so while the writer is stopped.
	moving map[uint64]bool
}

// compare drops the findings that a move explains, counts how many passes agree about
// each of the others, and reports whether another pass can tell more.
func (u *audit) compare(news bool) (going bool) {
	for off, f := range u.wrong {
		was, known := u.before[off]
		published := f.block && f.absent && !u.steady && f.proof[0] > u.Version && f.proof[0] <= u.a.Version()+1
		switch {
		case u.moving[off] || f.absent && u.part || published || u.proof(off, f.block) != f.proof:
			delete(u.wrong, off)
		case known && was.same(f):
			f.agreed = was.agreed + 1
			u.wrong[off] = f
			going = true
		case !news && !u.Quiet:
			delete(u.wrong, off)
		}
	}
	if u.Quiet {
		return false
	}
	for off, was := range u.before {
		now := u.proof(off, was.block)
		now[2] = was.proof[2] // where it was found may be known of a part only
		if _, known := u.wrong[off]; !known && (u.moving[off] || was.absent && u.part) && now == was.proof {
			u.wrong[off] = was
			going = going || was.agreed > 0
		}
	}
	return going || news && (u.part || len(u.before) == 0 && len(u.wrong) > 0)
}

// same reports whether an earlier pass had the same finding. The first pass that has a
// finding about a block does not note its places.
func (was finding) same(f finding) bool {
	if was.proof[2] == 0 {
		f.proof[2] = 0
	}
	return was.what == f.what && was.proof == f.proof
}

// believed returns how many findings enough passes agree about.
func (u *audit) believed() (n int) {
	for _, f := range u.wrong {
		if f.agreed >= agreeing {
			n++
		}
	}
	return n
}

// result is the ledger of the last pass.
func (u *audit) result() *Ledger {
	u.Leaked = 0
	u.Problems = append(u.Problems, u.sure...)
	for _, k := range slices.Sorted(maps.Keys(u.wrong)) {
		if f := u.wrong[k]; u.Quiet || f.agreed >= agreeing {
			u.Problems = append(u.Problems, f.what)
			u.Leaked += int64(f.size)
		}
	}
	if sum := u.Live + u.Retired + u.InFlight + u.Free + u.Table + u.Rounding + u.Leaked; u.Quiet && len(u.Problems) == 0 && sum != u.File {
		u.Problems = append(u.Problems, fmt.Sprintf("the sums add up to %d, expected %d", sum, u.File))
	}
	for _, c := range u.use {
		if c.Slabs > 0 {
			u.Classes = append(u.Classes, c)
		}
	}
	return &u.Ledger
}

func (a *Arena) audit(ctx context.Context, before map[uint64]finding, live func(Root, func(off, size uint64) error) error,
	progress func(done, total int64)) (*audit, error) {
	if _, err := a.Limit(); err != nil { // so that activity sees as far as it will
		return nil, err
	}
	active, _ := a.activity()
	root, held, done, err := a.auditRoot()
	if err != nil {
		return nil, err
	}
	defer done()
	end, err := a.Limit()
	if err != nil {
		return nil, err
	}
	u := &audit{
		Ledger: Ledger{Version: root.Version, File: int64(end), Problems: []string{}, HeldBy: map[uint64]int64{}},
		a:      a, end: end, seen: make([]uint64, end/512+1),
		before: before, wrong: map[uint64]finding{}, places: map[uint64]uint64{}, moving: map[uint64]bool{},
	}
	blocks := 0
	note := func(off, size uint64) error {
		if blocks++; blocks%1024 == 0 && !held() {
			return ErrOvertaken
		}
		c := layout.ClassOf(size)
		if err := a.checkAllocated(off, c, "live"); err != nil {
			return err
		}
		if !a.isUsed(off, c) {
			return region.Corrupt(off, "bit of a live block", "free", "not free")
		}
		u.block(item{at: 1, block: layout.MakeItem(off, c)}, &u.Live, "live")
		return nil
	}
	if err = note(root.Off, layout.RootSize); err == nil {
		err = live(root, note)
	}
	if !held() {
		return nil, ErrOvertaken
	} else if ctx.Err() != nil {
		return nil, ctx.Err()
	} else if err != nil {
		u.sure = append(u.sure, err.Error())
	}
	for i := range min(int(a.ro.Load(layout.OffSlotHigh)), layout.MaxSlots) {
		u.slot(i)
	}
	u.pins()
	if err := u.sharedChunks(ctx); err != nil {
		return nil, err
	}
	if err := u.allPages(ctx, progress); err != nil {
		return nil, err
	}
	if !held() {
		return nil, ErrOvertaken
	}
	after, idle := a.activity()
	u.steady = after == active
	u.Quiet = idle && u.steady
	return u, nil
}

// auditRoot pins the current version. If pinning is not permitted, held reports
// whether the version is still readable.
func (a *Arena) auditRoot() (r Root, held func() bool, done func(), err error) {
	if a.CanPin() {
		p, err := a.Pin()
		if err != nil {
			return Root{}, nil, nil, err
		}
		return p.Root, func() bool { return true }, func() { a.Unpin(p) }, nil
	}
	g, ok := a.Stamp()
	if !ok {
		if _, err := a.Limit(); err != nil {
			return Root{}, nil, nil, err
		}
		return Root{}, nil, nil, ErrClosed
	}
	held = func() bool { return a.Valid(g) }
	if r, err = a.rootNode(g.word, a.VersionOf(g)); err != nil && !held() {
		err = ErrOvertaken
	}
	return r, held, func() {}, err
}

// activity returns a hash of the words that change whenever a slot does something, and
// reports whether no slot is in use.
func (a *Arena) activity() (sum uint64, idle bool) {
	idle = true
	h := a.ro.Load(layout.OffRoot) ^ a.ro.Load(layout.OffHorizon)<<20 ^ a.ro.Load(layout.OffEnd)<<1
	mix := func(w uint64) { h = bits.RotateLeft64(h*0x9e3779b97f4a7c15, 23) ^ w }
	for i := range min(int(a.ro.Load(layout.OffSlotHigh)), layout.MaxSlots) {
		owner := a.ownerOf(i)
		idle = idle && (owner == 0 || owner.IsIdle())
		mix(uint64(owner))
		mix(a.ro.Load(layout.OffDir + uint64(i)*8))
		if w, err := a.walkOf(i); w != nil && err == nil {
			for off := uint64(0); off < layout.SlotLog; off += 8 {
				mix(w.word(off))
			}
		}
	}
	return h, idle
}

// problem notes an inconsistency of a page, or of something that is no block.
func (u *audit) problem(off uint64, what string) {
	u.wrong[off] = finding{what: what, proof: u.proof(off, false)}
}

// wrongBlock notes an inconsistency of a block.
func (u *audit) wrongBlock(off uint64, what string) {
	u.wrong[off] = finding{what: what, proof: u.proof(off, true), block: true}
}

// proof returns the words that tell whether the page or the block at off has moved.
func (u *audit) proof(off uint64, block bool) (w [3]uint64) {
	if off%8 != 0 || off < layout.Segments[0].First || off > u.end-16 || off < layout.SegmentOf(off).First {
		return w
	}
	switch st := u.a.page(layout.PageOf(off)); {
	case !block:
		w[0] = uint64(st)
	case st.State() != layout.PageHole:
		w = [3]uint64{u.a.ro.Load(off), u.a.ro.Load(off + 8), u.places[off]}
	}
	return w
}
