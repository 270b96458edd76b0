package shm_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/seed-869cc763/shmkv/internal/testdir"
	"github.com/seed-869cc763/shmkv/shm"
)

var background = context.Background()

// contents is all that a snapshot shows.
func contents(sn *shm.Snapshot) map[string]string {
	all := map[string]string{}
	for key, value := range sn.All() {
		all[string(key)] = string(value)
	}
	return all
}

// openBackup opens a store that Backup or Restore has made of one with the given
// hash, proves it, and takes a snapshot of it.
func openBackup(t testing.TB, dir string, hash func([]byte) uint64) *shm.Snapshot {
	t.Helper()
	s, err := shm.Open(dir, &shm.Options{ReadOnly: true})
	require.NoError(t, err)
	s.SetHash(hash)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	sound(t, s)
	sn, err := s.Snapshot()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, sn.Close()) })
	return sn
}

// nothingIn proves that there is nothing in a directory but these.
func nothingIn(t testing.TB, dir string, but ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		require.Contains(t, but, e.Name())
	}
}

// The story of a store, and of backups of it that are full and that are chains of
// differences: all show the versions that they were made of.
func TestBackupShowsItsVersion(t *testing.T) {
	for name, hash := range map[string]func([]byte) uint64{
		"own": nil, "equal": func([]byte) uint64 { return 1 }, "one bit": func(k []byte) uint64 { return fnvHash(k) & (1 << 59) },
	} {
		t.Run(name, func(t *testing.T) {
			stores(t, func(t *testing.T, s, other *shm.Store) {
				s.SetHash(hash)
				other.SetHash(hash)
				dir := testdir.Memory(t)
				rng := rand.New(rand.NewPCG(1, 2))
				var chain *shm.Snapshot // of the latest store that a difference led to
				var first *shm.Snapshot
				var differences [][]byte
				for round := range 8 {
					for range rng.IntN(150) {
						key := numbered(rng.IntN(100))
						if rng.IntN(3) == 0 {
							_, err := other.Delete(key)
							require.NoError(t, err)
							continue
						}
						size := rng.IntN(200)
						if rng.IntN(40) == 0 {
							size = 70000
						}
						require.NoError(t, other.Set(key, bytes.Repeat([]byte{byte(round % 3)}, size)))
					}
					sn, err := s.Snapshot()
					require.NoError(t, err)
					want := contents(sn)

					path := fmt.Sprintf("%s/full%d", dir, round)
					require.NoError(t, s.Backup(background, path))
					full := openBackup(t, path, hash)
					require.Equal(t, want, contents(full))
					if chain == nil {
						first, chain = full, full
						require.NoError(t, sn.Close())
						continue
					}

					var d bytes.Buffer
					n, err := sn.BackupSince(background, chain, &d, nil)
					require.NoError(t, err)
					require.EqualValues(t, changed(contents(chain), want), n)
					differences = append(differences, d.Bytes())
					path = fmt.Sprintf("%s/next%d", dir, round)
					require.NoError(t, chain.Restore(background, path, []io.Reader{bytes.NewReader(d.Bytes())}, nil))
					chain = openBackup(t, path, hash)
					require.Equal(t, want, contents(chain))

					var all []io.Reader
					for _, d := range differences {
						all = append(all, bytes.NewReader(d))
					}
					path = fmt.Sprintf("%s/chain%d", dir, round)
					require.NoError(t, first.Restore(background, path, all, nil))
					require.Equal(t, want, contents(openBackup(t, path, hash)))
					require.NoError(t, sn.Close())
				}
			})
		})
	}
}

func changed(old, new map[string]string) (n int) {
	for key, value := range new {
		if was, ok := old[key]; !ok || was != value {
			n++
		}
	}
	for key := range old {
		if _, ok := new[key]; !ok {
			n++
		}
	}
	return n
}

// Nobody can write to a backup, however it is opened, so it stays the base of its
// differences; also when it is rewritten, and when it is a backup of a backup.
// Restore makes a store of it that can be written to.
func TestBackupIsReadOnly(t *testing.T) {
	s := fileStore(t, nil)
	set(t, s, "a", "1")
	dir := testdir.Memory(t)
	require.NoError(t, s.Backup(background, dir+"/backup"))
	require.False(t, s.Inspect().Info().Backup)

	refuses := func(path string) {
		t.Helper()
		before, err := os.ReadFile(path + "/data")
		require.NoError(t, err)
		for _, o := range []*shm.Options{nil, {MustExist: true}, {HugePages: shm.HugePagesOn}, {MaxSize: 1 << 20}} {
			_, err := shm.Open(path, o)
			require.ErrorIs(t, err, shm.ErrReadOnly)
			for _, part := range []string{path, "a backup", "Options.ReadOnly", "Restore"} {
				require.ErrorContains(t, err, part)
			}
		}
		_, err = shm.Open(path, &shm.Options{Exclusive: true})
		require.ErrorIs(t, err, shm.ErrExist)
		after, err := os.ReadFile(path + "/data")
		require.NoError(t, err)
		require.True(t, bytes.Equal(before, after), "data was changed")

		b, err := shm.Open(path, &shm.Options{ReadOnly: true})
		require.NoError(t, err)
		defer func() { require.NoError(t, b.Close()) }()
		require.True(t, b.Inspect().Info().Backup)
		require.Equal(t, b.Version(), b.Inspect().Info().Origin.At)
		require.ErrorIs(t, b.Set([]byte("a"), []byte("2")), shm.ErrReadOnly)
		sound(t, b)
	}
	refuses(dir + "/backup")
	require.NoError(t, shm.Rewrite(background, dir+"/backup", &shm.CopyOptions{MaxSize: 2 << 20}))
	refuses(dir + "/backup")

	base := openBackup(t, dir+"/backup", nil)
	require.NoError(t, base.Backup(background, dir+"/again", nil))
	refuses(dir + "/again")

	// What was written since all of them can be applied to each.
	set(t, s, "b", "2")
	var difference bytes.Buffer
	require.NoError(t, s.View(func(sn *shm.Snapshot) error {
		_, err := sn.BackupSince(background, base, &difference, nil)
		return err
	}))
	for _, name := range []string{"/backup", "/again"} {
		sn := openBackup(t, dir+name, nil)
		for i, differences := range [][]io.Reader{nil, {bytes.NewReader(difference.Bytes())}} {
			path := fmt.Sprint(dir, name, " restored ", i)
			require.NoError(t, shm.Restore(background, sn.Path(), path, differences, nil))
			r, err := shm.Open(path, nil)
			require.NoError(t, err)
			require.False(t, r.Inspect().Info().Backup)
			require.Equal(t, r.Version(), r.Inspect().Info().Origin.At)
			require.Equal(t, 1+i, r.Len())

			// It is a base and has what a base needs until it is written to, and can
			// be backed up.
			require.NoError(t, r.Backup(background, path+" backup"))
			refuses(path + " backup")
			set(t, r, "c", "3")
			require.NoError(t, r.Close())
			require.NoError(t, shm.Rewrite(background, path, nil))
			r, err = shm.Open(path, nil)
			require.NoError(t, err)
			require.False(t, r.Inspect().Info().Backup)
			require.NoError(t, r.Close())
		}
	}
}

// A backup knows what it is, takes over what it should, and is dense.
func TestBackupIsAStore(t *testing.T) {
	s := fileStore(t, &shm.Options{MaxSize: 64 << 20})
	require.Nil(t, s.Inspect().Info().Origin)
	for i := range 20000 {
		require.NoError(t, s.Set(numbered(i), shm.Fresh(100)))
	}
	for i := range 20000 {
		require.NoError(t, s.Set(numbered(i), shm.Fresh(100)))
	}
	require.NoError(t, os.Chmod(s.Path()+"/data", 0o640))
	old := unix.Umask(0o022)
	defer unix.Umask(old)

	readOnly, err := shm.Open(s.Path(), &shm.Options{ReadOnly: true})
	require.NoError(t, err)
	dir := filepath.Join(testdir.Memory(t), "backup")
	require.NoError(t, readOnly.Backup(background, dir))
	require.NoError(t, readOnly.Close())

	b := openBackup(t, dir, nil)
	got, err := shm.Open(dir, &shm.Options{ReadOnly: true})
	require.NoError(t, err)
	defer func() { require.NoError(t, got.Close()) }()
	require.Equal(t, &shm.Origin{ID: s.Inspect().Info().ID, Version: s.Version(), At: got.Version()}, got.Inspect().Info().Origin)
	require.NotEqual(t, s.Inspect().Info().ID, got.Inspect().Info().ID)
	require.Equal(t, s.Stats().MaxSize, got.Stats().MaxSize)
	for name, mode := range map[string]fs.FileMode{"data": 0o640, "procs": 0o640, ".": 0o750} {
		st, err := os.Stat(filepath.Join(dir, name))
		require.NoError(t, err)
		require.Equal(t, mode, st.Mode().Perm(), name)
	}
	require.Less(t, measured(t, got, "backup"), 1.6)
	require.Zero(t, sound(t, got).RetiredBytes)

	// A backup of a backup is one of what that shows, and so is one of a store that
	// was restored; once it was written to, of itself.
	again := filepath.Join(t.TempDir(), "again")
	require.NoError(t, b.Backup(background, again, &shm.CopyOptions{MaxSize: 128 << 20}))
	third, err := shm.Open(again, &shm.Options{ReadOnly: true})
	require.NoError(t, err)
	defer func() { require.NoError(t, third.Close()) }()
	require.Equal(t, s.Inspect().Info().ID, third.Inspect().Info().Origin.ID)
	require.Equal(t, s.Version(), third.Inspect().Info().Origin.Version)
	require.EqualValues(t, 128<<20, third.Stats().MaxSize)
	require.NoError(t, shm.Restore(background, b.Path(), dir+"-restored", nil, nil))
	restored, err := shm.Open(dir+"-restored", nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, restored.Close()) }()
	for i, of := range []*shm.Store{s, restored} {
		version := of.Version()
		path := fmt.Sprintf("%s-again%d", dir, i)
		require.NoError(t, restored.Backup(background, path))
		fourth, err := shm.Open(path, &shm.Options{ReadOnly: true})
		require.NoError(t, err)
		require.Equal(t, of.Inspect().Info().ID, fourth.Inspect().Info().Origin.ID)
		require.Equal(t, version, fourth.Inspect().Info().Origin.Version)
		require.NoError(t, fourth.Close())
		set(t, restored, "a", "b")
	}
}

// Writers go on, and what they write together is together in each backup.
func TestBackupWhileWriting(t *testing.T) {
	stores(t, func(t *testing.T, s, other *shm.Store) {
		stop := make(chan struct{})
		var writers sync.WaitGroup
		for w, s := range []*shm.Store{s, other} {
			writers.Go(func() {
				for i := 0; ; i++ {
					select {
					case <-stop:
						return
					default:
					}
					value := fmt.Append(nil, w, i)
					if err := s.Update(func(tx *shm.Tx) error {
						return errors.Join(tx.Set(fmt.Append(nil, "left ", i%200), value), tx.Set(fmt.Append(nil, "right ", i%200), value))
					}); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		dir := testdir.Memory(t)
		var base *shm.Snapshot
		for round := range 10 {
			path := fmt.Sprintf("%s/%d", dir, round)
			before := s.Version()
			if base == nil {
				require.NoError(t, s.Backup(background, path))
			} else {
				var d bytes.Buffer
				require.NoError(t, s.View(func(sn *shm.Snapshot) error {
					_, err := sn.BackupSince(background, base, &d, nil)
					return err
				}))
				require.NoError(t, shm.Restore(background, base.Path(), path, []io.Reader{&d}, nil))
			}
			base = openBackup(t, path, nil)
			all := contents(base)
			for i := range 200 {
				require.Equal(t, all[fmt.Sprint("left ", i)], all[fmt.Sprint("right ", i)])
			}
			b, err := shm.Open(path, &shm.Options{ReadOnly: true})
			require.NoError(t, err)
			require.GreaterOrEqual(t, b.Inspect().Info().Origin.Version, before)
			require.LessOrEqual(t, b.Inspect().Info().Origin.Version, s.Version())
			require.NoError(t, b.Close())
		}
		close(stop)
		writers.Wait()
	})
}

// Where there is something already, there it stays; and nothing is left of
// backups that cannot be.
func TestBackupRefuses(t *testing.T) {
	s := fileStore(t, nil)
	for i := range 10000 {
		require.NoError(t, s.Set(numbered(i), make([]byte, 200)))
	}
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(dir+"/directory", 0o700))
	require.NoError(t, os.WriteFile(dir+"/file", []byte("kept"), 0o600))
	require.NoError(t, os.Symlink("nowhere", dir+"/link"))
	for _, name := range []string{"directory", "file", "link", ".", ""} {
		err := s.Backup(background, dir+"/"+name)
		require.ErrorIs(t, err, shm.ErrExist, name)
		require.ErrorContains(t, err, s.Path())
	}
	kept, err := os.ReadFile(dir + "/file")
	require.NoError(t, err)
	require.Equal(t, "kept", string(kept))
	require.ErrorIs(t, s.Backup(background, dir+"/missing/backup"), fs.ErrNotExist)

	sn, err := s.Snapshot()
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(background)
	calls := 0
	err = sn.Backup(ctx, dir+"/backup", &shm.CopyOptions{Progress: func(done, total int64) {
		require.EqualValues(t, 10000, total)
		require.LessOrEqual(t, done, total)
		calls++
		cancel()
	}})
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, 1, calls)
	require.ErrorIs(t, s.Backup(ctx, dir+"/backup"), context.Canceled)
	_, err = sn.BackupSince(ctx, sn, io.Discard, nil)
	require.ErrorIs(t, err, context.Canceled)

	require.ErrorIs(t, sn.Backup(background, dir+"/backup", &shm.CopyOptions{MaxSize: 1 << 20}), shm.ErrFull)
	require.ErrorContains(t, sn.Backup(background, dir+"/backup", &shm.CopyOptions{MaxSize: -1}), "MaxSize")
	nothingIn(t, dir, "directory", "file", "link")

	// Somebody else makes something there meanwhile.
	err = sn.Backup(background, dir+"/backup", &shm.CopyOptions{Progress: func(done, total int64) {
		_ = os.Mkdir(dir+"/backup", 0o700)
	}})
	require.ErrorIs(t, err, shm.ErrExist)
	nothingIn(t, dir+"/backup")
	nothingIn(t, dir, "directory", "file", "link", "backup")

	require.NoError(t, sn.Close())
	require.ErrorIs(t, sn.Backup(background, dir+"/closed", nil), shm.ErrClosed)
	_, err = sn.BackupSince(background, sn, io.Discard, nil)
	require.ErrorIs(t, err, shm.ErrClosed)
	require.NoError(t, s.Close())
	require.ErrorIs(t, s.Backup(background, dir+"/closed"), shm.ErrClosed)
	nothingIn(t, dir, "directory", "file", "link", "backup")
}

func TestBackupOfDamage(t *testing.T) {
	s := fileStore(t, nil)
	for i := range 3000 {
		require.NoError(t, s.Set(numbered(i), []byte("value")))
	}
	dir := t.TempDir()
	require.NoError(t, s.Backup(background, dir+"/sound"))
	base := openBackup(t, dir+"/sound", nil)

	f, err := os.OpenFile(s.Path()+"/data", os.O_RDWR, 0)
	require.NoError(t, err)
	defer func() { require.NoError(t, f.Close()) }()
	data, err := io.ReadAll(f)
	require.NoError(t, err)
	at := int64(bytes.Index(data, []byte("key 2345value")))
	require.Positive(t, at)

	// A key that is not where it belongs.
	_, err = f.WriteAt([]byte("yek"), at)
	require.NoError(t, err)
	require.ErrorIs(t, s.Backup(background, dir+"/backup"), shm.ErrCorrupt)
	_, err = f.WriteAt([]byte("key"), at)
	require.NoError(t, err)

	// A leaf whose length is beyond the end.
	_, err = f.WriteAt([]byte{0xff, 0xff, 0xff, 0xff}, at-8)
	require.NoError(t, err)
	require.ErrorIs(t, s.Backup(background, dir+"/backup"), shm.ErrCorrupt)
	require.ErrorIs(t, s.View(func(sn *shm.Snapshot) error {
		_, err := sn.BackupSince(background, base, io.Discard, nil)
		return err
	}), shm.ErrCorrupt)
	_, err = f.WriteAt([]byte{5, 0, 0, 0}, at-8)
	require.NoError(t, err)
	nothingIn(t, dir, "sound")
	require.NoError(t, s.Backup(background, dir+"/backup"))
}

// A file system without room: nothing is left there, and with room the backup
// can be made.
func TestBackupToFullTmpfs(t *testing.T) {
	s := fileStore(t, nil)
	for i := range 3000 {
		require.NoError(t, s.Set(numbered(i), make([]byte, 1000)))
	}
	for _, size := range []string{"8k", "64k", "1m", "3m"} {
		dir := testdir.Tmpfs(t, "size="+size+",nr_inodes=100")
		require.ErrorIs(t, s.Backup(background, dir+"/backup"), shm.ErrFull)
		nothingIn(t, dir)
		testdir.Remount(t, dir, "size=16m")
		require.NoError(t, s.Backup(background, dir+"/backup"))
		openBackup(t, dir+"/backup", nil)
		nothingIn(t, dir, "backup")
	}
}

// The bytes of a difference, which are part of the format.
func TestDifferenceFormat(t *testing.T) {
	s := heapStores(t, 1<<20, 1)[0]
	set(t, s, "kept", "")
	set(t, s, "gone", "")
	older, err := s.Snapshot()
	require.NoError(t, err)
	defer func() { require.NoError(t, older.Close()) }()
	_, err = s.Delete([]byte("gone"))
	require.NoError(t, err)
	set(t, s, "new", "value")
	sn, err := s.Snapshot()
	require.NoError(t, err)
	defer func() { require.NoError(t, sn.Close()) }()
	var d bytes.Buffer
	n, err := sn.BackupSince(background, older, &d, nil)
	require.NoError(t, err)
	require.EqualValues(t, 2, n)
	const want = "hkvdif\x1a\n" + "\x02\x00\x00\x00\x00\x00\x00\x00" +
		"yromem\x00\x00" + "\x01\x00\x00\x00\x00\x00\x00\x00" + "\x03\x00\x00\x00\x00\x00\x00\x00" +
		"yromem\x00\x00" + "\x01\x00\x00\x00\x00\x00\x00\x00" + "\x05\x00\x00\x00\x00\x00\x00\x00" +
		"\x05\x00\x00\x00\x03\x00\x00\x01" + "new" + "value" +
		"\x00\x00\x00\x00\x04\x00\x00\x02" + "gone" +
		"\x00\x00\x00\x00\x00\x00\x00\x03" + "\x02\x00\x00\x00\x00\x00\x00\x00" +
		"\x02\x00\x00\x00\x00\x00\x00\x00" + "\x0c\x00\x00\x00\x00\x00\x00\x00"
	require.Equal(t, want, d.String()[:d.Len()-8])
}

// Restore refuses what does not follow, and what is damaged at any byte or ends
// at any; and leaves nothing.
func TestRestoreRefuses(t *testing.T) {
	t.Parallel()
	s := fileStore(t, nil)
	dir := t.TempDir()
	var backups []*shm.Snapshot
	var differences [][]byte
	for i := range 3 {
		set(t, s, "a", fmt.Sprint(i))
		set(t, s, fmt.Sprint("b", i), "b")
		_, err := s.Delete(fmt.Append(nil, "b", i-1))
		require.NoError(t, err)
		path := fmt.Sprintf("%s/%d", dir, i)
		require.NoError(t, s.Backup(background, path))
		backups = append(backups, openBackup(t, path, nil))
		if i > 0 {
			require.NoError(t, s.View(func(sn *shm.Snapshot) error {
				var d bytes.Buffer
				_, err := sn.BackupSince(background, backups[i-1], &d, nil)
				differences = append(differences, d.Bytes())
				return err
			}))
		}
	}
	restore := func(base int, differences ...[]byte) error {
		var all []io.Reader
		for _, d := range differences {
			all = append(all, bytes.NewReader(d))
		}
		return shm.Restore(background, backups[base].Path(), dir+"/restored", all, nil)
	}
	for name, err := range map[string]error{
		"one left out":  restore(0, differences[1]),
		"the first one": restore(1, differences[0]),
		"twice":         restore(0, differences[0], differences[0]),
		"wrong order":   restore(0, differences[1], differences[0]),
	} {
		require.ErrorIs(t, err, shm.ErrUnrelated, name)
		require.ErrorContains(t, err, "expected one since version", name)
	}
	d := differences[0]
	for i := range d {
		if i >= 16 && !testdir.Long() && rand.IntN(8) > 0 { // each restore writes a store
			continue
		}
		require.ErrorIs(t, restore(0, d[:i]), shm.ErrCorrupt, "cut at %d", i)
		bad := bytes.Clone(d)
		bad[i] ^= 4
		require.Error(t, restore(0, bad), "damaged at %d", i)
	}
	require.ErrorIs(t, restore(0, append(bytes.Clone(d), 0)), shm.ErrCorrupt)
	bad := bytes.Clone(d)
	bad[8] = 1
	require.ErrorIs(t, restore(0, bad), shm.ErrVersion)
	nothingIn(t, dir, "0", "1", "2")

	// A base that has been written to, and a store that is no relative.
	require.NoError(t, shm.Restore(background, backups[0].Path(), dir+"/written", nil, nil))
	b, err := shm.Open(dir+"/written", nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, b.Close()) }()
	set(t, b, "own", "write")
	require.NoError(t, b.View(func(sn *shm.Snapshot) error {
		err := shm.Restore(background, sn.Path(), dir+"/restored", []io.Reader{bytes.NewReader(d)}, nil)
		require.ErrorIs(t, err, shm.ErrUnrelated)
		return nil
	}))
	require.NoError(t, fileStore(t, nil).View(func(stranger *shm.Snapshot) error {
		_, err := stranger.BackupSince(background, backups[0], io.Discard, nil)
		require.ErrorIs(t, err, shm.ErrUnrelated)
		return nil
	}))
	require.NoError(t, restore(0, differences...))
	require.Equal(t, contents(backups[2]), contents(openBackup(t, dir+"/restored", nil)))
}

type brokenWriter struct{ left int }

func (w *brokenWriter) Write(b []byte) (int, error) {
	if w.left -= len(b); w.left < 0 {
		return 0, fs.ErrPermission
	}
	return len(b), nil
}

func TestBackupSinceToBrokenWriter(t *testing.T) {
	s := fileStore(t, nil)
	sn, err := s.Snapshot()
	require.NoError(t, err)
	defer func() { require.NoError(t, sn.Close()) }()
	for i := range 10000 {
		require.NoError(t, s.Set(numbered(i), make([]byte, 100)))
	}
	require.NoError(t, s.View(func(newer *shm.Snapshot) error {
		for _, room := range []int{0, 500 << 10} {
			_, err := newer.BackupSince(background, sn, &brokenWriter{room}, nil)
			require.ErrorIs(t, err, fs.ErrPermission)
		}
		return nil
	}))
}
