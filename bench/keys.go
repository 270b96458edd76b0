package main

import (
	"encoding/binary"
	"fmt"
	"math/bits"
)

// Every peer stores the same entries. Key i is splitmix64(i) and then i, both big-endian: distinct, and in no
// order that an index could profit from. A value begins with i, so that every read can be checked, then with a
// stamp that makes overwrites differ, and is zero from there on.
const (
	keyBytes   = 16
	valueBytes = 100
)

// payload returns the bytes of keys and values in a store of n entries.
func payload(n int) int64 { return int64(n) * (keyBytes + valueBytes) }

// splitmix64 is the finalizer of the generator of that name: a bijection of 64-bit words without visible pattern.
func splitmix64(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// putKey writes key i into dst, which has keyBytes bytes.
func putKey(dst []byte, i uint64) {
	binary.BigEndian.PutUint64(dst, splitmix64(i))
	binary.BigEndian.PutUint64(dst[8:], i)
}

// putValue writes the value that belongs to key i into dst, which has valueBytes bytes and ends in zeros.
func putValue(dst []byte, i, stamp uint64) {
	binary.LittleEndian.PutUint64(dst, i)
	binary.LittleEndian.PutUint64(dst[8:], stamp)
}

// checkValue reports a value that is not one of key i.
func checkValue(value []byte, i uint64) error {
	if len(value) != valueBytes || binary.LittleEndian.Uint64(value) != i {
		return fmt.Errorf("key %d: wrong value %x", i, value)
	}
	return nil
}

// A sequence draws key indices below n at random, with repetition; the same in every peer. It is computed, not
// stored, so that it takes no cache away from what is measured.
type sequence struct {
	seed, n uint64
	sum     uint64 // of the indices drawn: equal sums, equal work
}

func (s *sequence) draw(i uint64) uint64 {
	k, _ := bits.Mul64(splitmix64(s.seed+i), s.n)
	s.sum += k
	return k
}
