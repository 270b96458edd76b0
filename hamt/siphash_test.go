package hamt

import (
	"encoding/binary"
	"math/bits"
	"math/rand"
	"testing"

	"github.com/stretchr/testify/require"
)

// sipReference is SipHash-c-d as in its paper, byte by byte.
func sipReference(c, d int, k0, k1 uint64, p []byte) uint64 {
	v := [4]uint64{k0 ^ 0x736f6d6570736575, k1 ^ 0x646f72616e646f6d, k0 ^ 0x6c7967656e657261, k1 ^ 0x7465646279746573}
	round := func() {
		v[0] += v[1]
		v[1] = bits.RotateLeft64(v[1], 13)
		v[1] ^= v[0]
		v[0] = bits.RotateLeft64(v[0], 32)
		v[2] += v[3]
		v[3] = bits.RotateLeft64(v[3], 16)
		v[3] ^= v[2]
		v[0] += v[3]
		v[3] = bits.RotateLeft64(v[3], 21)
		v[3] ^= v[0]
		v[2] += v[1]
		v[1] = bits.RotateLeft64(v[1], 17)
		v[1] ^= v[2]
		v[2] = bits.RotateLeft64(v[2], 32)
	}
	padded := append([]byte(nil), p...)
	for len(padded)%8 != 7 {
		padded = append(padded, 0)
	}
	padded = append(padded, byte(len(p)))
	for ; len(padded) > 0; padded = padded[8:] {
		m := binary.LittleEndian.Uint64(padded)
		v[3] ^= m
		for range c {
			round()
		}
		v[0] ^= m
	}
	v[2] ^= 0xff
	for range d {
		round()
	}
	return v[0] ^ v[1] ^ v[2] ^ v[3]
}

func counting(n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(i)
	}
	return p
}

// TestSipReference checks the reference with the first and last test vectors of
// SipHash-2-4 and the example of its paper: key and message are 00 01 02 ...
func TestSipReference(t *testing.T) {
	for n, want := range map[int]uint64{
		0:  0x726fdb47dd0e0e31,
		1:  0x74f839c593dc67fd,
		7:  0xab0200f58b01d137,
		8:  0x93f5f5799a932462,
		15: 0xa129ca6149be45e5,
		63: 0x958a324ceb064572,
	} {
		require.Equal(t, want, sipReference(2, 4, seed0, seed1, counting(n)), "%d bytes", n)
	}
}

// TestHashVectors compares Hash with values of another implementation,
// core::hash::SipHasher13 of Rust 1.95, with and without a key. The crate siphasher
// has the same values among its vectors.
func TestHashVectors(t *testing.T) {
	for n, want := range map[int]uint64{
		0:  0xabac0158050fc4dc,
		1:  0xc9f49bf37d57ca93,
		2:  0x82cb9b024dc7d44d,
		3:  0x8bf80ab8e7ddf7fb,
		4:  0xcf75576088d38328,
		5:  0xdef9d52f49533b67,
		6:  0xc50d2b50c59f22a7,
		7:  0xd3927d989bb11140,
		8:  0x369095118d299a8e,
		9:  0x25a48eb36c063de4,
		15: 0xd320d86d2a519956,
		16: 0xcc4fdd1a7d908b66,
		17: 0x9cf2689063dbd80c,
		23: 0x525a0e7fdae6c123,
		24: 0xf464aeb267349c8c,
		31: 0x2370dd1f8c21d1bc,
		32: 0x81157b6c16a7b60d,
		63: 0x9d199062b7bbb3a8,
		64: 0xf17997ec4b4a6065,
	} {
		require.Equal(t, want, Hash(seed0, seed1, counting(n)), "%d bytes", n)
	}
	for n, want := range map[int]uint64{
		0:  0xd1fba762150c532c,
		8:  0xead411e67ebe2eea,
		16: 0x8972188433a5c5b7,
		19: 0x091f4a3329f87d19,
	} {
		require.Equal(t, want, Hash(0, 0, counting(n)), "%d bytes, zero seed", n)
	}
}

// TestHashLengths checks every length at every alignment. Bytes beside the key must not
// count.
func TestHashLengths(t *testing.T) {
	rnd := rand.New(rand.NewSource(1))
	buf := make([]byte, 600)
	for n := range 520 {
		if n > 64 && n%17 != 0 {
			continue
		}
		rnd.Read(buf)
		k0, k1, at := rnd.Uint64(), rnd.Uint64(), rnd.Intn(8)
		key := buf[at : at+n]
		require.Equal(t, sipReference(1, 3, k0, k1, key), Hash(k0, k1, key), "%d bytes", n)
	}
}

func BenchmarkHash(b *testing.B) {
	for _, n := range []int{8, 16, 32, 64} {
		b.Run(string(rune('0'+n/10))+string(rune('0'+n%10)), func(b *testing.B) {
			key, h := counting(n), uint64(0)
			for b.Loop() {
				key[0] = byte(h) // the next call waits for this one
				h = Hash(seed0, h, key)
			}
		})
	}
}
