package shm

import (
	"bytes"

	"github.com/seed-869cc763/shmkv/btree"
	"github.com/seed-869cc763/shmkv/node"
)

// A query asks for one entry of an ordered map.
type query struct {
	ask ask
	key []byte
	at  int
}

type ask uint8

const (
	askLower  = ask(btree.Lower)
	askFloor  = ask(btree.Floor)
	askCeil   = ask(btree.Ceil)
	askHigher = ask(btree.Higher)
	askMin    = askHigher + 1
	askMax    = askHigher + 2
	askAt     = askHigher + 3
)

// seek returns the leaf that a query asks for, or ErrNotFound. The view may change
// meanwhile, if the caller finds out afterwards.
func (v view) seek(q query) (l node.Leaf, err error) {
	t, root := v.btree(), v.tree.Root
	switch q.ask {
	case askMin:
		l, err = t.Min(root)
	case askMax:
		l, err = t.Max(root)
	case askAt:
		if q.at >= 0 {
			l, err = t.At(root, uint64(q.at))
		}
	default:
		l, err = t.Near(root, q.key, btree.Relation(q.ask))
	}
	if err == nil && l == (node.Leaf{}) {
		err = ErrNotFound
	}
	return l, err
}

// rank returns how many keys are less than key, and whether key is there.
func (v view) rank(key []byte) (i int, found bool, err error) {
	n, found, err := v.btree().Rank(v.tree.Root, key)
	return int(n), found, err
}

// countIn returns the number of keys that are not less than from and less than to. nil is an
// open end.
func (v view) countIn(from, to []byte) (n int, err error) {
	first, end := uint64(0), uint64(v.tree.Entries)
	if from != nil {
		if first, _, err = v.btree().Rank(v.tree.Root, from); err != nil {
			return 0, err
		}
	}
	if to != nil {
		if end, _, err = v.btree().Rank(v.tree.Root, to); err != nil {
			return 0, err
		}
	}
	return int(end - min(first, end)), nil
}

// A scan is what a loop visits: all entries of a hash map, or a range of an ordered map.
type scan struct {
	from, to []byte // nil: an open end
	backward bool
	pos      uint64 // of a hash map: where to begin, see AllFrom
}

// prefixed returns the scan of the keys that begin with p.
func prefixed(p []byte) scan {
	s := scan{from: p}
	if p == nil {
		return s
	}
	// The end is the least key that is greater than all of them, if there is one.
	for i := len(p) - 1; i >= 0; i-- {
		if p[i] != 0xff {
			s.to = bytes.Clone(p[:i+1])
			s.to[i]++
			break
		}
	}
	return s
}
