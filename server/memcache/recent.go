package memcache

import (
	"hash/maphash"
	"math/bits"
	"sync/atomic"
)

// A recent is what the server knows of the last use of items: mg answers with it to the flags
// h and l, and dumps have it. It is a table of words by the hashes of keys, in which a use
// overwrites that of another key. So it is a hint: of an item that nobody has used through this
// server, or of which the table has lost the use, it knows nothing. Other processes do not see
// it, and it ends with the server.
//
// A word is 0, or
//
//	bits  0-31  the second of the last use, as Server.seconds, plus 1
//	bit     32  it was a read, or there was one since the item was stored
//	bits 33-63  a part of the hash of the key
type recent struct {
	seed  maphash.Seed
	words [recentWords]atomic.Uint64
}

const (
	recentWords = 1 << 17
	recentRead  = 1 << 32
	recentTag   = ^uint64(1<<33 - 1)
)

// at returns the word for a key, and the part of the hash that it must have.
func (r *recent) at(key []byte) (word *atomic.Uint64, tag uint64) {
	h := maphash.Bytes(r.seed, key)
	return &r.words[h%recentWords], h & recentTag
}

// note notes a use. Most uses of a key that is used often change nothing, and write nothing.
func (r *recent) note(key []byte, read uint64, second int64) {
	w, tag := r.at(key)
	if n := tag | read | uint64(uint32(second)+1); w.Load() != n {
		w.Store(n)
	}
}

// fetch lets the processor bring the word for a key, which is noted soon, while it does
// something else.
func (r *recent) fetch(key []byte) {
	w, _ := r.at(key)
	w.Load()
}

// noteMany is note of a read of those of at most manyKeys keys whose bit in which is set. It
// waits for the memory of all words together.
func (r *recent) noteMany(keys [][]byte, which uint64, second int64) {
	var words [manyKeys]*atomic.Uint64
	var tags, were [manyKeys]uint64
	for rest := which; rest != 0; rest &= rest - 1 {
		i := bits.TrailingZeros64(rest)
		words[i], tags[i] = r.at(keys[i])
		were[i] = words[i].Load()
	}
	for rest := which; rest != 0; rest &= rest - 1 {
		i := bits.TrailingZeros64(rest)
		if n := tags[i] | recentRead | uint64(uint32(second)+1); were[i] != n {
			words[i].Store(n)
		}
	}
}

// look returns when the item of a key was last used, and whether it was read since it was
// stored. Without a use that the table knows of, ok is false.
func (r *recent) look(key []byte) (second int64, read, ok bool) {
	w, tag := r.at(key)
	n := w.Load()
	if n == 0 || n&recentTag != tag {
		return 0, false, false
	}
	return int64(uint32(n) - 1), n&recentRead != 0, true
}

// noteRead notes that the item of a key was read, and noteStored that it was stored.
func (s *Server) noteRead(key []byte)   { s.recent.note(key, recentRead, s.seconds.Load()) }
func (s *Server) noteStored(key []byte) { s.recent.note(key, 0, s.seconds.Load()) }

// lastUse returns how many seconds ago the item of a key was used, and whether it was read
// since it was stored. Of an item that nobody has used through this server, both are as if it
// was stored when the server began.
func (s *Server) lastUse(key []byte) (ago int64, read bool) {
	second, read, _ := s.recent.look(key)
	return max(0, s.seconds.Load()-second), read
}
