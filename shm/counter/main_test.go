package counter

import (
	"math/rand/v2"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/internal/testdir"
	"github.com/seed-869cc763/shmkv/internal/testproc"
	"github.com/seed-869cc763/shmkv/shm"
)

// children are what the test binary may be as a child.
var children = map[string]func(){}

func TestMain(m *testing.M) {
	testproc.RunChild(children)
	os.Exit(testdir.Main(m))
}

// newStore makes a store that ends with the test.
func newStore(t testing.TB) *shm.Store {
	t.Helper()
	s, err := shm.Open(t.TempDir(), &shm.Options{Checkpoint: shm.OnSync()})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// newRand returns a random source whose seed a failing test prints.
func newRand(t testing.TB) *rand.Rand {
	seed := rand.Uint64()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("seed %d", seed)
		}
	})
	return rand.New(rand.NewPCG(seed, 0))
}
