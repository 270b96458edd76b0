package shm

import (
	"github.com/seed-869cc763/shmkv/alloc"
	"github.com/seed-869cc763/shmkv/btree"
	"github.com/seed-869cc763/shmkv/hamt"
	"github.com/seed-869cc763/shmkv/node"
)

// newer is the alloc.Newer of all maps. A map that has changed has a new record (rule M1).
func newer(a *alloc.Arena, root alloc.Root, after uint64, visit func(off, size uint64) error) (err error) {
	if guarded(func() { err = newerNodes(a, root, after, visit) }) {
		return errNoMemory
	}
	return err
}

func newerNodes(a *alloc.Arena, root alloc.Root, after uint64, visit func(off, size uint64) error) error {
	r := hamt.NewReader(a.Mem(), a.Known())
	n := readRoot(r.Mem, root.Off)
	block := func(n node.Node) error { return visit(n.Ref.Off(), n.Size) }
	if err := r.Newer(n.unnamed.Root, after, block); err != nil {
		return err
	}
	record := func(n node.Node) error {
		if err := block(n); err != nil || n.Leaf == (node.Leaf{}) {
			return err
		}
		m, err := readRecord(r.Reader, n.Leaf)
		if err != nil {
			return err
		}
		if m.kind == KindOrdered {
			return btree.Reader{Reader: r.Reader}.Newer(m.Root, after, block)
		}
		return r.Newer(m.Root, after, block)
	}
	if err := r.Newer(n.directory, after, record); err != nil {
		return err
	}
	return r.Newer(n.dropped, after, record)
}
