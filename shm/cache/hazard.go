package cache

import (
	"math"
	"math/bits"
)

// The hazards are how likely items are to be read next, as the cache has learned it. Items are
// of kinds: by the reads that the sketch has counted of their keys, in levels, and by the time
// since the last one, in spans of which each two are as long as all before. The hazard of a
// kind is the number of hits on items of the kind, divided by how many of them there were and
// for how long. Hits are counted when they happen, one in learnEvery. How many there are is
// known by the samples that evictions take. Both are sums that fade, in the file of the
// sketch, for all handles.
//
// So the cache learns whether the order of uses matters, or their number: after a change of the
// whole working set, old items with many reads are hit no more, and new ones are. In a loop,
// those are hit that were read longest ago. It is the idea of LHD (Beckmann, Chen and Cidon).
//
// What counts for an item is not only its hazard now. One that was read just now, in a loop, is
// not read again soon, but then surely is. So the worth of a kind is the largest share of hits
// in a time for which its items may be kept: Gittins' index.
const (
	levels = 8
	spans  = 24
	kinds  = levels * spans

	offLearned = 256 // the time when the sums were made to fade last, in ticks
	offReads   = 264 // sum of the reads
	offSampled = 272 // of the items in samples
	offHits    = 512 // of the hits, by kind
	offItems   = offHits + 8*kinds

	// A read in learnEvery of a lane is learned from.
	learnEvery = 16
	// One of what is summed. The sums fade, so they are in small units.
	unit = 256
	// Each fadeEvery ticks the sums become less by a fade'th. After staleAfter ticks without an
	// eviction they say nothing.
	fadeEvery  = 4
	fade       = 8
	staleAfter = 8 * ticksPerRead
	// A sum that is larger than mostSum for each byte of the sketch is damaged. It would take very
	// long to fade.
	mostSum = 64 * unit
	// The sums of a kind count less than what is expected of it, until it had about as many
	// hits as one expects in doubt reads on as many items.
	doubt = 3 * unit
)

// levelOf is the level of a number of reads, and readsOf the reads of a level, about.
var (
	levelOf = [topCount + 1]uint8{0, 1, 2, 3, 4, 4, 5, 5, 6, 6, 6, 6, 7, 7, 7, 7}
	readsOf = [levels]float64{1. / 16, 1, 2, 3, 4.5, 6.5, 9.5, 14}
)

// spanOf returns the span of an age.
func spanOf(age uint16) uint64 {
	if age < 2 {
		return uint64(age)
	}
	n := uint64(bits.Len16(age)) - 1
	return 2*n + uint64(age)>>(n-1)&1
}

// kind returns the kind of items of which this is known.
func (n count) kind() uint64 { return uint64(levelOf[n.reads&topCount])*spans + spanOf(n.age&timeMask) }

// add adds to a sum. Sums that are added to at the same time lose some.
func (k *sketch) add(off, n uint64) { k.mem.SetWord(off, k.mem.Word(off)+n) }

// learnRead learns from a read, which is not counted yet.
func (k *sketch) learnRead(s spot, hit bool) {
	k.add(offReads, unit)
	if hit {
		k.add(offHits+8*k.count(s).kind(), unit)
	}
}

// learnItem learns that a sample has an item of this kind.
func (k *sketch) learnItem(kind uint64) {
	k.add(offSampled, unit)
	k.add(offItems+8*kind, unit)
}

// hazards are what a handle makes of the sums.
type hazards struct {
	learned uint64 // when
	worth   [kinds]float64
}

// refresh makes h what the sums say now, if the time has come.
func (h *hazards) refresh(k *sketch) {
	if !k.mem.Valid() {
		return
	}
	now, last := k.mem.Load(offTime)>>tickShift, k.mem.Load(offLearned)
	if now-last >= fadeEvery && k.mem.CAS(offLearned, last, now) {
		k.fade(now-last >= staleAfter)
		last = now
	}
	if h.learned != last || h.worth[0] == 0 {
		h.learned = last
		h.make(k)
	}
}

// fade makes the sums less, or forgets them.
func (k *sketch) fade(all bool) {
	less := func(off uint64) {
		v := k.mem.Word(off)
		if v -= v / fade; all || v > k.mem.Size()*mostSum {
			v = 0
		}
		k.mem.SetWord(off, v)
	}
	less(offReads)
	less(offSampled)
	for i := range uint64(2 * kinds) {
		less(offHits + 8*i)
	}
}

// make computes what the kinds are worth, in hits for each item and ticksPerRead ticks.
func (h *hazards) make(k *sketch) {
	// All items were there in all reads.
	perSample := float64(k.mem.Word(offReads)) / float64(max(k.mem.Word(offSampled), 1))
	for level := range levels {
		// The spans that follow, joined as long as an item is worth more if it is kept
		// for them too: of each row of them, the hits to expect of an item that is in the first
		// one, the time for which it is kept, and how likely it is not to be hit in it.
		var rows [spans]struct{ hits, time, left float64 }
		n := 0
		for span := spans - 1; span >= 0; span-- {
			i := level*spans + span
			at := 8 * uint64(i)
			hazard := (float64(k.mem.Word(offHits+at)) + doubt*expected[i]) / (float64(k.mem.Word(offItems+at))*perSample + doubt)
			time := length[span] / (1 + hazard*length[span])
			r := &rows[n]
			r.hits, r.time, r.left = hazard*time, time, 1-hazard*time
			for ; n > 0 && rows[n-1].hits*rows[n].time > rows[n].hits*rows[n-1].time; n-- {
				last, next := &rows[n], &rows[n-1]
				next.hits = last.hits + last.left*next.hits
				next.time = last.time + last.left*next.time
				next.left *= last.left
			}
			h.worth[i] = rows[n].hits / rows[n].time
			n++
		}
	}
}

// length is how long the spans are, in units of ticksPerRead ticks, and expected are the hazards
// of kinds of which nothing was learned: the reads in the time in which they are counted, half
// as many after each halfLife.
var length, expected = func() (length [spans]float64, expected [kinds]float64) {
	for age := range uint16(timeMask + 1) {
		length[spanOf(age)] += 1. / ticksPerRead
	}
	for i := range expected {
		begin := 0.0
		for s := range i % spans {
			begin += length[s]
		}
		lives := (begin + length[i%spans]/2) * ticksPerRead / halfLife
		expected[i] = readsOf[i/spans] * math.Pow(2, -lives) * math.Ln2 * ticksPerRead / halfLife
	}
	return length, expected
}()
