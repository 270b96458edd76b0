package hamt

import (
	"encoding/binary"
	"math/bits"
)

// Hash returns SipHash-1-3 of key under the 128-bit seed k0, k1.
//
// The seed is random. A party that does not know it cannot choose keys that collide.
// Faster hashes that are not keyed do not give this guarantee: for XXH64 there are
// keys that collide under every seed.
func Hash(k0, k1 uint64, key []byte) uint64 {
	v0 := k0 ^ 0x736f6d6570736575
	v1 := k1 ^ 0x646f72616e646f6d
	v2 := k0 ^ 0x6c7967656e657261
	v3 := k1 ^ 0x7465646279746573

	p := key
	for len(p) >= 8 {
		m := binary.LittleEndian.Uint64(p)
		p = p[8:]
		v3 ^= m
		v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
		v0 ^= m
	}

	// The last block has the length in its top byte and the rest of the key below.
	m := uint64(len(key))<<56 | lastBytes(key, p)
	v3 ^= m
	v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
	v0 ^= m

	v2 ^= 0xff
	v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
	v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
	v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
	return v0 ^ v1 ^ v2 ^ v3
}

// lastBytes returns rest, the last 0 to 7 bytes of key, as a little-endian number.
// For a key of 8 bytes or more it loads the last 8 bytes at once instead of looping.
func lastBytes(key, rest []byte) (m uint64) {
	if len(key) >= 8 {
		// If rest is empty, the shift by 64 gives 0.
		return binary.LittleEndian.Uint64(key[len(key)-8:]) >> (64 - 8*uint(len(rest)))
	}
	for i, b := range rest {
		m |= uint64(b) << (8 * uint(i))
	}
	return m
}

func sipRound(v0, v1, v2, v3 uint64) (uint64, uint64, uint64, uint64) {
	v0 += v1
	v2 += v3
	v1 = bits.RotateLeft64(v1, 13) ^ v0
	v3 = bits.RotateLeft64(v3, 16) ^ v2
	v0 = bits.RotateLeft64(v0, 32) + v3
	v2 += v1
	v3 = bits.RotateLeft64(v3, 21) ^ v0
	v1 = bits.RotateLeft64(v1, 17) ^ v2
	v2 = bits.RotateLeft64(v2, 32)
	return v0, v1, v2, v3
}
