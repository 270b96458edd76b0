package shmprom_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/shm"
	"github.com/seed-869cc763/shmkv/shm/cache"
	"github.com/seed-869cc763/shmkv/shmprom"
)

func TestCacheCollector(t *testing.T) {
	s, err := shm.Open(t.TempDir(), &shm.Options{MaxSize: 4 << 20})
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	var all []*cache.Cache
	for _, region := range []string{"pages", "sessions"} {
		c, err := cache.New(s, &cache.Options{Region: region})
		require.NoError(t, err)
		defer func() { require.NoError(t, c.Close()) }()
		all = append(all, c)
	}
	elsewhere, err := cache.New(s, &cache.Options{Region: "pages"})
	require.NoError(t, err)
	require.NoError(t, all[0].Set([]byte("key"), []byte("value"), 0))
	for _, c := range []*cache.Cache{all[0], all[0], elsewhere} {
		_, err := c.Get([]byte("key"))
		require.NoError(t, err)
	}
	_, err = all[1].Get([]byte("key"))
	require.ErrorIs(t, err, shm.ErrNotFound)
	require.NoError(t, elsewhere.Close())
	_ = all[1].Stats() // adds its counts to the sums

	c := shmprom.NewCacheCollector(all...)
	require.NoError(t, testutil.CollectAndCompare(c, strings.NewReader(fmt.Sprintf(`
# HELP shmkv_cache_all_hits_total Reads that found an item. By all processes, in all regions of the store.
# TYPE shmkv_cache_all_hits_total counter
shmkv_cache_all_hits_total{store=%[1]q} 3
# HELP shmkv_cache_all_misses_total Reads that found none. By all processes, in all regions of the store.
# TYPE shmkv_cache_all_misses_total counter
shmkv_cache_all_misses_total{store=%[1]q} 1
# HELP shmkv_cache_hits_total Reads that found an item. By the handle of this process.
# TYPE shmkv_cache_hits_total counter
shmkv_cache_hits_total{region="pages",store=%[1]q} 2
shmkv_cache_hits_total{region="sessions",store=%[1]q} 0
# HELP shmkv_cache_items Items of the region, expired ones included.
# TYPE shmkv_cache_items gauge
shmkv_cache_items{region="pages",store=%[1]q} 1
shmkv_cache_items{region="sessions",store=%[1]q} 0
# HELP shmkv_cache_bound_bytes What the handle lets the file data grow to.
# TYPE shmkv_cache_bound_bytes gauge
shmkv_cache_bound_bytes{region="pages",store=%[1]q} 4.194304e+06
shmkv_cache_bound_bytes{region="sessions",store=%[1]q} 4.194304e+06
`, s.Path())), "shmkv_cache_all_hits_total", "shmkv_cache_all_misses_total", "shmkv_cache_hits_total", "shmkv_cache_items", "shmkv_cache_bound_bytes"))

	// What is described is what is collected, and the names are good ones.
	require.Equal(t, 2*(4+7)+7, testutil.CollectAndCount(c))
	problems, err := testutil.CollectAndLint(c)
	require.NoError(t, err)
	require.Empty(t, problems)

	// It goes with the collector of the store.
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(c, shmprom.NewCollector(s))
	_, err = r.Gather()
	require.NoError(t, err)

	require.NoError(t, s.Close())
	require.Zero(t, testutil.CollectAndCount(c))
}
