package shm

import (
	"cmp"
	"fmt"

	"github.com/seed-869cc763/shmkv/alloc"
	"github.com/seed-869cc763/shmkv/hamt"
	"github.com/seed-869cc763/shmkv/node"
)

// A rootNode is what the root node of a version says of it.
type rootNode struct {
	entries   int64
	liveBytes int64 // of the blocks that the version reaches
	dataBytes int64 // of keys and values
	trie      node.Ref
}

// The payload of a root node.
const (
	rootEntries = iota
	rootLive
	rootData
	rootTrie
)

// encode returns the payload of a root node.
func (n rootNode) encode() [alloc.PayloadWords]uint64 {
	return [alloc.PayloadWords]uint64{
		rootEntries: uint64(n.entries),
		rootLive:    uint64(n.liveBytes),
		rootData:    uint64(n.dataBytes),
		rootTrie:    uint64(n.trie),
	}
}

// rootAt reads the root node at off.
func (s *Store) rootAt(off uint64) rootNode {
	m, at := s.a.Mem(), alloc.PayloadAt(off)
	return rootNode{
		entries:   int64(m.Word(at + 8*rootEntries)),
		liveBytes: int64(m.Word(at + 8*rootLive)),
		dataBytes: int64(m.Word(at + 8*rootData)),
		trie:      node.Ref(m.Word(at + 8*rootTrie)),
	}
}

// trieAt reads the root node at off for a lookup.
func (s *Store) trieAt(off uint64) node.Ref {
	return node.Ref(s.a.Mem().Word(alloc.PayloadAt(off) + 8*rootTrie))
}

// rootNow reads the current root node without a pin. Without ok the handle is
// closed or the node cannot be read.
func (s *Store) rootNow() (root rootNode, g alloc.Stamp, ok bool) {
	for {
		if g, ok = s.a.Stamp(); !ok {
			return rootNode{}, g, false
		}
		faulted := false
		if read := func() { root = s.rootAt(g.Root()) }; s.a.Punched() {
			faulted = guarded(read)
		} else {
			read()
		}
		switch {
		case !s.a.Valid(g):
			continue // it may have been reused
		case faulted:
			return rootNode{}, g, false
		}
		return root, g, true
	}
}

// reach visits every node that a version reaches, a node before those below it. It
// proves each of them, and the entries and bytes of data in the root node.
func (s *Store) reach(r hamt.Reader, at alloc.Root, visit func(node.Node) error) (hamt.Counts, error) {
	root := s.rootAt(at.Off)
	counts, err := r.Check(root.trie, at.Version, s.hash, node.Extra{}, visit)
	if err == nil {
		err = cmp.Or(checkSum(at, "entries", root.entries, counts.Entries), checkSum(at, "bytes of data", root.dataBytes, counts.DataBytes))
	}
	return counts, err
}

// checkSum compares a sum in a root node with the one that was found.
func checkSum(at alloc.Root, what string, root, found int64) error {
	if root != found {
		return alloc.Corrupt(at.Off, what+" in the root node", root, found)
	}
	return nil
}

// A view is a trie that can be looked up in: of a version, or of a transaction.
type view struct {
	r    hamt.Reader
	trie node.Ref
}

// find returns the leaf of key, whose hash is h, or ErrNotFound, or the damage that it
// met on the way. The view must hold still.
func (v view) find(h uint64, key []byte) (node.Leaf, error) {
	l, status := v.r.Find(v.trie, h, key)
	return l, v.outcome(status, h, key)
}

// outcome returns the error of a lookup.
func (v view) outcome(status node.Status, h uint64, key []byte) error {
	switch status {
	case node.Present:
		return nil
	case node.Absent:
		return ErrNotFound
	}
	return damage(v.r.Explain(v.trie, h, key))
}

// damage returns the error of a lookup that found damage, explained or not.
func damage(explained error) error {
	if explained == nil {
		return ErrCorrupt
	}
	return explained
}

// errNoMemory: there is a hole in the file where data is expected, or the file ends
// before it.
var errNoMemory = fmt.Errorf("%w: data has no memory behind it where it is used", ErrCorrupt)
