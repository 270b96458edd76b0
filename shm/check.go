package shm

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/seed-869cc763/shmkv/alloc"
	"github.com/seed-869cc763/shmkv/alloc/layout"
	"github.com/seed-869cc763/shmkv/hamt"
	"github.com/seed-869cc763/shmkv/node"
)

// CheckOptions are for Check; nil means the defaults.
type CheckOptions struct {
	// Progress is called now and then, by the goroutine of the caller, with how much
	// of the work is done and how much it is: here, in bytes of the file.
	Progress func(done, total int64)
}

// Report is the result of a Check: the ledger. Every byte of the file is in exactly one of
// these sums.
type Report struct {
	Version       uint64      `json:"version"`
	Entries       int64       `json:"entries"`         // of all maps
	LiveBytes     int64       `json:"live_bytes"`      // blocks that the current root reaches
	RetiredBytes  int64       `json:"retired_bytes"`   // replaced, not yet reclaimed
	HeldBytes     int64       `json:"held_bytes"`      // of these, deferred for a snapshot
	InFlightBytes int64       `json:"in_flight_bytes"` // of transactions under way
	FreeBytes     int64       `json:"free_bytes"`      // free blocks and pages, holes included
	TableBytes    int64       `json:"table_bytes"`     // header, tables, writers' slots, lists
	RoundingBytes int64       `json:"rounding_bytes"`  // of slabs, behind their last block
	LeakedBytes   int64       `json:"leaked_bytes"`    // in none of the other sums: 0 in a sound store
	FileBytes     int64       `json:"file_bytes"`
	Held          []Held      `json:"held"`    // HeldBytes, by pinned version, the oldest first
	Classes       []SizeClass `json:"classes"` // that are in use, by size
	Trie          TrieShape   `json:"trie"`    // of the current version
	// Quiet tells that nobody wrote during the check. Otherwise the store was examined
	// several times, and the sums are those of the last time: they need not add up.
	// Problems holds only the findings of every examination.
	Quiet    bool     `json:"quiet"`
	Problems []string `json:"problems"`
}

// Held is the space of blocks that a pinned version holds: they were replaced since, and
// no older pin needs them. Newer pins may need them too. They are freed some commits
// after the last such pin is gone.
type Held struct {
	Version uint64 `json:"version"`
	Bytes   int64  `json:"bytes"`
}

// SizeClass is the space that the blocks of one size take. They are in slabs, which are
// runs of pages cut into equal blocks. A larger block is a run of its own.
type SizeClass struct {
	Size   int64 `json:"size"`   // of a block; 0: blocks that are whole runs
	Slabs  int64 `json:"slabs"`  // or runs
	Bytes  int64 `json:"bytes"`  // of all their pages
	Blocks int64 `json:"blocks"` // that there is room for
	Free   int64 `json:"free"`   // of these, for anybody to take
	Cached int64 `json:"cached"` // of these, free and kept by a writer's slot for itself
}

// TrieShape is how the trie is built. A lookup visits as many branches as
// stand above its leaf.
type TrieShape struct {
	Leaves     []int64 `json:"leaves"`     // entries, by the number of branches above them
	Branches   []int64 `json:"branches"`   // by the number of branches above them
	Children   []int64 `json:"children"`   // branches, by the number of their children
	Collisions int64   `json:"collisions"` // nodes for entries of one hash
}

// Check proves the ledger: it visits everything that the current version
// reaches, verifies it, and accounts for every byte of the file. That includes the
// checksums of entries, as far as they have one (Options.Checksums). It works
// while others read and write. In a sound store Problems is empty and the
// error is nil; otherwise the error matches ErrCorrupt. A handle that cannot pin a
// version may get ErrCannotPin instead, when writers reuse memory faster than it
// can be examined.
//
// Memory: about a sixty-fourth of the file. A writable handle adopts the dead
// first.
func (s *Store) Check(ctx context.Context, opts *CheckOptions) (*Report, error) {
	if opts == nil {
		opts = &CheckOptions{}
	}
	u, ok := s.a.Enter()
	if !ok {
		return nil, s.fail("checking", ErrClosed)
	}
	defer s.a.Leave(u)
	if _, err := s.a.AdoptDead(); err != nil {
		return nil, s.fail("checking", err)
	}
	var found hamt.Counts // of the unnamed map, in the last pass
	var entries int64     // of all maps
	var changed []string  // entries whose checksum is wrong, in the last pass
	live := func(root alloc.Root, note func(off, size uint64) error) error {
		end, err := s.a.Limit()
		if err != nil {
			return err
		}
		walk := func() {
			stated := s.rootAt(root.Off)
			liveBytes, blocks := stated.liveBytes, int64(0)
			entries, changed = stated.all().entries, nil
			p := prover{s: s, r: hamt.NewReader(s.a.Mem(), end), at: root, visit: func(_ *target, n node.Node) error {
				if err := ctx.Err(); err != nil {
					return err
				}
				blocks += int64(layout.BlockSize(n.Size))
				return note(n.Ref.Off(), n.Size)
			}, changed: func(err error) { changed = append(changed, err.Error()) }}
			if found, err = p.run(); err == nil {
				err = checkTotal(root.Off, "bytes of live blocks stated in the root node", liveBytes, blocks)
			}
		}
		if s.a.CanPin() {
			walk()
		} else if guarded(walk) { // what is not pinned may become a hole
			err = errNoMemory
		}
		return err
	}
	l, err := s.a.Ledger(ctx, live, opts.Progress)
	if errors.Is(err, alloc.ErrOvertaken) {
		return nil, s.fail("checking", fmt.Errorf("%w, and writers were too fast for a check without a pin", ErrCannotPin))
	}
	if err != nil {
		return nil, s.fail("checking", err)
	}
	l.Problems = append(l.Problems, changed...)
	rep := &Report{
		Version:       l.Version,
		Entries:       entries,
		LiveBytes:     l.Live,
		RetiredBytes:  l.Retired,
		HeldBytes:     l.Held,
		InFlightBytes: l.InFlight,
		FreeBytes:     l.Free,
		TableBytes:    l.Table,
		RoundingBytes: l.Rounding,
		LeakedBytes:   l.Leaked,
		FileBytes:     l.File,
		Quiet:         l.Quiet,
		Problems:      l.Problems,
		Held:          []Held{},
		Classes:       []SizeClass{},
		Trie: TrieShape{
			Leaves:     upToLast(found.Leaves[:]),
			Branches:   upToLast(found.Branches[:]),
			Children:   upToLast(found.Children[:]),
			Collisions: found.Collisions,
		},
	}
	for _, version := range slices.Sorted(maps.Keys(l.HeldBy)) {
		if l.HeldBy[version] > 0 {
			rep.Held = append(rep.Held, Held{version, l.HeldBy[version]})
		}
	}
	for _, c := range l.Classes {
		rep.Classes = append(rep.Classes, SizeClass(c))
	}
	if len(l.Problems) > 0 {
		return rep, s.fail("checking", alloc.CorruptLedger(l.Problems))
	}
	return rep, nil
}

// upToLast returns counts without the zeros at their end.
func upToLast(counts []int64) []int64 {
	n := len(counts)
	for n > 0 && counts[n-1] == 0 {
		n--
	}
	return slices.Clone(counts[:n])
}
