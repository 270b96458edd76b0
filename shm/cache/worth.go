package cache

// choices is the choice of what to evict.
type choices struct {
	c       *Cache
	now     int64
	want    int64
	most    int // samples
	samples []choice
	victims []choice
	freed   int64
	expired uint64
	evicted uint64
}

// A choice is an item of the sample.
type choice struct {
	key     []byte // memory of the transaction
	bytes   int64
	worth   uint64
	expired bool
}

const (
	// A sample has so many items, and one in goes of these is evicted at most. Items that lie
	// beside each other in the trie share their path, so evicting several of them in one
	// commit costs little more than one.
	sampleSize = 60
	goes       = 12
	// largeSize is the sample for a write that needs more than largeNeed bytes.
	largeSize = 600
	largeNeed = 16 << 10
)

func (ch *choices) begin(c *Cache, want int64) {
	ch.c, ch.now, ch.want, ch.most = c, c.clock.now(), want, sampleSize
	if want > largeNeed {
		ch.most = largeSize
	}
	ch.samples, ch.victims = ch.samples[:0], ch.victims[:0]
	ch.freed, ch.expired, ch.evicted = 0, 0, 0
}

// add adds an item to the sample.
func (ch *choices) add(key, b []byte) {
	v := choice{key: key, bytes: bytesOf(len(key), len(b))}
	if _, t, err := split(b); err != nil || has(t.expires, ch.now) {
		v.expired = true // an item that cannot be read is none
	} else {
		v.worth = worth(ch.c.sketch.count(ch.c.sketch.at(key)), v.bytes, hashOf(key, ch.c.sketch.seed))
	}
	ch.samples = append(ch.samples, v)
}

func (ch *choices) full() bool { return len(ch.samples) >= ch.most }

// choose chooses the victims.
func (ch *choices) choose() {
	left := ch.samples[:0]
	for _, v := range ch.samples {
		if v.expired {
			ch.victims = append(ch.victims, v)
			ch.freed += v.bytes
			ch.expired++
		} else {
			left = append(left, v)
		}
	}
	for n := max(len(left)/goes, 1); n > 0 && len(left) > 0 && ch.freed < ch.want; n-- {
		least := 0
		for i := range left {
			if left[i].worth < left[least].worth {
				least = i
			}
		}
		v := left[least]
		left[least] = left[len(left)-1]
		left = left[:len(left)-1]
		ch.victims = append(ch.victims, v)
		ch.freed += v.bytes
		ch.evicted++
	}
}

// worth returns how much it is worth to keep an item, by its count in the sketch, its size and
// the hash of its key: its reads lately for each byte that it takes, times a factor of 1 to 2
// that the hash chooses. Those with the least go first, and of several the first of the
// sample. An item that was never read is worth a sixteenth of a read.
func worth(n count, bytes int64, hash uint64) uint64 {
	v := (16*uint64(n.reads) + 1) * (1<<32 + hash>>32)
	return v << 16 >> (n.age / 2) / uint64(max(bytes, 1))
}
