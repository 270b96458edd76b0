package hamt

import (
	"bytes"
	"math/bits"

	"github.com/seed-869cc763/shmkv/node"
)

// Diff visits the entries in which the tries at older and newer differ, in no
// useful order, until visit returns false. A zero old leaf means that the entry
// was added, a zero new leaf that it was removed. Both tries must hold still.
//
// It passes over whatever both tries share, so its time is proportional to what
// was written between them, not to their size. An entry that was written anew
// or moved, with the same key and value as before, is not a difference.
//
// hash must be the function that the tries were built with: to find an entry's
// place in a trie that is deeper than the other, Diff needs its hash.
func (r Reader) Diff(older, newer node.Ref, hash func(key []byte) uint64, visit func(old, new node.Leaf) bool) error {
	// As with Walk, damage can make one node appear in many places, and leaves
	// overlap. In two sound tries each step below has a node to itself, or half of
	// one, each byte of a leaf is compared once with the other trie's, and a key is
	// hashed once a level at most.
	d := differ{a: r, b: r, shared: true, hash: hash, visit: visit, left: (4 + 2 + maxDepth) * r.End}
	return d.diff(older, newer, 0)
}

// Join visits the entries of two tries that lie in different regions, and were
// built with the same hash: each key once, with its leaf in either, or the zero
// one, in no useful order, until visit returns false. Equal entries are visited as
// well, for nothing but their bytes tells that they are.
func Join(a Reader, older node.Ref, b Reader, newer node.Ref, hash func(key []byte) uint64, visit func(old, new node.Leaf) bool) error {
	d := differ{a: a, b: b, hash: hash, visit: visit, left: (4 + 2 + maxDepth) * (a.End + b.End)}
	return d.diff(older, newer, 0)
}

type differ struct {
	a, b    Reader // of the older and of the newer trie
	shared  bool   // they read one region
	hash    func(key []byte) uint64
	visit   func(old, new node.Leaf) bool
	left    uint64 // bytes that may still be looked at
	stopped bool
}

// step pays for looking at something.
func (d *differ) step(off, bytes uint64) error {
	if d.left < bytes {
		return node.Corrupt(off, "trie", "no more nodes than the region has room for", "one more")
	}
	d.left -= bytes
	return nil
}

// diff compares what stands at one place of both tries.
func (d *differ) diff(a, b node.Ref, depth int) error {
	if a == b && (d.shared || a == 0) || d.stopped {
		return nil
	}
	if err := d.step(b.Off(), minEntrySize); err != nil {
		return err
	}
	if a.Kind() != node.KindBranch && b.Kind() != node.KindBranch {
		return d.merge(a, b)
	}
	x, err := d.side(d.a, a, depth)
	if err != nil {
		return err
	}
	y, err := d.side(d.b, b, depth)
	if err != nil {
		return err
	}
	for both := x.bitmap | y.bitmap; both != 0; both &= both - 1 {
		index := uint64(bits.TrailingZeros64(both))
		ra, err := x.child(d.a, index)
		if err != nil {
			return err
		}
		rb, err := y.child(d.b, index)
		if err != nil {
			return err
		}
		if err := d.diff(ra, rb, depth+1); err != nil || d.stopped {
			return err
		}
	}
	return nil
}

// A side is one of two nodes that are compared as branches: a branch, or a leaf
// or collision taken as a branch that has only it, which is how the other trie
// has it if it has it at all.
type side struct {
	branch
	only node.Ref
}

func (d *differ) side(r Reader, ref node.Ref, depth int) (side, error) {
	switch ref.Kind() {
	case node.KindBranch:
		b, err := r.branch(ref, depth)
		return side{branch: b}, err
	case node.KindNil:
		return side{}, nilOrBad(ref)
	}
	first := ref
	if ref.Kind() == node.KindCollision {
		c, err := r.collision(ref)
		if err != nil {
			return side{}, err
		}
		first = c.ref(r, 0)
	}
	l, err := r.Leaf(first)
	if err != nil {
		return side{}, err
	}
	if err := d.step(l.Off, uint64(l.KeyLen)); err != nil {
		return side{}, err
	}
	h := d.hash(r.Key(l))
	return side{branch: branch{bitmap: bit(h, depth)}, only: ref}, nil
}

// child returns what stands at an index, or 0.
func (s side) child(r Reader, index uint64) (node.Ref, error) {
	if s.bitmap>>index&1 == 0 {
		return 0, nil
	}
	if s.only != 0 {
		return s.only, nil
	}
	ref := s.ref(r, uint64(bits.OnesCount64(s.bitmap&(1<<index-1))))
	if ref == 0 {
		return 0, corruptNil(s.off)
	}
	return ref, nil
}

// merge compares two places of which each has nothing, a leaf or a collision.
// Both are lists of leaves in the order of their keys.
func (d *differ) merge(a, b node.Ref) error {
	p, err := d.a.leaves(a)
	if err != nil {
		return err
	}
	q, err := d.b.leaves(b)
	if err != nil {
		return err
	}
	for !d.stopped {
		if err := d.step(b.Off(), minEntrySize); err != nil {
			return err
		}
		old, err := p.leaf(d.a)
		if err != nil {
			return err
		}
		new, err := q.leaf(d.b)
		if err != nil {
			return err
		}
		order := 0
		switch {
		case old == node.Leaf{} && new == node.Leaf{}:
			return nil
		case old == node.Leaf{}:
			order = 1
		case new == node.Leaf{}:
			order = -1
		case !d.same(old, new):
			if err := d.step(new.Off, uint64(min(old.KeyLen, new.KeyLen))); err != nil {
				return err
			}
			order = bytes.Compare(d.a.Key(old), d.b.Key(new))
		}
		switch {
		case order < 0:
			p.i++
			d.stopped = !d.visit(old, node.Leaf{})
		case order > 0:
			q.i++
			d.stopped = !d.visit(node.Leaf{}, new)
		default:
			p.i++
			q.i++
			if d.same(old, new) {
				continue
			}
			if !d.shared {
				d.stopped = !d.visit(old, new)
				continue
			}
			if err := d.step(new.Off, uint64(min(old.ValueLen, new.ValueLen))); err != nil {
				return err
			}
			if !bytes.Equal(d.a.Value(old), d.b.Value(new)) {
				d.stopped = !d.visit(old, new)
			}
		}
	}
	return nil
}

// same reports whether two leaves are one.
func (d *differ) same(old, new node.Leaf) bool { return d.shared && old.Off == new.Off }

// leaves is a list of leaf references: those of a collision, or a single one.
type leaves struct {
	collision
	only node.Ref
	i    uint64
}

func (r Reader) leaves(ref node.Ref) (leaves, error) {
	switch ref.Kind() {
	case node.KindNil:
		return leaves{}, nilOrBad(ref)
	case node.KindCollision:
		c, err := r.collision(ref)
		return leaves{collision: c}, err
	}
	return leaves{collision: collision{count: 1}, only: ref}, nil
}

// leaf returns the current leaf, the zero one at the end.
func (s *leaves) leaf(r Reader) (node.Leaf, error) {
	if s.i >= s.count {
		return node.Leaf{}, nil
	}
	if s.only != 0 {
		return r.Leaf(s.only)
	}
	return r.Leaf(s.ref(r, s.i))
}

func nilOrBad(ref node.Ref) error {
	if ref != 0 {
		return node.Corrupt(ref.Off(), "reference", "a node", "%v", ref)
	}
	return nil
}
