package hamt

import (
	"math/bits"

	"github.com/seed-869cc763/shmkv/node"
)

// sealed is the state of a transaction of many keys that RebaseMany needs. It covers
// the root and its children only, because another commit has changed few of them.
// Below a child that the other commit has not changed, the transaction's lookups and
// copies remain valid (rule C4).
type sealed struct {
	ok   bool             // RebaseMany may succeed
	root uint64           // offset of the root branch that the transaction has replaced
	keys uint64           // bitmap of the children on the paths of the keys
	was  [fanout]node.Ref // these children before the transaction
	is   [fanout]node.Ref // these children after it
	made uint64           // LogLen before the new root branch
}

// Seal ends a transaction and prepares it for RebaseMany. hashes must contain the
// hashes of all keys that the transaction has looked up, set or deleted. Seal
// allocates a new root branch. If it cannot prepare the transaction, for example
// because its root is a leaf, RebaseMany reports false.
func (t *Tx) Seal(hashes []uint64) error {
	g := &t.sealed
	g.ok = false
	if t.before.Root.Kind() != node.KindBranch || t.Root.Kind() != node.KindBranch || t.Root == t.before.Root {
		return nil
	}
	old, err := t.r.branch(t.before.Root, 0)
	if err != nil {
		return err
	}
	b, err := t.r.branch(t.Root, 0)
	if err != nil || !t.MayChange(b.off, b.size()) {
		return err
	}
	g.root, g.keys = old.off, 0
	for _, h := range hashes {
		g.keys |= bit(h, 0)
	}
	old.children(t.r, g.keys, &g.was)
	b.children(t.r, g.keys, &g.is)

	// Make the root branch the newest block, so that Rewind can free it alone.
	g.made = t.Alloc.LogLen()
	t.BeginChange()
	off, err := t.newNode(b.count())
	if err != nil {
		return err
	}
	t.copyWords(off+node.HeadOff, b.off+node.HeadOff, 1+b.count())
	t.Drop(b.off, b.size())
	t.Root = node.MakeRef(node.KindBranch, off, 0)
	g.ok = true
	return nil
}

// children reads the children whose bits are set in which. An absent child becomes
// nil.
func (b branch) children(r Reader, which uint64, refs *[fanout]node.Ref) {
	for ; which != 0; which &= which - 1 {
		i := bits.TrailingZeros64(which)
		refs[i] = 0
		if low := uint64(1) << i; b.bitmap&low != 0 {
			refs[i] = b.ref(r, uint64(bits.OnesCount64(b.bitmap&(low-1))))
		}
	}
}

// RebaseMany moves a sealed transaction from the trie of the given version on which
// it was built to trie. The result is the same as that of Reset and the
// same calls. RebaseMany replaces, in a copy of the new root branch, the children on
// the paths of the transaction's keys.
//
// It reports false, with a nil error and without a change, if one of these children
// differs between the two tries. The caller must repeat the transaction then. A child
// is the same if its reference is the same and its birth is not newer than version:
// the block may have been reused.
func (t *Tx) RebaseMany(r Reader, trie node.Tree, version uint64) (bool, error) {
	g := &t.sealed
	if !g.ok || trie.Root.Kind() != node.KindBranch {
		return false, nil
	}
	b, err := r.branch(trie.Root, 0)
	if err != nil {
		return false, err
	}
	var refs [fanout]node.Ref
	b.children(r, ^uint64(0), &refs)
	bitmap := b.bitmap
	for which := g.keys; which != 0; which &= which - 1 {
		i := bits.TrailingZeros64(which) & levelMask
		if refs[i] != g.was[i] || refs[i] != 0 && r.Mem.Word(min(refs[i].Off(), r.Last())) > version {
			return false, nil
		}
		refs[i] = g.is[i]
		if bitmap &^= 1 << i; refs[i] != 0 {
			bitmap |= 1 << i
		}
	}
	if bits.OnesCount64(bitmap) < 2 {
		return false, nil // the trie may have to contract
	}
	t.Alloc.Rewind(g.made)
	t.Alloc.Unretire(g.root)
	t.r = r
	t.BeginChange()
	off, err := t.newNode(uint64(bits.OnesCount64(bitmap)))
	if err != nil {
		return false, err
	}
	t.r.Mem.SetWord(off+node.HeadOff, bitmap)
	at := off + node.HeaderSize
	for which := bitmap; which != 0; which &= which - 1 {
		t.r.Mem.SetWord(at, uint64(refs[bits.TrailingZeros64(which)&levelMask]))
		at += node.WordSize
	}
	t.Drop(b.off, b.size())
	t.Root, g.root = node.MakeRef(node.KindBranch, off, 0), b.off
	t.moveTo(trie)
	return true, nil
}

// Rebase moves a transaction of one SetLeaf or Delete, of a key whose hash is h, from
// the trie of the given version on which it was built to trie. The result
// is the same as that of Reset and the same call. Rebase reports false, with a nil
// error and without a change, if the caller must repeat the call instead.
//
// If the new trie still has a branch that the transaction has copied, nothing below
// that branch has changed. The copy and the decisions made there remain valid (rule
// C4), and Rebase copies only the branches above again. A branch is the same if its
// offset is the same and its birth is not newer than version: the block may have
// been reused.
func (t *Tx) Rebase(r Reader, trie node.Tree, h, version uint64) (bool, error) {
	at, d, same := trie.Root, 0, false
	var path [maxDepth]branch
	for ; d < t.copied && at.Kind() == node.KindBranch; d++ {
		if same = at.Off() == t.path[d].off && r.Mem.Word(at.Off()) <= version; same {
			break
		}
		b, err := r.branch(at, d)
		if err != nil {
			return false, err
		}
		i, taken := b.index(h, d)
		if !taken {
			return false, nil
		}
		path[d], at = b, b.ref(r, i)
	}
	if !same || d == 0 {
		return false, nil
	}
	t.Alloc.Rewind(t.made - uint64(d)) // the upper branches were copied last
	for i := range d {
		t.Alloc.Unretire(t.path[i].off)
		t.path[i] = path[i]
	}
	t.r = r
	t.moveTo(trie)
	t.BeginChange()
	err := t.link(d, d, h, t.copies[d])
	t.made = t.Alloc.LogLen()
	return err == nil, err
}

// moveTo makes the totals those of the transaction's changes to trie.
func (t *Tx) moveTo(trie node.Tree) {
	t.Entries += trie.Entries - t.before.Entries
	t.DataBytes += trie.DataBytes - t.before.DataBytes
	t.Digest += trie.Digest - t.before.Digest
	t.before = trie
}
