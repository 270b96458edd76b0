// The race detector sees nothing of a mapping, and slows processes down.

//go:build !race

package shm

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc64"
	"io/fs"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/seed-869cc763/shmkv/internal/testdir"
)

// What the store refuses, how it says so, and that nothing has changed then.

// Of the files, as package alloc describes them.
const (
	superBytes = 512
	procsSuper = 48
)

var ecma = crc64.MakeTable(crc64.ECMA)

// newStoreFiles makes a small closed store with one key, and returns its path.
func newStoreFiles(t testing.TB) string {
	t.Helper()
	path := filepath.Join(testdir.Memory(t), "store")
	s, err := Open(path, &Options{MaxSize: 1 << 20})
	require.NoError(t, err)
	require.NoError(t, s.Set([]byte("key"), []byte("value")))
	require.NoError(t, s.Close())
	return path
}

// contentsOf returns the names and contents of a directory's files.
func contentsOf(t testing.TB, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, name := range namesIn(t, dir) {
		b, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		all[name] = string(b)
	}
	return all
}

// patch overwrites a part of a file.
func patch(t testing.TB, path string, off int64, b []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	_, err = f.WriteAt(b, off)
	require.NoError(t, err)
	require.NoError(t, f.Close())
}

// patchSuper changes a word of a superblock and makes its checksum right.
func patchSuper(t testing.TB, path string, size, word int, v uint64) {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	b = b[:size]
	binary.LittleEndian.PutUint64(b[8*word:], v)
	binary.LittleEndian.PutUint64(b[size-8:], crc64.Checksum(b[:size-8], ecma))
	patch(t, path, 0, b)
}

// refused opens a store in every way that may not succeed, and proves that the
// error is one of want, says what is to be said, and that nothing has changed.
func refused(t *testing.T, path string, want []error, says ...string) {
	t.Helper()
	before := contentsOf(t, path)
	for _, o := range []*Options{nil, {MustExist: true}, {ReadOnly: true}} {
		s, err := Open(path, o)
		if err == nil {
			_ = s.Close()
			t.Fatalf("Open with %+v succeeded", o)
		}
		require.True(t, slices.ContainsFunc(want, func(e error) bool { return errors.Is(err, e) }), "found %v, expected one of %v", err, want)
		for _, part := range append(says, path) {
			require.Contains(t, err.Error(), part)
		}
	}
	require.True(t, maps.Equal(before, contentsOf(t, path)), "a refused store was changed")
}

func TestRefuseOtherThings(t *testing.T) {
	t.Run("a directory of other files", func(t *testing.T) {
		path := testdir.Memory(t)
		require.NoError(t, os.WriteFile(filepath.Join(path, "letter.txt"), []byte("Dear all"), 0o600))
		refused(t, path, []error{ErrCorrupt}, "not a store", `found "letter.txt"`, `expected "data" and "procs"`)
		for _, o := range []*Options{{MustExist: true}, {ReadOnly: true}} {
			_, err := Open(path, o)
			require.ErrorIs(t, err, fs.ErrNotExist, "there is no store")
		}
		_, err := Open(path, &Options{Exclusive: true})
		require.ErrorIs(t, err, ErrExist)
		require.ErrorIs(t, err, ErrCorrupt)
		require.ErrorContains(t, err, `found "letter.txt"`)
		err = Rewrite(t.Context(), path, nil)
		require.ErrorIs(t, err, ErrCorrupt)
		require.ErrorContains(t, err, "not a store")
		require.NoError(t, os.WriteFile(filepath.Join(path, "procs"), nil, 0o600))
		refused(t, path, []error{ErrCorrupt}, "not a store", `found "letter.txt"`)
	})
	t.Run("a creation that has not ended", func(t *testing.T) {
		path := newStoreFiles(t)
		require.NoError(t, os.Remove(filepath.Join(path, "data")))
		require.NoError(t, os.WriteFile(filepath.Join(path, "tmp-data-0"), nil, 0o600))
		for _, o := range []*Options{{MustExist: true}, {ReadOnly: true}} {
			_, err := Open(path, o)
			require.ErrorIs(t, err, fs.ErrNotExist)
			require.NotErrorIs(t, err, ErrCorrupt)
			require.ErrorContains(t, err, "no store in the directory")
		}
		require.NoError(t, mustOpen(path, nil).Close())
	})
	t.Run("a regular file", func(t *testing.T) {
		path := filepath.Join(testdir.Memory(t), "file")
		require.NoError(t, os.WriteFile(path, []byte("Dear all"), 0o600))
		for _, o := range []*Options{nil, {ReadOnly: true}, {MustExist: true}, {Exclusive: true}} {
			_, err := Open(path, o)
			require.ErrorIs(t, err, ErrCorrupt)
			require.ErrorContains(t, err, path)
			require.ErrorContains(t, err, "not a store: found a file, expected a directory")
			taken := o != nil && o.Exclusive
			require.Equal(t, taken, errors.Is(err, ErrExist), "%v", err)
			require.Equal(t, taken, errors.Is(err, fs.ErrExist), "%v", err)
			require.Equal(t, !taken, errors.Is(err, fs.ErrNotExist), "%v", err)
		}
		_, err := Open(path+"/below", nil)
		require.ErrorIs(t, err, syscall.ENOTDIR)
		require.NotErrorIs(t, err, ErrCorrupt)
		b, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, "Dear all", string(b))
	})
	t.Run("a pipe", func(t *testing.T) {
		path := filepath.Join(testdir.Memory(t), "pipe")
		require.NoError(t, syscall.Mkfifo(path, 0o600))
		_, err := Open(path, nil)
		require.ErrorIs(t, err, ErrCorrupt)
		require.ErrorContains(t, err, "not a store: found a file, expected a directory")
	})
	t.Run("garbage", func(t *testing.T) {
		path := newStoreFiles(t)
		garbage := make([]byte, 200<<10)
		for i := range garbage {
			garbage[i] = byte(i * 31)
		}
		require.NoError(t, os.WriteFile(filepath.Join(path, "data"), garbage, 0o600))
		refused(t, path, []error{ErrCorrupt}, "magic of data", "found", "expected")
	})
	t.Run("text conversion", func(t *testing.T) {
		path := newStoreFiles(t)
		b, err := os.ReadFile(filepath.Join(path, "data"))
		require.NoError(t, err)
		b = bytes.ReplaceAll(b, []byte("\n"), []byte("\r\n"))
		require.NoError(t, os.WriteFile(filepath.Join(path, "data"), b, 0o600))
		refused(t, path, []error{ErrCorrupt}, "magic of data")
	})
	for _, size := range []int64{0, 1, 511, 4096} {
		t.Run(fmt.Sprintf("data of %d bytes", size), func(t *testing.T) {
			path := newStoreFiles(t)
			require.NoError(t, os.Truncate(filepath.Join(path, "data"), size))
			refused(t, path, []error{ErrCorrupt}, "size of data", fmt.Sprintf("found %d", size), "expected at least")
		})
	}
	t.Run("a directory in the place of data", func(t *testing.T) {
		path := newStoreFiles(t)
		require.NoError(t, os.Remove(filepath.Join(path, "data")))
		require.NoError(t, os.Mkdir(filepath.Join(path, "data"), 0o700))
		for _, o := range []*Options{nil, {ReadOnly: true}, {Exclusive: true}} {
			_, err := Open(path, o)
			require.ErrorIs(t, err, ErrCorrupt)
			require.ErrorContains(t, err, `not a store: found a directory "data", expected a file`)
			require.Equal(t, o != nil && o.Exclusive, errors.Is(err, ErrExist))
		}
	})
}

// Hidden files in a directory are no hindrance to making a store there, and a Rewrite, which
// would remove them, refuses to.
func TestHiddenFiles(t *testing.T) {
	path := testdir.Memory(t)
	for _, name := range []string{".keep", "..data"} {
		require.NoError(t, os.WriteFile(filepath.Join(path, name), []byte("kept"), 0o600))
	}
	require.NoError(t, os.Mkdir(filepath.Join(path, ".trash"), 0o700))
	_, err := Open(path, &Options{MustExist: true})
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.NotErrorIs(t, err, ErrCorrupt)
	s, err := Open(path, &Options{Exclusive: true})
	require.NoError(t, err)
	require.NoError(t, s.Set([]byte("k"), []byte("v")))
	require.NoError(t, s.Close())
	err = Rewrite(t.Context(), path, nil)
	require.ErrorContains(t, err, `found "..data" and 2 more in the directory, expected only "data" and "procs"`)
	require.ElementsMatch(t, []string{".keep", "..data", ".trash", "data", "procs"}, namesIn(t, path))
	for _, name := range []string{".keep", "..data", ".trash"} {
		require.NoError(t, os.Remove(filepath.Join(path, name)))
	}
	require.NoError(t, Rewrite(t.Context(), path, nil))
	v, err := openSound(t, path).Get([]byte("k"))
	require.NoError(t, err)
	require.Equal(t, "v", string(v))
}

// A store that is missing is made for a reader too, who asks for it.
func TestReadOnlyCreates(t *testing.T) {
	path := filepath.Join(testdir.Memory(t), "store")
	for range 2 { // missing, then empty
		s, err := Open(path, &Options{ReadOnly: true, Create: true, MaxSize: 8 << 20})
		require.NoError(t, err)
		require.Zero(t, s.Len())
		require.Equal(t, uint64(1), s.Version())
		require.EqualValues(t, 8<<20, s.Stats().MaxSize)
		require.ErrorIs(t, s.Set([]byte("k"), nil), ErrReadOnly)
		w, err := Open(path, &Options{MustExist: true})
		require.NoError(t, err)
		require.NoError(t, w.Set([]byte("k"), []byte("v")))
		v, err := s.Get([]byte("k"))
		require.NoError(t, err)
		require.Equal(t, "v", string(v))
		_, err = w.Delete([]byte("k"))
		require.NoError(t, err)
		require.NoError(t, w.Close())
		require.NoError(t, s.Close())
		require.ElementsMatch(t, []string{"data", "procs"}, namesIn(t, path))
		for _, o := range []*Options{{ReadOnly: true, Create: true, Exclusive: true}, {Create: true, Exclusive: true}} {
			_, err = Open(path, o)
			require.ErrorIs(t, err, ErrExist)
		}
		require.NoError(t, os.RemoveAll(path))
		s, err = Open(path, &Options{ReadOnly: true, Create: true, Exclusive: true})
		require.NoError(t, err)
		require.NoError(t, s.Close())
		require.NoError(t, os.RemoveAll(path))
		require.NoError(t, os.Mkdir(path, 0o700))
	}
}

// On overlay, whose files may be copied up under a reader's feet, no store is
// opened or made.
func TestRefuseOverlay(t *testing.T) {
	dir := testdir.Memory(t)
	for _, name := range []string{"lower", "upper", "work", "merged"} {
		require.NoError(t, os.Mkdir(filepath.Join(dir, name), 0o700))
	}
	lower, merged := filepath.Join(dir, "lower", "store"), filepath.Join(dir, "merged")
	s, err := Open(lower, nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	require.NoError(t, s.Set([]byte("key"), []byte("value")))
	options := fmt.Sprintf("lowerdir=%s/lower,upperdir=%[1]s/upper,workdir=%[1]s/work", dir)
	if err := unix.Mount("shmkv-test", merged, "overlay", 0, options); err != nil {
		t.Skipf("mounting an overlay is not permitted here: %v", err)
	}
	defer func() { require.NoError(t, unix.Unmount(merged, unix.MNT_DETACH)) }()
	for _, o := range []*Options{nil, {ReadOnly: true}, {MustExist: true}} {
		_, err := Open(filepath.Join(merged, "store"), o)
		require.ErrorIs(t, err, errors.ErrUnsupported)
		require.ErrorContains(t, err, "found a file system of type overlay, expected")
		require.ErrorContains(t, err, "put the store on a volume or on a tmpfs")
	}
	_, err = Open(filepath.Join(merged, "new"), nil)
	require.ErrorIs(t, err, errors.ErrUnsupported)
	require.ErrorIs(t, s.Backup(t.Context(), filepath.Join(merged, "backup")), errors.ErrUnsupported)
	require.Equal(t, []string{"store"}, namesIn(t, merged))
}

func TestRefuseVersions(t *testing.T) {
	t.Run("format", func(t *testing.T) {
		path := newStoreFiles(t)
		patchSuper(t, filepath.Join(path, "data"), superBytes, 1, 7)
		refused(t, path, []error{ErrVersion}, "found 7", "reads 4")
	})
	t.Run("geometry", func(t *testing.T) {
		path := newStoreFiles(t)
		patchSuper(t, filepath.Join(path, "data"), superBytes, 2, 0x1234)
		refused(t, path, []error{ErrVersion}, "found geometry 0x1234", "reads 0x")
	})
	t.Run("hash", func(t *testing.T) {
		path := newStoreFiles(t)
		patchSuper(t, filepath.Join(path, "data"), superBytes, 4, 9)
		refused(t, path, []error{ErrVersion}, "found hash 9", "reads 1")
	})
	t.Run("flags", func(t *testing.T) {
		path := newStoreFiles(t)
		patchSuper(t, filepath.Join(path, "data"), superBytes, 14, 6)
		refused(t, path, []error{ErrVersion}, "found flags 0x6", "knows 0x1")
	})
	t.Run("maximum size", func(t *testing.T) {
		for _, v := range []uint64{0, 1, 1<<20 - 4096, 1<<20 + 1, MaxStore + 4096, 1 << 47, 1<<64 - 4096} {
			path := newStoreFiles(t)
			patchSuper(t, filepath.Join(path, "data"), superBytes, 3, v)
			refused(t, path, []error{ErrCorrupt}, "maximum size", fmt.Sprint("found ", v), "expected")
		}
	})
	t.Run("format of procs", func(t *testing.T) {
		path := newStoreFiles(t)
		patchSuper(t, filepath.Join(path, "procs"), procsSuper, 1, 3)
		refused(t, path, []error{ErrVersion}, "found 3", "procs")
	})
	t.Run("geometry of procs", func(t *testing.T) {
		path := newStoreFiles(t)
		patchSuper(t, filepath.Join(path, "procs"), procsSuper, 2, 0x77)
		refused(t, path, []error{ErrVersion}, "geometry 0x77", "procs")
	})
}

// Every byte of both superblocks is covered.
func TestRefuseDamagedSuperblock(t *testing.T) {
	for name, size := range map[string]int{"data": superBytes, "procs": procsSuper} {
		path := newStoreFiles(t)
		whole, err := os.ReadFile(filepath.Join(path, name))
		require.NoError(t, err)
		for off := range size {
			patch(t, filepath.Join(path, name), int64(off), []byte{whole[off] ^ byte(1<<(off%8))})
			for _, o := range []*Options{nil, {ReadOnly: true}} {
				s, err := Open(path, o)
				if err == nil {
					_ = s.Close()
				}
				require.True(t, errors.Is(err, ErrCorrupt) || errors.Is(err, ErrVersion), "byte %d of %s flipped: %v", off, name, err)
				require.ErrorContains(t, err, "found")
			}
			patch(t, filepath.Join(path, name), int64(off), whole[off:off+1])
		}
		openSound(t, path)
	}
}

func TestRefuseDamagedHotWords(t *testing.T) {
	for name, c := range map[string]struct {
		off    int64
		values []uint64
	}{
		"end of the used file": {imgEnd, []uint64{0, 4096, 1<<20 + 1, 1 << 60, ^uint64(0)}},
		"horizon":              {imgHorizon, []uint64{0, 1 << 48, ^uint64(0)}},
	} {
		for _, v := range c.values {
			path := newStoreFiles(t)
			patch(t, filepath.Join(path, "data"), c.off, binary.LittleEndian.AppendUint64(nil, v))
			refused(t, path, []error{ErrCorrupt}, name, "found", "expected")
		}
	}
}

func TestRefuseSlots(t *testing.T) {
	t.Run("missing", func(t *testing.T) {
		path := newStoreFiles(t)
		require.NoError(t, os.Remove(filepath.Join(path, "procs")))
		refused(t, path, []error{ErrCorrupt}, "no procs")
	})
	t.Run("of another store", func(t *testing.T) {
		path, other := newStoreFiles(t), newStoreFiles(t)
		b, err := os.ReadFile(filepath.Join(other, "procs"))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(path, "procs"), b, 0o600))
		refused(t, path, []error{ErrCorrupt}, "data belongs to store", "procs to store")
	})
	for _, size := range []int64{0, 40, 4096, 20000} {
		t.Run(fmt.Sprintf("of %d bytes", size), func(t *testing.T) {
			path := newStoreFiles(t)
			require.NoError(t, os.Truncate(filepath.Join(path, "procs"), size))
			refused(t, path, []error{ErrCorrupt}, "size of procs", fmt.Sprintf("found %d", size), "expected at least")
		})
	}
	t.Run("garbage", func(t *testing.T) {
		path := newStoreFiles(t)
		patch(t, filepath.Join(path, "procs"), 0, []byte("garbage!"))
		refused(t, path, []error{ErrCorrupt}, "magic of procs", "found", "expected")
	})
}

func TestRefuseTruncatedData(t *testing.T) {
	path := newStoreFiles(t)
	st, err := os.Stat(filepath.Join(path, "data"))
	require.NoError(t, err)
	whole, err := os.ReadFile(filepath.Join(path, "data"))
	require.NoError(t, err)
	for size := st.Size() - 1; size > 0; size -= 3001 {
		require.NoError(t, os.WriteFile(filepath.Join(path, "data"), whole[:size], 0o600))
		refused(t, path, []error{ErrCorrupt}, "found", "expected")
	}
	require.NoError(t, os.WriteFile(filepath.Join(path, "data"), whole, 0o600))
	openSound(t, path)
}

func TestRefuseByOptions(t *testing.T) {
	path := newStoreFiles(t)
	_, err := Open(path, &Options{Exclusive: true})
	require.ErrorIs(t, err, ErrExist)
	require.ErrorIs(t, err, fs.ErrExist)
	require.ErrorContains(t, err, path)
	for _, o := range []*Options{{Exclusive: true, MustExist: true}, {Create: true, MustExist: true}, {Exclusive: true, ReadOnly: true}} {
		_, err = Open(path, o)
		require.ErrorContains(t, err, "contradicts")
	}

	missing := filepath.Join(testdir.Memory(t), "missing")
	empty := testdir.Memory(t)
	for _, o := range []*Options{{MustExist: true}, {ReadOnly: true}} {
		for _, p := range []string{missing, empty} {
			_, err := Open(p, o)
			require.ErrorIs(t, err, fs.ErrNotExist)
			require.ErrorContains(t, err, p)
		}
		require.NoDirExists(t, missing)
		require.Empty(t, namesIn(t, empty))
	}
	_, err = Open(filepath.Join(missing, "deeper"), nil)
	require.ErrorIs(t, err, fs.ErrNotExist)
	for _, o := range []Options{{MaxSize: -1}, {MaxSize: MaxStore + 1}, {MaxSize: 1 << 62}, {Mode: fs.ModeSetuid | 0o600}} {
		_, err = Open(missing, &o)
		require.Error(t, err)
		require.Equal(t, o.MaxSize > 0, errors.Is(err, ErrTooLarge))
		if o.MaxSize > 0 {
			require.ErrorContains(t, err, fmt.Sprintf("is %d, expected 0 to %d", o.MaxSize, int64(MaxStore)))
		}
		require.NoDirExists(t, missing)
	}

	s, err := Open(empty, &Options{Exclusive: true})
	require.NoError(t, err)
	require.NoError(t, s.Close())
}

// A store keeps the MaxSize that it was made with. Who opens it with another one is
// told by the logger, and Stats says what is in force.
func TestOtherMaxSize(t *testing.T) {
	path := filepath.Join(testdir.Memory(t), "store")
	open := func(o Options) (log string) {
		t.Helper()
		var b bytes.Buffer
		o.Logger = slog.New(slog.NewTextHandler(&b, &slog.HandlerOptions{Level: slog.LevelWarn}))
		s, err := Open(path, &o)
		require.NoError(t, err)
		require.EqualValues(t, 2<<20, s.Stats().MaxSize)
		require.NoError(t, s.Close())
		return b.String()
	}
	require.Empty(t, open(Options{MaxSize: 2<<20 - 5}), "a new one")
	require.Empty(t, open(Options{MaxSize: 2<<20 - 5}), "rounded, the same")
	require.Empty(t, open(Options{}))
	for _, o := range []Options{{MaxSize: 1 << 30}, {MaxSize: 1 << 30, ReadOnly: true}, {MaxSize: 1 << 30, MustExist: true}} {
		log := open(o)
		require.Contains(t, log, "level=WARN")
		require.Contains(t, log, "asked=1073741824")
		require.Contains(t, log, "in_force=2097152")
		require.Contains(t, log, path)
	}
	s, err := Open(path, &Options{MaxSize: 1 << 30})
	require.NoError(t, err, "without a logger")
	require.NoError(t, s.Close())
}

// A store of the largest size that is accepted can be opened twice by a process, to
// be written, and be copied and rewritten.
func TestLargestMaxSize(t *testing.T) {
	dir := testdir.Memory(t)
	path := filepath.Join(dir, "store")
	for _, o := range []*Options{{MaxSize: MaxStore}, {MaxSize: MaxStore, HugePages: HugePagesOn}} {
		s, err := Open(path, o)
		require.NoError(t, err)
		require.EqualValues(t, MaxStore, s.Stats().MaxSize)
		other, err := Open(path, o)
		require.NoError(t, err)
		require.NoError(t, other.Set([]byte("key"), []byte("value")))
		v, err := s.Get([]byte("key"))
		require.NoError(t, err)
		require.Equal(t, "value", string(v))
		checkSound(t, s)
		require.NoError(t, other.Close())
		runtime.GC() // it lets go of the address space of closed handles
		require.NoError(t, s.Backup(t.Context(), filepath.Join(dir, "backup")))
		require.NoError(t, s.Close())
		runtime.GC()
		require.NoError(t, Rewrite(t.Context(), path, nil))
		runtime.GC()
		require.ErrorIs(t, Rewrite(t.Context(), path, &CopyOptions{MaxSize: MaxStore + 1}), ErrTooLarge)
		require.NoError(t, os.RemoveAll(filepath.Join(dir, "backup")))
		require.NoError(t, os.RemoveAll(path))
	}
}

// fill writes values until the store is full and returns what it has written.
func fill(t *testing.T, s *Store, prefix string, size func(i int) int) (written map[string]uint64) {
	t.Helper()
	written = map[string]uint64{}
	for i := 0; ; i++ {
		key := fmt.Sprintf("%s/%d", prefix, i)
		err := s.Set([]byte(key), testValue(uint64(i), size(i)))
		if err != nil {
			require.ErrorIs(t, err, ErrFull)
			require.ErrorContains(t, err, s.Path())
			has, e := s.Has([]byte(key))
			require.NoError(t, e)
			require.False(t, has, "the write that did not fit is there")
			return written
		}
		written[key] = uint64(i)
		require.Less(t, i, 10_000_000)
	}
}

func requireAll(t *testing.T, s *Store, written map[string]uint64) {
	t.Helper()
	require.Equal(t, len(written), s.Len())
	for key, want := range written {
		v, err := s.Get([]byte(key))
		require.NoError(t, err)
		id, ok := valueID(v)
		require.True(t, ok, key)
		require.Equal(t, want, id)
	}
}

// fullAndBack fills a store, deletes, and fills it again.
func fullAndBack(t *testing.T, s *Store, rounds int, size func(i int) int) {
	t.Helper()
	first := 0
	for round := range rounds {
		written := fill(t, s, fmt.Sprint(round), size)
		requireAll(t, s, written)
		checkSound(t, s)
		if round == 0 {
			first = len(written)
		}
		require.GreaterOrEqual(t, len(written), first*8/10, "entries in round %d, %d in the first", round, first)
		require.Greater(t, len(written), 0)

		// A batch that does not fit leaves nothing. The version may rise, for entries
		// are moved to make room.
		err := s.Update(func(tx *Tx) error {
			for i := 0; ; i++ {
				if err := tx.Set(fmt.Appendf(nil, "batch/%d", i), testValue(1, 2000)); err != nil {
					return err
				}
			}
		})
		require.ErrorIs(t, err, ErrFull)
		requireAll(t, s, written)

		keys := slices.Sorted(maps.Keys(written))
		for i, key := range keys {
			existed, err := s.Delete([]byte(key))
			require.NoError(t, err, "delete %d of %d in a full store", i, len(keys))
			require.True(t, existed)
			delete(written, key)
			if i == len(keys)/2 {
				requireAll(t, s, written)
				require.NoError(t, s.Set([]byte("again"), testValue(5, size(i))), "a write after half was deleted")
				_, err = s.Delete([]byte("again"))
				require.NoError(t, err)
			}
		}
		require.Zero(t, s.Len())
		checkSound(t, s)
	}
}

var fillSizes = []struct {
	name string
	size func(i int) int
}{
	{"small values", func(i int) int { return 8 + i%100 }},
	{"pages", func(i int) int { return 3000 + i%2000 }},
	{"blocks", func(i int) int { return 100 + i*7919%30000 }},
	{"runs", func(i int) int { return 40000 + i*7919%60000 }},
}

func TestFullByMaxSize(t *testing.T) {
	t.Parallel()
	for _, maxSize := range []int64{1 << 20, 8 << 20} {
		for _, f := range fillSizes {
			t.Run(fmt.Sprintf("%d MiB, %s", maxSize>>20, f.name), func(t *testing.T) {
				s, err := Open(filepath.Join(testdir.Memory(t), "store"), &Options{MaxSize: maxSize})
				require.NoError(t, err)
				defer func() { _ = s.Close() }()
				fullAndBack(t, s, 3, f.size)
				require.LessOrEqual(t, s.Stats().FileBytes, maxSize)
				err = s.Set([]byte("large"), make([]byte, maxSize))
				require.ErrorIs(t, err, ErrTooLarge)
			})
		}
	}
}

// Several goroutines of several handles fill a store at once.
func TestFullTogether(t *testing.T) {
	path := filepath.Join(testdir.Memory(t), "store")
	stores := make([]*Store, 3)
	for i := range stores {
		s, err := Open(path, &Options{MaxSize: 4 << 20})
		require.NoError(t, err)
		defer func() { _ = s.Close() }()
		stores[i] = s
	}
	for round := range 3 {
		var written atomic.Int64
		errs := make([]error, 6)
		goAll(len(errs), func(g int) {
			s := stores[g%len(stores)]
			for i := 0; errs[g] == nil; i++ {
				if errs[g] = s.Set(fmt.Appendf(nil, "%d/%d", g, i), testValue(uint64(i), 500+i%3000)); errs[g] == nil {
					written.Add(1)
				}
			}
		})
		for _, err := range errs {
			require.ErrorIs(t, err, ErrFull)
		}
		require.EqualValues(t, written.Load(), stores[0].Len(), "round %d", round)
		checkSound(t, stores[0])
		goAll(len(errs), func(g int) {
			s := stores[(g+round)%len(stores)]
			errs[g] = nil
			for i := 0; errs[g] == nil; i++ {
				existed, err := s.Delete(fmt.Appendf(nil, "%d/%d", g, i))
				if errs[g] = err; !existed {
					break
				}
			}
		})
		for _, err := range errs {
			require.NoError(t, err, "deleting in a full store")
		}
		require.Zero(t, stores[1].Len())
		checkSound(t, stores[2])
	}
}

// A file system without room is as a store that may not grow.
func TestFullTmpfs(t *testing.T) {
	t.Parallel()
	for _, f := range fillSizes {
		t.Run(f.name, func(t *testing.T) {
			dir := testdir.Tmpfs(t, "size=3m")
			s, err := Open(filepath.Join(dir, "store"), nil)
			require.NoError(t, err)
			defer func() { _ = s.Close() }()
			fullAndBack(t, s, 2, f.size)

			// Another takes the room that is left: reading and deleting go on.
			written := fill(t, s, "last", f.size)
			hog, err := os.Create(filepath.Join(dir, "hog"))
			require.NoError(t, err)
			for b := make([]byte, 4096); err == nil; {
				_, err = hog.Write(b)
			}
			require.ErrorIs(t, err, unix.ENOSPC)
			require.NoError(t, hog.Close())
			requireAll(t, s, written)
			require.ErrorIs(t, s.Set([]byte("large"), make([]byte, 1<<20)), ErrFull)
			for key := range written {
				_, err := s.Delete([]byte(key))
				require.NoError(t, err)
			}
			checkSound(t, s)
			require.NoError(t, os.Remove(filepath.Join(dir, "hog")))
			fullAndBack(t, s, 2, f.size)
		})
	}
}

// What a creation that fails for lack of room has made is gone, whatever it lacked
// room for; several at once are not in each other's way; and with room a store can
// be made.
func TestNoRoomToCreate(t *testing.T) {
	dir := testdir.Tmpfs(t, "size=4k")
	path := filepath.Join(dir, "store")
	failed, made := 0, 0
	for _, options := range []string{"size=%dk", "size=1m,nr_inodes=%d"} {
		for n := 1; n < 200; n++ {
			if strings.Contains(options, "inodes") && n > 10 || n > 10 && n%9 > 0 {
				continue
			}
			require.NoError(t, unix.Mount("shmkv-test", dir, "tmpfs", unix.MS_REMOUNT, "nr_inodes=100"))
			if err := unix.Mount("shmkv-test", dir, "tmpfs", unix.MS_REMOUNT, fmt.Sprintf(options, n)); err != nil {
				continue // less than is in use
			}
			s, err := Open(path, nil)
			if err == nil {
				made++
				require.NoError(t, s.Close())
				require.NoError(t, os.RemoveAll(path))
				continue
			}
			failed++
			require.ErrorIs(t, err, ErrFull, options, n)
			require.Empty(t, namesIn(t, dir), "%s, %d", options, n)

			// A directory that was there stays.
			if os.Mkdir(path, 0o700) == nil {
				_, err = Open(path, nil)
				require.ErrorIs(t, err, ErrFull)
				require.Empty(t, namesIn(t, path))
				require.NoError(t, os.Remove(path))
			}

			if strings.Contains(options, "inodes") {
				continue // creators may take the last one from each other
			}
			var errs [4]error
			goAll(len(errs), func(g int) { _, errs[g] = Open(path, nil) })
			for _, err := range errs {
				require.ErrorIs(t, err, ErrFull)
			}
			// The one that made the directory may have failed while others had files in it.
			if os.Remove(path) != nil {
				require.Empty(t, namesIn(t, dir), "%s, %d", options, n)
			}
		}
	}
	t.Logf("%d creations failed, %d succeeded", failed, made)
	require.Greater(t, failed, 20)
	require.Positive(t, made)
}

// A creator for whom there is no room says so, also when others make and remove the
// directory at every moment.
func TestNoRoomWhereOthersFail(t *testing.T) {
	t.Parallel()
	path := filepath.Join(testdir.Tmpfs(t, "size=4k"), "store")
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-done:
				return
			default:
				_ = os.Mkdir(path, 0o700)
				_ = os.Remove(path)
			}
		}
	}()
	goAll(4, func(int) {
		for range 500 {
			_, err := Open(path, nil)
			if !assert.ErrorIs(t, err, ErrFull) {
				return
			}
		}
	})
	close(done)
	<-ended
}

func TestTooManyProcesses(t *testing.T) {
	path := newStoreFiles(t)
	var all []*Store
	defer func() {
		for _, s := range all {
			_ = s.Close()
		}
	}()
	for range MaxProcesses {
		s, err := Open(path, nil)
		require.NoError(t, err, "handle %d", len(all))
		all = append(all, s)
	}
	for _, o := range []*Options{nil, {ReadOnly: true}} {
		_, err := Open(path, o)
		require.ErrorIs(t, err, ErrTooManyProcesses)
		require.ErrorContains(t, err, "256")
	}
	require.NoError(t, all[0].Set([]byte("key"), []byte("full house")))
	require.NoError(t, all[100].Close())
	s, err := Open(path, nil)
	require.NoError(t, err)
	v, err := s.Get([]byte("key"))
	require.NoError(t, err)
	require.Equal(t, "full house", string(v))
	require.NoError(t, s.Close())
	checkSound(t, all[0])
}

func TestKeyAndValueSizes(t *testing.T) {
	s, err := Open(filepath.Join(testdir.Memory(t), "store"), &Options{MaxSize: 64 << 20})
	require.NoError(t, err)
	defer func() { _ = s.Close() }()
	for _, n := range []int{0, 1, 7, 8, 9, MaxKey - 1, MaxKey} {
		key := bytes.Repeat([]byte{byte(n)}, n)
		for _, m := range []int{0, 1, 100, 1 << 20} {
			value := bytes.Repeat([]byte{byte(m + 1)}, m)
			require.NoError(t, s.Set(key, value), "key of %d bytes, value of %d", n, m)
			got, err := s.Get(key)
			require.NoError(t, err)
			require.True(t, bytes.Equal(value, got), "key of %d bytes, value of %d", n, m)
		}
	}
	require.NoError(t, s.Set(nil, nil))
	v, err := s.Get([]byte{})
	require.NoError(t, err)
	require.Empty(t, v)
	version := s.Version()
	long := make([]byte, MaxKey+1)
	tooLarge := func(err error) {
		t.Helper()
		require.ErrorIs(t, err, ErrTooLarge)
		require.ErrorContains(t, err, "65537")
		require.ErrorContains(t, err, "65536")
	}
	tooLarge(s.Set(long, nil))
	_, _, err = s.Swap(long, []byte{})
	tooLarge(err)
	_, err = s.CompareAndSwap(long, nil, []byte{})
	tooLarge(err)
	tooLarge(s.Modify(long, func([]byte, bool) ([]byte, bool) { return nil, true }))
	tooLarge(s.Update(func(tx *Tx) error { return tx.Set(long, nil) }))
	_, err = s.Get(long)
	require.ErrorIs(t, err, ErrNotFound)
	existed, err := s.Delete(long)
	require.NoError(t, err)
	require.False(t, existed)
	require.Equal(t, version, s.Version())
	checkSound(t, s)
}

// calls is every method of a store, for those states in which all are refused.
func calls(s *Store) map[string]func() error {
	key, ctx := []byte("key"), context.Background()
	return map[string]func() error{
		"Get":        func() error { _, err := s.Get(key); return err },
		"Append":     func() error { _, err := s.Append(nil, key); return err },
		"Has":        func() error { _, err := s.Has(key); return err },
		"GetMany":    func() error { return s.GetMany([][]byte{key}, func(int, []byte, bool) {}) },
		"View":       func() error { return s.View(func(*Snapshot) error { return nil }) },
		"Snapshot":   func() error { _, err := s.Snapshot(); return err },
		"Wait":       func() error { _, err := s.Wait(ctx, 0); return err },
		"Check":      func() error { _, err := s.Check(ctx, nil); return err },
		"Extents":    func() error { return extentsOf(ctx, s) },
		"Adopt":      func() error { _, err := s.Inspect().Adopt(); return err },
		"Stale":      func() error { _, err := s.Stale(); return err },
		"Processes":  func() error { _, err := s.Inspect().Processes(); return err },
		"GetVersion": func() error { _, _, err := s.GetVersion(key); return err },
		"Watch": func() error {
			w := s.Watch(ctx)
			for range w.Versions() {
				break
			}
			return w.Err()
		},
		"Changes": func() error {
			w := s.Watch(ctx)
			for range w.Changes() {
				break
			}
			return w.Err()
		},
		"Set":            func() error { return s.Set(key, key) },
		"Delete":         func() error { _, err := s.Delete(key); return err },
		"Swap":           func() error { _, _, err := s.Swap(key, key); return err },
		"Swap nil":       func() error { _, _, err := s.Swap(key, nil); return err },
		"CompareAndSwap": func() error { _, err := s.CompareAndSwap(key, nil, key); return err },
		"Modify":         func() error { return s.Modify(key, func([]byte, bool) ([]byte, bool) { return key, true }) },
		"Compute": func() error {
			return s.Compute(key, func([]byte, bool) ([]byte, Action, error) { return key, ActionSet, nil })
		},
		"Add":    func() error { _, err := s.Add([]byte("counter"), 1); return err },
		"Update": func() error { return s.Update(func(tx *Tx) error { return tx.Set(key, key) }) },
	}
}

// extentsOf loops over all extents.
func extentsOf(ctx context.Context, s *Store) error {
	x := s.Inspect().Extents(ctx)
	for range x.All() {
	}
	return x.Err()
}

var writeCalls = []string{"Set", "Delete", "Swap", "Swap nil", "CompareAndSwap", "Modify", "Compute", "Add", "Update"}

func TestUseAfterClose(t *testing.T) {
	path := newStoreFiles(t)
	for _, o := range []*Options{nil, {ReadOnly: true}} {
		s, err := Open(path, o)
		require.NoError(t, err)
		sn, err := s.Snapshot()
		require.NoError(t, err)
		closed, err := s.Snapshot()
		require.NoError(t, err)
		require.NoError(t, closed.Close())
		require.NoError(t, closed.Close())
		_, err = closed.Get([]byte("key"))
		require.ErrorIs(t, err, ErrClosed)

		require.NoError(t, s.Close())
		require.NoError(t, s.Close())
		for name, call := range calls(s) {
			err := call()
			require.ErrorIs(t, err, ErrClosed, name)
			require.ErrorContains(t, err, path, name)
		}
		require.Equal(t, path, s.Path())
		require.Zero(t, s.Len())
		require.Zero(t, s.Stats())
		_ = s.Version()
		_ = s.Inspect().Info()

		_, err = sn.Get([]byte("key"))
		require.NoError(t, err, "a snapshot that is open")
		require.NoError(t, sn.Close())
		for _, sn := range []*Snapshot{sn, closed} {
			_, err = sn.Get([]byte("key"))
			require.ErrorIs(t, err, ErrClosed)
			_, err = sn.Has([]byte("key"))
			require.ErrorIs(t, err, ErrClosed)
			require.Zero(t, sn.Len())
			for range sn.All() {
				t.Fatal("a closed snapshot has entries")
			}
			for range sn.Diff(sn) {
				t.Fatal("closed snapshots differ")
			}
			require.NoError(t, sn.Close())
		}
	}
	openSound(t, path)
}

func TestTxAfterUpdate(t *testing.T) {
	s, err := Open(newStoreFiles(t), nil)
	require.NoError(t, err)
	defer func() { _ = s.Close() }()
	var kept *Tx
	require.NoError(t, s.Update(func(tx *Tx) error { kept = tx; return tx.Set([]byte("a"), nil) }))
	_, err = kept.Get([]byte("a"))
	require.ErrorIs(t, err, ErrClosed)
	_, err = kept.Has([]byte("a"))
	require.ErrorIs(t, err, ErrClosed)
	require.ErrorIs(t, kept.Set([]byte("a"), nil), ErrClosed)
	_, err = kept.Delete([]byte("a"))
	require.ErrorIs(t, err, ErrClosed)
	require.Zero(t, kept.Len())
	for range kept.All() {
		t.Fatal("a transaction that ended has entries")
	}
}

func TestReadOnlyRefusesWrites(t *testing.T) {
	path := newStoreFiles(t)
	w, err := Open(path, nil)
	require.NoError(t, err)
	s, err := Open(path, &Options{ReadOnly: true})
	require.NoError(t, err)
	version := s.Version()
	all := calls(s)
	for _, name := range writeCalls {
		require.ErrorIs(t, all[name](), ErrReadOnly, name)
		require.ErrorContains(t, all[name](), path, name)
		delete(all, name)
	}
	for name, call := range all {
		require.NoError(t, call(), name)
	}
	require.Equal(t, version, s.Version())
	require.NoError(t, w.Set([]byte("other"), []byte("value")))
	v, err := s.Get([]byte("other"))
	require.NoError(t, err)
	require.Equal(t, "value", string(v))
	require.NoError(t, w.Close())
	require.NoError(t, s.Close())
	openSound(t, path)
}

// Close comes while others read and write: each of their calls succeeds or says
// ErrClosed.
func TestCloseDuringUse(t *testing.T) {
	rnd := newRand(t)
	path := newStoreFiles(t)
	rounds := 200
	if testing.Short() {
		rounds = 50
	}
	for range rounds {
		s, err := Open(path, nil)
		require.NoError(t, err)
		errs := make([]error, 6)
		done := make(chan struct{})
		seed := rnd.Uint64()
		sn, err := s.Snapshot()
		require.NoError(t, err)
		go func() {
			defer close(done)
			goAll(len(errs), func(g int) {
				r := rand.New(rand.NewPCG(seed, uint64(g)))
				for errs[g] == nil {
					errs[g] = useStore(s, sn, r)
				}
			})
		}()
		time.Sleep(time.Duration(rnd.IntN(1500)) * time.Microsecond)
		require.NoError(t, s.Close())
		select {
		case <-done:
		case <-time.After(20 * time.Second):
			t.Fatal("calls did not end after Close")
		}
		for _, err := range errs {
			require.ErrorIs(t, err, ErrClosed)
		}
		require.NotZero(t, sn.Len())
		require.NoError(t, sn.Close())
	}
	openSound(t, path)
}

// useStore does something at random with a store that may be closed.
func useStore(s *Store, held *Snapshot, r *rand.Rand) error {
	key := fmt.Appendf(nil, "key %d", r.IntN(20))
	valid := func(v []byte, err error) error {
		if errors.Is(err, ErrNotFound) {
			return nil
		}
		if err == nil {
			if _, ok := valueID(v); !ok {
				return fmt.Errorf("found a value of %d bytes that nobody wrote", len(v))
			}
		}
		return err
	}
	switch r.IntN(9) {
	case 0:
		return valid(s.Get(key))
	case 1:
		_, err := s.Has(key)
		return err
	case 2:
		return s.Set(key, testValue(r.Uint64(), r.IntN(3000)))
	case 3:
		_, err := s.Delete(key)
		return err
	case 4:
		return s.Update(func(tx *Tx) error {
			for i := range 10 {
				if err := tx.Set(fmt.Appendf(nil, "key %d", i), testValue(7, 100)); err != nil {
					return err
				}
			}
			return nil
		})
	case 5:
		return s.View(func(sn *Snapshot) error {
			for range sn.All() {
				_ = sn.Len()
			}
			_, err := sn.Get(key) // what it points at is not used: Close may come
			if errors.Is(err, ErrNotFound) {
				err = nil
			}
			return err
		})
	case 6:
		_, err := held.Get(key)
		if errors.Is(err, ErrNotFound) {
			err = nil
		}
		return err
	case 7:
		_ = s.Stats()
		_ = s.Len()
		_ = s.Version()
		ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
		defer cancel()
		_, err := s.Wait(ctx, s.Version())
		if errors.Is(err, context.DeadlineExceeded) {
			err = nil
		}
		return err
	}
	_, _, err := s.Swap(key, testValue(r.Uint64(), 50))
	return err
}

// A store's directory is renamed while it is open.
func TestRenameWhileOpen(t *testing.T) {
	path := newStoreFiles(t)
	s, err := Open(path, nil)
	require.NoError(t, err)
	defer func() { _ = s.Close() }()
	moved := path + "-moved"
	require.NoError(t, os.Rename(path, moved))
	for i := range 300 {
		require.NoError(t, s.Set(fmt.Appendf(nil, "%d", i), testValue(uint64(i), 1000)))
	}
	other, err := Open(moved, &Options{MustExist: true})
	require.NoError(t, err)
	require.Equal(t, s.Inspect().Info(), other.Inspect().Info())
	require.NoError(t, other.Set([]byte("key"), []byte("other")))
	v, err := s.Get([]byte("key"))
	require.NoError(t, err)
	require.Equal(t, "other", string(v))
	_ = s.Stats()
	checkSound(t, s)
	require.NoError(t, other.Close())
	_, err = Open(path, &Options{MustExist: true})
	require.ErrorIs(t, err, fs.ErrNotExist)

}

// untilMoved sets a key until the store is known to be removed.
func untilMoved(t *testing.T, s *Store) {
	t.Helper()
	for began := time.Now(); ; {
		if err := s.Set([]byte("key"), Fresh(8)); err != nil {
			require.ErrorIs(t, err, ErrMoved)
			require.ErrorContains(t, err, s.Path())
			return
		}
		require.Less(t, time.Since(began), 20*time.Second, "writes to a removed store succeed")
	}
}

// A store's directory is removed while it is open, and another one made there:
// those who have the old one can read it, and cannot write to it for long.
func TestRemovedWhileOpen(t *testing.T) {
	path := newStoreFiles(t)
	var all [2]*Store // one that has written, and one that has not
	for i := range all {
		s, err := Open(path, nil)
		require.NoError(t, err)
		defer func() { require.NoError(t, s.Close()) }()
		all[i] = s
	}
	require.NoError(t, all[0].Set([]byte("other"), []byte("value")))
	require.NoError(t, os.RemoveAll(path))
	err := all[1].Set([]byte("key"), []byte("lost"))
	require.ErrorIs(t, err, ErrMoved)
	require.ErrorContains(t, err, path)
	untilMoved(t, all[0])

	next, err := Open(path, nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, next.Close()) }()
	require.NoError(t, next.Set([]byte("new"), []byte("store")))
	for _, s := range all {
		version := s.Version()
		calls := calls(s)
		for _, name := range writeCalls {
			require.ErrorIs(t, calls[name](), ErrMoved, name)
		}
		for _, name := range []string{"Get", "Append", "Has", "GetMany", "View", "Snapshot", "Wait", "Extents", "Stale"} {
			require.NoError(t, calls[name](), name)
		}
		require.Equal(t, version, s.Version())
		v, err := s.Get([]byte("other"))
		require.NoError(t, err)
		require.Equal(t, "value", string(v))
		require.EqualValues(t, 2, s.Stats().Entries)
		_, err = s.Compact(t.Context(), nil)
		require.ErrorIs(t, err, ErrMoved)
	}
	require.Equal(t, 1, next.Len())
}

// Stale tells whether the path leads to what the handle has open.
func TestStale(t *testing.T) {
	path := newStoreFiles(t)
	dir := filepath.Dir(path)
	require.NoError(t, os.Chmod(dir, 0o755))
	t.Chdir(dir)
	open := func(path string, o *Options) *Store {
		t.Helper()
		s, err := Open(path, o)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, s.Close()) })
		return s
	}
	requireStale := func(want bool, s *Store) {
		t.Helper()
		stale, err := s.Stale()
		require.NoError(t, err)
		require.Equal(t, want, stale)
	}
	s, read, relative := open(path, nil), open(path, &Options{ReadOnly: true}), open("store", nil)
	all := []*Store{s, read, relative}
	t.Chdir("/")
	for _, s := range all {
		requireStale(false, s)
	}
	require.NoError(t, os.Rename(path, path+"-moved"))
	for _, s := range all {
		requireStale(true, s)
	}
	require.NoError(t, s.Set([]byte("key"), []byte("moved")), "a renamed store can be found")
	late := open(path+"-moved", nil)
	requireStale(false, late)
	require.NoError(t, late.Close())
	next := open(path, nil)
	for _, s := range all {
		requireStale(true, s)
	}
	requireStale(false, next)
	require.NoError(t, next.Close())
	require.NoError(t, os.RemoveAll(path))
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	for _, s := range all {
		requireStale(true, s)
	}
	require.NoError(t, os.Remove(path))
	require.NoError(t, os.Rename(path+"-moved", path))
	for _, s := range all {
		requireStale(false, s)
		require.NoError(t, s.Close())
	}

	// A handle that does not keep Rewrite off.
	unseen, err := openUnpinned(path)
	require.NoError(t, err)
	defer func() { require.NoError(t, unseen.Close()) }()
	require.NoError(t, os.Chmod(filepath.Join(path, "procs"), 0o600))
	requireStale(false, unseen)
	require.NoError(t, Rewrite(t.Context(), path, nil))
	requireStale(true, unseen)
}

// Without write permission on procs, values can be read, and nothing be pinned.
func TestNoPermission(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("becoming another user needs root")
	}
	dir := testdir.Memory(t)
	require.NoError(t, os.Chmod(dir, 0o755))
	// The test binary lies where only its owner may go.
	exe, err := os.Executable()
	require.NoError(t, err)
	b, err := os.ReadFile(exe)
	require.NoError(t, err)
	copied := filepath.Join(dir, "test-binary")
	require.NoError(t, os.WriteFile(copied, b, 0o755))

	path := filepath.Join(dir, "store")
	s, err := Open(path, &Options{Mode: 0o644})
	require.NoError(t, err)
	require.NoError(t, s.Set([]byte("key"), []byte("value")))
	require.NoError(t, s.Close()) // and with it the keeper, who may write at any time
	require.NoError(t, os.Chmod(path, 0o755))
	require.NoError(t, os.Chmod(filepath.Join(path, "data"), 0o644))
	require.NoError(t, os.Chmod(filepath.Join(path, "procs"), 0o644))
	before, err := os.ReadFile(filepath.Join(path, "data"))
	require.NoError(t, err)

	c := &child{cmd: exec.Command(copied), done: make(chan struct{})}
	c.cmd.Dir = dir
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	c.start(t, "stranger", settings{"PATH": path, "DIR": dir})
	c.wait(t)
	after, err := os.ReadFile(filepath.Join(path, "data"))
	require.NoError(t, err)
	require.True(t, bytes.Equal(before, after))

	// With write permission on procs, but not on data, it can pin.
	require.NoError(t, os.Chmod(filepath.Join(path, "procs"), 0o666))
	c = &child{cmd: exec.Command(copied), done: make(chan struct{})}
	c.cmd.Dir = dir
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	c.start(t, "reader", settings{"PATH": path})
	c.wait(t)
	s, err = Open(path, nil)
	require.NoError(t, err)
	checkSound(t, s)
	require.NoError(t, s.Close())
}

func init() {
	isRefused := func(name string, err, want error) {
		if !errors.Is(err, want) {
			failChild("%s: found %v, expected %v", name, err, want)
		}
	}
	refusesWriting := func(path string) {
		if _, err := Open(path, nil); !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), path) {
			failChild("opening for writing: %v", err)
		}
	}
	children["stranger"] = func() {
		path := setting("PATH")
		refusesWriting(path)
		refusesWriting(filepath.Join(setting("DIR"), "new"))
		s := mustOpen(path, &Options{ReadOnly: true})
		v, err := s.Get([]byte("key"))
		must(err)
		if string(v) != "value" {
			failChild("read %q", v)
		}
		v, err = s.Append([]byte("a "), []byte("key"))
		must(err)
		if string(v) != "a value" {
			failChild("appended %q", v)
		}
		if has, err := s.Has([]byte("key")); !has || err != nil {
			failChild("Has: %v, %v", has, err)
		}
		if _, err := s.Get([]byte("none")); !errors.Is(err, ErrNotFound) {
			failChild("a missing key: %v", err)
		}
		if s.Len() != 1 || s.Stats().Entries != 1 {
			failChild("Len %d, Stats %+v", s.Len(), s.Stats())
		}
		for _, name := range writeCalls {
			isRefused(name, calls(s)[name](), ErrReadOnly)
		}
		for _, name := range []string{"Snapshot", "View", "GetMany", "Wait", "Watch", "Changes", "Processes"} {
			isRefused(name, calls(s)[name](), ErrCannotPin)
		}
		_, err = s.Owner()
		isRefused("Owner", err, ErrCannotPin)
		_, err = s.Alive(0)
		isRefused("Alive", err, ErrCannotPin)
		isRefused("Ring", s.Bell(1).Ring(), ErrCannotPin)
		isRefused("Await", s.Bell(1).Await(context.Background(), func() (Owner, bool) { return 0, true }), ErrCannotPin)
		rep, err := s.Check(context.Background(), nil)
		must(err)
		if rep.Entries != 1 {
			failChild("Check found %d entries", rep.Entries)
		}
		must(s.Close())
		must(s.Close())
		if _, err := s.Get([]byte("key")); !errors.Is(err, ErrClosed) {
			failChild("after Close: %v", err)
		}
	}
	children["reader"] = func() {
		path := setting("PATH")
		refusesWriting(path)
		s := mustOpen(path, &Options{ReadOnly: true})
		must(s.View(func(sn *Snapshot) error {
			v, err := sn.Get([]byte("key"))
			if err == nil && string(v) != "value" {
				failChild("read %q", v)
			}
			return err
		}))
		all := calls(s)
		for _, name := range writeCalls {
			isRefused(name, all[name](), ErrReadOnly)
		}
		_, err := s.Wait(context.Background(), 0)
		must(err)
		must(s.Close())
	}
}
