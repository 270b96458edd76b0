package cache

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/internal/testdir"
)

// A present key costs what a Get costs, also with options.
func BenchmarkGetOrCreate(b *testing.B) {
	c, err := Open(testdir.Memory(b)+"/store", nil)
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, c.Close()) })
	key := []byte("key")
	require.NoError(b, c.Set(key, make([]byte, 100), time.Hour))
	create := func(context.Context) ([]byte, error) { panic("the key is there") }
	ctx := context.Background()
	b.Run("get", func(b *testing.B) {
		for b.Loop() {
			_, _ = c.Get(key)
		}
	})
	b.Run("present", func(b *testing.B) {
		for b.Loop() {
			_, _ = c.GetOrCreate(ctx, key, create)
		}
	})
	b.Run("present with options", func(b *testing.B) {
		for b.Loop() {
			_, _ = c.GetOrCreate(ctx, key, create, WithTTL(time.Hour), WithSoftTTL(time.Minute))
		}
	})
	b.Run("created", func(b *testing.B) {
		create := func(context.Context) ([]byte, error) { return key, nil }
		for b.Loop() {
			if _, err := c.Delete(key); err != nil {
				b.Fatal(err)
			}
			if _, err := c.GetOrCreate(ctx, key, create); err != nil {
				b.Fatal(err)
			}
		}
	})
}
