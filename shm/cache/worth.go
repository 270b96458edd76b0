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

	limit uint64 // of what an item is worth that goes; it stays from one choice to the next
}

// A choice is an item of the sample.
type choice struct {
	key     []byte // memory of the transaction, as item
	item    []byte
	bytes   int64
	worth   uint64
	expired bool
}

const (
	// Of a sample of sampleSize items those go that are worth the limit at most, one in
	// goesMost of them at most, and at least one. The limit rises by a limitStep'th if fewer
	// than one in goes were, and falls if there were more: so the samples in which many items
	// are worth little give more of them. Items that lie beside each other in the trie share
	// their path, so evicting several of them in one commit costs little more than one.
	sampleSize = 48
	goes       = 6
	goesMost   = 3
	limitStep  = 16
	// largeSize is the sample for a write that needs more than largeNeed bytes.
	largeSize = 480
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

// add adds an item to the sample. It does not look into it: rate does so for all items, so that
// the waits for memory overlap.
func (ch *choices) add(key, item []byte) {
	ch.samples = append(ch.samples, choice{key: key, item: item})
}

// rate finds out what the items of the sample are worth, and which have expired.
func (ch *choices) rate() {
	k := &ch.c.sketch
	for i := range ch.samples {
		v := &ch.samples[i]
		v.bytes = bytesOf(len(v.key), len(v.item))
		v.worth = worth(k.count(k.at(v.key)), v.bytes, hashOf(v.key, k.seed))
	}
	for i := range ch.samples {
		v := &ch.samples[i]
		_, t, err := split(v.item)
		v.expired = err != nil || has(t.expires, ch.now) // an item that cannot be read is none
	}
}

func (ch *choices) full() bool { return len(ch.samples) >= ch.most }

// choose chooses the victims.
func (ch *choices) choose() {
	ch.rate()
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
	below := 0
	for i := range left {
		if left[i].worth <= ch.limit {
			below++
		}
	}
	for n := max(len(left)/goesMost, 1); n > 0 && len(left) > 0 && ch.freed < ch.want && !ch.c.noEvict; n-- {
		least := 0
		for i := range left {
			if left[i].worth < left[least].worth {
				least = i
			}
		}
		v := left[least]
		if ch.limit == 0 { // the first sample
			ch.limit = v.worth
		}
		if v.worth > ch.limit && ch.freed > 0 {
			break
		}
		left[least] = left[len(left)-1]
		left = left[:len(left)-1]
		ch.victims = append(ch.victims, v)
		ch.freed += v.bytes
		ch.evicted++
	}
	switch {
	case ch.limit == 0: // nothing had to be chosen yet
	case below*goes > len(ch.samples):
		ch.limit -= ch.limit / limitStep
	default:
		ch.limit += ch.limit/limitStep + 1
	}
}

// worth returns how much it is worth to keep an item, by its count in the sketch, its size and
// the hash of its key: its reads lately for each byte that it takes, times a factor of 1 to 2
// that the hash chooses. An item that was never read is worth a sixteenth of a read.
//
// Reads and not their order, because a scan, or a loop larger than the cache, pushes
// everything out of an order of uses. Lately, because the items of an earlier working set
// would stay for ever otherwise: a count is halved after 2*readsPerEpoch reads for each item.
// That is the compromise: with fewer the cache finds a new working set sooner, in which an
// order of uses is better still, and loses more of a lasting one.
//
// The factor is for keys that are read about equally often, as those of a loop. By their
// counts alone, those that were just read are worth more than those that come next, and all
// go before they are read again. The hash lets the same part of them stay.
//
// docs/cache.md has the hit ratios, beside those of other caches.
func worth(n count, bytes int64, hash uint64) uint64 {
	v := (16*uint64(n.reads) + 1) * (1<<32 + hash>>32)
	return v << 16 >> (n.age / 2) / uint64(max(bytes, 1))
}
