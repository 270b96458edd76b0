package hamt

import "math/bits"

// Result is what FindMany found for one key.
type Result struct {
	Leaf   Leaf
	Status Status
}

// group is how many lookups FindMany has under way at a time: enough to fill
// the time of one wait for memory, few enough to stay in the first cache.
const group = 32

// FindMany is Find for many keys of one root: out[i] becomes the result of
// keys[i], whose hash is hashes[i]. It takes all keys of a group one level down
// before it takes the next step with any, so that their waits for memory
// overlap: on a trie that is larger than the caches a key costs half of a Find
// or less. The three slices are of one length.
func (r Reader) FindMany(root Ref, hashes []uint64, keys [][]byte, out []Result) {
	for len(keys) > 0 {
		n := min(len(keys), group)
		r.findGroup(root, hashes[:n], keys[:n], out[:n])
		hashes, keys, out = hashes[n:], keys[n:], out[n:]
	}
}

func (r Reader) findGroup(root Ref, hashes []uint64, keys [][]byte, out []Result) {
	var (
		refs   [group]Ref
		words  [group]uint64 // the head of each key's node
		active [group]uint8  // the keys that are at a branch
	)
	for i := range keys {
		refs[i] = root
		active[i] = uint8(i)
	}
	n := len(keys)
	if root.kind() != kindBranch {
		n = 0
	}
	shift := uint(0)
	for ; n > 0 && shift < maxDepth*levelBits; shift += levelBits {
		for _, i := range active[:n] {
			words[i%group] = r.mem.Word(min(refs[i%group].Off(), r.last()) + headOff)
		}
		left := 0
		for _, i := range active[:n] {
			i %= group // tells the compiler that i is in range
			x := words[i] << (^(hashes[i] >> shift) & levelMask)
			if int64(x) >= 0 {
				refs[i] = 0
				continue
			}
			at := min(refs[i].Off(), r.last()) + headOff + wordSize*uint64(bits.OnesCount64(x))
			refs[i] = Ref(r.mem.Word(min(at, r.end-wordSize)))
			// Storing first and counting after takes no branch.
			active[left] = i
			if refs[i].kind() == kindBranch {
				left++
			}
		}
		n = left
	}
	// A branch that is left over below the last level is damage, and ends in
	// findCarefully.
	for i := range keys {
		words[i] = r.mem.Word(min(refs[i].Off(), r.last()) + headOff)
		r.prefetchLeaf(min(refs[i].Off(), r.room()))
	}
	for i, key := range keys {
		ref, h := refs[i], hashes[i]
		if ref.tag() == h>>tagShift && ref.kind() == kindLeaf {
			if l, ok := r.match(min(ref.Off(), r.last()), words[i], key); ok {
				out[i] = Result{l, Present}
				continue
			}
		}
		out[i].Leaf, out[i].Status = r.findCarefully(ref, h, key, maxDepth)
	}
}
