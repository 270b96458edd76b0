package btree

import "github.com/seed-869cc763/shmkv/node"

// warmGroup is how many keys Warm looks for at the same time.
const warmGroup = 16

// Warm begins to load the nodes and leaves that changes of these keys read, so that the waits
// for memory overlap. It changes nothing and reports no damage: the changes do.
//
// It goes down level by level with all keys of a group. Where a separator is tied it takes the
// last child that may have the key, without a look at the leaf that decides, so it may warm a
// neighbour in place of the node.
func (t *Tx) Warm(keys [][]byte) {
	for len(keys) > 0 {
		n := min(len(keys), warmGroup)
		t.r.warm(t.Root, keys[:n])
		keys = keys[n:]
	}
}

func (r Reader) warm(root node.Ref, keys [][]byte) {
	var at [warmGroup]node.Ref // nil: this key is done
	for i := range keys {
		at[i] = root
	}
	for depth, more := 0, root != 0; more && depth < maxDepth; depth++ {
		more = false
		for i, key := range keys {
			if at[i] == 0 {
				continue
			}
			t, ok := r.open(at[i])
			if !ok {
				at[i] = 0
				continue
			}
			child := r.ref(t, max(r.upper(t.headsOff(), t.n, headOf(key, t.skip)), 1)-1) &^ node.Tied
			off := min(child.Off(), r.Last())
			r.Mem.Prefetch(off)
			if at[i] = 0; t.inner() {
				r.prefetch(off)
				at[i], more = child, true
			} else {
				r.PrefetchLeaf(off)
			}
		}
	}
}
