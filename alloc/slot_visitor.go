package alloc

// A slotVisitor is told what a slot holds.
type slotVisitor interface {
	// listPage is told of a page of the log or the queue, or a deferred page. It reports
	// whether the walk goes on in that list.
	listPage(p uint64) bool
	// logged is told of a block or page that a transaction has allocated and not
	// committed, or with an error of an item that names none. An error that it returns
	// ends the walk.
	logged(e item, err error) error
	// retired is told of the blocks in a page of the queue.
	retired(all []item)
	// deferred is told of the blocks in a deferred page, and what holds them.
	deferred(key heldKey, all []item)
	// slab is told of the slab of a class. If the owner died when it gave the slab up, it
	// is not the slot's any more.
	slab(c int, p uint64)
	// magazine is told of the blocks in the magazine of a class.
	magazine(all []item)
}

// checkOnly is a visitor that wants to know only whether the slot is damaged.
type checkOnly struct{}

func (checkOnly) listPage(uint64) bool           { return true }
func (checkOnly) logged(_ item, err error) error { return err }
func (checkOnly) retired([]item)                 {}
func (checkOnly) deferred(heldKey, []item)       {}
func (checkOnly) slab(int, uint64)               {}
func (checkOnly) magazine([]item)                {}
