package hamt

import (
	"bytes"
	"math/bits"

	"github.com/seed-869cc763/shmkv/node"
)

// Diff calls visit for each entry that differs between the tries at older and
// newer, in no particular order, until visit returns false. A zero old leaf means
// that the entry was added, a zero new leaf that it was removed. Neither trie may
// change meanwhile. An entry that was rewritten or moved with the same key and
// value is not a difference.
//
// Diff skips shared nodes, so its time is proportional to the number of nodes
// written between the two versions, not to the size of the tries.
//
// hash must be the function that the tries were built with. Diff hashes the key of
// a leaf or collision that is opposite a branch of the other trie.
func (r Reader) Diff(older, newer node.Ref, hash func(key []byte) uint64, visit func(old, new node.Leaf) bool) error {
	// Damage can make one node appear in many places and make leaves overlap. The
	// limit on bytes read ends Diff then. Two sound tries stay below it: each step
	// reads another node or half of one, Diff compares each byte of a leaf once with
	// the other trie, and it hashes a key at most once a level.
	d := differ{a: r, b: r, shared: true, hash: hash, visit: visit, left: (4 + 2 + maxDepth) * r.End}
	return d.diff(older, newer, 0)
}

// Join calls visit once for each key of two tries, in no particular order, until
// visit returns false. visit gets the key's leaf in each trie, or the zero Leaf if
// the trie has no such key. Join visits equal entries too. The tries lie in
// different regions and were built with the same hash. Join reads all of both.
func Join(a Reader, older node.Ref, b Reader, newer node.Ref, hash func(key []byte) uint64, visit func(old, new node.Leaf) bool) error {
	d := differ{a: a, b: b, hash: hash, visit: visit, left: (4 + 2 + maxDepth) * (a.End + b.End)}
	return d.diff(older, newer, 0)
}

type differ struct {
	a, b    Reader // of the older and of the newer trie
	shared  bool   // a and b read the same region
	hash    func(key []byte) uint64
	visit   func(old, new node.Leaf) bool
	left    uint64 // bytes that may still be read
	stopped bool
}

// step takes a number of bytes off the limit. It returns an error if they exceed it.
func (d *differ) step(off, bytes uint64) error {
	if d.left < bytes {
		return node.Corrupt(off, "trie", "no more nodes than the region has room for", "one more")
	}
	d.left -= bytes
	return nil
}

// diff compares the nodes a and b, which have the same position in both tries.
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

// A side is one of two nodes that diff compares as branches. A leaf or collision is
// treated as a branch with this only child. If the other trie has the same keys,
// they are below the same index of its branch.
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
	if err := d.step(l.Off, l.KeyLen()); err != nil {
		return side{}, err
	}
	h := d.hash(r.Key(l))
	return side{branch: branch{bitmap: bit(h, depth)}, only: ref}, nil
}

// child returns the child at an index, or 0 if there is none.
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

// merge compares a and b, each nil, a leaf or a collision, as two lists of leaves in
// key order.
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
			if err := d.step(new.Off, min(old.KeyLen(), new.KeyLen())); err != nil {
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
			if err := d.step(new.Off, min(old.ValueLen(), new.ValueLen())); err != nil {
				return err
			}
			if !bytes.Equal(d.a.Value(old), d.b.Value(new)) {
				d.stopped = !d.visit(old, new)
			}
		}
	}
	return nil
}

// same reports whether old and new are the same leaf of one region.
func (d *differ) same(old, new node.Leaf) bool { return d.shared && old.Off == new.Off }

// leaves iterates over the leaves of a collision, or over a single leaf.
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

// leaf returns the current leaf, or the zero Leaf at the end.
func (s *leaves) leaf(r Reader) (node.Leaf, error) {
	if s.i >= s.count {
		return node.Leaf{}, nil
	}
	if s.only != 0 {
		return r.Leaf(s.only)
	}
	return r.Leaf(s.ref(r, s.i))
}

// nilOrBad returns an error unless ref is nil.
func nilOrBad(ref node.Ref) error {
	if ref != 0 {
		return node.Corrupt(ref.Off(), "reference", "a node", "%v", ref)
	}
	return nil
}
