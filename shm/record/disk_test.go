package record

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/internal/testdir"
	"github.com/seed-869cc763/shmkv/shm"
)

// On a full file system a commit fails as a whole, of whatever handle, and what was acknowledged is there. When
// garbage was collected, commits go on.
func TestFullDisk(t *testing.T) {
	dir := testdir.Tmpfs(t, "size=12m")
	st := open(t, dir+"/store", nil)
	other := open(t, dir+"/store", nil)
	sessions := []*Session{session(t, st), session(t, other)}
	parents := ids(t, sessions[0], 3)
	require.NoError(t, stores(sessions[0], rec(0, "root", parents[1:]...), rec(parents[1], "0"), rec(parents[2], "0")))
	acknowledged := make([]int, 2)
	store := func(i int) error {
		s := sessions[i]
		_, err := s.Sync()
		require.NoError(t, err)
		children, err := s.NewIDs(nil, 3)
		if err != nil {
			return err
		}
		data := fmt.Sprint(acknowledged[i] + 1)
		all := []Record{rec(parents[1+i], data, children...)}
		for _, id := range children {
			all = append(all, rec(id, data+" "+string(make([]byte, 3000))))
		}
		if err = stores(s, all...); err == nil {
			acknowledged[i]++
		}
		return err
	}
	full := 0
	for i := 0; full < 50; i++ {
		if err := store(i % 2); err != nil {
			require.ErrorIs(t, err, shm.ErrFull)
			require.ErrorContains(t, err, "is kept for collections of garbage")
			full++
		}
	}
	whole := func() {
		for i, s := range sessions {
			_, err := s.Sync()
			require.NoError(t, err)
			r, err := s.Load(parents[1+i])
			require.NoError(t, err)
			require.Equal(t, fmt.Sprint(acknowledged[i]), string(r.Data))
			require.Len(t, r.Refs, 3)
			for _, id := range r.Refs {
				child, err := s.Load(id)
				require.NoError(t, err)
				require.Equal(t, string(r.Data)+" ", string(child.Data[:len(r.Data)+1]))
			}
		}
		require.NoError(t, st.Check(t.Context()))
	}
	whole()
	p, err := st.Pack(t.Context())
	require.NoError(t, err)
	require.Positive(t, p.Collected)
	whole()
	for i := range sessions {
		require.NoError(t, store(i))
	}
	whole()

	// The same when the file system becomes larger.
	for full = 0; full < 20; {
		if err := store(0); err != nil {
			require.ErrorIs(t, err, shm.ErrFull)
			full++
		}
	}
	testdir.Remount(t, dir, "size=16m")
	require.Eventually(t, func() bool { return store(0) == nil }, 30*time.Second, time.Millisecond)
	whole()
}

// A file system may have no size, as a tmpfs without a limit has none. Its room counts for nothing then.
func TestDiskWithoutSize(t *testing.T) {
	st := open(t, testdir.Tmpfs(t, "size=0")+"/store", nil)
	s := session(t, st)
	ids(t, s, 1)
	root := rec(0, string(make([]byte, 1<<20)))
	require.NoError(t, stores(s, root))
	loads(t, s, root)
}

// A small store needs little for collections, also on a large file system that is nearly full.
func TestSmallStoreOnFullDisk(t *testing.T) {
	dir := testdir.Tmpfs(t, "size=64m")
	require.NoError(t, os.WriteFile(dir+"/others", make([]byte, 61<<20), 0o600)) // less than a sixteenth is left
	st := open(t, dir+"/store", nil)
	s := session(t, st)
	ids(t, s, 1)
	root := rec(0, "root")
	require.NoError(t, stores(s, root))
	loads(t, s, root)
}
