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
	var refs [group]Ref
	var heads [group]uint64
	r.descendGroup(root, hashes, &refs)
	for i := range keys {
		heads[i] = r.mem.Word(min(refs[i].Off(), r.last()) + headOff)
		r.prefetchLeaf(min(refs[i].Off(), r.room()))
	}
	for i, key := range keys {
		ref, h := refs[i], hashes[i]
		if ref.tag() == h>>tagShift && ref.kind() == kindLeaf {
			if l, ok := r.match(min(ref.Off(), r.last()), heads[i], key); ok {
				out[i] = Result{l, Present}
				continue
			}
		}
		out[i].Leaf, out[i].Status = r.findCarefully(ref, h, key, maxDepth)
	}
}

// descendGroup finds the references that stand where up to a group of hashes lead,
// nil where nothing does. A branch among them, below the last level, is damage.
func (r Reader) descendGroup(root Ref, hashes []uint64, refs *[group]Ref) {
	var (
		heads  [group]uint64 // of each hash's node
		active [group]uint8  // the hashes that are at a branch
	)
	for i := range hashes {
		refs[i%group] = root
		active[i%group] = uint8(i)
	}
	n := len(hashes)
	if root.kind() != kindBranch {
		n = 0
	}
	for shift := uint(0); n > 0 && shift < maxDepth*levelBits; shift += levelBits {
		for _, i := range active[:n] {
			heads[i%group] = r.mem.Word(min(refs[i%group].Off(), r.last()) + headOff)
		}
		left := 0
		for _, i := range active[:n] {
			i %= group // tells the compiler that i is in range
			x := heads[i] << (^(hashes[i] >> shift) & levelMask)
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
}

// Warm brings what SetLeaf reads for keys of these hashes into the processor's
// caches. Its waits for memory overlap, those of SetLeaf do not: on a trie that is
// larger than the caches a batch takes two thirds of the time with it.
func (t *Tx) Warm(hashes []uint64) {
	var refs [group]Ref
	for len(hashes) > 0 {
		n := min(len(hashes), group)
		t.r.descendGroup(t.Root, hashes[:n], &refs)
		for i := range n {
			t.r.mem.Prefetch(min(refs[i].Off(), t.r.last()))
		}
		hashes = hashes[n:]
	}
}
