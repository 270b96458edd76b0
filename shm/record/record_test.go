package record

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/shm"
)

func open(t testing.TB, dir string, opts *Options) *Storage {
	t.Helper()
	st, err := Open(dir, opts)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, st.Close()) })
	return st
}

func session(t testing.TB, st *Storage) *Session {
	t.Helper()
	s, err := st.Session()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func stores(s *Session, records ...Record) error {
	c := s.Begin()
	for _, r := range records {
		if err := c.Store(r); err != nil {
			return err
		}
	}
	return c.End()
}

func rec(id ID, data string, refs ...ID) Record {
	return Record{ID: id, Data: []byte(data), Refs: refs}
}

func ids(t testing.TB, s *Session, n int) []ID {
	t.Helper()
	all, err := s.NewIDs(nil, n)
	require.NoError(t, err)
	require.Len(t, all, n)
	return all
}

func loads(t testing.TB, s *Session, want Record) {
	t.Helper()
	got, err := s.Load(want.ID)
	require.NoError(t, err)
	require.Equal(t, string(want.Data), string(got.Data))
	require.Equal(t, want.Refs, got.Refs)
}

func synced(t testing.TB, s *Session, want ...ID) {
	t.Helper()
	got, err := s.Sync()
	require.NoError(t, err)
	require.ElementsMatch(t, want, got)
}

func packs(t testing.TB, st *Storage, collected int) {
	t.Helper()
	p, err := st.Pack(t.Context())
	require.NoError(t, err)
	require.Equal(t, collected, int(p.Collected))
	require.NoError(t, st.Check(t.Context()))
}

// The ids of an empty storage begin at 0. What one session commits is loaded by others once they
// have synced, and conflicts before.
func TestTwoSessions(t *testing.T) {
	for name, second := range map[string]func(*Storage) *Storage{
		"of one handle":  func(st *Storage) *Storage { return st },
		"of two handles": func(st *Storage) *Storage { return open(t, st.Store().Path(), nil) },
	} {
		t.Run(name, func(t *testing.T) {
			st := open(t, t.TempDir(), nil)
			a, b := session(t, st), session(t, second(st))
			require.Equal(t, []ID{0, 1, 2}, ids(t, a, 3))
			require.Equal(t, []ID{3}, ids(t, b, 1))
			_, err := a.Load(0)
			require.ErrorIs(t, err, shm.ErrNotFound)

			require.NoError(t, stores(a, rec(0, "root", 1), rec(1, "one")))
			loads(t, a, rec(0, "root", 1))
			synced(t, a)
			_, err = b.Sync()
			require.NoError(t, err)
			loads(t, b, rec(1, "one"))

			require.NoError(t, stores(a, rec(1, "uno")))
			synced(t, a)
			if b.st == a.st {
				_, err = b.Load(1)
				require.ErrorIs(t, err, ErrConflict)
			}
			loads(t, b, rec(0, "root", 1))
			err = stores(b, rec(0, "root", 1, 3), rec(3, "three"))
			var conflict *ConflictError
			require.ErrorAs(t, err, &conflict)
			require.Equal(t, []ID{1}, conflict.IDs, "b has loaded 1")
			synced(t, b, 1)
			synced(t, b)
			require.NoError(t, stores(b, rec(0, "root", 1, 3), rec(3, "three")))
			loads(t, b, rec(1, "uno"))
			synced(t, a, 0, 3)
			loads(t, a, rec(0, "root", 1, 3))
			require.ErrorIs(t, stores(a, rec(17, "")), ErrNotGiven)
			require.ErrorIs(t, stores(b, rec(2, "")), ErrNotGiven, "it was given to a")
			require.NoError(t, st.Check(t.Context()))
		})
	}
}

// A collection takes chains and cycles, and its ids are given again once all sessions were told.
func TestPack(t *testing.T) {
	st := open(t, t.TempDir(), nil)
	a, b := session(t, st), session(t, st)
	other := open(t, st.Store().Path(), nil)
	c := session(t, other)
	ids(t, a, 8)
	require.NoError(t, stores(a, rec(0, "", 1, 2, 4), rec(1, ""), rec(2, "", 3), rec(3, "", 2), rec(4, "", 5), rec(5, "", 5), rec(6, "", 7), rec(7, "")))
	packs(t, st, 0)
	synced(t, b, 0, 1, 2, 3, 4, 5, 6, 7)
	loads(t, b, rec(3, "", 2))
	require.NoError(t, stores(a, rec(0, "", 1, 4)))
	packs(t, other, 2)
	synced(t, a, 2, 3)
	require.Equal(t, []ID{8}, ids(t, a, 1), "b and c were not told")
	err := stores(b, rec(1, "", 3))
	require.ErrorIs(t, err, ErrConflict)
	synced(t, b, 0, 2, 3)
	require.Equal(t, []ID{9}, ids(t, a, 1), "c was not told")
	_, err = c.Sync()
	require.NoError(t, err)
	require.Equal(t, []ID{2, 3, 10}, ids(t, a, 3))
	require.NoError(t, stores(a, rec(2, "new"), rec(0, "", 1, 2)))
	packs(t, st, 2)
	require.NoError(t, a.Close())
	packs(t, st, 2) // 6 and 7 were fresh
	n := 0
	for r, err := range st.All() {
		require.NoError(t, err)
		require.Contains(t, []ID{0, 1, 2}, r.ID)
		n++
	}
	require.Equal(t, 3, n)
}

// A record that something has referred to is garbage when nothing does any more, also if the same
// commit, or a later one, stores it again. A new one is not.
func TestFresh(t *testing.T) {
	st := open(t, t.TempDir(), nil)
	s := session(t, st)
	ids(t, s, 4)
	require.NoError(t, stores(s, rec(0, "", 1, 2), rec(1, ""), rec(2, ""), rec(3, "new")))
	require.NoError(t, stores(s, rec(0, ""), rec(1, "changed")))
	require.NoError(t, stores(s, rec(2, "changed"), rec(3, "still new")))
	packs(t, st, 2)
	loads(t, s, rec(3, "still new"))
	require.NoError(t, stores(s, rec(0, "", 3)))
	require.NoError(t, stores(s, rec(0, "")))
	packs(t, st, 1)
}

// New records that refer to each other are fresh until something else leads to them, and so is all that
// they refer to.
func TestFreshCycle(t *testing.T) {
	st := open(t, t.TempDir(), nil)
	s := session(t, st)
	ids(t, s, 8)
	require.NoError(t, stores(s, rec(0, ""), rec(1, "leaf", 3), rec(2, "leaf", 3)))
	packs(t, st, 0)
	require.NoError(t, stores(s, rec(3, "parent", 1, 2)))
	require.NoError(t, stores(s, rec(4, "", 5), rec(5, "", 4)))
	packs(t, st, 0)
	require.NoError(t, stores(s, rec(0, "", 3)))
	packs(t, st, 0)
	stats, err := st.Stats()
	require.NoError(t, err)
	require.Equal(t, int64(2), stats.Fresh)
	require.NoError(t, stores(s, rec(0, "")))
	packs(t, st, 3)
	require.NoError(t, s.Close())
	packs(t, st, 2)
}

func TestErrors(t *testing.T) {
	for _, o := range []Options{
		{MaxChanges: -1}, {Garbage: PerCommit(0)}, {Garbage: PastShare(1)}, {Garbage: WhenIdle(0)}, {Checkpoint: EveryCommits(0)},
		{Checkpoint: EveryBytes(0)}, {Checkpoint: Every(-1)}, {Checkpoint: AfterQuiet(0)}, {Checkpoint: Never(), Store: shm.Options{Checkpoint: shm.OnSync()}},
	} {
		_, err := Open(t.TempDir(), &o)
		require.Error(t, err)
	}
	st := open(t, t.TempDir(), &Options{Garbage: Off()})
	_, err := st.Pack(context.Background())
	require.ErrorIs(t, err, ErrCollectionOff)
	s := session(t, st)
	for _, n := range []int{-1, maxGiven + 1} {
		_, err = s.NewIDs(nil, n)
		require.Error(t, err)
	}
	c := s.Begin()
	require.NoError(t, c.End())
	require.Error(t, c.End())
	require.NoError(t, st.Close())
	_, err = s.Load(0)
	require.ErrorIs(t, err, shm.ErrClosed)
	_, err = st.Session()
	require.ErrorIs(t, err, shm.ErrClosed)
	_, err = Parse([]byte("short"))
	require.True(t, errors.Is(err, ErrMalformed))
}

// A session that is too far behind is given up, and the memory for it too.
func TestLagged(t *testing.T) {
	st := open(t, t.TempDir(), &Options{MaxChanges: 10})
	slow, quick := session(t, st), session(t, st)
	told := 0
	slow.OnLagged(func() { told++ })
	ids(t, quick, 30)
	for i := range 30 {
		require.NoError(t, stores(quick, rec(ID(i), "x")))
		synced(t, quick)
	}
	require.Equal(t, 1, told)
	for _, call := range []func() error{
		func() error { _, err := slow.Load(0); return err },
		func() error { _, err := slow.Sync(); return err },
		func() error { return stores(slow, rec(0, "")) },
	} {
		require.ErrorIs(t, call(), ErrLagged)
	}
	stats, err := st.Stats()
	require.NoError(t, err)
	require.LessOrEqual(t, stats.Untold, int64(10))
	require.Equal(t, int64(30), stats.Records)
}

// What a session itself stores does not make it lag, in one large commit or in many without a Sync.
func TestOwnChangesDoNotLag(t *testing.T) {
	st := open(t, t.TempDir(), &Options{MaxChanges: 10})
	s := session(t, st)
	all := ids(t, s, 100)
	var records []Record
	for _, id := range all[:50] {
		records = append(records, rec(id, "one"))
	}
	require.NoError(t, stores(s, records...))
	for _, id := range all[50:] {
		require.NoError(t, stores(s, rec(id, "many")))
	}
	loads(t, s, records[49])
	synced(t, s)
	stats, err := st.Stats()
	require.NoError(t, err)
	require.LessOrEqual(t, stats.Untold, int64(10))

	// Another session that was told of nothing is the one to be given up.
	other := session(t, st)
	require.NoError(t, stores(s, records...))
	_, err = other.Load(0)
	require.ErrorIs(t, err, ErrLagged)
	loads(t, s, records[0])

	// What others have changed is told after a commit of one's own.
	third := session(t, st)
	x := ids(t, third, 1)[0]
	require.NoError(t, stores(third, rec(x, "third")))
	require.NoError(t, stores(s, rec(2, "own")))
	_, err = s.Load(x)
	require.ErrorIs(t, err, ErrConflict)
	synced(t, s, x)
	synced(t, third, 2)
}

// A session that asks for numbers which nobody was given takes no memory for them. That a record was not there
// is a conflict all the same.
func TestLoadsOfNothing(t *testing.T) {
	st := open(t, t.TempDir(), nil)
	s, other := session(t, st), session(t, st)
	for i := range ID(10_000) {
		_, err := s.Load(1<<40 + i*chunkIDs)
		require.ErrorIs(t, err, shm.ErrNotFound)
	}
	_, err := s.Load(1)
	require.ErrorIs(t, err, shm.ErrNotFound)
	require.LessOrEqual(t, len(s.held.chunks), 1)
	ids(t, other, 2)
	require.NoError(t, stores(other, rec(1, "")))
	require.ErrorIs(t, stores(s, rec(0, "")), ErrConflict)
}

// References to numbers that nobody was given take no part of a collection. Those to ids that were given and
// not stored are spread over its steps.
func TestRefsToNothing(t *testing.T) {
	st := open(t, t.TempDir(), nil)
	s, other := session(t, st), session(t, st)
	given := ids(t, s, 10*stepRecords)
	refs := make([]ID, 20*stepRecords)
	for i := range refs {
		refs[i] = 1<<40 + ID(i)*chunkIDs
	}
	require.NoError(t, stores(s, rec(0, "", refs...), rec(1, "", 2), rec(2, "", 1)))
	p, err := st.Pack(t.Context())
	require.NoError(t, err)
	require.Less(t, p.Steps, uint64(10))
	require.NoError(t, stores(s, rec(0, "", append(refs, given...)...)))
	p, err = st.Pack(t.Context())
	require.NoError(t, err)
	require.Greater(t, p.Steps, uint64(10))
	require.NoError(t, stores(s, rec(0, "", refs...)))
	synced(t, other, 0, 1, 2)
	require.NoError(t, s.Close()) // of what it has stored, 1 and 2 are garbage now
	packs(t, st, 2)
	loads(t, other, rec(0, "", refs...))
	require.ErrorIs(t, stores(other, rec(0, "", append(refs, 2)...)), ErrConflict)
	require.NoError(t, stores(other, rec(0, "", refs...)))
}

// A step looks at few large records.
func TestPackLargeRecords(t *testing.T) {
	st := open(t, t.TempDir(), nil)
	s := session(t, st)
	all := ids(t, s, 20)
	for _, id := range all[1:] {
		require.NoError(t, stores(s, rec(id, string(make([]byte, stepBytes/4)))))
	}
	require.NoError(t, stores(s, rec(0, "", all[1:]...)))
	p, err := st.Pack(t.Context())
	require.NoError(t, err)
	require.GreaterOrEqual(t, p.Steps, uint64(9))
	require.NoError(t, stores(s, rec(0, "", all[10:]...)))
	packs(t, st, 9)
}

// A session of a storage that is open for reading sees what others change, and changes nothing.
func TestReadOnly(t *testing.T) {
	dir := t.TempDir()
	_, err := Open(filepath.Join(dir, "absent"), &Options{Store: shm.Options{ReadOnly: true}})
	require.ErrorIs(t, err, fs.ErrNotExist)
	st := open(t, dir, nil)
	a := session(t, st)
	ids(t, a, 2)
	require.NoError(t, stores(a, rec(0, "root", 1), rec(1, "one")))
	was := st.Store().Version()
	reading := open(t, dir, &Options{Store: shm.Options{ReadOnly: true}})
	b, err := reading.Session()
	require.NoError(t, err)
	loads(t, b, rec(0, "root", 1))
	_, err = b.NewID()
	require.ErrorIs(t, err, shm.ErrReadOnly)
	require.ErrorIs(t, stores(b, rec(0, "other")), shm.ErrReadOnly)
	_, err = reading.Pack(t.Context())
	require.ErrorIs(t, err, shm.ErrReadOnly)
	require.Equal(t, was, st.Store().Version())
	require.NoError(t, stores(a, rec(0, "root")))
	packs(t, st, 1)
	synced(t, b, 0, 1)
	loads(t, b, rec(0, "root"))
	_, err = b.Load(1)
	require.ErrorIs(t, err, shm.ErrNotFound)
	require.NoError(t, b.Close())
	require.NoError(t, st.Check(t.Context()))
}

// Sessions come and go beside collections.
func TestSessionsBesidePacks(t *testing.T) {
	st := open(t, t.TempDir(), nil)
	packed := make(chan error, 1)
	go func() {
		var err error
		for range 20 {
			_, e := st.Pack(t.Context())
			err = errors.Join(err, e)
		}
		packed <- err
	}()
	for {
		s, err := st.Session()
		require.NoError(t, err)
		require.NoError(t, s.Close())
		select {
		case err := <-packed:
			require.NoError(t, err)
			return
		default:
		}
	}
}
