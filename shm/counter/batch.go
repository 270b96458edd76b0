package counter

import (
	"bytes"
	"hash/maphash"

	"github.com/seed-869cc763/shmkv/shm"
)

// A Batch is increments of counters of one or many keyspaces, which one commit carries out. Each
// increment is carried out or refused for itself, in the order of Add.
//
//	b := counter.NewBatch(s)
//	i := b.Add(keyspace, key, 1)
//	...
//	err := b.Commit()
//	now, err := b.Result(i)
//	b.Reset()
//
// A Batch keeps its memory for the increments after Reset. One goroutine uses it at a time.
type Batch struct {
	s     *shm.Store
	seed  maphash.Seed
	sets  []batchSet
	keys  []batchKey
	incs  []increment
	table []int32          // a hash table of keys: their indices, and 1 more
	names map[string]int32 // indices in sets
	known map[string]*Set  // also of keyspaces before Reset

	err error // of Add
	applied
}

// A batchSet is a keyspace of a batch.
type batchSet struct {
	*Set
	keys []int32 // indices of its counters
}

// A batchKey is a counter of a batch.
type batchKey struct {
	hash        uint64
	key         []byte
	set         int32
	first, last int32 // its increments

	old, now    int64
	was, exists bool // before the commit, and after it
}

// An increment is one of a batch.
type increment struct {
	next    int32 // of the same counter; -1 after the last one
	refused bool
	n, now  int64
}

// knownSets is of how many keyspaces a batch remembers the sets, so that a program with ever
// new keyspaces does not need ever more memory.
const knownSets = 1024

// leastTable is the least length of the hash table of a batch. The table is open addressed: with
// a map of Go, an Add takes 1.5 times as long, and a batch of hot counters 6 percent longer.
const leastTable = 64

// mostRoom is how many bytes of places a batch keeps memory for after Reset: those of some
// thousand counters, unless their keys are long.
const mostRoom = 4 << 20

// NewBatch returns an empty batch for a store.
func NewBatch(s *shm.Store) *Batch {
	return &Batch{
		s: s, seed: maphash.MakeSeed(), table: make([]int32, leastTable),
		names: map[string]int32{}, known: map[string]*Set{},
	}
}

// Add adds an increment of a counter by n, and returns its number: that of the first is 0. An
// increment by 0 makes a counter that is missing. The batch keeps key, which must not change
// until Reset, and does not keep keyspace. If the name of the keyspace or the key is too long,
// Commit fails.
func (b *Batch) Add(keyspace, key []byte, n int64) int {
	set, ok := b.names[string(keyspace)]
	if !ok {
		set = b.addSet(string(keyspace))
	}
	return b.add(set, key, n)
}

func (b *Batch) addSet(keyspace string) int32 {
	c := b.known[keyspace]
	if c == nil {
		if len(b.known) == knownSets {
			clear(b.known)
		}
		c = Open(b.s, keyspace)
		b.known[keyspace] = c
	}
	if err := checkKeyspace(keyspace); err != nil && b.err == nil {
		b.err = c.fail("adding to", err)
	}
	return b.addKnown(c)
}

func (b *Batch) addKnown(c *Set) int32 {
	i := len(b.sets)
	if i < cap(b.sets) {
		b.sets = b.sets[:i+1] // with the memory of the keys
		b.sets[i].Set, b.sets[i].keys = c, b.sets[i].keys[:0]
	} else {
		b.sets = append(b.sets, batchSet{Set: c})
	}
	b.names[c.keyspace] = int32(i)
	return int32(i)
}

// add adds an increment of a counter of the set of this index.
func (b *Batch) add(set int32, key []byte, n int64) int {
	if err := checkKey(key); err != nil && b.err == nil {
		b.err = b.sets[set].failAt("adding to", key, err)
	}
	i := int32(len(b.incs))
	b.incs = append(b.incs, increment{next: -1, n: n})
	k := b.find(set, key)
	if k.first < 0 {
		k.first = i
	} else {
		b.incs[k.last].next = i
	}
	k.last = i
	return int(i)
}

// find returns the counter of key, which it adds if it is new. The pointer is valid until the
// next one is added.
func (b *Batch) find(set int32, key []byte) *batchKey {
	if 2*len(b.keys) >= len(b.table) {
		b.grow()
	}
	h := maphash.Bytes(b.seed, key) + uint64(set)*0x9e3779b97f4a7c15
	mask := uint64(len(b.table) - 1)
	for at := h & mask; ; at = (at + 1) & mask {
		i := b.table[at] - 1
		if i < 0 {
			i = int32(len(b.keys))
			b.table[at] = i + 1
			b.keys = append(b.keys, batchKey{hash: h, key: key, set: set, first: -1})
			b.sets[set].keys = append(b.sets[set].keys, i)
			return &b.keys[i]
		}
		if k := &b.keys[i]; k.hash == h && k.set == set && bytes.Equal(k.key, key) {
			return k
		}
	}
}

// grow doubles the hash table.
func (b *Batch) grow() {
	b.table = make([]int32, 2*len(b.table))
	mask := uint64(len(b.table) - 1)
	for i := range b.keys {
		at := b.keys[i].hash & mask
		for b.table[at] != 0 {
			at = (at + 1) & mask
		}
		b.table[at] = int32(i) + 1
	}
}

// Len returns the number of increments.
func (b *Batch) Len() int { return len(b.incs) }

// Result returns the count that the i-th increment has left, after a Commit without an error. It
// returns ErrOverflow if the increment was refused.
func (b *Batch) Result(i int) (now int64, err error) {
	inc := &b.incs[i]
	if inc.refused {
		return inc.now, overflow(inc.now, inc.n)
	}
	return inc.now, nil
}

// Refused reports whether the i-th increment was refused by the last Commit.
func (b *Batch) Refused(i int) bool { return b.incs[i].refused }

// Reset makes the batch empty.
func (b *Batch) Reset() {
	b.clearTable()
	clear(b.many[:min(cap(b.many), len(b.keys))]) // which holds slices of the caller
	clear(b.keys)                                 // and so does this
	if cap(b.room) > mostRoom {
		b.room, b.edits = nil, nil
	}
	clear(b.names)
	for i := range b.sets {
		b.sets[i].Set = nil
	}
	b.sets, b.keys, b.incs, b.err = b.sets[:0], b.keys[:0], b.incs[:0], nil
}

// clearTable makes the hash table empty. It takes time in proportion to the keys, so that a batch
// of one key does not pay for a large one before it.
func (b *Batch) clearTable() {
	if len(b.keys) > len(b.table)/16 {
		clear(b.table)
		return
	}
	mask := uint64(len(b.table) - 1)
	for i := range b.keys {
		at := b.keys[i].hash & mask
		for b.table[at] != int32(i)+1 {
			at = (at + 1) & mask
		}
		b.table[at] = 0
	}
}
