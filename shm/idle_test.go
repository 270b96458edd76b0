package shm_test

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/shm"
)

// mapped is how many bytes of a store this process has mapped, through all its handles.
func mapped(t testing.TB, s *shm.Store) (bytes int64) {
	t.Helper()
	f, err := os.Open("/proc/self/smaps")
	require.NoError(t, err)
	defer func() { _ = f.Close() }()
	ours := false
	for lines := bufio.NewScanner(f); lines.Scan(); {
		line := lines.Text()
		if fields := strings.Fields(line); !strings.HasSuffix(fields[0], ":") {
			ours = strings.Contains(line, s.Path()+"/")
		}
		var kilobytes int64
		if _, err := fmt.Sscanf(line, "Rss: %d kB", &kilobytes); err == nil && ours {
			bytes += kilobytes << 10
		}
	}
	return bytes
}

// An idle handle has no memory and no writers' slots. Nothing else changes for its user.
func TestIdle(t *testing.T) {
	s := fileStore(t, &shm.Options{MaxSize: 64 << 20})
	for i := range 400 {
		require.NoError(t, s.Set(numbered(i), make([]byte, 10_000)))
	}
	set(t, s, "k", "old")
	sn, err := s.Snapshot()
	require.NoError(t, err)
	held, err := sn.Get([]byte("k"))
	require.NoError(t, err)
	set(t, s, "k", "new")
	require.Greater(t, mapped(t, s), int64(4<<20))
	require.Positive(t, self(t, s).Writers)

	require.NoError(t, s.Idle())
	require.Less(t, mapped(t, s), int64(64<<10))
	p := self(t, s)
	require.Zero(t, p.Writers)
	require.Len(t, p.Pins, 1)
	require.ErrorIs(t, shm.Rewrite(t.Context(), s.Path(), nil), shm.ErrInUse)

	require.Equal(t, "old", string(held))
	require.Equal(t, 401, sn.Len())
	require.Equal(t, "new", get(t, s, "k"))
	set(t, s, "k", "newest")
	require.Positive(t, self(t, s).Writers)
	require.NoError(t, s.Idle())
	require.NoError(t, s.Idle())
	require.NoError(t, sn.Close())
	sound(t, s)
	require.NoError(t, s.Close())
	require.ErrorIs(t, s.Idle(), shm.ErrClosed)
	require.NoError(t, shm.Rewrite(t.Context(), s.Path(), nil))
}

// self is how a handle sees itself.
func self(t testing.TB, s *shm.Store) shm.Process {
	t.Helper()
	all, err := s.Inspect().Processes()
	require.NoError(t, err)
	for _, p := range all {
		if p.Self {
			return p
		}
	}
	require.Fail(t, "the handle does not see itself")
	return shm.Process{}
}

// A handle that only reads can be idle, and so can one that is in the middle of calls.
func TestIdleInACall(t *testing.T) {
	twoHandles(t, func(t *testing.T, s, other *shm.Store) {
		require.NoError(t, s.Update(func(tx *shm.Tx) error {
			require.NoError(t, tx.Set([]byte("a"), []byte("1")))
			require.NoError(t, s.Idle())
			return tx.Set([]byte("b"), []byte("2"))
		}))
		require.Equal(t, "1", get(t, other, "a"))
		require.Equal(t, "2", get(t, other, "b"))
		require.NoError(t, s.View(func(sn *shm.Snapshot) error {
			require.NoError(t, s.Idle())
			overwrite(t, other)
			value, err := sn.Get(numbered(7))
			require.NoError(t, err)
			require.Equal(t, "value 7", string(value))
			return nil
		}))
	})
	w := fileStore(t, nil)
	set(t, w, "k", "v")
	r, err := shm.Open(w.Path(), &shm.Options{ReadOnly: true})
	require.NoError(t, err)
	require.NoError(t, r.Idle())
	require.Equal(t, "v", get(t, r, "k"))
	require.NoError(t, r.Close())
}

// The goroutine that keeps house ends with Idle, and the next commit starts another one.
func TestIdleOfAKeeper(t *testing.T) {
	t.Parallel()
	s := fileStore(t, nil)
	for range 2 {
		for i := range 50 {
			require.NoError(t, s.Set(numbered(i), shm.Fresh(20_000)))
		}
		for i := range 50 {
			_, err := s.Delete(numbered(i))
			require.NoError(t, err)
		}
		time.Sleep(150 * time.Millisecond) // it has begun
		require.NoError(t, s.Idle())
		require.Zero(t, self(t, s).Writers)
		time.Sleep(600 * time.Millisecond)
		require.Zero(t, self(t, s).Writers, "nobody takes a slot while the handle is idle")
	}
	set(t, s, "k", "v")
	settled(t, s, idle, func(st shm.Stats) bool { return st.PunchedPages > 32 })
}

// Whatever goes on in a handle goes on while it becomes idle time and again.
func TestIdleWhileBusy(t *testing.T) {
	stores(t, func(t *testing.T, s, other *shm.Store) {
		set(t, s, "k", "value")
		stop := make(chan struct{})
		var wg sync.WaitGroup
		for g := range 4 {
			wg.Go(func() {
				for i := 0; ; i++ {
					select {
					case <-stop:
						return
					default:
					}
					var err error
					switch g {
					case 0:
						err = s.Set(numbered(i%100), shm.Fresh(50))
					case 1:
						err = s.Update(func(tx *shm.Tx) error {
							return errors.Join(tx.Set(numbered(i%100), shm.Fresh(50)), tx.Set([]byte("both"), shm.Fresh(5)))
						})
					case 2:
						err = s.View(func(sn *shm.Snapshot) error {
							value, err := sn.Get([]byte("k"))
							if err == nil && string(value) != "value" {
								err = fmt.Errorf("found %q", value)
							}
							return err
						})
					case 3:
						err = other.Set(numbered(i%100), shm.Fresh(70))
					}
					if err != nil {
						t.Errorf("%v", err)
						return
					}
				}
			})
		}
		for range 100 {
			if err := s.Idle(); err != nil {
				t.Errorf("%v", err)
			}
			time.Sleep(time.Millisecond)
		}
		close(stop)
		wg.Wait()
		require.NoError(t, s.Idle())
		all, err := other.Inspect().Processes()
		require.NoError(t, err)
		for _, p := range all {
			if !p.Self {
				require.Zero(t, p.Writers)
			}
		}
	})
}
