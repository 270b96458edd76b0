package shm

import (
	"cmp"

	"github.com/seed-869cc763/shmkv/alloc"
	"github.com/seed-869cc763/shmkv/btree"
	"github.com/seed-869cc763/shmkv/hamt"
	"github.com/seed-869cc763/shmkv/node"
)

// A prover visits every node that a version reaches, and proves it.
//
// Rule E1: an entry that has a checksum is proved by it. So no entry that has changed since
// it was written is copied by Backup or Rewrite. BackupSince, which does not visit
// everything, verifies the entries that it compares.
type prover struct {
	s  *Store
	r  hamt.Reader
	at alloc.Root
	// visit gets a node before those below it. Leaf is set in the entries of maps only, and
	// to is the named map of the entry, or nil.
	visit func(to *target, n node.Node) error
	enter func(to *target) error // called before the entries of a named map; or nil
	// changed gets the error of an entry whose checksum is wrong, and the proof goes on.
	// Without changed, the proof ends with the error.
	changed func(err error)

	digest  uint64 // of the entries so far
	without int64  // of these, how many have no checksum
}

// run proves the whole version, with all totals that it states. It returns the counts of
// the unnamed map's trie.
func (p *prover) run() (hamt.Counts, error) {
	root := readRoot(p.r.Mem, p.at.Off)
	counts, err := p.hashMap(nil, root.unnamed)
	if err != nil {
		return counts, err
	}
	var named totals
	err = p.records(root.directory, func(name []byte, record mapRecord) error {
		named.add(record.Tree)
		to := &target{name, p.s.hashOf(name), record.kind}
		if p.enter != nil {
			if err := p.enter(to); err != nil {
				return err
			}
		}
		return p.named(to, record.Tree)
	})
	if err == nil {
		err = cmp.Or(checkTotal(p.at.Off, "entries of named maps", root.named.entries, named.entries),
			checkTotal(p.at.Off, "bytes of data of named maps", root.named.dataBytes, named.dataBytes))
	}
	if err != nil {
		return counts, err
	}
	dropped := prover{s: p.s, r: p.r, at: p.at, changed: p.changed, visit: func(_ *target, n node.Node) error {
		n.Leaf = node.Leaf{}
		return p.visit(nil, n)
	}}
	err = dropped.records(root.dropped, func(key []byte, record mapRecord) error {
		name := droppedName(key)
		return dropped.named(&target{name, p.s.hashOf(name), record.kind}, record.Tree)
	})
	p.digest += dropped.digest
	p.without += dropped.without
	return counts, err
}

// records proves a trie of records, and calls each for each record.
func (p *prover) records(trie node.Ref, each func(key []byte, record mapRecord) error) error {
	_, err := p.r.Check(trie, p.at.Version, p.s.hash, directoryExtra, func(n node.Node) error {
		l := n.Leaf
		n.Leaf = node.Leaf{}
		if err := p.visit(nil, n); err != nil || l == (node.Leaf{}) {
			return err
		}
		record, err := readRecord(p.r.Reader, l)
		if err != nil {
			return err
		}
		return each(p.r.Key(l), record)
	})
	return err
}

// named proves a named map.
func (p *prover) named(to *target, tree node.Tree) error {
	if !to.ordered() {
		_, err := p.hashMap(to, tree)
		return err
	}
	counts, err := btree.Reader{Reader: p.r.Reader}.Check(tree.Root, p.at.Version, to.extra(0), p.visitor(to))
	if err != nil {
		return err
	}
	return p.checkTotals(tree, counts.Entries, counts.DataBytes)
}

func (p *prover) hashMap(to *target, tree node.Tree) (hamt.Counts, error) {
	counts, err := p.r.Check(tree.Root, p.at.Version, p.s.hash, to.extra(0), p.visitor(to))
	if err == nil {
		err = p.checkTotals(tree, counts.Entries, counts.DataBytes)
	}
	return counts, err
}

// visitor verifies the checksum of an entry, and visits the node.
func (p *prover) visitor(to *target) func(node.Node) error {
	return func(n node.Node) error {
		if l := n.Leaf; l.Flags()&node.HasSum != 0 {
			if err := p.r.CheckSum(l); err != nil {
				if p.changed == nil {
					return err
				}
				p.changed(err)
			}
			p.digest += p.r.Digest(l)
		} else if l != (node.Leaf{}) {
			p.without++
		}
		return p.visit(to, n)
	}
}

// checkTotals compares the totals of a tree with those that were found.
func (p *prover) checkTotals(tree node.Tree, entries, dataBytes int64) error {
	off := cmp.Or(tree.Root.Off(), p.at.Off)
	return cmp.Or(checkTotal(off, "entries stated of a tree", tree.Entries, entries),
		checkTotal(off, "bytes of data stated of a tree", tree.DataBytes, dataBytes))
}

// checkTotal compares a total with the one that was found.
func checkTotal(off uint64, what string, stated, found int64) error {
	if stated != found {
		return alloc.Corrupt(off, what, stated, found)
	}
	return nil
}
