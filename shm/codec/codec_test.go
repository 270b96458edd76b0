package codec

import (
	"bytes"
	"cmp"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// roundTrip checks that a value comes back, and that Append appends.
func roundTrip[T any](t *testing.T, c Codec[T], v T) []byte {
	t.Helper()
	b, err := c.Append([]byte("before"), v)
	require.NoError(t, err)
	data, appended := bytes.CutPrefix(b, []byte("before"))
	require.True(t, appended, "%q", b)
	got, err := c.Decode(data)
	require.NoError(t, err)
	require.Equal(t, v, got)
	clear(b)
	require.Equal(t, v, got, "the value shares memory with the bytes")
	b, err = c.Append(nil, v)
	require.NoError(t, err)
	return b
}

// inOrder checks that the order of bytes is that of the values, which are unlike each other.
func inOrder[T cmp.Ordered](t *testing.T, c Codec[T], all ...T) {
	t.Helper()
	slices.Sort(all)
	var last []byte
	for i, v := range slices.Compact(all) {
		b := roundTrip(t, c, v)
		require.True(t, i == 0 || bytes.Compare(last, b) < 0, "%v", v)
		last = b
	}
}

func inOrderInt[T Integer](t *testing.T, size int, limits ...T) {
	t.Helper()
	c := Int[T]{}
	for range 1000 {
		limits = append(limits, T(rand.Uint64()>>rand.IntN(64)), -T(rand.Uint64()>>rand.IntN(64)))
	}
	inOrder(t, c, append(limits, 0, 1, ^T(0))...)
	require.Len(t, roundTrip(t, c, 1), size)
	for _, n := range []int{0, size - 1, size + 1} {
		_, err := c.Decode(make([]byte, n))
		require.ErrorContains(t, err, "bytes, expected ")
	}
}

type small int8

func TestInt(t *testing.T) {
	inOrderInt[small](t, 1, math.MinInt8, math.MaxInt8)
	inOrderInt[int8](t, 1, math.MinInt8, math.MaxInt8)
	inOrderInt[int16](t, 2, math.MinInt16, math.MaxInt16)
	inOrderInt[int32](t, 4, math.MinInt32, math.MaxInt32)
	inOrderInt[int64](t, 8, math.MinInt64, math.MaxInt64)
	inOrderInt[int](t, 8, math.MinInt, math.MaxInt)
	inOrderInt[uint8](t, 1, math.MaxUint8)
	inOrderInt[uint16](t, 2, math.MaxUint16)
	inOrderInt[uint32](t, 4, math.MaxUint32)
	inOrderInt[uint64](t, 8, math.MaxUint64)
	inOrderInt[uint](t, 8, math.MaxUint)
	inOrderInt[uintptr](t, 8)

	// The bytes are a format.
	b, err := Int[int32]{}.Append(nil, -2)
	require.NoError(t, err)
	require.Equal(t, []byte{0x7f, 0xff, 0xff, 0xfe}, b)
	b, err = Int[uint16]{}.Append(nil, 0x1234)
	require.NoError(t, err)
	require.Equal(t, []byte{0x12, 0x34}, b)
}

type name string

func TestStringsAndBytes(t *testing.T) {
	inOrder(t, String[string]{}, "", "a", "aa", "b", "\x00", "\xff", "ä")
	inOrder(t, String[name]{}, "", "a")
	require.Equal(t, []byte("a"), roundTrip(t, Bytes[[]byte]{}, []byte("a")))
	roundTrip(t, Bytes[[]byte]{}, []byte{})
}

type thing struct {
	Name  string
	Parts []thing
	By    map[string]int
}

func TestJSON(t *testing.T) {
	require.Equal(t, `{"Name":"a","Parts":[{"Name":"","Parts":null,"By":null}],"By":{"b":1}}`,
		string(roundTrip(t, JSON[thing]{}, thing{"a", []thing{{}}, map[string]int{"b": 1}})))
	roundTrip(t, JSON[thing]{}, thing{})
	roundTrip(t, JSON[*thing]{}, nil)
	roundTrip(t, JSON[[]byte]{}, []byte("text"))

	_, err := JSON[func()]{}.Append(nil, func() {})
	require.Error(t, err)
	v, err := JSON[thing]{}.Decode([]byte(`{"Name":"a","By":7}`))
	require.Error(t, err)
	require.Zero(t, v, "a half value")
	_, err = JSON[thing]{}.Decode([]byte(`{} {}`))
	require.Error(t, err)
}

func TestBinary(t *testing.T) {
	c := Binary[netip.Addr, *netip.Addr]{}
	roundTrip(t, c, netip.MustParseAddr("192.0.2.1"))
	roundTrip(t, c, netip.Addr{})
	_, err := c.Decode([]byte("no address"))
	require.Error(t, err)
}
