package node

import (
	"bytes"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/alloc/region"
)

func TestRef(t *testing.T) {
	const off, hash = 0xabcdef_123458, 0x1234_5678_9abc_def0
	for _, c := range []struct {
		ref  Ref
		kind Ref
		tag  uint64
		text string
	}{
		{MakeRef(KindBranch, off, hash), KindBranch, 0, "branch@0xabcdef123458"},
		{MakeRef(KindLeaf, off, hash), KindLeaf, 0x1234, "leaf@0xabcdef123458 tag 1234"},
		{MakeRef(KindCollision, off, hash), KindCollision, 0x1234, "collision@0xabcdef123458 tag 1234"},
		{MakeRef(KindLeaf, OffMask, ^uint64(0)), KindLeaf, 0xffff, "leaf@0xfffffffffff8 tag ffff"},
		{MakeRef(KindBottom, off, 0), KindBottom, 0, "bottom@0xabcdef123458 tag 0"},
		{MakeRef(KindInner, off, 0) | Tied, KindInner, 1, "inner@0xabcdef123458 tag 1"},
		{MakeRef(6, off, 0), 6, 0, "invalid ref 0x0000abcdef12345e"},
		{KindBranch | 1<<TagShift, KindBranch, 1, "invalid ref 0x0001000000000001"},
	} {
		require.Equal(t, c.kind, c.ref.Kind(), c.text)
		require.Equal(t, c.tag, c.ref.Tag(), c.text)
		require.Equal(t, c.text, c.ref.String())
	}
	require.EqualValues(t, off, MakeRef(KindLeaf, off, hash).Off())
	require.Zero(t, Ref(0).Off())
	require.Equal(t, "nil", Ref(0).String())
}

// heap allocates consecutive bytes of a region, beginning at at.
type heap struct {
	Allocator
	at uint64
}

func (h *heap) Alloc(size uint64) (uint64, error) {
	at := h.at
	h.at += (size + 7) &^ 7
	return at, nil
}

func newReader(t *testing.T, size int) (Reader, *heap) {
	return NewReader(region.FromWords(make([]uint64, size/8)), HeaderSize), &heap{at: 8}
}

// A written leaf can be read back, and the reader's end becomes the leaf's end.
func TestNewLeaf(t *testing.T) {
	r, h := newReader(t, 1<<20)
	for _, size := range [][2]int{{0, 0}, {1, 0}, {0, 1}, {7, 2}, {8, 8}, {100, 1000}, {MaxKeyLen, 3}} {
		key, value := bytes.Repeat([]byte("k"), size[0]), bytes.Repeat([]byte("v"), size[1])
		extra := Extra{}
		if size[1]%2 == 1 {
			extra = Extra{Flags: HasMap, Map: 0x1234_5678_9abc_def0 + uint64(size[0])}
		}
		words := uint64(bits.OnesCount64(extra.Flags))
		if size[0]%2 == 1 {
			extra.Flags |= HasSum
			words++
		}
		made, err := r.NewLeaf(h, key, value, extra)
		require.NoError(t, err)
		require.Equal(t, h.at, r.End)
		read, err := r.Leaf(MakeRef(KindLeaf, made.Off, 0))
		require.NoError(t, err)
		require.Equal(t, made, read)
		if extra.Flags == 0 {
			require.EqualValues(t, HeaderSize+len(key)+len(value), read.Size())
		} else {
			require.EqualValues(t, HeaderSize+(len(key)+len(value)+7)/8*8+int(words)*WordSize, read.Size())
		}
		require.EqualValues(t, len(key)+len(value), read.DataBytes())

		moved, err := r.CopyLeaf(h, made)
		require.NoError(t, err)
		require.NotEqual(t, made.Off, moved.Off)
		require.Equal(t, h.at, r.End)
		for _, l := range []Leaf{made, moved} {
			require.Equal(t, key, append([]byte{}, r.Key(l)...))
			require.Equal(t, value, append([]byte{}, r.Value(l)...))
			require.Equal(t, Extra{extra.Flags &^ HasSum, extra.Map}, r.Extra(l))
			require.NoError(t, r.CheckExtra(l, r.Extra(l)))
			require.NoError(t, r.CheckSum(l))
			found, ok := r.Match(l.Off, r.Mem.Word(l.Off+HeadOff), key)
			require.True(t, ok)
			require.Equal(t, l, found)
			_, ok = r.Match(l.Off, r.Mem.Word(l.Off+HeadOff), append([]byte("x"), key...))
			require.False(t, ok)
		}
	}
	_, err := r.NewLeaf(h, make([]byte, MaxKeyLen+1), nil, Extra{})
	require.ErrorIs(t, err, ErrTooLarge)
}

// Leaf returns an error for an invalid leaf, and the error names the invalid field.
func TestBrokenLeaf(t *testing.T) {
	r, h := newReader(t, 1<<12)
	l, err := r.NewLeaf(h, []byte("key"), []byte("value"), Extra{})
	require.NoError(t, err)
	ref := MakeRef(KindLeaf, l.Off, 0)
	for text, head := range map[string]uint64{
		"flags 0x5":        l.head | 5<<FlagsShift,
		"65537":            (MaxKeyLen + 1) << KeyLenShift,
		"4294967311 bytes": MaxValueLen,
		"25 bytes":         9, // the block has 24
		"32 bytes":         l.head | HasMap<<FlagsShift,
		"40 bytes":         l.head | (HasMap|HasSum)<<FlagsShift,
	} {
		r.Mem.SetWord(l.Off+HeadOff, head)
		_, err := r.Leaf(ref)
		require.ErrorIs(t, err, region.ErrCorrupt, text)
		require.ErrorContains(t, err, text)
		if l := (Leaf{l.Off, head}); l.Flags() == 0 {
			_, ok := r.Match(l.Off, head, nil)
			require.False(t, ok, text)
		}
	}
	_, err = r.Leaf(MakeRef(KindBranch, l.Off, 0))
	require.ErrorContains(t, err, "branch@0x8")
	_, err = r.Leaf(MakeRef(KindLeaf, r.Last()+8, 0))
	require.ErrorContains(t, err, "an offset within the region")
}

// A checksum covers each bit of the head, the key, the value and the word of the map, and
// all of its own word, but not the birth. Without one, no change is seen.
func TestCheckSum(t *testing.T) {
	for _, flags := range []uint64{0, HasMap, HasSum, HasMap | HasSum} {
		r, h := newReader(t, 1<<12)
		l, err := r.NewLeaf(h, []byte("the key"), []byte("the value"), Extra{flags, 0x1234_5678_9abc_def0})
		require.NoError(t, err)
		gap := [2]uint64{l.ValueOff() + l.ValueLen(), l.extraOff()}
		for at := l.Off; at < l.Off+l.Size(); at++ {
			for bit := range 8 {
				r.Mem.Bytes(at, 1)[0] ^= 1 << bit
				found := l
				found.head = r.Mem.Word(l.Off + HeadOff)
				if _, err := r.Leaf(MakeRef(KindLeaf, l.Off, 0)); err == nil {
					err := r.CheckSum(found)
					if found.Flags()&HasSum == 0 || at < l.Off+HeadOff || at >= gap[0] && at < gap[1] {
						require.NoError(t, err, "bit %d at %d, flags %d", bit, at-l.Off, flags)
					} else {
						require.ErrorIs(t, err, region.ErrCorrupt, "bit %d at %d, flags %d", bit, at-l.Off, flags)
					}
				}
				r.Mem.Bytes(at, 1)[0] ^= 1 << bit
			}
		}
		require.NoError(t, r.CheckSum(l))
	}
}

// The error of a wrong checksum names the key, the offset and both sums.
func TestWrongSum(t *testing.T) {
	r, h := newReader(t, 1<<12)
	l, err := r.NewLeaf(h, []byte("a\x00b"), []byte("value"), Extra{Flags: HasSum})
	require.NoError(t, err)
	sum := r.sum(l)
	r.Mem.SetWord(l.wordOff(HasSum), 7)
	err = r.CheckSum(l)
	for _, part := range []string{`"a\x00b"`, fmt.Sprint("offset ", l.Off), "0x7", fmt.Sprintf("%#x", sum)} {
		require.ErrorContains(t, err, part)
	}
}

// CompareKey orders like bytes.Compare, whatever bytes follow the key in memory.
func TestCompareKey(t *testing.T) {
	r, h := newReader(t, 1<<20)
	rnd := rand.New(rand.NewPCG(1, 2))
	random := func() []byte {
		key := make([]byte, rnd.IntN(20))
		for i := range key {
			key[i] = "\x00\x01\xff"[rnd.IntN(3)]
		}
		return key
	}
	for range 2000 {
		a, b := random(), random()
		if rnd.IntN(2) == 0 {
			b = append(append([]byte{}, a...), random()...)
		}
		l, err := r.NewLeaf(h, a, random(), Extra{})
		require.NoError(t, err)
		require.Equal(t, bytes.Compare(a, b), r.CompareKey(l, b), "%q and %q", a, b)
	}
}

func TestReaderOutsideItsRegion(t *testing.T) {
	m := region.FromWords(make([]uint64, 512))
	require.Panics(t, func() { NewReader(m, HeaderSize-1) })
	require.Panics(t, func() { NewReader(m, m.Size()+1) })
	require.EqualValues(t, 1<<12, NewReader(m, m.Size()).End)
	require.EqualValues(t, 104, NewReader(m, 111).End)
}
