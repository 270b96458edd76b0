package hamt

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/seed-869cc763/shmkv/internal/nodetest"
	"github.com/seed-869cc763/shmkv/node"
)

var benchSizes = []int{1e3, 1e4, 1e5, 1e6}

// benchKey returns the i-th key: 16 bytes, in no order.
func benchKey(i uint64) (k [16]byte) {
	x := i + 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	binary.BigEndian.PutUint64(k[:], x^x>>31)
	binary.BigEndian.PutUint64(k[8:], i)
	return k
}

// benchTrie loads n entries with values of 100 bytes in one transaction.
func benchTrie(b *testing.B, n int) (*nodetest.Heap, *Tx) {
	h := nodetest.New(b, 8<<20+n*400)
	h.Careless = true
	tx := &Tx{}
	tx.Reset(reader(h), h, sip, node.Tree{})
	var value [100]byte
	for i := range n {
		k := benchKey(uint64(i))
		if _, _, err := tx.Set(sip(k[:]), k[:], value[:]); err != nil {
			b.Fatal(err)
		}
	}
	h.Commit(1)
	return h, tx
}

// random is an endless sequence of key numbers below n.
type random struct{ x, n uint64 }

func (r *random) next() uint64 {
	r.x = r.x*6364136223846793005 + 1442695040888963407
	return (r.x >> 32) * r.n >> 32
}

func BenchmarkFind(b *testing.B) {
	for _, n := range benchSizes {
		h, tx := benchTrie(b, n)
		r, root := reader(h), tx.Root
		run := func(name string, first uint64, want node.Status) {
			b.Run(fmt.Sprintf("%s/n=%d", name, n), func(b *testing.B) {
				seq := random{1, uint64(n)}
				for b.Loop() {
					k := benchKey(first + seq.next())
					if _, st := r.Find(root, Hash(seed0, seed1, k[:]), k[:]); st != want {
						b.Fatal(st)
					}
				}
			})
		}
		run("present", 0, node.Present)
		run("absent", uint64(n), node.Absent)
		b.Run(fmt.Sprintf("dependent/n=%d", n), func(b *testing.B) {
			seq := random{1, uint64(n)}
			for b.Loop() {
				k := benchKey(seq.next())
				l, _ := r.Find(root, Hash(seed0, seed1, k[:]), k[:])
				seq.x += uint64(r.Value(l)[0]) // the next key waits for this value
			}
		})
		b.Run(fmt.Sprintf("many/n=%d", n), func(b *testing.B) {
			const batch = 32
			seq := random{1, uint64(n)}
			var ks [batch][16]byte
			var keys [batch][]byte
			var hs [batch]uint64
			var out [batch]node.Result
			for i := 0; b.Loop(); i++ {
				j := i % batch
				ks[j] = benchKey(seq.next())
				keys[j] = ks[j][:]
				hs[j] = Hash(seed0, seed1, keys[j])
				if j == batch-1 {
					r.FindMany(root, hs[:], keys[:], out[:])
				}
			}
		})
	}
}

// BenchmarkSet overwrites entries, one a commit and 1000 a commit. The times include
// the test's allocator.
func BenchmarkSet(b *testing.B) {
	for _, n := range benchSizes {
		h, tx := benchTrie(b, n)
		for _, batch := range []int{1, 1000} {
			b.Run(fmt.Sprintf("batch=%d/n=%d", batch, n), func(b *testing.B) {
				seq := random{1, uint64(n)}
				var value [100]byte
				for i := 0; b.Loop(); i++ {
					k := benchKey(seq.next())
					if _, _, err := tx.Set(Hash(seed0, seed1, k[:]), k[:], value[:]); err != nil {
						b.Fatal(err)
					}
					if i%batch == batch-1 {
						h.Commit(2)
						tx.Reset(reader(h), h, sip, tx.Tree)
					}
				}
			})
		}
	}
}

func BenchmarkWalk(b *testing.B) {
	for _, n := range benchSizes {
		h, tx := benchTrie(b, n)
		b.Run(fmt.Sprintf("n=%d", n), func(b *testing.B) {
			sum := 0
			for b.Loop() {
				_ = reader(h).Walk(tx.Root, func(l node.Leaf) bool { sum += int(l.ValueLen()); return true })
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/entry")
		})
	}
}
