package counter

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/shm"
)

// A batch goes through the order from its beginning to its end, whatever its counts and keys have in
// common: keys that are prefixes of others, and keys that differ behind the bytes that are sorted first.
func TestEditsAreInOrder(t *testing.T) {
	s := newStore(t)
	rng := rand.New(rand.NewPCG(1, 2))
	for name, key := range map[string]func() string{
		"far":      func() string { return fmt.Sprint("/page/", rng.IntN(2), strings.Repeat("x", 20), rng.IntN(500)) },
		"prefixes": func() string { return strings.Repeat("p", rng.IntN(200)) },
		"zeros":    func() string { return "z" + strings.Repeat("\x00", rng.IntN(20)) + fmt.Sprint(rng.IntN(9)) },
		"random":   func() string { return fmt.Sprint(rng.Uint64()) },
	} {
		for range 20 {
			b := NewBatch(s)
			for range 1 + rng.IntN(400) {
				b.Add([]byte(name), []byte(key()), rng.Int64N(1000)-500)
			}
			require.NoError(t, b.Commit())
			sorted := slices.IsSortedFunc(b.edits, func(e, f shm.Edit) int { return bytes.Compare(e.Key, f.Key) })
			require.True(t, sorted, name)
		}
	}
}
