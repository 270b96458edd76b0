package shmprom_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/shm"
	"github.com/seed-869cc763/shmkv/shmprom"
)

func open(t *testing.T) *shm.Store {
	s, err := shm.Open(t.TempDir(), &shm.Options{MaxSize: 1 << 20})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func TestCollector(t *testing.T) {
	s, other := open(t), open(t)
	c := shmprom.NewCollector(s, other)
	require.NoError(t, s.Set([]byte("key"), []byte("value")))
	require.NoError(t, s.Set([]byte("key"), []byte("other")))
	require.NoError(t, other.View(func(sn *shm.Snapshot) error {
		require.NoError(t, testutil.CollectAndCompare(c, strings.NewReader(fmt.Sprintf(`
# HELP shmkv_commits_total Transactions committed.
# TYPE shmkv_commits_total counter
shmkv_commits_total{store=%[1]q} 2
shmkv_commits_total{store=%[2]q} 0
# HELP shmkv_data_bytes Bytes of keys and values.
# TYPE shmkv_data_bytes gauge
shmkv_data_bytes{store=%[1]q} 8
shmkv_data_bytes{store=%[2]q} 0
# HELP shmkv_handles Open handles, of all processes.
# TYPE shmkv_handles gauge
shmkv_handles{store=%[1]q} 1
shmkv_handles{store=%[2]q} 1
# HELP shmkv_max_bytes What the file data can grow to.
# TYPE shmkv_max_bytes gauge
shmkv_max_bytes{store=%[1]q} 1.048576e+06
shmkv_max_bytes{store=%[2]q} 1.048576e+06
# HELP shmkv_pinned_versions Versions that snapshots keep, counted for each handle.
# TYPE shmkv_pinned_versions gauge
shmkv_pinned_versions{store=%[1]q} 0
shmkv_pinned_versions{store=%[2]q} 1
`, s.Path(), other.Path())),
			"shmkv_commits_total", "shmkv_data_bytes", "shmkv_handles", "shmkv_max_bytes", "shmkv_pinned_versions"))
		return nil
	}))

	// What is described is what is collected, and the names are good ones.
	require.Equal(t, 2*20, testutil.CollectAndCount(c))
	problems, err := testutil.CollectAndLint(c)
	require.NoError(t, err)
	require.Empty(t, problems)

	require.NoError(t, s.Close())
	require.Equal(t, 20, testutil.CollectAndCount(c))
}

// Two stores of one path cannot be told apart, which is an error of the registry.
func TestCollectorOfOneStoreTwice(t *testing.T) {
	s := open(t)
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(shmprom.NewCollector(s, s))
	_, err := r.Gather()
	require.ErrorContains(t, err, "was collected before with the same name and label values")
}
