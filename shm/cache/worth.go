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
	key     []byte // memory of the transaction, as item
	item    []byte
	bytes   int64
	worth   uint64
	expired bool
}

const (
	// A sample has so many items, and one in goes of these is evicted at most. Items that lie
	// beside each other in the trie share their path, so evicting several of them in one
	// commit costs little more than one.
	sampleSize = 48
	goes       = 6
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
	for n := max(len(left)/goes, 1); n > 0 && len(left) > 0 && ch.freed < ch.want && !ch.c.noEvict; n-- {
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
//
// Reads and not their order, because a scan, or a loop larger than the cache, pushes
// everything out of an order of uses. Lately, because the items of an earlier working set
// would stay for ever otherwise: a count is halved after 2*readsPerEpoch reads for each item.
// That is the compromise: fewer find a new working set sooner, in which an order of uses is
// better still (see shifting below), and lose more of a lasting one.
// With a readsPerEpoch of 1, the hit ratio of Zipf 0.99 with a bound of 1 % was 47 % in place
// of 53 %, and of Zipf 0.8 it was 20 % in place of 26 %.
//
// The factor is for keys that are read about equally often, as those of a loop. By their
// counts alone, those that were just read are worth more than those that come next, and all
// go before they are read again. The hash lets the same part of them stay. It raised the hit
// ratio of the loop with a bound of 10 % from 41 % to 59 %, and changed that of Zipf 0.99 by
// less than 0.3 %.
//
// Hits of 100 reads, measured with bench -work cache-ratio -cachereads 3 (10^5 keys with
// values of 2084 bytes; samples of 60, of which one in twelve went; a star: it held more than
// the bound; a dash: not measured):
//
//	trace                bound  shm/cache memcached     otter ristretto
//	Zipf 0.8               1 %       29.5      26.8      34.1      28.3
//	Zipf 0.8              10 %       51.4      48.5      54.6      51.4
//	Zipf 0.8              50 %       75.0      76.8      77.9      76.2
//	Zipf 0.99              1 %       57.1      56.6      61.0      55.8
//	Zipf 0.99             10 %       74.9      73.5      76.6      74.4
//	Zipf 0.99             50 %       86.3      86.8      86.9      86.7
//	Zipf 1.2               1 %       83.6      82.9      85.7      83.1
//	Zipf 1.2              10 %       91.5      91.6      92.0      91.2
//	Zipf 1.2              50 %       93.6      93.6      93.6      93.6
//	Zipf 0.99 and a scan   1 %       36.1      33.6      39.9      34.2
//	Zipf 0.99 and a scan  10 %       47.8      44.1      48.5      47.3
//	Zipf 0.99 and a scan  50 %       53.1      52.2      53.2      53.1
//	loop                   1 %       57.4       0.0      76.7      73.2
//	loop                  10 %       59.2       0.0      71.1      73.8
//	loop                  50 %       49.1         –      77.0      70.7
//	shifting Zipf 0.99     1 %       52.5      53.4      54.5      49.1
//	shifting Zipf 0.99    10 %       61.3      67.0      59.9      53.8
//	shifting Zipf 0.99    50 %       68.3      70.6      69.6      66.6
//	mixed sizes            1 %       59.6     76.9*      62.1      56.9
//	mixed sizes           10 %       78.4      77.5      76.5      74.8
//	mixed sizes           50 %       85.4      85.4      85.4      85.4
func worth(n count, bytes int64, hash uint64) uint64 {
	v := (16*uint64(n.reads) + 1) * (1<<32 + hash>>32)
	return v << 16 >> (n.age / 2) / uint64(max(bytes, 1))
}
