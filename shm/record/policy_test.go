package record

import (
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/internal/testdir"
	"github.com/seed-869cc763/shmkv/shm"
)

// awaits waits until a condition of the storage holds. The policies have all the time they need.
func awaits(t *testing.T, what func() bool) {
	t.Helper()
	require.Eventually(t, what, time.Minute, 5*time.Millisecond)
}

func records(t *testing.T, st *Storage) int64 {
	stats, err := st.Stats()
	require.NoError(t, err)
	return stats.Records
}

// garbage stores the root, and 20 records of which nothing leads to 19 at the end.
func garbage(t *testing.T, s *Session) {
	t.Helper()
	all := ids(t, s, 21)
	require.NoError(t, stores(s, rec(0, "", all[1]), rec(all[1], "")))
	for _, id := range all[2:] {
		require.NoError(t, stores(s, rec(0, "", id), rec(id, "")))
	}
}

func TestGarbagePolicies(t *testing.T) {
	for name, policy := range map[string]GarbagePolicy{
		"WhenIdle": WhenIdle(time.Millisecond), "PastShare": PastShare(0.5), "PastBytes": PastBytes(1),
	} {
		t.Run(name, func(t *testing.T) {
			st := open(t, t.TempDir(), &Options{Garbage: policy})
			garbage(t, session(t, st))
			awaits(t, func() bool { return records(t, st) <= 4 })
			require.NoError(t, st.Check(t.Context()))
		})
	}
	t.Run("PerCommit", func(t *testing.T) {
		st := open(t, t.TempDir(), &Options{Garbage: PerCommit(1)})
		s := session(t, st)
		garbage(t, s)
		require.Equal(t, int64(2), records(t, st))
		got, err := s.Sync()
		require.NoError(t, err)
		require.Len(t, got, 19, "what its own commits have collected was told too")
		require.NoError(t, st.Check(t.Context()))
	})
	for _, policy := range []GarbagePolicy{nil, Manual(), Off()} {
		st := open(t, t.TempDir(), &Options{Garbage: policy})
		garbage(t, session(t, st))
		require.Equal(t, int64(21), records(t, st))
	}
}

// PastBytes counts the bytes of all sessions, from the beginning of each Pack on.
func TestPastBytes(t *testing.T) {
	st := open(t, t.TempDir(), &Options{Garbage: PastBytes(1000)})
	a, b := session(t, st), session(t, st)
	cycle := func() uint64 {
		k, err := st.snapshot()
		require.NoError(t, err)
		defer k.sn.Close()
		return k.head.cycle
	}
	ids(t, a, 1)
	require.NoError(t, stores(a, rec(0, string(make([]byte, 500)))))
	packs(t, st, 0)
	was := cycle()
	require.NoError(t, stores(a, rec(0, string(make([]byte, 500)))))
	time.Sleep(50 * time.Millisecond)
	require.Equal(t, was, cycle(), "1008 bytes, of which 504 are older than a Pack")
	_, err := b.Sync()
	require.NoError(t, err)
	require.NoError(t, stores(b, rec(0, string(make([]byte, 500)))))
	awaits(t, func() bool { return cycle() > was })
}

// WhenIdle packs once, and again after there was something new.
func TestWhenIdleRests(t *testing.T) {
	st := open(t, t.TempDir(), &Options{Garbage: WhenIdle(time.Millisecond)})
	s := session(t, st)
	garbage(t, s)
	idle := func() (h head) {
		awaits(t, func() bool {
			k, err := st.snapshot()
			require.NoError(t, err)
			h = k.head
			require.NoError(t, k.sn.Close())
			return h.phase == phaseIdle && h.traced == h.stamp
		})
		return h
	}
	was := idle()
	time.Sleep(50 * time.Millisecond)
	require.Equal(t, was, idle())
	_, err := s.Sync()
	require.NoError(t, err)
	require.NoError(t, stores(s, rec(0, "")))
	require.Greater(t, idle().cycle, was.cycle)
	require.Equal(t, int64(1), records(t, st))
}

// A policy of checkpoints takes them when it says so. Never takes none.
func TestCheckpointPolicies(t *testing.T) {
	disk := testdir.Disk(t)
	for name, c := range map[string]struct {
		policy CheckpointPolicy
		store  shm.CheckpointPolicy // with New
		want   func(durable []bool) bool
	}{
		"Never":        {policy: Never(), want: func(d []bool) bool { return !d[0] && !d[1] && !d[2] && !d[3] }},
		"EveryCommit":  {policy: EveryCommit(), want: func(d []bool) bool { return d[0] && d[1] && d[2] && d[3] }},
		"EveryCommits": {policy: EveryCommits(2), want: func(d []bool) bool { return !d[0] && d[1] && !d[2] && d[3] }},
		"New and EveryCommit": {policy: EveryCommit(), store: shm.OnSync(), want: func(d []bool) bool {
			return d[0] && d[1] && d[2] && d[3]
		}},
		"New and EveryBytes": {policy: EveryBytes(20), store: shm.OnSync(), want: func(d []bool) bool { return !d[0] && d[1] && !d[2] && d[3] }},
	} {
		t.Run(name, func(t *testing.T) {
			dir, err := os.MkdirTemp(disk, "store")
			require.NoError(t, err)
			var st *Storage
			if c.store == nil {
				st = open(t, dir, &Options{Checkpoint: c.policy})
			} else {
				store, err := shm.Open(dir, &shm.Options{Checkpoint: c.store})
				require.NoError(t, err)
				t.Cleanup(func() { require.NoError(t, store.Close()) })
				st, err = New(store, &Options{Checkpoint: c.policy})
				require.NoError(t, err)
				t.Cleanup(func() { require.NoError(t, st.Close()) })
			}
			s := session(t, st)
			var durable []bool
			for range 4 {
				require.NoError(t, stores(s, rec(0, "seven b"+string(rune('a' + len(durable)))[:1])))
				stats := st.Store().Stats()
				durable = append(durable, stats.Checkpoints.Durable >= stats.Version)
			}
			require.True(t, c.want(durable), "%v", durable)
		})
	}
	for name, policy := range map[string]CheckpointPolicy{"Every": Every(time.Millisecond), "EveryBytes": EveryBytes(1), "AfterQuiet": AfterQuiet(time.Millisecond)} {
		t.Run(name, func(t *testing.T) {
			dir, err := os.MkdirTemp(disk, "store")
			require.NoError(t, err)
			st := open(t, dir, &Options{Checkpoint: policy})
			require.NoError(t, stores(session(t, st), rec(0, "")))
			awaits(t, func() bool { stats := st.Store().Stats(); return stats.Checkpoints.Durable >= stats.Version })
		})
	}
}

// A policy finds what Open has set, also when it acts at once.
func TestPolicyAfterOpen(t *testing.T) {
	dir := t.TempDir()
	first := open(t, dir, nil)
	garbage(t, session(t, first))
	open(t, dir, &Options{Garbage: WhenIdle(time.Nanosecond)})
	awaits(t, func() bool { return records(t, first) == 2 })
}

// Policies have nothing to do, and nothing to tell, while an import is under way. They act when it has ended.
func TestPolicyBesideImport(t *testing.T) {
	for name, policy := range map[string]GarbagePolicy{"WhenIdle": WhenIdle(time.Millisecond), "PastShare": PastShare(0.1)} {
		t.Run(name, func(t *testing.T) {
			log := make(logLines, 100)
			st := open(t, t.TempDir(), &Options{Garbage: policy, Store: shm.Options{Logger: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelWarn}))}})
			_, err := st.Import(t.Context(), func(yield func(Record, error) bool) {
				for id := ID(0); id < 2*importRecords; id++ {
					if id == importRecords+1 {
						time.Sleep(3 * sharePause) // long enough for the policies
					}
					if !yield(rec(id, ""), nil) {
						return
					}
				}
			}, nil)
			require.NoError(t, err)
			awaits(t, func() bool { return records(t, st) == 1 })
			require.Zero(t, len(log))
		})
	}
}

// logLines are those of a log.
type logLines chan string

func (l logLines) Write(line []byte) (int, error) {
	l <- string(line)
	return len(line), nil
}
