//go:build !race

package record

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/internal/testdir"
	"github.com/seed-869cc763/shmkv/internal/testproc"
	"github.com/seed-869cc763/shmkv/shm"
)

func init() {
	children["ids"] = childIDs
	children["writes"] = childWrites
	children["packs"] = childPacks
}

// childIDs takes ids, and says so when it has them.
func childIDs() {
	st, err := Open(setting("DIR"), nil)
	must(err)
	s, err := st.Session()
	must(err)
	for n := 1; ; n = n%5 + 1 {
		ids, err := s.NewIDs(nil, n)
		must(err)
		for _, id := range ids {
			fmt.Println(id)
		}
		if ids[0] == 0 {
			must(stores(s, rec(0, "root")))
		}
	}
}

// No id is given twice, whatever processes die.
func TestKilledIDs(t *testing.T) {
	dir := t.TempDir()
	store, log := filepath.Join(dir, "store"), filepath.Join(dir, "log")
	st := open(t, store, nil)
	s := session(t, st)
	require.Equal(t, []ID{0}, ids(t, s, 1))
	require.NoError(t, stores(s, rec(0, "root")))
	var all []*testproc.Child
	for range testdir.Scale(12, 200) {
		all = append(all, startChild(t, "ids", log, map[string]string{"DIR": store}))
		time.Sleep(20 * time.Millisecond)
		if len(all) > 2 {
			all[0].Kill(t)
			all = all[1:]
		}
	}
	for _, c := range all {
		c.Kill(t)
	}
	given := map[string]bool{}
	for _, line := range linesOf(t, log) {
		require.False(t, given[line], "%s was given twice", line)
		given[line] = true
	}
	require.Greater(t, len(given), 100)
}

// A writer's part of the records is one that the root refers to, which has its number and refers to
// three others with the same number. Each commit replaces these, and so leaves garbage.
func childWrites() {
	name := setting("NAME")
	st, err := Open(setting("DIR"), nil)
	must(err)
	s, err := st.Session()
	must(err)
	part := ID(number(name))
	for {
		at, err := readPart(s, name, part)
		if err == nil {
			err = writePart(s, name, part, at+1)
		}
		switch {
		case err == nil:
			fmt.Println(name, at+1)
		case errors.Is(err, ErrConflict):
			_, err := s.Sync()
			must(err)
		default:
			must(err)
		}
	}
}

func readPart(s *Session, name string, part ID) (at int, err error) {
	r, err := s.Load(part)
	if err != nil {
		return 0, err
	}
	_, err = fmt.Sscanf(string(r.Data), name+" %d", &at)
	must(err)
	for _, id := range r.Refs {
		child, err := s.Load(id)
		if err != nil {
			return 0, fmt.Errorf("part %s at %d: %w", name, at, err)
		}
		if want := fmt.Sprintf("%s %d", name, at); string(child.Data) != want {
			failChild("record %d: found %q, expected %q", id, child.Data, want)
		}
	}
	return at, nil
}

func writePart(s *Session, name string, part ID, at int) error {
	ids, err := s.NewIDs(nil, 3)
	must(err)
	data := fmt.Sprintf("%s %d", name, at)
	return stores(s, rec(part, data, ids...), rec(ids[0], data, ids[1]), rec(ids[1], data, ids[0]), rec(ids[2], data))
}

func childPacks() {
	st, err := Open(setting("DIR"), nil)
	must(err)
	for {
		p, err := st.Pack(context.Background())
		must(err)
		fmt.Println("packed", p.Collected)
	}
}

// Processes that write and that collect are killed. What was acknowledged is there as a whole, and
// the books are right, also while a collection waits for somebody to go on with it.
func TestKilled(t *testing.T) {
	dir := t.TempDir()
	store, log := filepath.Join(dir, "store"), filepath.Join(dir, "log")
	st := open(t, store, nil)
	s := session(t, st)
	const parts = 3
	parents := ids(t, s, parts+1)
	records := []Record{rec(0, "root", parents[1:]...)}
	for _, id := range parents[1:] {
		records = append(records, rec(id, fmt.Sprintf("%d 0", id)))
	}
	require.NoError(t, stores(s, records...))
	starts := func(i int) *testproc.Child {
		if i == 0 {
			return startChild(t, "packs", log, map[string]string{"DIR": store})
		}
		return startChild(t, "writes", log, map[string]string{"DIR": store, "NAME": fmt.Sprint(i)})
	}
	var all []*testproc.Child
	for i := range parts + 1 {
		all = append(all, starts(i))
	}
	for range testdir.Scale(15, 300) {
		time.Sleep(time.Duration(30+rand.IntN(60)) * time.Millisecond)
		i := rand.IntN(len(all))
		all[i].Kill(t)
		require.NoError(t, st.Check(t.Context()))
		for _, id := range parents[1:] {
			err := ErrConflict
			for errors.Is(err, ErrConflict) {
				_, err = s.Sync()
				require.NoError(t, err)
				_, err = readPart(s, fmt.Sprint(id), id)
			}
			require.NoError(t, err)
		}
		all[i] = starts(i)
	}
	// A machine that is busy may have collected nothing yet.
	require.Eventually(t, func() bool {
		return slices.ContainsFunc(linesOf(t, log), func(line string) bool {
			name, n, _ := strings.Cut(line, " ")
			return name == "packed" && number(n) > 0
		})
	}, 30*time.Second, 10*time.Millisecond)
	for _, c := range all {
		c.Kill(t)
	}
	last, packed := map[string]int{}, 0
	for _, line := range linesOf(t, log) {
		name, n, _ := strings.Cut(line, " ")
		if name == "packed" {
			packed += number(n)
			continue
		}
		last[name] = max(last[name], number(n))
	}
	require.Positive(t, packed)
	_, err := s.Sync()
	require.NoError(t, err)
	for _, id := range parents[1:] {
		name := fmt.Sprint(id)
		at, err := readPart(s, name, id)
		require.NoError(t, err)
		require.GreaterOrEqual(t, at, last[name], "what was acknowledged")
		require.LessOrEqual(t, at, last[name]+1)
		require.Positive(t, at)
	}
	_, err = st.Pack(t.Context())
	require.NoError(t, err)
	stats, err := st.Stats()
	require.NoError(t, err)
	require.Equal(t, int64(1+4*parts), stats.Records)
	require.NoError(t, st.Check(t.Context()))
	_, err = st.Store().Check(t.Context(), &shm.CheckOptions{})
	require.NoError(t, err)
}
