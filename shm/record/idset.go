package record

import (
	"math/bits"
	"slices"
)

// chunkIDs is how many ids share a chunk of bits, in an idSet and in the marks of a trace.
const chunkIDs = 4096

// A chunk is the bits of the ids with one quotient by chunkIDs.
type chunk [chunkIDs / 64]uint64

func (c *chunk) has(id ID) bool { return c[id%chunkIDs/64]&(1<<(id%64)) != 0 }

func (c *chunk) set(id ID) { c[id%chunkIDs/64] |= 1 << (id % 64) }

func (c *chunk) clear(id ID) { c[id%chunkIDs/64] &^= 1 << (id % 64) }

// appendIDs appends the ids of the chunk that begins at first, in ascending order.
func (c *chunk) appendIDs(dst []ID, first ID) []ID {
	for i, word := range c {
		for ; word != 0; word &= word - 1 {
			dst = append(dst, first+ID(i*64+bits.TrailingZeros64(word)))
		}
	}
	return dst
}

// An idSet is a set of ids. Ids that are near to each other take a bit each.
type idSet struct {
	chunks map[ID]*chunk
	n      int
	last   *chunk // of lastAt; nil before the first
	lastAt ID
}

func (s *idSet) chunk(id ID) *chunk {
	if at := id / chunkIDs; s.last == nil || s.lastAt != at {
		c := s.chunks[at]
		if c == nil {
			return nil
		}
		s.last, s.lastAt = c, at
	}
	return s.last
}

func (s *idSet) has(id ID) bool {
	c := s.chunks[id/chunkIDs]
	return c != nil && c.has(id)
}

// add adds an id, and reports whether it was not there.
func (s *idSet) add(id ID) bool {
	c := s.chunk(id)
	if c == nil {
		if s.chunks == nil {
			s.chunks = map[ID]*chunk{}
		}
		c = new(chunk)
		s.chunks[id/chunkIDs] = c
	}
	if c.has(id) {
		return false
	}
	c.set(id)
	s.n++
	return true
}

func (s *idSet) remove(id ID) {
	c := s.chunk(id)
	if c == nil || !c.has(id) {
		return
	}
	c.clear(id)
	s.n--
	if *c == (chunk{}) {
		delete(s.chunks, id/chunkIDs)
		s.last = nil
	}
}

// all returns the ids in ascending order.
func (s *idSet) all() []ID {
	ids := make([]ID, 0, s.n)
	for at, c := range s.chunks {
		ids = c.appendIDs(ids, at*chunkIDs)
	}
	slices.Sort(ids)
	return ids
}
