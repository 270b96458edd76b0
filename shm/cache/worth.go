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

	hazards hazards // these two stay from one choice to the next
	limit   float64 // of what an item is worth that goes
}

// A choice is an item of the sample.
type choice struct {
	key     []byte // memory of the transaction, as item
	item    []byte
	bytes   int64
	worth   float64 // of each byte
	expired bool
}

const (
	// Of a sample of sampleSize items those go that are worth the limit at most, one in
	// goesMost of them at most, and at least one. The limit rises by a limitStep'th if fewer
	// than one in goes were, and falls if there were more: so the samples in which many items
	// are worth little give more of them. Items that have expired do not count. Items that lie
	// beside each other in the trie share their path, so evicting several of them in one commit
	// costs little more than one.
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
	ch.hazards.refresh(&c.sketch)
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
		kind := k.count(k.at(v.key)).kind()
		v.worth = ch.hazards.worth[kind] / float64(max(v.bytes, 1)) * spread(hashOf(v.key, k.seed))
		if k.mem.Valid() {
			k.learnItem(kind)
		}
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
	below, of := 0, len(left)
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
	case ch.limit == 0 || of == 0: // nothing had to be chosen yet, or there was nothing to choose from
	case below*goes > of:
		ch.limit -= ch.limit / limitStep
	default:
		ch.limit += ch.limit / limitStep
	}
}

// spread is a factor of 1 to 1.5 that the hash of a key chooses. Without it, items of one kind and
// size are all worth the limit or none is, and evictions delete too many of a sample or too few.
func spread(hash uint64) float64 { return 1 + float64(hash>>32)/(1<<33) }
