package alloc

import (
	"fmt"

	"github.com/seed-869cc763/shmkv/alloc/layout"
	"github.com/seed-869cc763/shmkv/alloc/region"
)

// An item is one element of a list.
type item struct {
	at      uint64 // where it stands; of a retired block with the page's generation above
	block   layout.Item
	retired uint64 // version that retired the block
}

// readPage calls read with the generation of a page of a list, if owned says that the
// page is whose it should be. It reports whether it was, and has not changed hands
// meanwhile. Otherwise what read has found means nothing.
func (a *Arena) readPage(p uint64, owned func(layout.PageState) bool, read func(gen uint64)) bool {
	st := a.page(p)
	if !owned(st) {
		return false
	}
	read(st.Gen())
	a.ro.LoadFence()
	return a.page(p) == st
}

// items reads items of a page of a queue, or of a deferred page.
func (a *Arena) items(p, gen, from, to uint64) (all []item) {
	for i := from; i < to; i++ {
		e := layout.ItemAt(p, i)
		all = append(all, item{e ^ gen<<40, layout.Item(a.ro.Word(e)), a.ro.Word(e + 8)})
	}
	return all
}

// deferredItems returns how many items a deferred page has.
func (a *Arena) deferredItems(p uint64) (uint64, error) {
	n := a.ro.Load(p + layout.ChunkCount)
	if n > layout.ChunkCap {
		return 0, region.Corrupt(p+layout.ChunkCount, "items of a deferred page", n, fmt.Sprintf("at most %d", layout.ChunkCap))
	}
	return n, nil
}

// lastItem returns the offset of the last item of a deferred page, or 0.
func (a *Arena) lastItem(p uint64) uint64 {
	n, err := a.deferredItems(p)
	if n == 0 || err != nil {
		return 0
	}
	return layout.ItemAt(p, n-1)
}

// visitDeferred tells v of a deferred page and the blocks in it, if owned says that the
// page is still whose it should be. It reports whether it was.
func (a *Arena) visitDeferred(p uint64, owned func(layout.PageState) bool, v slotVisitor) (ok bool, err error) {
	var key heldKey
	var all []item
	ok = a.readPage(p, owned, func(gen uint64) {
		var n uint64
		n, err = a.deferredItems(p)
		key, all = heldKey(a.ro.Load(p+layout.ChunkKey)), a.items(p, gen, 0, n)
	})
	if !ok {
		return false, nil
	}
	if err == nil && v.listPage(p) {
		v.deferred(key, all)
	}
	return true, err
}

// A ring finds out whether a list leads back to where it was. It remembers one member of
// the list, and another one whenever the list has become twice as long.
type ring struct{ member, n uint64 }

// closes is told of each member in turn, and reports whether the list is a ring. A list
// that is one is followed no more than three times.
func (r *ring) closes(at uint64) bool {
	if r.n > 0 && at == r.member {
		return true
	}
	if r.n++; r.n&(r.n-1) == 0 {
		r.member = at
	}
	return false
}
