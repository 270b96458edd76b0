package counter

import (
	"bytes"
	"cmp"
	"slices"
)

// A ranked is a counter, before or after a commit, and a number to sort it by.
type ranked struct {
	by  uint64
	i   int32 // index of the counter
	old bool  // before the commit
}

// sortByKey makes ranks the counters that change, in the order of their keys. The eight bytes
// behind those that all keys have in common tell most keys apart.
func (b *Batch) sortByKey() {
	b.ranks = b.ranks[:0]
	first := b.keys[b.changed[0]].key
	same := len(first)
	for _, i := range b.changed {
		if key := b.keys[i].key; !bytes.HasPrefix(key, first[:same]) {
			same = commonBytes(first[:same], key)
		}
	}
	for _, i := range b.changed {
		b.ranks = append(b.ranks, ranked{by: headOf(b.keys[i].key[same:]), i: i})
	}
	b.sortRanks()
	for from, to := 0, 0; from < len(b.ranks); from = to {
		for to = from + 1; to < len(b.ranks) && b.ranks[to].by == b.ranks[from].by; to++ {
		}
		if to > from+1 {
			slices.SortFunc(b.ranks[from:to], func(p, q ranked) int { return bytes.Compare(b.keys[p.i].key, b.keys[q.i].key) })
		}
	}
}

// commonBytes returns how many bytes at their beginning p and q have in common.
func commonBytes(p, q []byte) (n int) {
	for n < len(p) && n < len(q) && p[n] == q[n] {
		n++
	}
	return n
}

// headOf returns the first eight bytes of a key, in the order of keys.
func headOf(key []byte) (head uint64) {
	for i := range 8 {
		head <<= 8
		if i < len(key) {
			head |= uint64(key[i])
		}
	}
	return head
}

// descending returns a number that is the less the greater n is.
func descending(n int64) uint64 { return ^(uint64(n) ^ 1<<63) }

// fewRanks is how many ranks are sorted by comparisons: a pass of the radix sort counts all 256
// values of a byte, whatever the number of ranks.
const fewRanks = 64

// sortRanks sorts ranks by their numbers, and keeps the order of equal ones. It is a radix sort:
// comparisons took 10 to 16 percent of the time of batches of a thousand increments.
func (b *Batch) sortRanks() {
	if len(b.ranks) <= fewRanks {
		slices.SortStableFunc(b.ranks, func(p, q ranked) int { return cmp.Compare(p.by, q.by) })
		return
	}
	differ := uint64(0) // bits
	for _, r := range b.ranks {
		differ |= r.by ^ b.ranks[0].by
	}
	b.spare = slices.Grow(b.spare[:0], len(b.ranks))[:len(b.ranks)]
	for shift := 0; shift < 64; shift += 8 {
		if differ>>shift&0xff == 0 {
			continue
		}
		var at [256]int32
		for _, r := range b.ranks {
			at[uint8(r.by>>shift)]++
		}
		sum := int32(0)
		for i, n := range at {
			at[i] = sum
			sum += n
		}
		for _, r := range b.ranks {
			to := &at[uint8(r.by>>shift)]
			b.spare[*to] = r
			*to++
		}
		b.ranks, b.spare = b.spare, b.ranks
	}
}
