package btree

import "github.com/seed-869cc763/shmkv/node"

// withInserted inserts a leaf into a bottom node, before the i-th child. It returns the
// offset of the changed node, which is that of n if n may change in place and the block
// has room.
func (t *Tx) withInserted(n tnode, i, head uint64, ref node.Ref) (uint64, error) {
	off, err := t.place(n, n.n+1)
	if err != nil {
		return 0, err
	}
	m, to := t.r.Mem, tnode{off, n.n + 1, n.skip, n.width}
	if off == n.off {
		// The ranges overlap, so copy from the end.
		for k := n.n; k > i; k-- {
			m.SetWord(to.refOff(k), uint64(t.r.ref(n, k-1)))
		}
		for k := i; k > 0; k-- {
			m.SetWord(to.refOff(k-1), uint64(t.r.ref(n, k-1)))
		}
		for k := n.n; k > i; k-- {
			m.SetWord(to.headOff(k), t.r.head(n, k-1))
		}
	} else {
		m.Copy(to.headOff(0), n.headOff(0), i*node.WordSize)
		m.Copy(to.headOff(i+1), n.headOff(i), (n.n-i)*node.WordSize)
		m.Copy(to.refOff(0), n.refOff(0), i*node.WordSize)
		m.Copy(to.refOff(i+1), n.refOff(i), (n.n-i)*node.WordSize)
	}
	m.SetWord(to.headOff(i), head)
	m.SetWord(to.refOff(i), uint64(ref))
	m.SetWord(off+node.HeadOff, to.skip<<skipShift|to.n)
	return off, nil
}

// withRemoved removes the i-th leaf from a bottom node, as withInserted inserts one.
func (t *Tx) withRemoved(n tnode, i uint64) (uint64, error) {
	off, err := t.place(n, n.n-1)
	if err != nil {
		return 0, err
	}
	m, to := t.r.Mem, tnode{off, n.n - 1, n.skip, n.width}
	if off != n.off {
		m.Copy(to.headOff(0), n.headOff(0), i*node.WordSize)
	}
	m.Copy(to.headOff(i), n.headOff(i+1), (to.n-i)*node.WordSize)
	m.Copy(to.refOff(0), n.refOff(0), i*node.WordSize)
	m.Copy(to.refOff(i), n.refOff(i+1), (to.n-i)*node.WordSize)
	m.SetWord(off+node.HeadOff, to.skip<<skipShift|to.n)
	return off, nil
}

// place returns the offset of n if the node can have k children in place, otherwise that of
// a new block. Damage can make any block look like the transaction's own, so place also
// checks the new size against the region's end.
func (t *Tx) place(n tnode, k uint64) (uint64, error) {
	size := nodeSize(k, n.inner())
	if t.MayChange(n.off, n.size()) && n.off+size <= t.r.End && t.Alloc.BlockSize(n.size()) == t.Alloc.BlockSize(size) {
		return n.off, nil
	}
	return t.newNode(size)
}
