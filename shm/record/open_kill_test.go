//go:build !race

package record

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/internal/testdir"
	"github.com/seed-869cc763/shmkv/internal/testproc"
	"github.com/seed-869cc763/shmkv/shm"
)

func init() { children["opens"] = childOpens }

// childOpens opens the storage, commits once and closes it, again and again.
func childOpens() {
	name := setting("NAME")
	part := ID(number(name))
	for {
		st, err := Open(setting("DIR"), nil)
		must(err)
		s, err := st.Session()
		must(err)
		at, err := readPart(s, name, part)
		if err == nil {
			err = writePart(s, name, part, at+1)
		}
		if err == nil {
			fmt.Println(name, at+1)
		} else if !errors.Is(err, ErrConflict) {
			must(err)
		}
		must(s.Close())
		must(st.Close())
	}
}

// Eight processes open, commit and close beside each other, and some are killed. No process has the storage
// open all the time, so some of them are the last to close it, and the first to open it. What was acknowledged is there.
func TestOpenCommitClose(t *testing.T) {
	dir := t.TempDir()
	store, log := filepath.Join(dir, "store"), filepath.Join(dir, "log")
	const parts = 8
	parents := func() []ID {
		st, err := Open(store, nil)
		require.NoError(t, err)
		s, err := st.Session()
		require.NoError(t, err)
		parents := ids(t, s, parts+1)
		records := []Record{rec(0, "root", parents[1:]...)}
		for _, id := range parents[1:] {
			records = append(records, rec(id, fmt.Sprintf("%d 0", id)))
		}
		require.NoError(t, stores(s, records...))
		require.NoError(t, st.Close())
		return parents[1:]
	}()
	starts := func(id ID) *testproc.Child {
		return startChild(t, "opens", log, map[string]string{"DIR": store, "NAME": fmt.Sprint(id)})
	}
	var all []*testproc.Child
	for _, id := range parents {
		all = append(all, starts(id))
	}
	for range testdir.Scale(10, 300) {
		time.Sleep(time.Duration(20+rand.IntN(50)) * time.Millisecond)
		i := rand.IntN(len(all))
		all[i].Kill(t)
		all[i] = starts(parents[i])
	}
	last := func() map[string]int {
		last := map[string]int{}
		for _, line := range linesOf(t, log) {
			name, n, _ := strings.Cut(line, " ")
			last[name] = max(last[name], number(n))
		}
		return last
	}
	require.Eventually(t, func() bool { return len(last()) == parts }, 60*time.Second, 10*time.Millisecond, "each process has committed")
	for _, c := range all {
		c.Kill(t)
	}
	st := open(t, store, nil)
	s := session(t, st)
	acknowledged := last()
	for _, id := range parents {
		name := fmt.Sprint(id)
		at, err := readPart(s, name, id)
		require.NoError(t, err)
		require.GreaterOrEqual(t, at, acknowledged[name], "what was acknowledged")
		require.LessOrEqual(t, at, acknowledged[name]+parts+testdir.Scale(10, 300), "one more with each kill")
	}
	_, err := st.Pack(t.Context())
	require.NoError(t, err)
	stats, err := st.Stats()
	require.NoError(t, err)
	require.Equal(t, int64(1+4*parts), stats.Records)
	require.NoError(t, st.Check(t.Context()))
	_, err = st.Store().Check(t.Context(), &shm.CheckOptions{})
	require.NoError(t, err)
	t.Log(acknowledged)
}
