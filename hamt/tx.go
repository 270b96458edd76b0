package hamt

import (
	"math/bits"

	"github.com/seed-869cc763/shmkv/node"
)

// A Tx builds a new trie from a published one. The two share the nodes that do not
// change. A Tx changes its own nodes in place (I6), so a batch copies each path once.
//
// Set, SetLeaf and Delete either succeed or leave the Tx unchanged, with nothing
// allocated (I8). A change reads and copies at most 11 branches. One goroutine at a
// time may use a Tx. A Tx contains its scratch space, so reuse it with Reset.
type Tx struct {
	node.Tree // as it is now

	node.Edit
	r    Reader
	hash func(key []byte) uint64

	key []byte // scratch space of hashOf

	path [maxDepth]branch // branches of the last descent, from Root down

	// For Rebase: the effect of the last call.
	copies [maxDepth]node.Ref // the branches that replace those of path
	copied int                // the length of copies
	made   uint64             // LogLen after the call
	before node.Tree          // the trie below the transaction

	sealed sealed
}

// Reset starts a transaction on a trie. r reads the trie, and its region must be
// writable. hash must be the function that the trie was built with.
//
// A transaction may change several tries, one at a time: the caller keeps the Tree and
// the Extra of each, and sets these fields before it goes on with one. Rebase and
// RebaseMany are for the trie of Reset only, and only if it was the only one.
func (t *Tx) Reset(r Reader, a node.Allocator, hash func(key []byte) uint64, trie node.Tree) {
	t.Tree, t.before = trie, trie
	t.sealed.ok = false
	t.Begin(a)
	t.r, t.hash, t.copied = r, hash, 0
}

// Reader returns a Reader for lookups in the trie at t.Root. It does not cover blocks
// that later calls allocate, so get a new one after each change.
func (t *Tx) Reader() Reader { return t.r }

// Set sets the value of key, whose hash is h. It returns the leaf that the key had
// before, or the zero Leaf. This leaf is still readable if it was published, if
// KeepLeaves is set, or if the effect is node.Unchanged. Set copies key and value.
//
// Set returns node.ErrTooLarge for a key or value beyond the limits, a
// region.CorruptError for a damaged trie, and the errors of Alloc.
func (t *Tx) Set(h uint64, key, value []byte) (old node.Leaf, did node.Effect, err error) {
	leaf, err := t.NewLeaf(key, value)
	if err != nil {
		return node.Leaf{}, node.Unchanged, err
	}
	if old, did, err = t.SetLeaf(h, leaf); err != nil {
		t.Alloc.Discard(leaf.Off, leaf.Size())
	}
	return old, did, err
}

// NewLeaf allocates a leaf that no trie refers to yet and copies key and value into
// it. NewLeaf followed by SetLeaf equals Set. A writer that loses its
// compare-and-swap can keep the leaf, which may be large, and repeat SetLeaf only.
func (t *Tx) NewLeaf(key, value []byte) (node.Leaf, error) {
	return t.r.NewLeaf(t.Alloc, key, value, t.Extra)
}

// SetLeaf makes leaf the entry of its key, whose hash is h. leaf must be the
// transaction's own, and the trie must not refer to it yet. SetLeaf returns the same
// results as Set. It takes ownership of leaf unless it returns an error.
func (t *Tx) SetLeaf(h uint64, leaf node.Leaf) (old node.Leaf, did node.Effect, err error) {
	t.BeginChange()
	t.copied = 0
	old, did, err = t.setLeaf(h, leaf)
	if err != nil {
		t.Undo()
		return node.Leaf{}, node.Unchanged, err
	}
	t.made = t.Alloc.LogLen()
	switch did {
	case node.Unchanged:
		t.DropLeaf(leaf)
		return old, did, nil
	case node.Replaced:
		t.Tree.Remove(t.r.Reader, old)
		t.DropLeaf(old)
	}
	t.Add(t.r.Reader, leaf)
	return old, did, nil
}

func (t *Tx) setLeaf(h uint64, leaf node.Leaf) (old node.Leaf, did node.Effect, err error) {
	at, depth, err := t.descend(h)
	if err != nil {
		return node.Leaf{}, node.Unchanged, err
	}
	ref := node.MakeRef(node.KindLeaf, leaf.Off, h)
	switch at.Kind() {
	case node.KindNil:
		return node.Leaf{}, node.Inserted, t.insert(depth, h, ref)
	case node.KindCollision:
		return t.setCollision(depth, h, at, ref, leaf)
	}
	other, err := t.r.Leaf(at)
	if err != nil {
		return node.Leaf{}, node.Unchanged, err
	}
	if at.Tag() == ref.Tag() && other.KeyLen() == leaf.KeyLen() && t.r.Mem.Equal(other.KeyOff(), t.r.Key(leaf)) {
		if t.sameValue(other, leaf) {
			return other, node.Unchanged, nil
		}
		return other, node.Replaced, t.link(depth, depth, h, ref)
	}
	g := t.hashOf(other)
	if g == h {
		return node.Leaf{}, node.Inserted, t.collide(depth, h, at, other, ref, leaf)
	}
	return node.Leaf{}, node.Inserted, t.part(depth, h, ref, g, at)
}

// sameValue reports whether the values of l and own are equal. own must be the
// transaction's own leaf.
func (t *Tx) sameValue(l, own node.Leaf) bool {
	return l.ValueLen() == own.ValueLen() && t.r.Mem.Equal(l.ValueOff(), t.r.Value(own))
}

// Delete removes the entry of key, whose hash is h. It returns the leaf of the entry,
// which is readable under the same conditions as the leaf that Set returns. If there
// is no such entry, Delete reports false and changes nothing. Its errors are those of
// Set without node.ErrTooLarge.
func (t *Tx) Delete(h uint64, key []byte) (old node.Leaf, existed bool, err error) {
	t.BeginChange()
	t.copied = 0
	old, existed, err = t.delete(h, key)
	if err != nil {
		t.Undo()
		return node.Leaf{}, false, err
	}
	if existed {
		t.made = t.Alloc.LogLen()
		t.Tree.Remove(t.r.Reader, old)
		t.DropLeaf(old)
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
	if err != nil || old.KeyLen() != uint64(len(key)) || !t.r.Mem.Equal(old.KeyOff(), key) {
		return node.Leaf{}, false, err
	}
	return old, true, t.remove(depth, h)
}

// hashOf returns the hash of a leaf's key. It copies the key first: in a light
// transaction the leaf may change while it is read (rule C9).
func (t *Tx) hashOf(l node.Leaf) uint64 {
	t.key = t.r.Mem.AppendTo(t.key[:0], l.KeyOff(), l.KeyLen())
	return t.hash(t.key)
}

// descend follows h from the root and fills t.path with the branches that it passes.
// It returns their number, and the leaf or collision at the end of the path, or 0 if
// there is none.
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

// The functions below and in collision.go are the last step of a change. Each
// allocates all its blocks before it changes or drops a node (I8).

// link makes ref the child for h of the lowest branch in t.path[:d]. It copies
// branches upward until it reaches one that it can change in place. It drops the
// branches in t.path[d:depth].
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
		t.Drop(b.off, b.size())
	}
	return nil
}

// linkCopy replaces the lowest branch in t.path[:depth] by the branch at off.
func (t *Tx) linkCopy(depth int, h, off uint64) error {
	ref := node.MakeRef(node.KindBranch, off, 0)
	t.noteCopy(depth-1, ref)
	return t.link(depth-1, depth, h, ref)
}

// noteCopy notes for Rebase that ref replaces t.path[d].
func (t *Tx) noteCopy(d int, ref node.Ref) {
	t.copies[d] = ref
	t.copied = max(t.copied, d+1)
}

// insert adds ref as the child for h of the lowest branch in t.path[:depth], which
// has no such child.
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

// remove removes the child for h from the lowest branch in t.path[:depth]. If the
// branch would keep only a leaf or collision, that node replaces it, and replaces the
// branches above that have no other child (I3).
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

// part replaces the node at the end of the path by a branch with the children a and b,
// whose hashes g and h differ. The branch is at the level at which the hashes differ
// first. A chain of branches with one child leads to it.
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
