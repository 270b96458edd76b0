package shm_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/shm"
)

// Of many that make one copy at the same time one succeeds, the others are told, and
// nothing is left.
func TestMakersOfOneCopy(t *testing.T) {
	t.Parallel()
	s := fileStore(t, &shm.Options{MaxSize: 8 << 20})
	set(t, s, "k", "v")
	dir := t.TempDir()
	to := filepath.Join(dir, "copy")
	for range 50 {
		var makers sync.WaitGroup
		errs := make([]error, 8)
		for i := range errs {
			makers.Go(func() { errs[i] = s.Backup(context.Background(), to) })
		}
		makers.Wait()
		made := 0
		for _, err := range errs {
			if err == nil {
				made++
			} else {
				require.ErrorIs(t, err, shm.ErrExist)
			}
		}
		require.Equal(t, 1, made)
		names, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.Len(t, names, 1, "%v", names)
		require.NoError(t, os.RemoveAll(to))
	}
}

// callingBack is a handler of logs that uses the store whose logs it gets.
type callingBack struct {
	slog.Handler
	call func()
}

func (h callingBack) Enabled(context.Context, slog.Level) bool { return true }

func (h callingBack) Handle(context.Context, slog.Record) error {
	h.call()
	return nil
}

// A logger may write to the store, and close it.
func TestLoggerCallsBack(t *testing.T) {
	for _, closes := range []bool{false, true} {
		var s *shm.Store
		calls, within := 0, false
		h := callingBack{call: func() {
			if s == nil || within {
				return
			}
			within = true
			defer func() { within = false }()
			calls++
			if closes {
				require.NoError(t, s.Close())
				return
			}
			set(t, s, "log", strings.Repeat("x", 100_000*(1+calls%5)))
		}}
		var err error
		s, err = shm.Open(t.TempDir()+"/store", &shm.Options{Logger: slog.New(h)})
		require.NoError(t, err)
		for i := range 300 {
			if err := s.Set(numbered(i), make([]byte, 5000)); err != nil {
				require.True(t, closes)
				require.ErrorIs(t, err, shm.ErrClosed)
				break
			}
		}
		require.Positive(t, calls)
		require.NoError(t, s.Close())
	}
}

// Compact that Close interrupts says so, or has done what it says.
func TestCompactBesideClose(t *testing.T) {
	t.Parallel()
	for i := range 60 {
		s := fileStore(t, &shm.Options{MaxSize: 8 << 20})
		for j := range 300 {
			set(t, s, string(numbered(j)), string(make([]byte, 1000)))
		}
		done := make(chan error)
		go func() {
			st, err := s.Compact(context.Background(), nil)
			if err == nil && (st.Before == 0 || st.After == 0) {
				err = errors.New("it has done nothing, and says nothing")
			}
			done <- err
		}()
		for range i * 20 {
			_ = s.Len()
		}
		require.NoError(t, s.Close())
		if err := <-done; err != nil {
			require.ErrorIs(t, err, shm.ErrClosed)
		}
	}
}

// A directory that holds something else is told to be no store.
func TestForeignDirectoryIsNamed(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "foreign"), nil, 0o600))
	_, err := shm.Open(dir, nil)
	require.Error(t, err)
	require.ErrorContains(t, err, "not a store")
	require.ErrorContains(t, err, "foreign")
	require.NotContains(t, err.Error(), "removed")
}
