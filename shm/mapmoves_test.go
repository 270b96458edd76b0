//go:build shmhook

package shm

import (
	"github.com/seed-869cc763/shmkv/alloc"
	"github.com/seed-869cc763/shmkv/alloc/layout"
	"github.com/seed-869cc763/shmkv/node"
)

// Moves of blocks of named maps, for scenes and stories.

// nodesOf returns the blocks of a map's tree but for its leaves, the root first.
func nodesOf(s *Store, p place) (nodes []node.Node, err error) {
	err = s.View(func(sn *Snapshot) error {
		prove := prover{s: s, r: s.reader(), at: sn.pin.Root, visit: func(to *target, n node.Node) error {
			if to != nil && string(to.name) == p.name && n.Leaf == (node.Leaf{}) {
				nodes = append(nodes, n)
			}
			return nil
		}}
		_, err := prove.run()
		return err
	})
	return nodes, err
}

// moveNodes moves the nodes of a map's tree as Compact does.
func moveNodes(s *Store, p place) error {
	nodes, err := nodesOf(s, p)
	for _, n := range nodes {
		if err == nil {
			err = moveOne(s, n.Ref.Off(), n.Size)
		}
	}
	return err
}

// moveRecord moves the leaf of a map in the directory as Compact does.
func moveRecord(s *Store, name string) error {
	w, err := s.writer(alloc.Brief | alloc.Frees)
	if err != nil {
		return err
	}
	err = w.begin()
	l, status := w.taken().Find(w.root.directory, s.hashOf([]byte(name)), []byte(name))
	w.slot.End()
	w.release()
	if err != nil || status != node.Present {
		return err
	}
	return moveOne(s, l.Off, l.Size())
}

func moveOne(s *Store, off, size uint64) error {
	w, err := s.writer(alloc.Brief | alloc.Frees)
	if err != nil {
		return err
	}
	defer w.release()
	_, _, err = w.moveBlock(off, layout.BlockSize(size))
	return err
}
