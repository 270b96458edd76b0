package cache

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/internal/testdir"
	"github.com/seed-869cc763/shmkv/shm/codec"
)

// A view costs what its codecs do, and little more.
func BenchmarkTyped(b *testing.B) {
	c, err := Open(testdir.Memory(b)+"/store", nil)
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, c.Close()) })
	numbers := NewTyped(c, codec.Int[int64]{}, codec.Int[int64]{})
	require.NoError(b, numbers.Set(1, 2, time.Hour))
	key, err := codec.Int[int64]{}.Append(nil, 1)
	require.NoError(b, err)
	b.Run("bytes", func(b *testing.B) {
		b.ReportAllocs()
		buf := make([]byte, 0, 8+Overhead)
		for b.Loop() {
			_, _ = c.Append(buf, key)
		}
	})
	b.Run("numbers", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = numbers.Get(1)
		}
	})
	b.Run("present bytes", func(b *testing.B) {
		b.ReportAllocs()
		create := func(context.Context) ([]byte, error) { panic("the key is there") }
		for b.Loop() {
			_, _ = c.GetOrCreate(context.Background(), key, create)
		}
	})
	b.Run("present numbers", func(b *testing.B) {
		b.ReportAllocs()
		create := func(context.Context) (int64, error) { panic("the key is there") }
		for b.Loop() {
			_, _ = numbers.GetOrCreate(context.Background(), 1, create)
		}
	})
}
