package hamt

import (
	"math/bits"

	"github.com/seed-869cc763/shmkv/node"
)

// A Tx builds a new trie beside a published one and shares with it what does
// not change. Nodes of its own it changes in place (I6), so a batch copies each
// path once.
//
// Set, SetLeaf and Delete either succeed or leave the Tx as it was, with
// nothing allocated (I8). A Tx is used by one goroutine at a time. It holds its
// own scratch space and is best reused, by Reset.
type Tx struct {
	Root      node.Ref
	Entries   int64
	DataBytes int64 // of keys and values

	// KeepLeaves keeps leaves that the transaction wrote and then replaced
	// until Finish, for a caller that has handed out their bytes.
	KeepLeaves bool

	r     Reader
	alloc node.Allocator
	hash  func(key []byte) uint64

	resets      uint64 // tells the transactions apart for which the Tx was used
	freezes     int
	frozenBelow uint64       // own blocks of a lesser Age must not change
	pending     []node.Block // own blocks that Finish will discard

	key []byte // scratch of hashOf

	path   [maxDepth]branch         // the branches from Root to where the last descent ended
	fresh  [maxDepth + 2]node.Block // what the current call has allocated: branches, a collision, a leaf
	nfresh int

	// For Rebase, what the last call has done to the trie.
	copies [maxDepth]node.Ref // of path: these are the new ones in their places
	copied int                // so many of them, from the top
	made   uint64             // LogLen after it
	before struct{ entries, dataBytes int64 }

	base   node.Ref // the root that the transaction began with
	sealed sealed
}

// Reset starts a transaction on the trie at root, which r reads and whose
// memory r's region can write. hash is the function whose values the callers
// of Set and Delete pass.
func (t *Tx) Reset(r Reader, a node.Allocator, hash func(key []byte) uint64, root node.Ref, entries, dataBytes int64) {
	t.Root, t.Entries, t.DataBytes = root, entries, dataBytes
	t.base, t.sealed.ok = root, false
	t.KeepLeaves = false
	t.r, t.alloc, t.hash = r, a, hash
	t.resets++
	t.freezes, t.frozenBelow = 0, 0
	t.pending = t.pending[:0]
	t.nfresh, t.copied = 0, 0
	t.before.entries, t.before.dataBytes = entries, dataBytes
}

// Reader returns a Reader that sees all of the transaction, for looking up in
// the trie at t.Root. It does not see what later calls allocate.
func (t *Tx) Reader() Reader { return t.r }

// Effect is what a set did to the trie.
type Effect uint8

// The effects of a set.
const (
	Unchanged Effect = iota // the entry had this value
	Inserted
	Replaced
)

// Set writes an entry, of a key whose hash is h. It returns the leaf that the
// new one replaced, if there was one: that is still readable if it was
// published, or with KeepLeaves. A set of the value that the entry has changes
// nothing.
func (t *Tx) Set(h uint64, key, value []byte) (old node.Leaf, did Effect, err error) {
	leaf, err := t.NewLeaf(key, value)
	if err != nil {
		return node.Leaf{}, Unchanged, err
	}
	if old, did, err = t.SetLeaf(h, leaf); err != nil {
		t.alloc.Discard(leaf.Off, leaf.Size())
	}
	return old, did, err
}

// NewLeaf writes a leaf that no trie refers to yet. Together with SetLeaf it
// does what Set does, but lets a writer that lost its compare-and-swap keep the
// leaf, which may be large, and start again with the path only.
func (t *Tx) NewLeaf(key, value []byte) (node.Leaf, error) {
	return t.r.NewLeaf(t.alloc, key, value)
}

// SetLeaf makes leaf, an own one that the trie does not refer to, the entry of
// its key, whose hash is h. It returns what Set returns. After an error the
// leaf is still the caller's.
func (t *Tx) SetLeaf(h uint64, leaf node.Leaf) (old node.Leaf, did Effect, err error) {
	t.nfresh, t.copied = 0, 0
	old, did, err = t.setLeaf(h, leaf)
	if err != nil {
		t.undo()
		return node.Leaf{}, Unchanged, err
	}
	t.made = t.alloc.LogLen()
	switch did {
	case Unchanged:
		t.dropLeaf(leaf)
		return old, did, nil
	case Inserted:
		t.Entries++
	case Replaced:
		t.DataBytes -= old.DataBytes()
		t.dropLeaf(old)
	}
	t.DataBytes += leaf.DataBytes()
	return old, did, nil
}

func (t *Tx) setLeaf(h uint64, leaf node.Leaf) (old node.Leaf, did Effect, err error) {
	at, depth, err := t.descend(h)
	if err != nil {
		return node.Leaf{}, Unchanged, err
	}
	ref := node.MakeRef(node.KindLeaf, leaf.Off, h)
	switch at.Kind() {
	case node.KindNil:
		return node.Leaf{}, Inserted, t.insert(depth, h, ref)
	case node.KindCollision:
		return t.setCollision(depth, h, at, ref, leaf)
	}
	other, err := t.r.Leaf(at)
	if err != nil {
		return node.Leaf{}, Unchanged, err
	}
	if at.Tag() == ref.Tag() && other.KeyLen == leaf.KeyLen && t.r.Mem.Equal(other.KeyOff(), t.r.Key(leaf)) {
		if t.sameValue(other, leaf) {
			return other, Unchanged, nil
		}
		return other, Replaced, t.link(depth, depth, h, ref)
	}
	g := t.hashOf(other)
	if g == h {
		return node.Leaf{}, Inserted, t.collide(depth, h, at, other, ref, leaf)
	}
	return node.Leaf{}, Inserted, t.part(depth, h, ref, g, at)
}

// sameValue reports whether the values of two leaves are equal. The second is the
// transaction's own.
func (t *Tx) sameValue(l, own node.Leaf) bool {
	return l.ValueLen == own.ValueLen && t.r.Mem.Equal(l.ValueOff(), t.r.Value(own))
}

// Delete removes the entry of key, whose hash is h, and returns its leaf, which
// is as readable as that of Set. Without such an entry nothing changes.
func (t *Tx) Delete(h uint64, key []byte) (old node.Leaf, existed bool, err error) {
	t.nfresh, t.copied = 0, 0
	old, existed, err = t.delete(h, key)
	if err != nil {
		t.undo()
		return node.Leaf{}, false, err
	}
	if existed {
		t.made = t.alloc.LogLen()
		t.Entries--
		t.DataBytes -= old.DataBytes()
		t.dropLeaf(old)
	}
	return old, existed, nil
}

func (t *Tx) delete(h uint64, key []byte) (old node.Leaf, existed bool, err error) {
	at, depth, err := t.descend(h)
	if err != nil || at == 0 || at.Tag() != h>>node.TagShift {
		return node.Leaf{}, false, err
	}
	if at.Kind() == node.KindCollision {
		return t.deleteCollision(depth, h, at, key)
	}
	old, err = t.r.Leaf(at)
	if err != nil || old.KeyLen != uint32(len(key)) || !t.r.Mem.Equal(old.KeyOff(), key) {
		return node.Leaf{}, false, err
	}
	return old, true, t.remove(depth, h)
}

// hashOf returns the hash of a leaf's key. It copies the key, since the leaf may change
// while it is read (I9).
func (t *Tx) hashOf(l node.Leaf) uint64 {
	t.key = t.r.Mem.AppendTo(t.key[:0], l.KeyOff(), uint64(l.KeyLen))
	return t.hash(t.key)
}

// Walk visits the entries of the transaction as they are now, until visit
// returns false. visit may call Set and Delete: what it changes is not seen. A Walk
// that is suspended in visit may outlive the transaction: visit returns false then.
func (t *Tx) Walk(visit func(node.Leaf) bool) error {
	t.freezes++
	t.frozenBelow = t.alloc.LogLen()
	began := t.resets
	defer func() {
		if t.resets != began {
			return // the Tx is another transaction's now
		}
		// Walks need not end in the order in which they began, so everything
		// that the latest one must find unchanged stays so until all ended.
		if t.freezes--; t.freezes == 0 {
			t.frozenBelow = 0
		}
	}()
	return t.r.Walk(t.Root, visit)
}

// Finish discards what KeepLeaves and Walk kept. It is called after the last
// change and before the transaction is committed, and not during a Walk.
func (t *Tx) Finish() {
	for _, b := range t.pending {
		t.alloc.Discard(b.Off, b.Size)
	}
	t.pending = t.pending[:0]
}

// descend follows h from the root and fills t.path with the branches that it
// passes. It returns their number, and the leaf or collision that stands where
// h leads, or 0 if nothing does.
func (t *Tx) descend(h uint64) (at node.Ref, depth int, err error) {
	at = t.Root
	for at.Kind() == node.KindBranch {
		b, err := t.r.branch(at, depth)
		if err != nil {
			return 0, 0, err
		}
		t.path[depth] = b
		i, taken := b.index(h, depth)
		depth++
		if !taken {
			return 0, depth, nil
		}
		if at = b.ref(t.r, i); at == 0 {
			return 0, 0, corruptNil(b.off)
		}
	}
	return at, depth, nil
}

// The functions from here to deleteCollision are the last step of a change.
// Each allocates all that it needs before it changes or drops anything (I8).

// link puts ref where h leads from the lowest branch of t.path[:d], and copies
// those branches as far up as they cannot be changed in place. The branches of
// t.path[d:depth] are not in use any more.
func (t *Tx) link(d, depth int, h uint64, ref node.Ref) error {
	for ; d > 0; d-- {
		b := t.path[d-1]
		i, _ := b.index(h, d-1)
		off, err := t.withChanged(b.off, b.count(), i, ref)
		if err != nil {
			return err
		}
		if off == b.off {
			break
		}
		ref = node.MakeRef(node.KindBranch, off, 0)
		t.noteCopy(d-1, ref)
	}
	if d == 0 {
		t.Root = ref
	}
	for _, b := range t.path[d:depth] {
		t.drop(b.off, b.size())
	}
	return nil
}

// linkCopy puts the branch at off in the place of the lowest of t.path[:depth].
func (t *Tx) linkCopy(depth int, h, off uint64) error {
	ref := node.MakeRef(node.KindBranch, off, 0)
	t.noteCopy(depth-1, ref)
	return t.link(depth-1, depth, h, ref)
}

// noteCopy remembers which node takes the place of t.path[d].
func (t *Tx) noteCopy(d int, ref node.Ref) {
	t.copies[d] = ref
	t.copied = max(t.copied, d+1)
}

// insert adds ref where h leads and nothing stands.
func (t *Tx) insert(depth int, h uint64, ref node.Ref) error {
	if depth == 0 {
		t.Root = ref
		return nil
	}
	b := t.path[depth-1]
	i, _ := b.index(h, depth-1)
	off, err := t.withInserted(b.off, b.count(), i, b.bitmap|bit(h, depth-1), ref)
	if err != nil || off == b.off {
		return err
	}
	return t.linkCopy(depth, h, off)
}

// remove takes away the leaf where h leads. A branch that is left with one leaf
// or collision gives way to it (I3), and so do branches that lead only there.
func (t *Tx) remove(depth int, h uint64) error {
	if depth == 0 {
		t.Root = 0
		return nil
	}
	b := t.path[depth-1]
	i, _ := b.index(h, depth-1)
	n := b.count()
	if n == 1 {
		return node.Corrupt(b.off, "branch", "two children or a branch", "one leaf")
	}
	if n == 2 {
		switch rest := b.ref(t.r, 1-i); rest.Kind() {
		case node.KindNil:
			return corruptNil(b.off)
		case node.KindLeaf, node.KindCollision:
			d := depth - 1
			for d > 0 && t.path[d-1].count() == 1 {
				d--
			}
			return t.link(d, depth, h, rest)
		}
	}
	off, err := t.withRemoved(b.off, n, i, b.bitmap&^bit(h, depth-1))
	if err != nil || off == b.off {
		return err
	}
	return t.linkCopy(depth, h, off)
}

// part puts a and b, whose hashes g and h differ, where both lead: below a
// branch at the level at which they part, and a chain of branches down to it.
func (t *Tx) part(depth int, g uint64, a node.Ref, h uint64, b node.Ref) error {
	d := bits.TrailingZeros64(g^h) / levelBits
	if d < depth {
		return node.Corrupt(b.Off(), "leaf", "a key whose hash leads there",
			"hash %#016x on the path of %#016x at depth %d", h, g, depth)
	}
	if bit(g, d) > bit(h, d) {
		a, b = b, a
	}
	ref, err := t.newBranch(bit(g, d)|bit(h, d), a, b)
	for ; err == nil && d > depth; d-- {
		ref, err = t.newBranch(bit(h, d-1), ref)
	}
	if err != nil {
		return err
	}
	return t.link(depth, depth, h, ref)
}
