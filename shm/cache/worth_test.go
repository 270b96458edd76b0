package cache

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// Of a sample those go that are worth the limit at most: at least one, and at most a third. The
// limit rises if they are few, and falls if they are many.
func TestChoiceByLimit(t *testing.T) {
	const valueSize = 100
	c := open(t, &Options{Bytes: MinBytes})
	ch := &c.room.choices
	itemOf := func(expires int64) []byte { return tail{token: 1, expires: expires}.appendTo(make([]byte, valueSize)) }
	bytes := bytesOf(len("key 00-00"), valueSize+Overhead)
	ch.hazards.refresh(&c.sketch)
	limit := 1.5 * ch.hazards.worth[count{reads: 1}.kind()] / float64(bytes) // less than eight reads, more than none
	for i, s := range []struct {
		name            string
		unread, expired int
		limit           float64
		evicted         int
		rises, falls    bool
	}{
		{"nothing to choose yet", 0, sampleSize, 0, 0, false, false},
		{"the first choice", sampleSize, 0, 0, 1, true, false},
		{"few are worth little", 5, 0, limit, 5, true, false},
		{"many are", 12, 0, limit, 12, false, true},
		{"all are", sampleSize, 0, limit, 16, false, true},
		{"none is", 0, 0, limit, 1, true, false},
	} {
		t.Run(s.name, func(t *testing.T) {
			ch.begin(c, 1<<20)
			ch.limit = s.limit
			unread := map[string]bool{}
			for k := range sampleSize {
				key := fmt.Appendf(nil, "key %02d-%02d", i, k)
				if k < s.unread {
					unread[string(key)] = true
				} else {
					for range 8 {
						c.sketch.read(c.sketch.at(key))
					}
				}
				expires := int64(0)
				if k < s.expired {
					expires = 1
				}
				ch.add(key, itemOf(expires))
			}
			ch.choose()
			require.EqualValues(t, s.evicted, ch.evicted)
			require.EqualValues(t, s.expired, ch.expired)
			require.Len(t, ch.victims, s.evicted+s.expired)
			for _, v := range ch.victims {
				require.True(t, v.expired || s.unread == 0 || unread[string(v.key)], "%s", v.key)
			}
			if s.limit == 0 {
				require.Equal(t, s.rises, ch.limit > 0)
				return
			}
			require.Equal(t, s.rises, ch.limit > s.limit)
			require.Equal(t, s.falls, ch.limit < s.limit)
		})
	}
}

// Samples of items that have expired, with few others, say nothing about the limit.
func TestExpiredItemsLeaveTheLimit(t *testing.T) {
	c := open(t, &Options{Bytes: MinBytes})
	ch := &c.room.choices
	sample := func(expired int) {
		ch.begin(c, 1<<20)
		for k := range sampleSize {
			expires := int64(0)
			if k < expired {
				expires = 1
			}
			ch.add(fmt.Appendf(nil, "key %02d", k), tail{token: 1, expires: expires}.appendTo(nil))
		}
		ch.choose()
	}
	sample(0)
	first := ch.limit
	require.Positive(t, first)
	for range 20_000 {
		sample(sampleSize)
	}
	require.Equal(t, first, ch.limit)
	for range 20_000 {
		sample(sampleSize - 4)
	}
	require.InDelta(t, first, ch.limit, first)
}
