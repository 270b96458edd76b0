package hamt

import (
	"math/bits"

	"github.com/seed-869cc763/shmkv/node"
)

// group is how many lookups FindMany has under way at a time: enough to fill
// the time of one wait for memory, few enough to stay in the first cache.
const group = 32

// FindMany is Find for many keys of one root: out[i] becomes the result of
// keys[i], whose hash is hashes[i]. It takes all keys of a group one level down
// before it takes the next step with any, so that their waits for memory
// overlap: on a trie that is larger than the caches a key costs half of a Find
// or less. The three slices are of one length.
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

// descendGroup finds the references that stand where up to a group of hashes lead,
// nil where nothing does. A branch among them, below the last level, is damage.
func (r Reader) descendGroup(root node.Ref, hashes []uint64, refs *[group]node.Ref) {
	var (
		heads  [group]uint64 // of each hash's node
		active [group]uint8  // the hashes that are at a branch
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
			// Storing first and counting after takes no branch.
			active[left] = i
			if refs[i].Kind() == node.KindBranch {
				left++
			}
		}
		n = left
	}
}

// Warm brings what SetLeaf reads for keys of these hashes into the processor's
// caches. Its waits for memory overlap, those of SetLeaf do not: on a trie that is
// larger than the caches a batch takes two thirds of the time with it.
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
