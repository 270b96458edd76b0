package shm_test

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/seed-869cc763/shmkv/alloc/region"
	"github.com/seed-869cc763/shmkv/internal/testdir"
	"github.com/seed-869cc763/shmkv/shm"
)

// Handles with huge pages and prefaulted ones see the same store as others, and
// opening them gives holes no memory.
func TestHugePagesAndPrefault(t *testing.T) {
	t.Parallel()
	const n = 60_000
	s := memoryStore(t)
	key, value := make([]byte, 16), make([]byte, 100)
	for base := 0; base < n; base += 1000 {
		require.NoError(t, s.Update(func(tx *shm.Tx) error {
			for i := base; i < base+1000; i++ {
				if err := tx.Set(spaceKey(key, i), fmt.Appendf(value[:0], "value %d", i)); err != nil {
					return err
				}
			}
			return nil
		}))
	}
	for i := n / 10; i < n; i++ { // leaves holes
		_, err := s.Delete(spaceKey(key, i))
		require.NoError(t, err)
	}
	before := settled(t, s, idle, func(st shm.Stats) bool { return st.AllocatedBytes < st.FileBytes/2 }) // it has holes
	for _, o := range []shm.Options{
		{HugePages: shm.HugePagesOn}, {Prefault: true}, {HugePages: shm.HugePagesOn, Prefault: true},
		{HugePages: shm.HugePagesOn, Prefault: true, ReadOnly: true},
	} {
		other, err := shm.Open(s.Path(), &o)
		require.NoError(t, err, "%+v", o)
		require.LessOrEqual(t, other.Stats().AllocatedBytes, before.AllocatedBytes, "%+v: opening takes memory", o)
		for i := range n / 10 {
			got, err := other.Get(spaceKey(key, i))
			require.NoError(t, err)
			require.Equal(t, fmt.Sprintf("value %d", i), string(got))
		}
		if !o.ReadOnly {
			require.NoError(t, other.Set([]byte("by"), fmt.Appendf(nil, "%+v", o)))
			got, err := s.Get([]byte("by"))
			require.NoError(t, err)
			require.Equal(t, fmt.Sprintf("%+v", o), string(got))
		}
		before.AllocatedBytes = s.Stats().AllocatedBytes
		require.NoError(t, other.Close())
	}
	sound(t, s)
}

// Open refuses a value of HugePages that it does not know.
func TestUnknownHugePages(t *testing.T) {
	for _, unknown := range []shm.HugePages{-1, shm.HugePagesOff + 1} {
		_, err := shm.Open(t.TempDir()+"/store", &shm.Options{HugePages: unknown})
		require.ErrorContains(t, err, fmt.Sprintf("Options.HugePages is %d, expected HugePagesAuto", unknown))
	}
}

// TryHugePages tells what Open with HugePagesOn does.
func TestTryHugePages(t *testing.T) {
	require.ErrorIs(t, shm.TryHugePages(t.TempDir()+"/missing"), os.ErrNotExist)
	dir := testdir.Memory(t)
	if err := shm.TryHugePages(dir); err != nil {
		t.Skipf("there are no huge pages here: %v", err)
	}
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, entries)

	s, err := shm.Open(dir, nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	for i := range 8 {
		require.NoError(t, s.Set(numbered(i), make([]byte, 1<<20)))
	}
	other, err := shm.Open(dir, &shm.Options{ReadOnly: true, HugePages: shm.HugePagesOn})
	require.NoError(t, err)
	defer func() { require.NoError(t, other.Close()) }()
	require.Positive(t, hugeBytes(t, dir+"/data"), "what worked there works for a store")
}

// A store that is large enough gets huge pages by itself, in no more memory, and gives
// the memory back as any other.
func TestHugePagesComeByThemselves(t *testing.T) {
	t.Parallel()
	if err := shm.TryHugePages(testdir.Memory(t)); err != nil {
		t.Skipf("there are no huge pages here: %v", err)
	}
	const large, small = 80 << 20, 24 << 20
	stores := []struct {
		name  string
		pages shm.HugePages
		bytes int
		huge  bool
	}{
		{"large", shm.HugePagesAuto, large, true},
		{"small, on", shm.HugePagesOn, small, true},
		{"small", shm.HugePagesAuto, small, false},
		{"large, off", shm.HugePagesOff, large, false},
	}
	var opened []*shm.Store
	for _, c := range stores {
		s, err := shm.Open(testdir.Memory(t), &shm.Options{HugePages: c.pages})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, s.Close()) })
		for i := range c.bytes >> 16 {
			require.NoError(t, s.Set(numbered(i), make([]byte, 60<<10)))
		}
		opened = append(opened, s)
	}
	huge := func(s *shm.Store) int64 { return hugeBytes(t, s.Path()+"/data") }
	for i, s := range opened {
		c := stores[i]
		if c.huge { // all that can be; a page that is free and has no memory keeps 2 MiB from it
			require.Eventually(t, func() bool {
				can := wholeBytes(t, s.Path()+"/data")
				return can > 0 && huge(s) >= can
			}, time.Minute, 50*time.Millisecond, c.name)
		}
		require.LessOrEqual(t, s.Stats().AllocatedBytes, int64(c.bytes)*5/4, c.name)
	}
	for i, s := range opened { // the others have had as much time
		if !stores[i].huge {
			require.Zero(t, huge(s), stores[i].name)
		}
		for j := range stores[i].bytes >> 16 {
			_, err := s.Delete(numbered(j))
			require.NoError(t, err)
		}
	}
	for i, s := range opened {
		require.Eventually(t, func() bool { return s.Stats().AllocatedBytes < 4<<20 }, time.Minute, 50*time.Millisecond, stores[i].name)
		sound(t, s)
	}
}

// wholeBytes is how much of a file lies in aligned ranges of 2 MiB without a hole, in bytes.
func wholeBytes(t *testing.T, path string) (sum int64) {
	f, err := os.Open(path)
	require.NoError(t, err)
	defer func() { _ = f.Close() }()
	for at := int64(0); ; at += region.HugePage {
		hole, err := f.Seek(at, unix.SEEK_HOLE)
		if errors.Is(err, unix.ENXIO) { // at is behind the end
			return sum
		}
		require.NoError(t, err)
		if hole >= at+region.HugePage {
			sum += region.HugePage
		}
	}
}

// hugeBytes is how much of a file this process maps by huge pages, in bytes.
func hugeBytes(t *testing.T, path string) (sum int64) {
	smaps, err := os.ReadFile("/proc/self/smaps")
	require.NoError(t, err)
	ours := false
	for line := range strings.Lines(string(smaps)) {
		fields := strings.Fields(line)
		switch {
		case !strings.HasSuffix(fields[0], ":"): // the first line of a mapping
			ours = fields[len(fields)-1] == path
		case ours && fields[0] == "ShmemPmdMapped:":
			n, err := strconv.ParseInt(fields[1], 10, 64)
			require.NoError(t, err)
			sum += n << 10
		}
	}
	return sum
}
