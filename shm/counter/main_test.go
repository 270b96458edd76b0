package counter

import (
	"fmt"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/internal/testdir"
	"github.com/seed-869cc763/shmkv/shm"
)

// childEnv names what the test binary is to be when it runs as a child.
const childEnv = "SHMKV_COUNTER_TEST_CHILD"

// children is what the test binary can be instead of running tests, by the value of childEnv.
var children = map[string]func(){}

func TestMain(m *testing.M) {
	if name := os.Getenv(childEnv); name != "" {
		run := children[name]
		if run == nil {
			fmt.Fprintf(os.Stderr, "no child is called %q\n", name)
			os.Exit(2)
		}
		run()
		os.Exit(0)
	}
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
