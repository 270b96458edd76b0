package pair

import (
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/shm/codec"
)

type name string

type both struct {
	a int
	b string
}

func TestShow(t *testing.T) {
	for want, got := range map[string]string{
		`"ann"`: show("ann"), `ann`: show(name("ann")), `""`: show(name("")), `"a\x1bb"`: show(name("a\x1bb")),
		`-7`: show(-7), `{1 x}`: show(both{1, "x"}),
		`"` + strings.Repeat("x", 60) + `"...`: show(strings.Repeat("x", 1000)),
	} {
		require.Equal(t, want, got)
	}
}

func TestTypeName(t *testing.T) {
	require.Equal(t, "int", typeName[int]())
	require.Equal(t, "pair.both", typeName[both]())
	require.Equal(t, "*pair.both", typeName[*both]())
	require.Equal(t, "error", typeName[error]())
}

// Errors name the key and the type, and dst is what it was.
func TestErrors(t *testing.T) {
	p := Pair[int, chan int]{codec.Int[int]{}, codec.JSON[chan int]{}}
	dst, err := p.AppendValue([]byte("dst"), 5, nil)
	require.EqualError(t, err, "encoding the value of 5 as chan int: json: unsupported type: chan int")
	require.Equal(t, "dst", string(dst))
	_, err = p.DecodeValue(5, []byte("x"))
	require.ErrorIs(t, err, codec.ErrDecode)
	require.ErrorContains(t, err, "decoding the value of 5: found bytes that are not of the type chan int: ")
	_, err = p.DecodeKey([]byte("x"))
	require.ErrorIs(t, err, codec.ErrDecode)
	require.EqualError(t, err, `decoding the key "x": found bytes that are not of the type int: found 1 bytes, expected 8`)
}

// No two have a buffer at the same time.
func TestBuffers(t *testing.T) {
	var wg sync.WaitGroup
	for g := range byte(8) {
		wg.Go(func() {
			for range 2000 {
				b := Borrow()
				if len(b.Key) != 0 || len(b.Value) != 0 {
					t.Error("a buffer is not empty")
				}
				b.Key = append(b.Key, g, g, g)
				b.Value = append(b.Value, g)
				for _, x := range append(b.Key, b.Value...) {
					if x != g {
						t.Error("two have the same buffer")
					}
				}
				b.Return()
			}
		})
	}
	wg.Wait()
	b := Borrow()
	b.Value = make([]byte, 1<<20)
	b.Return()
	require.Less(t, cap(Borrow().Value), 1<<20, "a large buffer was kept")
}
