package cache

import (
	"container/list"
	"errors"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/internal/testdir"
	"github.com/seed-869cc763/shmkv/shm"
)

// A trace returns the key of each access.
type trace func(i int) int

// zipf draws ranks from 0 to n-1 with a probability in proportion to 1/(rank+1)^s.
func zipf(rnd *rand.Rand, s float64, n int) trace {
	sums := make([]float64, n)
	sum := 0.0
	for i := range sums {
		sum += math.Pow(float64(i+1), -s)
		sums[i] = sum
	}
	return func(int) int {
		x := rnd.Float64() * sum
		lo, hi := 0, n-1
		for lo < hi {
			if mid := (lo + hi) / 2; sums[mid] < x {
				lo = mid + 1
			} else {
				hi = mid
			}
		}
		return lo
	}
}

// lru is a cache that evicts what was used least recently.
type lru struct {
	most  int
	order list.List
	at    map[int]*list.Element
}

func (l *lru) get(key int) bool {
	if e := l.at[key]; e != nil {
		l.order.MoveToFront(e)
		return true
	}
	l.at[key] = l.order.PushFront(key)
	if l.order.Len() > l.most {
		last := l.order.Back()
		l.order.Remove(last)
		delete(l.at, last.Value.(int))
	}
	return false
}

// TestHitRatio compares hit ratios with those of a cache of as many items that evicts what was
// used least recently.
func TestHitRatio(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	const accesses = 200_000
	for _, c := range []struct {
		name string
		make func(rnd *rand.Rand, items int) trace
		less float64 // by which the ratio may be less than the other
	}{
		{"zipf 0.8", func(rnd *rand.Rand, items int) trace { return zipf(rnd, 0.8, 10*items) }, 0},
		{"zipf 0.99", func(rnd *rand.Rand, items int) trace { return zipf(rnd, 0.99, 10*items) }, 0.01},
		{"zipf 0.99, half", func(rnd *rand.Rand, items int) trace { return zipf(rnd, 0.99, 2*items) }, 0.02},
		{"zipf 1.2", func(rnd *rand.Rand, items int) trace { return zipf(rnd, 1.2, 10*items) }, 0.02},
		{"scan through zipf", func(rnd *rand.Rand, items int) trace {
			z := zipf(rnd, 0.99, 10*items)
			return func(i int) int {
				if i%3 == 0 {
					return 1e9 + i
				}
				return z(i)
			}
		}, 0},
		{"loop", func(rnd *rand.Rand, items int) trace {
			return func(i int) int { return i % (items * 11 / 10) }
		}, -0.5},
		{"shift", func(rnd *rand.Rand, items int) trace {
			z := zipf(rnd, 0.99, 5*items)
			return func(i int) int { return z(i) + i/(accesses/5)*items*5 }
		}, 0.06},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			ca, err := Open(testdir.Memory(t)+"/store", &Options{Bytes: 3 << 20})
			require.NoError(t, err)
			defer func() { _ = ca.Close() }()
			value := make([]byte, 100)
			for i := 0; ca.Stats().Evictions == 0; i++ {
				require.NoError(t, ca.Set(benchKey(-i), value, -1))
			}
			items := int(ca.Stats().Items)
			rnd := rand.New(rand.NewPCG(1, 2))
			tr := c.make(rnd, items)
			other := lru{most: items, at: map[int]*list.Element{}}
			hits, lruHits, n := 0, 0, 0
			buf := make([]byte, 0, 200)
			for i := range accesses {
				k := tr(i)
				in := other.get(k)
				_, err := ca.Append(buf, benchKey(k))
				if errors.Is(err, shm.ErrNotFound) {
					require.NoError(t, ca.Set(benchKey(k), value, -1))
				} else {
					require.NoError(t, err)
				}
				if i > accesses/5 {
					n++
					if err == nil {
						hits++
					}
					if in {
						lruHits++
					}
				}
			}
			own, its := float64(hits)/float64(n), float64(lruHits)/float64(n)
			t.Logf("%d items: %.3f of the reads hit, %.3f by the order of uses", items, own, its)
			require.Greater(t, own, its-c.less)
		})
	}
}
