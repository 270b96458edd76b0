package btree

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/seed-869cc763/shmkv/internal/nodetest"
	"github.com/seed-869cc763/shmkv/node"
)

var benchSizes = []int{1e3, 1e5, 1e6}

// benchKeys are the kinds of keys of 16 bytes that the benchmarks use.
var benchKeys = []struct {
	name string
	key  func(i uint64) [16]byte
}{
	{"random", func(i uint64) (k [16]byte) {
		x := i + 0x9e3779b97f4a7c15
		x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
		x = (x ^ x>>27) * 0x94d049bb133111eb
		binary.BigEndian.PutUint64(k[:], x^x>>31)
		binary.BigEndian.PutUint64(k[8:], i)
		return k
	}},
	{"digits", func(i uint64) (k [16]byte) {
		x := i * 0x9e3779b1 % (1 << 32)
		copy(k[:], fmt.Sprintf("key%013d", x))
		return k
	}},
}

// benchTree loads n entries with values of 100 bytes in one transaction.
func benchTree(b *testing.B, n int, key func(uint64) [16]byte) (*nodetest.Heap, *Tx, [][16]byte) {
	h := nodetest.New(b, 8<<20+n*400)
	h.Careless = true
	tx := &Tx{}
	tx.Reset(reader(h), h, node.Tree{})
	var value [100]byte
	keys := make([][16]byte, n)
	for i := range n {
		keys[i] = key(uint64(i))
		if _, _, err := tx.Set(keys[i][:], value[:]); err != nil {
			b.Fatal(err)
		}
	}
	h.Commit(1)
	return h, tx, keys
}

// random is an endless sequence of numbers below n.
type random struct{ x, n uint64 }

func (r *random) next() uint64 {
	r.x = r.x*6364136223846793005 + 1442695040888963407
	return (r.x >> 32) * r.n >> 32
}

func eachBench(b *testing.B, run func(b *testing.B, h *nodetest.Heap, tx *Tx, keys [][16]byte)) {
	for _, kind := range benchKeys {
		for _, n := range benchSizes {
			h, tx, keys := benchTree(b, n, kind.key)
			b.Run(fmt.Sprintf("%s/n=%d", kind.name, n), func(b *testing.B) { run(b, h, tx, keys) })
		}
	}
}

func BenchmarkFind(b *testing.B) {
	eachBench(b, func(b *testing.B, h *nodetest.Heap, tx *Tx, keys [][16]byte) {
		r, seq := reader(h), random{1, uint64(len(keys))}
		for b.Loop() {
			if _, st := r.Find(tx.Root, keys[seq.next()][:]); st != node.Present {
				b.Fatal(st)
			}
		}
	})
}

func BenchmarkNear(b *testing.B) {
	eachBench(b, func(b *testing.B, h *nodetest.Heap, tx *Tx, keys [][16]byte) {
		r, seq := reader(h), random{1, uint64(len(keys))}
		for b.Loop() {
			if _, err := r.Near(tx.Root, keys[seq.next()][:], Higher); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkRank(b *testing.B) {
	eachBench(b, func(b *testing.B, h *nodetest.Heap, tx *Tx, keys [][16]byte) {
		r, seq := reader(h), random{1, uint64(len(keys))}
		for b.Loop() {
			if _, _, err := r.Rank(tx.Root, keys[seq.next()][:]); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// Each set is a transaction of its own.
func BenchmarkSet(b *testing.B) {
	eachBench(b, func(b *testing.B, h *nodetest.Heap, tx *Tx, keys [][16]byte) {
		seq, version := random{1, uint64(len(keys))}, uint64(2)
		var value [100]byte
		for b.Loop() {
			binary.LittleEndian.PutUint64(value[:], version)
			tx.Reset(reader(h), h, tx.Tree)
			if _, _, err := tx.Set(keys[seq.next()][:], value[:]); err != nil {
				b.Fatal(err)
			}
			h.Commit(version)
			version++
		}
	})
}

// Each insert and each delete is a transaction of its own.
func BenchmarkInsertDelete(b *testing.B) {
	eachBench(b, func(b *testing.B, h *nodetest.Heap, tx *Tx, keys [][16]byte) {
		seq, version := random{1, uint64(len(keys))}, uint64(2)
		var value [100]byte
		for i := 0; b.Loop(); i++ {
			k := keys[seq.next()]
			tx.Reset(reader(h), h, tx.Tree)
			if _, existed, err := tx.Delete(k[:]); err != nil {
				b.Fatal(err)
			} else if !existed {
				b.Fatal("absent")
			}
			h.Commit(version)
			tx.Reset(reader(h), h, tx.Tree)
			if _, _, err := tx.Set(k[:], value[:]); err != nil {
				b.Fatal(err)
			}
			h.Commit(version + 1)
			version += 2
		}
	})
}

// A range of 100 entries from a random key, the first byte of each value touched.
func BenchmarkRange100(b *testing.B) {
	eachBench(b, func(b *testing.B, h *nodetest.Heap, tx *Tx, keys [][16]byte) {
		r, seq, sum := reader(h), random{1, uint64(len(keys))}, 0
		for b.Loop() {
			n := 0
			err := r.Range(tx.Root, keys[seq.next()][:], nil, func(l node.Leaf) bool {
				sum += int(r.Value(l)[0])
				n++
				return n < 100
			})
			if err != nil {
				b.Fatal(err)
			}
		}
	})
}

// Ascending keys, each a transaction of its own.
func BenchmarkAscending(b *testing.B) {
	h := nodetest.New(b, 2<<30)
	h.Careless = true
	tx := &Tx{}
	tx.Reset(reader(h), h, node.Tree{})
	var value [100]byte
	var k [16]byte
	for i := uint64(0); b.Loop(); i++ {
		binary.BigEndian.PutUint64(k[8:], i)
		tx.Reset(reader(h), h, tx.Tree)
		if _, _, err := tx.Set(k[:], value[:]); err != nil {
			b.Fatal(err)
		}
		h.Commit(i + 1)
	}
	b.ReportMetric(float64(h.Top)/float64(tx.DataBytes), "bytes/byte")
}
