package counter

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/big"
	"math/bits"

	"github.com/seed-869cc763/shmkv/shm"
)

// A total is the sum of all counts of a keyspace, a number of 128 bits in two's complement:
// no number of counters that a store can hold makes it overflow.
type total struct{ high, low uint64 }

// totalSize is how many bytes a total takes in the entry of the order that has it.
const totalSize = 16

// plus returns the total with a count more.
func (t total) plus(n int64) total {
	low, carry := bits.Add64(t.low, uint64(n), 0)
	high, _ := bits.Add64(t.high, uint64(n>>63), carry)
	return total{high, low}
}

// minus returns the total with a count less.
func (t total) minus(n int64) total {
	low, borrow := bits.Sub64(t.low, uint64(n), 0)
	high, _ := bits.Sub64(t.high, uint64(n>>63), borrow)
	return total{high, low}
}

// String returns the total in decimal.
func (t total) String() string {
	n := new(big.Int).Lsh(big.NewInt(int64(t.high)), 64)
	return n.Add(n, new(big.Int).SetUint64(t.low)).String()
}

// int64 returns the total, if it is one.
func (t total) int64() (int64, error) {
	n := int64(t.low)
	if t.high != uint64(n>>63) {
		return 0, fmt.Errorf("%w: found a sum of %v, expected one that an int64 can be", ErrOverflow, t)
	}
	return n, nil
}

// A summary is the entry of the order that is before all places: its key is empty.
type summary struct {
	total total
	name  []byte // of the keyspace, if the names of its maps do not have it
}

func (m summary) append(dst []byte) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, m.total.low)
	dst = binary.LittleEndian.AppendUint64(dst, m.total.high)
	return append(dst, m.name...)
}

// An ordered is the order of a keyspace, in a transaction or a snapshot.
type ordered interface {
	Get(key []byte) ([]byte, error)
	Len() int
}

// summaryOf returns the summary of the keyspace, which of an empty one need not be there. The
// name is memory of the store.
func (c *Set) summaryOf(order ordered) (m summary, err error) {
	value, err := order.Get(nil)
	if err == shm.ErrNotFound {
		if n := order.Len(); n > 0 {
			return m, fmt.Errorf("%w: found %d places in the order and no summary, expected one", shm.ErrCorrupt, n)
		}
		return summary{name: c.long}, nil
	}
	if err == nil {
		m, err = readSummary(value)
	}
	if err == nil && !bytes.Equal(m.name, c.long) {
		err = errName(m.name, string(c.long))
	}
	return m, err
}

func readSummary(value []byte) (m summary, err error) {
	if len(value) < totalSize {
		return m, fmt.Errorf("%w: found a summary of %d bytes, expected %d or more", shm.ErrCorrupt, len(value), totalSize)
	}
	m.total = total{low: binary.LittleEndian.Uint64(value), high: binary.LittleEndian.Uint64(value[8:])}
	m.name = value[totalSize:]
	return m, nil
}

// errName is the error for a summary that has another name than that of its keyspace.
func errName(found []byte, expected string) error {
	return fmt.Errorf("%w: found %.40q as the name in the summary, expected %.40q", shm.ErrCorrupt, found, expected)
}
