package shmexpvar_test

import (
	"encoding/json"
	"expvar"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/shm"
	"github.com/seed-869cc763/shmkv/shm/cache"
	"github.com/seed-869cc763/shmkv/shm/shmexpvar"
)

func open(t *testing.T) *shm.Store {
	s, err := shm.Open(t.TempDir(), nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func TestPublish(t *testing.T) {
	s := open(t)
	require.NoError(t, shmexpvar.Publish("cache", s))
	require.NoError(t, s.Set([]byte("k"), []byte("v")))

	w := httptest.NewRecorder()
	expvar.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/debug/vars", nil))
	var all struct {
		Cache *shm.Stats `json:"cache"`
	}
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &all))
	require.Equal(t, s.Stats(), *all.Cache)
	require.Equal(t, uint64(1), all.Cache.Commits)

	require.NoError(t, s.Close())
	require.Equal(t, "null", expvar.Get("cache").String())
}

// A cache shows the counts of its handle, and those of all handles.
func TestPublishCache(t *testing.T) {
	s := open(t)
	c, err := cache.New(s, nil)
	require.NoError(t, err)
	other, err := cache.New(s, nil)
	require.NoError(t, err)
	require.NoError(t, shmexpvar.PublishCache("items", c))
	require.NoError(t, c.Set([]byte("k"), []byte("v"), 0))
	for _, handle := range []*cache.Cache{c, other} {
		_, err := handle.Get([]byte("k"))
		require.NoError(t, err)
	}
	require.NoError(t, other.Close())

	var st cache.Stats
	require.NoError(t, json.Unmarshal([]byte(expvar.Get("items").String()), &st))
	require.Equal(t, c.Stats(), st)
	require.Equal(t, uint64(1), st.Hits)
	require.Equal(t, uint64(2), st.All.Hits)
	require.Equal(t, int64(1), st.Items)

	require.Error(t, shmexpvar.Publish("items", s))
	require.NoError(t, c.Close())
	require.NotEqual(t, "null", expvar.Get("items").String(), "its store is open")
	require.NoError(t, s.Close())
	require.Equal(t, "null", expvar.Get("items").String())
	require.NoError(t, shmexpvar.Publish("items", open(t)))
}

// A name is used once, but for another store when its own is closed.
func TestPublishTaken(t *testing.T) {
	s, other := open(t), open(t)
	require.NoError(t, shmexpvar.Publish("taken", s))
	require.ErrorContains(t, shmexpvar.Publish("taken", s), `a variable named "taken" is there already`)
	require.Error(t, shmexpvar.Publish("taken", other))
	require.Error(t, shmexpvar.Publish("memstats", s), "what is not a store's")
	require.NoError(t, s.Close())
	require.NoError(t, shmexpvar.Publish("taken", other))
	require.NotEqual(t, "null", expvar.Get("taken").String())
}

// Of those who publish under one name at once, one does.
func TestPublishAtOnce(t *testing.T) {
	s := open(t)
	var wg sync.WaitGroup
	failed := make([]error, 8)
	for i := range failed {
		wg.Go(func() { failed[i] = shmexpvar.Publish("at once", s) })
	}
	wg.Wait()
	done := 0
	for _, err := range failed {
		if err == nil {
			done++
		}
	}
	require.Equal(t, 1, done)
}
