package count

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// BenchmarkIncrements is increments over 8 connections that send without waiting, in one process
// with the server.
func BenchmarkIncrements(b *testing.B) {
	for _, keys := range []int{100, 10_000} {
		b.Run(fmt.Sprintf("keys=%d", keys), func(b *testing.B) {
			v := serving(b, Options{})
			const conns = 8
			var wg sync.WaitGroup
			b.ResetTimer()
			for c := range conns {
				a := v.adder(nil)
				wg.Go(func() {
					rng := rand.New(rand.NewPCG(1, uint64(c)))
					z := rand.NewZipf(rng, 1.1, 1, uint64(keys-1))
					var key []byte
					for range b.N/conns + 1 {
						key = fmt.Appendf(key[:0], "/page/%d", z.Uint64())
						if err := a.Send([]byte("pages"), key, 1); err != nil {
							b.Error(err)
							return
						}
					}
					if err := a.Flush(); err != nil {
						b.Error(err)
					}
				})
			}
			wg.Wait()
			b.StopTimer()
			require.NoError(b, v.Shutdown(b.Context()))
		})
	}
}
