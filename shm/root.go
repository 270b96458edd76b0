package shm

import (
	"fmt"

	"github.com/seed-869cc763/shmkv/alloc"
	"github.com/seed-869cc763/shmkv/alloc/region"
	"github.com/seed-869cc763/shmkv/node"
)

// A rootNode is what the root node of a version says of it.
type rootNode struct {
	unnamed   node.Tree // the trie of the unnamed map
	liveBytes int64     // of the blocks that the version reaches
	directory node.Ref  // the trie of the named maps' records
	dropped   node.Ref  // the trie of the records of maps that are being taken apart
	named     totals    // of the named maps
	digest    uint64    // sum of the digests of all leaves of maps, dropped ones included
}

// totals are sums over maps.
type totals struct {
	entries   int64
	dataBytes int64 // of keys and values
}

func (t *totals) add(tree node.Tree) {
	t.entries += tree.Entries
	t.dataBytes += tree.DataBytes
}

// all returns the totals of all maps.
func (n rootNode) all() totals {
	sum := n.named
	sum.add(n.unnamed)
	return sum
}

// The payload of a root node.
const (
	rootEntries = iota
	rootLive
	rootData
	rootTrie
	rootDirectory
	rootDropped
	rootNamedEntries
	rootNamedData
	rootDigest
)

// encode makes p the payload of a root node.
func (n *rootNode) encode(p *[alloc.PayloadWords]uint64) {
	*p = [alloc.PayloadWords]uint64{
		rootEntries:      uint64(n.unnamed.Entries),
		rootLive:         uint64(n.liveBytes),
		rootData:         uint64(n.unnamed.DataBytes),
		rootTrie:         uint64(n.unnamed.Root),
		rootDirectory:    uint64(n.directory),
		rootDropped:      uint64(n.dropped),
		rootNamedEntries: uint64(n.named.entries),
		rootNamedData:    uint64(n.named.dataBytes),
		rootDigest:       n.digest,
	}
}

// readRoot reads the root node at off.
func readRoot(m region.Mem, off uint64) rootNode {
	at := alloc.PayloadAt(off)
	word := func(i uint64) uint64 { return m.Word(at + 8*i) }
	return rootNode{
		unnamed:   node.Tree{Root: node.Ref(word(rootTrie)), Entries: int64(word(rootEntries)), DataBytes: int64(word(rootData))},
		liveBytes: int64(word(rootLive)),
		directory: node.Ref(word(rootDirectory)),
		dropped:   node.Ref(word(rootDropped)),
		named:     totals{int64(word(rootNamedEntries)), int64(word(rootNamedData))},
		digest:    word(rootDigest),
	}
}

// rootAt reads the root node at off.
func (s *Store) rootAt(off uint64) rootNode { return readRoot(s.a.Mem(), off) }

// trieAt reads the reference of the unnamed map's trie in the root node at off.
func trieAt(m region.Mem, off uint64) node.Ref {
	return node.Ref(m.Word(alloc.PayloadAt(off) + 8*rootTrie))
}

// directoryAt reads the reference of the directory in the root node at off.
func directoryAt(m region.Mem, off uint64) node.Ref {
	return node.Ref(m.Word(alloc.PayloadAt(off) + 8*rootDirectory))
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

// errNoMemory: there is a hole in the file where data is expected, or the file ends
// before it.
var errNoMemory = fmt.Errorf("%w: data has no memory behind it where it is used", ErrCorrupt)
