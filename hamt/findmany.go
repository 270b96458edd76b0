package hamt

import (
	"math/bits"

	"github.com/seed-869cc763/shmkv/node"
)

// group is the number of lookups that FindMany interleaves: enough to fill the wait
// for one load, few enough that their state stays in the first-level cache.
const group = 32

// FindMany is Find for many keys of one root. It sets out[i] to the result of
// keys[i], whose hash is hashes[i]. The three slices must have the same length.
//
// FindMany moves all keys of a group down one level before the next level, so that
// their loads overlap. On a trie larger than the caches a key takes at most half
// the time of a Find.
func (r Reader) FindMany(root node.Ref, hashes []uint64, keys [][]byte, out []node.Result) {
	for len(keys) > 0 {
		n := min(len(keys), group)
		r.findGroup(root, hashes[:n], keys[:n], out[:n])
		hashes, keys, out = hashes[n:], keys[n:], out[n:]
	}
}

func (r Reader) findGroup(root node.Ref, hashes []uint64, keys [][]byte, out []node.Result) {
	var refs [group]node.Ref
	var heads [group]uint64
	r.descendGroup(root, hashes, &refs)
	for i := range keys {
		heads[i] = r.Mem.Word(min(refs[i].Off(), r.Last()) + node.HeadOff)
		r.PrefetchLeaf(min(refs[i].Off(), r.room()))
	}
	for i, key := range keys {
		ref, h := refs[i], hashes[i]
		if ref.Tag() == h>>node.TagShift && ref.Kind() == node.KindLeaf {
			if l, ok := r.Match(min(ref.Off(), r.Last()), heads[i], key); ok {
				out[i] = node.Result{Leaf: l, Status: node.Present}
				continue
			}
		}
		out[i].Leaf, out[i].Status = r.findCarefully(ref, h, key, maxDepth)
	}
}

// descendGroup sets refs[i] to the leaf or collision that hashes[i] leads to, or to
// nil if there is none. It stops below the last level, where a reference to a branch
// is damage. There must be at most group hashes.
func (r Reader) descendGroup(root node.Ref, hashes []uint64, refs *[group]node.Ref) {
	var (
		heads  [group]uint64 // head words of the current nodes
		active [group]uint8  // indices of the hashes whose node is a branch
	)
	for i := range hashes {
		refs[i%group] = root
		active[i%group] = uint8(i)
	}
	n := len(hashes)
	if root.Kind() != node.KindBranch {
		n = 0
	}
	for shift := uint(0); n > 0 && shift < maxDepth*levelBits; shift += levelBits {
		for _, i := range active[:n] {
			heads[i%group] = r.Mem.Word(min(refs[i%group].Off(), r.Last()) + node.HeadOff)
		}
		left := 0
		for _, i := range active[:n] {
			i %= group // tells the compiler that i is in range
			x := heads[i] << (^(hashes[i] >> shift) & levelMask)
			if int64(x) >= 0 {
				refs[i] = 0
				continue
			}
			at := min(refs[i].Off(), r.Last()) + node.HeadOff + node.WordSize*uint64(bits.OnesCount64(x))
			refs[i] = node.Ref(r.Mem.Word(min(at, r.End-node.WordSize)))
			// Store first and count afterwards: this compiles without a jump.
			active[left] = i
			if refs[i].Kind() == node.KindBranch {
				left++
			}
		}
		n = left
	}
}

// Warm loads the nodes that SetLeaf reads for keys of these hashes into the
// processor's caches. The loads of Warm overlap, those of SetLeaf do not. On a trie
// larger than the caches, a batch takes two thirds of the time with Warm.
func (t *Tx) Warm(hashes []uint64) {
	var refs [group]node.Ref
	for len(hashes) > 0 {
		n := min(len(hashes), group)
		t.r.descendGroup(t.Root, hashes[:n], &refs)
		for i := range n {
			t.r.Mem.Prefetch(min(refs[i].Off(), t.r.Last()))
		}
		hashes = hashes[n:]
	}
}
