package main

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/shm/record"
	"github.com/seed-869cc763/shmkv/shm/record/filestorage"
)

// shelf FILE N writes a FileStorage file of Durus with a root that refers to one of two others. The
// first N bytes of a transaction of 100 follow.
func shelf(ts *testscript.TestScript, neg bool, args []string) {
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	name := ts.MkAbs(args[0])
	_, err = filestorage.Write(name, func(yield func(record.Record, error) bool) {
		_ = yield(record.Record{ID: 0, Data: []byte("root"), Refs: []record.ID{1}}, nil) &&
			yield(record.Record{ID: 1, Data: []byte("one")}, nil) && yield(record.Record{ID: 2, Data: []byte("garbage")}, nil)
	}, nil)
	ts.Check(err)
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND, 0)
	ts.Check(err)
	_, err = f.Write(append(binary.BigEndian.AppendUint64(nil, 100), make([]byte, 100)...)[:n])
	ts.Check(errors.Join(err, f.Close()))
}

// A migration that is killed at any time, and run again, has all records; export writes the same ones.
func TestRecordMigrateKilled(t *testing.T) {
	dir := t.TempDir()
	file, out, store := filepath.Join(dir, "in.durus"), filepath.Join(dir, "out.durus"), filepath.Join(dir, "store")
	const n = 50_000
	want := map[record.ID]record.Record{}
	_, err := filestorage.Write(file, func(yield func(record.Record, error) bool) {
		for i := range record.ID(n) {
			r := record.Record{ID: i, Data: []byte("data of " + strconv.Itoa(int(i))), Refs: []record.ID{(i + 1) % n, i * 7 % n}}
			want[i] = r
			if !yield(r, nil) {
				return
			}
		}
	}, nil)
	require.NoError(t, err)
	killed := 0
	for range 4 {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		cmd := exec.CommandContext(ctx, "shmctl", "record", "migrate", store, file)
		if err := cmd.Run(); err != nil {
			killed++
		}
		cancel()
	}
	code, _, stderr := runs("", "record", "migrate", store, file)
	if killed < 4 { // one has come to its end
		require.Equal(t, exitFailure, code)
	} else {
		require.Equal(t, exitOK, code, stderr)
	}
	code, _, stderr = runs("", "record", "export", store, out)
	require.Equal(t, exitOK, code, stderr)
	f, err := filestorage.Open(out)
	require.NoError(t, err)
	defer f.Close()
	for r, err := range f.Records(nil) {
		require.NoError(t, err)
		require.Equal(t, want[r.ID], r)
		delete(want, r.ID)
	}
	require.Empty(t, want)
	st, err := record.Open(store, nil)
	require.NoError(t, err)
	defer st.Close()
	require.NoError(t, st.Check(t.Context()))
}

// What an interrupted migration has left is neither exported nor migrated on: records are missing.
func TestRecordsOfHalfAMigration(t *testing.T) {
	dir := t.TempDir()
	store, out, other := filepath.Join(dir, "store"), filepath.Join(dir, "out.durus"), filepath.Join(dir, "other")
	st, err := record.Open(store, nil)
	require.NoError(t, err)
	_, err = st.Import(t.Context(), func(yield func(record.Record, error) bool) { yield(record.Record{}, os.ErrClosed) }, nil)
	require.ErrorIs(t, err, os.ErrClosed)
	require.NoError(t, st.Close())
	for _, args := range [][]string{{"export", store, out}, {"migrate", other, store}} {
		b, err := exec.Command("shmctl", append([]string{"record"}, args...)...).CombinedOutput()
		require.Error(t, err, "%s", args)
		require.Contains(t, string(b), "an import has not ended")
	}
	require.NoFileExists(t, out)
}
