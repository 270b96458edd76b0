package alloc

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/seed-869cc763/shmkv/alloc/layout"
	"github.com/seed-869cc763/shmkv/alloc/region"
)

// Ledger accounts for every byte of data. The sums add up to File if nobody writes
// meanwhile.
type Ledger struct {
	Version  uint64
	Live     int64            // blocks reachable from the root, its node included
	Retired  int64            // blocks in queues and deferred pages
	Held     int64            // of these, deferred
	HeldBy   map[uint64]int64 // of these, under a pinned version; the others under an intent
	InFlight int64            // blocks and pages in logs
	Free     int64            // free pages, free blocks in slabs and magazines
	Table    int64            // header, tables, slots' pages, pages of lists
	Rounding int64            // bytes of slabs behind their last block
	Leaked   int64            // blocks that are not free and in none of the other sums
	File     int64
	Quiet    bool // nobody wrote meanwhile
	Problems []string
	Classes  []ClassUse // with slabs or runs, by size
}

// ClassUse is the space that the blocks of one size take.
type ClassUse struct {
	Size   int64 // of a block; 0: runs of pages
	Slabs  int64 // or runs
	Bytes  int64 // of the slabs' or runs' pages
	Blocks int64 // that there is room for
	Free   int64 // of these, in nobody's hands
	Cached int64 // of these, free and in a slot's magazine
}

// Corrupt makes the error for a number that differs from what it should be.
func Corrupt(off uint64, what string, found, want int64) error {
	return region.Corrupt(off, what, found, fmt.Sprint(want))
}

// CorruptLedger makes the error for a Ledger's problems.
func CorruptLedger(problems []string) error {
	return fmt.Errorf("%w: %d problems, the first: %s", region.ErrCorrupt, len(problems), problems[0])
}

// add counts a slab or a run.
func (c *ClassUse) add(size int64, pages, blocks uint64) {
	c.Size = size
	c.Slabs++
	c.Bytes += int64(pages << layout.PageShift)
	c.Blocks += int64(blocks)
}

// How many passes a Ledger beside writers takes.
const (
	firstPasses   = 3   // passes that must have seen what is wrong first
	agreeing      = 12  // passes after that which must see the same
	auditPasses   = 24  // passes at most
	auditTries    = 100 // to follow a list whose beginning moves, in a pass
	unpinnedTries = 500 // passes that writers may overtake, without a pin
)

// ErrOvertaken says that a handle that cannot pin read nothing that holds: writers
// reused it too soon, each time.
var ErrOvertaken = errors.New("writers were too fast")

// Ledger accounts for every byte. live calls note for each block that the root
// reaches but the root node itself, and verifies what is in them.
//
// While nobody writes, one pass is enough. What the pinned root reaches does not
// move, so damage there is believed at once, too. Everything else moves, and a pass
// may see it in two lists or in none. So a finding is believed only when as many
// more passes as agreeing found the same, and the words that a move would have
// changed were the same in all of them:
//
//   - of a page, these are its state: the generation rises with every change;
//   - of a block, its first two words and the places in which it was found. The first
//     word of a published block is its birth, which is newer each time the block is
//     published. Between two publications a block moves in one direction: from the
//     log to the trie, to a queue, to deferred pages, to a magazine or its slab. A
//     pass reads the lists in this order, so it does not miss a block that moves on.
//     an item of a queue or of a deferred page stays in its place until the page
//     is freed, and the page's generation is part of the place. A free block has
//     no birth to tell: one that leaves a magazine and comes back to it with the
//     same words each time would have to escape all of the passes.
//
// A pass that could not read a list to its end does not count for what nobody seems
// to have. Nor does a pass count for what a slot in use may be moving just then,
// since the slot's owner may be stopped there.
//
// A handle that cannot pin looks at a version only for as long as the horizon
// permits. A pass that was overtaken is made again; after unpinnedTries of them the
// error is ErrOvertaken.
func (a *Arena) Ledger(ctx context.Context, live func(root Root, note func(off, size uint64) error) error,
	progress func(done, total int64)) (*Ledger, error) {
	before := map[uint64]finding{}
	for pass, tries := 0, 0; ; pass++ {
		u, err := a.audit(ctx, before, live, progress)
		if errors.Is(err, ErrOvertaken) && tries < unpinnedTries {
			tries++
			pass--
			continue
		}
		if err != nil {
			return nil, err
		}
		going := u.compare(pass < firstPasses)
		if u.Quiet || len(u.sure) > 0 || u.believed() > 0 || !going || pass == auditPasses {
			return u.result(), nil
		}
		before = u.wrong
		time.Sleep(time.Duration(min(pass, 10)) * time.Millisecond)
	}
}
