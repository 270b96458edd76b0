package btree

import (
	"math/bits"

	"github.com/seed-869cc763/shmkv/node"
)

// A draft is the children of a node that is to be made, or of two. They are more than a
// node may have while one is split or two are joined.
type draft struct {
	inner  bool
	skip   uint64
	n      uint64
	heads  [2 * maxChildren]uint64
	refs   [2 * maxChildren]node.Ref
	counts [2 * maxChildren]uint64
}

func (a *draft) reset(inner bool, skip uint64) *draft {
	a.inner, a.skip, a.n = inner, skip, 0
	return a
}

// add adds the children of a node with the draft's skip.
func (a *draft) add(r Reader, t tnode) {
	for i := range t.n {
		a.heads[a.n], a.refs[a.n], a.counts[a.n] = r.head(t, i), r.ref(t, i), r.count(t, i)
		a.n++
	}
}

// position returns where in a draft of a bottom node the key of head h is, or would be
// inserted. If it is there, position also returns its leaf.
func (a *draft) position(r Reader, h uint64, key []byte) (at uint64, l node.Leaf, found bool, err error) {
	lo, hi := uint64(0), a.n
	for lo < hi {
		if mid := (lo + hi) / 2; a.heads[mid] < h {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	for ; lo < a.n && a.heads[lo] == h; lo++ {
		if l, err = r.Leaf(a.refs[lo]); err != nil {
			return 0, node.Leaf{}, false, err
		}
		if order := r.CompareKey(l, key); order >= 0 {
			return lo, l, order == 0, nil
		}
	}
	return lo, node.Leaf{}, false, nil
}

// insert makes ref the i-th child.
func (a *draft) insert(i, head uint64, ref node.Ref, count uint64) {
	copy(a.heads[i+1:], a.heads[i:a.n])
	copy(a.refs[i+1:], a.refs[i:a.n])
	copy(a.counts[i+1:], a.counts[i:a.n])
	a.heads[i], a.refs[i], a.counts[i] = head, ref, count
	a.n++
}

// remove removes the i-th child.
func (a *draft) remove(i uint64) {
	copy(a.heads[i:], a.heads[i+1:a.n])
	copy(a.refs[i:], a.refs[i+1:a.n])
	copy(a.counts[i:], a.counts[i+1:a.n])
	a.n--
}

// splice replaces take children from the i-th on by the nodes of m. The first of them
// keeps the separator. The second has none yet.
func (a *draft) splice(i, take uint64, m made) {
	head, tied := a.heads[i], a.refs[i]&node.Tied
	for range take {
		a.remove(i)
	}
	for k := range uint64(m.n) {
		a.insert(i+k, head, m.refs[k]|tied, m.counts[k])
		head, tied = 0, 0
	}
}

// separate makes the separator of the i-th child. left is the greatest leaf before it,
// right the least leaf below it.
func (a *draft) separate(r Reader, i uint64, left, right node.Leaf) {
	less, h := r.leafHead(left, a.skip), r.leafHead(right, a.skip)
	a.refs[i] &^= node.Tied
	if less < h {
		// The bytes up to the first that differs suffice. Zeros behind it stay when the
		// skip is lowered.
		a.heads[i] = h &^ (1<<(56-bits.LeadingZeros64(less^h)&^7) - 1)
		return
	}
	a.heads[i] = h
	a.refs[i] |= node.Tied
}

// lower makes the draft's skip smaller. l is a leaf below. What the heads lose at their
// end may have told a separator from the keys before it.
func (a *draft) lower(r Reader, skip uint64, l node.Leaf) {
	by := a.skip - skip
	if by == 0 {
		return
	}
	a.skip = skip
	common := r.leafHead(l, skip)
	for i := range a.n {
		h, lost := common, true
		if by < headSize {
			h = common>>(64-8*by)<<(64-8*by) | a.heads[i]>>(8*by)
			lost = a.heads[i]<<(64-8*by) != 0
		}
		if a.heads[i] = h; a.inner && lost {
			a.refs[i] |= node.Tied
		}
	}
}

// raise makes the skip as large as the keys of the children from lo to hi permit, and
// makes their heads anew, if some of them are equal. It returns the skip.
func (a *draft) raise(r Reader, lo, hi uint64) (skip uint64, err error) {
	equal := false
	for i := lo + 1; i < hi; i++ {
		equal = equal || a.heads[i] == a.heads[i-1] || a.refs[i]&node.Tied != 0
	}
	if !equal {
		return a.skip, nil
	}
	first, err := a.edge(r, lo, false)
	if err != nil {
		return 0, err
	}
	last, err := a.edge(r, hi-1, true)
	if err != nil {
		return 0, err
	}
	same, _ := r.CommonKey(first, r.Key(last))
	if skip = same &^ (skipStep - 1); skip <= a.skip {
		return a.skip, nil
	}
	b := draft{skip: skip}
	for i := lo; i < hi; i++ {
		l := last
		if i+1 < hi || a.inner {
			if l, err = a.edge(r, i, false); err != nil {
				return 0, err
			}
		}
		if !a.inner {
			a.heads[i] = r.leafHead(l, skip)
		} else if i > lo {
			before, err := a.edge(r, i-1, true)
			if err != nil {
				return 0, err
			}
			b.refs[0] = a.refs[i]
			b.separate(r, 0, before, l)
			a.heads[i], a.refs[i] = b.heads[0], b.refs[0]
		}
	}
	return skip, nil
}

// edge returns the least leaf below the i-th child, or the greatest.
func (a *draft) edge(r Reader, i uint64, greatest bool) (node.Leaf, error) {
	if a.inner {
		return r.edge(a.refs[i], 1, greatest)
	}
	return r.Leaf(a.refs[i])
}

// concat adds the children of b, which are behind those of a.
func (a *draft) concat(r Reader, b *draft) error {
	first, err := a.edge(r, 0, false)
	if err != nil {
		return err
	}
	last, err := b.edge(r, b.n-1, true)
	if err != nil {
		return err
	}
	same, _ := r.CommonKey(first, r.Key(last))
	skip := min(a.skip, b.skip, same&^(skipStep-1))
	a.lower(r, skip, first)
	b.lower(r, skip, last)
	at := a.n
	for i := range b.n {
		a.insert(a.n, b.heads[i], b.refs[i], b.counts[i])
	}
	if !a.inner {
		return nil
	}
	left, err := a.edge(r, at-1, true)
	if err != nil {
		return err
	}
	right, err := a.edge(r, at, false)
	if err != nil {
		return err
	}
	a.separate(r, at, left, right)
	return nil
}

// cut returns how many children the first of two nodes gets. It looks for a place near
// the middle where a separator tells the two apart. atEnd says that the last child is new,
// as that of the greatest key of a tree: then the first node keeps all others, because the
// next key is likely to be greater still. There are at most twice as many children as a node
// may have.
func (a *draft) cut(atEnd bool) uint64 {
	most := mostOf(a.inner)
	if atEnd {
		return min(a.n-1, most)
	}
	middle := a.n / 2
	for by := uint64(0); by <= min(a.n/4, most-(a.n-middle)); by++ {
		for _, c := range [...]uint64{middle - by, middle + by} {
			if clean := a.heads[c] != a.heads[c-1] && (!a.inner || a.refs[c]&node.Tied == 0); clean {
				return c
			}
		}
	}
	return middle
}

// write makes the nodes of the draft: none, one or two.
func (t *Tx) write(a *draft, atEnd bool) (m made, err error) {
	if a.n == 0 {
		return m, nil
	}
	cut := a.n
	if a.n > mostOf(a.inner) {
		cut = a.cut(atEnd)
		if m.left, err = a.edge(t.r, cut-1, true); err == nil {
			m.right, err = a.edge(t.r, cut, false)
		}
		if err != nil {
			return m, err
		}
	}
	if err = t.writeNode(a, 0, cut, &m); err == nil && cut < a.n {
		err = t.writeNode(a, cut, a.n, &m)
	}
	return m, err
}

// writeNode makes a node of the draft's children from lo to hi, and adds it to m.
func (t *Tx) writeNode(a *draft, lo, hi uint64, m *made) error {
	skip, err := a.raise(t.r, lo, hi)
	if err != nil {
		return err
	}
	n := tnode{n: hi - lo, skip: skip, width: widthOf(a.inner)}
	if n.off, err = t.newNode(n.size()); err != nil {
		return err
	}
	t.r.Mem.SetWord(n.off+node.HeadOff, n.skip<<skipShift|n.n)
	count := uint64(0)
	for i := range n.n {
		head, ref := a.heads[lo+i], a.refs[lo+i]
		if a.inner && i == 0 {
			head, ref = 0, ref&^node.Tied
		}
		t.r.Mem.SetWord(n.headOff(i), head)
		t.r.Mem.SetWord(n.refOff(i), uint64(ref))
		if a.inner {
			t.r.Mem.SetWord(n.countOff(i), a.counts[lo+i])
		}
		count += a.counts[lo+i]
	}
	m.refs[m.n], m.counts[m.n] = n.asRef(), count
	m.n++
	return nil
}

// newNode allocates a node and notes it for Undo.
func (t *Tx) newNode(size uint64) (uint64, error) {
	off, err := t.r.Allocate(t.Alloc, size)
	if err == nil {
		t.Note(off, size)
	}
	return off, err
}
