package shm

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/alloc"
	"github.com/seed-869cc763/shmkv/alloc/layout"
	"github.com/seed-869cc763/shmkv/internal/testdir"
)

// openUnder opens a store as if the system had booted with this id.
func openUnder(boot, path string, o Options) (*Store, error) {
	all := o.alloc()
	all.Boot = boot
	a, err := alloc.Open(path, all)
	if err != nil {
		return nil, err
	}
	s := newStore(a, path)
	s.sums = o.sums()
	s.follow(o.Checkpoint)
	return s, nil
}

// crashed leaves a store whose processes died with the system, after 1000 entries were on
// the disk and 500 of them were overwritten. It returns the version that is on the disk.
func crashed(t *testing.T, path string) uint64 {
	t.Helper()
	s, err := openUnder("one", path, Options{MaxSize: 64 << 20, Checkpoint: OnSync()})
	require.NoError(t, err)
	for i := range 1000 {
		require.NoError(t, s.Set(fmt.Append(nil, i), []byte("old")))
		require.NoError(t, s.Ordered("o").Set(fmt.Append(nil, i), []byte("old")))
	}
	require.NoError(t, s.Sync())
	version := s.Version()
	for i := range 500 {
		require.NoError(t, s.Set(fmt.Append(nil, i), Fresh(5000)))
		_, err := s.Ordered("o").Delete(fmt.Append(nil, i))
		require.NoError(t, err)
	}
	cutOff(t, s)
	return version
}

// cutOff closes a store, and leaves its files as they were while it was open.
func cutOff(t *testing.T, s *Store) {
	t.Helper()
	path := s.Path()
	for _, name := range []string{"data", "procs"} {
		b, err := os.ReadFile(filepath.Join(path, name))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(path, "copy-"+name), b, 0o600))
	}
	require.NoError(t, s.Close())
	for _, name := range []string{"data", "procs"} {
		require.NoError(t, os.Rename(filepath.Join(path, "copy-"+name), filepath.Join(path, name)))
	}
}

// After another boot the store goes back to its checkpoint, and after a clean one it does
// not.
func TestRecovery(t *testing.T) {
	t.Parallel()
	path := filepath.Join(testdir.Disk(t), "store")
	version := crashed(t, path)

	s, err := openUnder("two", path, Options{})
	require.NoError(t, err)
	r := s.Recovery()
	require.NotNil(t, r)
	require.Equal(t, version, r.Version)
	require.Equal(t, version, s.Version())
	require.Equal(t, int64(2000), r.Entries)
	require.Less(t, r.Age, time.Hour)
	require.Positive(t, r.Bytes)
	for i := range 1000 {
		for _, get := range []func(key []byte) ([]byte, error){s.Get, s.Ordered("o").Get} {
			v, err := get(fmt.Append(nil, i))
			require.NoError(t, err)
			require.Equal(t, "old", string(v))
		}
	}
	rep, err := s.Check(t.Context(), nil)
	require.NoError(t, err)
	require.Zero(t, rep.LeakedBytes)
	for i := range 3000 {
		require.NoError(t, s.Set(fmt.Append(nil, i), Fresh(300)))
	}
	rep, err = s.Check(t.Context(), nil)
	require.NoError(t, err)
	require.Zero(t, rep.LeakedBytes)
	other, err := openUnder("two", path, Options{})
	require.NoError(t, err)
	require.Nil(t, other.Recovery(), "it is done")
	require.NoError(t, other.Close())
	version = s.Version()
	require.NoError(t, s.Close())

	s, err = openUnder("three", path, Options{})
	require.NoError(t, err)
	require.Nil(t, s.Recovery(), "it was closed")
	require.Equal(t, version, s.Version())
	require.NoError(t, s.Close())
}

// Damage in what the checkpoint reaches is told, and nothing is written.
func TestRecoveryOfDamage(t *testing.T) {
	t.Parallel()
	path := filepath.Join(testdir.Disk(t), "store")
	crashed(t, path)
	data := filepath.Join(path, "data")
	whole, err := os.ReadFile(data)
	require.NoError(t, err)
	for name, c := range map[string]struct {
		damage func(b []byte)
		want   error
	}{
		"no checkpoint":  {func(b []byte) { clear(b[0x4010:0x6000]); b[0x4000] = 1 }, ErrRecover},
		"a short file":   {nil, ErrCorrupt},
		"zeroed entries": {func(b []byte) { clear(b[0x10000:]) }, ErrCorrupt},
	} {
		b := append([]byte(nil), whole...)
		if c.damage == nil {
			b = b[:64<<10]
		} else {
			c.damage(b)
		}
		require.NoError(t, os.WriteFile(data, b, 0o600))
		_, err := openUnder("two", path, Options{})
		require.ErrorIs(t, err, c.want, name)
	}
	require.NoError(t, os.WriteFile(data, whole, 0o600))
	s, err := openUnder("two", path, Options{})
	require.NoError(t, err)
	require.NotNil(t, s.Recovery())
	require.NoError(t, s.Close())
}

// A handle for reading recovers the store where the process may write to it.
func TestRecoveryForReading(t *testing.T) {
	t.Parallel()
	path := filepath.Join(testdir.Disk(t), "store")
	version := crashed(t, path)
	s, err := openUnder("two", path, Options{ReadOnly: true})
	require.NoError(t, err)
	require.NotNil(t, s.Recovery())
	require.Equal(t, version, s.Version())
	require.Equal(t, 2000, s.Len()+s.Ordered("o").Len())
	require.NoError(t, s.Close())
}

// A copy of a store is not on the disk because the store was: the first handle to open it
// flushes it, whatever state the copy is in.
func TestCopyIsFlushed(t *testing.T) {
	t.Parallel()
	for name, prepare := range map[string]func(t *testing.T, path string){
		"closed": func(t *testing.T, path string) {
			s, err := openUnder("one", path, Options{MaxSize: 64 << 20})
			require.NoError(t, err)
			require.NoError(t, s.Set([]byte("key"), []byte("value")))
			require.NoError(t, s.Close())
		},
		"crashed": func(t *testing.T, path string) { crashed(t, path) },
	} {
		for _, boot := range []string{"one", "two"} {
			path := filepath.Join(testdir.Disk(t), "store")
			prepare(t, path)
			home := func(path string) uint64 {
				b, err := os.ReadFile(filepath.Join(path, "data"))
				require.NoError(t, err)
				return binary.LittleEndian.Uint64(b[layout.OffHome:])
			}
			was := home(path)
			require.NoError(t, os.CopyFS(path+"2", os.DirFS(path)))
			require.Equal(t, was, home(path+"2"))
			s, err := openUnder(boot, path+"2", Options{})
			require.NoError(t, err, name)
			require.NotEqual(t, was, home(path+"2"))
			was = home(path + "2")
			require.NoError(t, s.Set([]byte("key 2"), []byte("value")))
			require.NoError(t, s.Close())
			s, err = openUnder(boot, path+"2", Options{})
			require.NoError(t, err, name)
			require.Equal(t, was, home(path+"2"), "it was on the disk before")
			require.Nil(t, s.Recovery())
			require.NoError(t, s.Close())
		}
	}
}

// Processes that see different boot ids, as containers may, do not share a store.
func TestOtherBootInUse(t *testing.T) {
	t.Parallel()
	for _, dir := range []string{testdir.Disk(t), testdir.Memory(t)} {
		path := filepath.Join(dir, "store")
		s, err := openUnder("one", path, Options{})
		require.NoError(t, err)
		require.NoError(t, s.Set([]byte("key"), []byte("value")))
		_, err = openUnder("two", path, Options{})
		require.ErrorIs(t, err, ErrInUse)
		require.ErrorContains(t, err, "boot_id")
		require.NoError(t, s.Close())
	}
}

// The last handle that can write takes a checkpoint when it closes, also if one for reading
// is open, which cannot mark the store as closed.
func TestReaderClosesLast(t *testing.T) {
	t.Parallel()
	path := filepath.Join(testdir.Disk(t), "store")
	s, err := openUnder("one", path, Options{Checkpoint: OnSync()})
	require.NoError(t, err)
	r, err := openUnder("one", path, Options{ReadOnly: true})
	require.NoError(t, err)
	require.NoError(t, s.Set([]byte("key"), []byte("value")))
	require.NoError(t, s.Close())
	require.Equal(t, uint64(2), r.Stats().Checkpoints.Version)
	require.NoError(t, r.Close())
	s, err = openUnder("two", path, Options{})
	require.NoError(t, err)
	require.Equal(t, uint64(2), s.Recovery().Version)
	v, err := s.Get([]byte("key"))
	require.NoError(t, err)
	require.Equal(t, "value", string(v))
	require.NoError(t, s.Close())
}

// A backup, or a difference, is of a version that no crash takes away.
func TestBackupIsOfACheckpoint(t *testing.T) {
	t.Parallel()
	dir := testdir.Disk(t)
	s, err := openUnder("one", filepath.Join(dir, "store"), Options{Checkpoint: OnSync()})
	require.NoError(t, err)
	require.NoError(t, s.Set([]byte("key"), []byte("value")))
	require.NoError(t, s.Backup(t.Context(), filepath.Join(dir, "backup")))
	require.Equal(t, s.Version(), s.Stats().Checkpoints.Version)
	base, err := s.Snapshot()
	require.NoError(t, err)
	require.NoError(t, s.Set([]byte("key"), []byte("value 2")))
	require.NoError(t, s.View(func(sn *Snapshot) error {
		_, err := sn.BackupSince(t.Context(), base, io.Discard, nil)
		return err
	}))
	require.Equal(t, s.Version(), s.Stats().Checkpoints.Version)
	require.NoError(t, base.Close())
	require.NoError(t, s.Close())
}
