package cache

import (
	"math"
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// learned writes sums as if each kind had as many items and these parts of them had been read.
func learned(k *sketch, hits func(level, span int) float64) {
	const reads = 1 << 20
	k.mem.SetWord(offReads, reads*unit)
	k.mem.SetWord(offSampled, reads*unit)
	for i := range uint64(kinds) {
		k.mem.SetWord(offItems+8*i, reads*unit/kinds)
		k.mem.SetWord(offHits+8*i, uint64(reads*unit/kinds*hits(int(i/spans), int(i%spans))))
	}
}

func TestHazards(t *testing.T) {
	c := open(t, &Options{Bytes: MinBytes})
	k := &c.sketch
	var h hazards

	h.refresh(k)
	for i := range uint64(kinds - 1) {
		require.Positive(t, h.worth[i])
		if i%spans < spans-1 {
			require.Greater(t, h.worth[i], h.worth[i+1], "before anything is learned, what was read lately is worth more")
		}
		if i+spans < kinds {
			require.Less(t, h.worth[i], h.worth[i+spans], "and what was read often")
		}
	}

	// A loop: all are read after the same time, and none earlier.
	const period = 12
	learned(k, func(_, span int) float64 {
		if span == period {
			return 1
		}
		return 0
	})
	h.make(k)
	for i := range period {
		require.Less(t, h.worth[spans+i], h.worth[spans+i+1], "an item is worth more, the sooner it is read")
	}
	require.Greater(t, h.worth[spans], 100*h.worth[spans+period+1], "what was just read is worth more than what was left out")

	// Another working set: what has many reads is of the old one.
	learned(k, func(level, span int) float64 {
		if level == 1 && span < 4 {
			return 1
		}
		return 0
	})
	h.make(k)
	require.Greater(t, h.worth[spans], 100*h.worth[7*spans+8])
	require.Greater(t, h.worth[spans], 100*h.worth[7*spans])
}

// Whatever the sums are, items are worth something, and can be compared.
func TestHazardsOfNoise(t *testing.T) {
	c := open(t, &Options{Bytes: MinBytes})
	k := &c.sketch
	var h hazards
	for range few(300) {
		for off := uint64(offLearned); off < sketchHeader; off += 8 {
			k.mem.SetWord(off, rand.Uint64()>>rand.IntN(65))
		}
		h.make(k)
		for _, w := range h.worth {
			require.False(t, math.IsNaN(w) || math.IsInf(w, 0) || w <= 0, "%v", w)
		}
	}
}

// Sums fade, and are forgotten after a long time without evictions.
func TestHazardsFade(t *testing.T) {
	c := open(t, &Options{Bytes: MinBytes})
	k := &c.sketch
	var h hazards
	h.refresh(k)
	sums := func(ticks uint64) (reads, items uint64) {
		learned(k, func(_, _ int) float64 { return 1 })
		k.mem.Add(offTime, ticks<<tickShift)
		h.refresh(k)
		return k.mem.Word(offReads), k.mem.Word(offItems + 8*(kinds-1))
	}
	reads, items := sums(fadeEvery - 1)
	again, itemsAgain := sums(1)
	require.Equal(t, reads-reads/fade, again)
	require.Equal(t, items-items/fade, itemsAgain)
	reads, items = sums(staleAfter)
	require.Zero(t, reads)
	require.Zero(t, items)
}

// Sums that are too large are forgotten, and others stay.
func TestHazardsForgetNoise(t *testing.T) {
	c := open(t, &Options{Bytes: MinBytes})
	k := &c.sketch
	var h hazards
	h.refresh(k)
	learned(k, func(_, _ int) float64 { return 1 })
	k.mem.SetWord(offReads, math.MaxUint64)
	k.mem.SetWord(offHits, 1<<40)
	k.mem.Add(offTime, fadeEvery<<tickShift)
	h.refresh(k)
	require.Zero(t, k.mem.Word(offReads))
	require.Zero(t, k.mem.Word(offHits))
	require.Positive(t, k.mem.Word(offSampled))
	require.Positive(t, k.mem.Word(offHits+8))
}

// Each two spans are as long as all before, and the last one ends with the time that a count
// can tell.
func TestSpans(t *testing.T) {
	last, sum := uint64(0), 0.0
	for age := range uint16(timeMask + 1) {
		s := spanOf(age)
		require.True(t, s == last || s == last+1, "age %d", age)
		last = s
	}
	require.EqualValues(t, spans-1, last)
	for _, l := range length {
		sum += l
	}
	require.InDelta(t, (timeMask+1.)/ticksPerRead, sum, 1e-9)
}

// Each handle adds to the time now and then, so others see it late. They do not forget what was
// counted meanwhile.
func TestCountsOfAHandleAhead(t *testing.T) {
	behind := open(t, &Options{Bytes: MinBytes})
	ahead, err := Open(behind.Store().Path(), &Options{Bytes: MinBytes})
	require.NoError(t, err)
	defer func() { require.NoError(t, ahead.Close()) }()
	const reads = 7
	for ticks := range uint64(aheadMost + 1) {
		s := ahead.sketch.at(strconv.AppendUint(nil, ticks, 10))
		ahead.sketch.addTime(0, 1)
		behind.sketch.time.Store(ahead.sketch.time.Load() - uint32(ticks))
		for range reads {
			ahead.sketch.read(s)
		}
		require.Equal(t, count{reads: reads}, behind.sketch.count(s), "%d ticks", ticks)
		behind.sketch.read(s)
		require.EqualValues(t, reads+1, ahead.sketch.count(s).reads, "%d ticks", ticks)
	}
}

// The time passes as the reads and the items of the largest region tell, and those of a region that
// is not read any more are forgotten, as is noise.
func TestTimeOfTheLargestRegion(t *testing.T) {
	const items, rounds = 2000, 1000
	large := open(t, &Options{Bytes: MinBytes})
	small, err := New(large.Store(), &Options{Region: "small"})
	require.NoError(t, err)
	defer func() { require.NoError(t, small.Close()) }()
	mem := large.sketch.mem
	large.sketch.addTime(timeEvery, items)
	before := mem.Load(offTime)
	for range rounds {
		for range 10 {
			small.sketch.addTime(timeEvery, 3)
		}
		large.sketch.addTime(timeEvery, items)
	}
	require.InEpsilon(t, 11*rounds*timeEvery*ticksPerRead<<tickShift/items, mem.Load(offTime)-before, 0.05)
	for _, noise := range []uint64{items, math.MaxUint64} {
		mem.SetWord(offMost, noise)
		for range 40 * mostFade {
			small.sketch.addTime(timeEvery, 3)
		}
		require.LessOrEqual(t, mem.Word(offMost), uint64(3))
	}
}
