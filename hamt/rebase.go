package hamt

import (
	"math/bits"

	"github.com/seed-869cc763/shmkv/node"
)

// sealed is what RebaseMany knows of a transaction of many keys. Only the root and
// its children are looked at: another commit has changed few of these, and what lies
// below a child that it has not changed stands, copies, absences and all (rule C4).
type sealed struct {
	ok   bool
	root uint64           // offset of the root branch that the transaction has replaced
	keys uint64           // the children that its keys lead to, a bit for each
	was  [fanout]node.Ref // what these were
	is   [fanout]node.Ref // what they have become
	made uint64           // LogLen before the new root branch
}

// Seal ends a transaction that has looked up, set and deleted keys of these hashes
// alone, and readies it for RebaseMany.
func (t *Tx) Seal(hashes []uint64) error {
	g := &t.sealed
	g.ok = false
	if t.base.Kind() != node.KindBranch || t.Root.Kind() != node.KindBranch || t.Root == t.base {
		return nil
	}
	old, err := t.r.branch(t.base, 0)
	if err != nil {
		return err
	}
	b, err := t.r.branch(t.Root, 0)
	if err != nil || !t.mayChange(b.off, b.size()) {
		return err
	}
	g.root, g.keys = old.off, 0
	for _, h := range hashes {
		g.keys |= bit(h, 0)
	}
	old.children(t.r, g.keys, &g.was)
	b.children(t.r, g.keys, &g.is)

	// The root branch becomes the newest block, for Rewind to take away alone.
	g.made = t.alloc.LogLen()
	t.nfresh = 0
	off, err := t.newNode(b.count())
	if err != nil {
		return err
	}
	t.copyWords(off+node.HeadOff, b.off+node.HeadOff, 1+b.count())
	t.drop(b.off, b.size())
	t.Root = node.MakeRef(node.KindBranch, off, 0)
	g.ok = true
	return nil
}

// children reads the children that the bits of which stand for.
func (b branch) children(r Reader, which uint64, refs *[fanout]node.Ref) {
	for ; which != 0; which &= which - 1 {
		i := bits.TrailingZeros64(which)
		refs[i] = 0
		if low := uint64(1) << i; b.bitmap&low != 0 {
			refs[i] = b.ref(r, uint64(bits.OnesCount64(b.bitmap&(low-1))))
		}
	}
}

// RebaseMany brings a sealed transaction, which was built upon a trie of the given
// version, to another trie, as Reset and the same calls would. It reports false if
// that is what is needed. Another trie takes over those of the transaction's
// children of the root whose keys it has not changed: the reference is the same, and
// the node was not born since, for the block may have been reused.
func (t *Tx) RebaseMany(r Reader, root node.Ref, entries, dataBytes int64, version uint64) (bool, error) {
	g := &t.sealed
	if !g.ok || root.Kind() != node.KindBranch {
		return false, nil
	}
	b, err := r.branch(root, 0)
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
		return false, nil // it may have to contract
	}
	t.alloc.Rewind(g.made)
	t.alloc.Unretire(g.root)
	t.r = r
	t.nfresh = 0
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
	t.drop(b.off, b.size())
	t.Root, g.root = node.MakeRef(node.KindBranch, off, 0), b.off
	t.Entries += entries - t.before.entries
	t.DataBytes += dataBytes - t.before.dataBytes
	t.before.entries, t.before.dataBytes = entries, dataBytes
	return true, nil
}

// Rebase brings a transaction that consists of one SetLeaf or Delete, of a key
// whose hash is h, and that was built upon a trie of the given version, to another
// trie, as Reset and the same call would. It reports false, and has done nothing,
// if that is what is needed.
//
// Where the new trie has a branch that was copied, nothing below has changed, so
// that the copy stands, and what was decided by what was read there stands as well
// (rule C4): only the branches above are copied anew. That the offset is the same
// is not enough, for the block may have been reused: it must not have been born
// since.
func (t *Tx) Rebase(r Reader, root node.Ref, entries, dataBytes int64, h, version uint64) (bool, error) {
	at, d, same := root, 0, false
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
	t.alloc.Rewind(t.made - uint64(d)) // the upper branches were copied last
	for i := range d {
		t.alloc.Unretire(t.path[i].off)
		t.path[i] = path[i]
	}
	t.r = r
	t.Entries += entries - t.before.entries
	t.DataBytes += dataBytes - t.before.dataBytes
	t.before.entries, t.before.dataBytes = entries, dataBytes
	t.nfresh = 0
	err := t.link(d, d, h, t.copies[d])
	t.made = t.alloc.LogLen()
	return err == nil, err
}
