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

// A span is entries of an ordered map that follow each other.
type span struct {
	first uint64 // how many there are before them
	n     uint64
	after uint64 // how many there are behind them
}

// span returns the entries whose keys are not less than from and less than to. nil is an
// open end.
func (v view) span(from, to []byte) (s span, err error) {
	end := uint64(v.tree.Entries)
	if from != nil {
		if s.first, _, err = v.btree().Rank(v.tree.Root, from); err != nil {
			return span{}, err
		}
	}
	if to != nil {
		if end, _, err = v.btree().Rank(v.tree.Root, to); err != nil {
			return span{}, err
		}
	}
	s.n = end - min(s.first, end)
	s.after = uint64(v.tree.Entries) - min(end, uint64(v.tree.Entries))
	return s, nil
}

// A scan is what a loop over an ordered map visits.
type scan struct {
	from, to []byte // nil: an open end
	backward bool
}

// visit visits the entries of the scan.
func (s scan) visit(v view, visit func(node.Leaf) bool) error {
	span, err := v.span(s.from, s.to)
	if err != nil {
		return err
	}
	if s.backward {
		return v.btree().Descend(v.tree.Root, span.after, span.n, visit)
	}
	return v.btree().Ascend(v.tree.Root, span.first, span.n, visit)
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
