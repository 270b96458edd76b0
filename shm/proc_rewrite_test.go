// The race detector sees nothing of a mapping, and slows processes down.

//go:build !race

package shm

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/seed-869cc763/shmkv/alloc/layout"
	"github.com/seed-869cc763/shmkv/internal/testdir"
)

func init() {
	// Rewrites a store until it is killed.
	children["rewrite"] = func() {
		b, err := openBoard(setting("BOARD"))
		must(err)
		for i := uint64(1); ; i++ {
			b.set(0, i)
			must(Rewrite(context.Background(), setting("PATH"), nil))
		}
	}
	// Opens a store, raises a number by one, closes it, and so on, and counts on
	// the board what it was told has succeeded.
	children["visit"] = func() {
		b, err := openBoard(setting("BOARD"))
		must(err)
		id, err := strconv.Atoi(setting("ID"))
		must(err)
		key := fmt.Appendf(nil, "visits of %d", id)
		for n := uint64(1); b.get(0) == 0; {
			s, err := Open(setting("PATH"), nil) // would create one in an empty directory
			if errors.Is(err, ErrInUse) {
				continue
			}
			must(err)
			must(s.Modify(key, func(old []byte, exists bool) ([]byte, bool) {
				if exists != (n > 1) || exists && binary.LittleEndian.Uint64(old) != n-1 {
					failChild("found %v, expected %d", old, n-1)
				}
				return binary.LittleEndian.AppendUint64(nil, n), true
			}))
			b.set(id, n)
			n++
			must(s.Close())
			time.Sleep(time.Millisecond)
		}
	}
}

// fillImage makes a store of n entries, and closes it.
func fillImage(t testing.TB, path string, n int) {
	t.Helper()
	s, err := Open(path, nil)
	require.NoError(t, err)
	for i := range n {
		require.NoError(t, s.Set(imageKey(i), imageValue(i)))
	}
	require.NoError(t, s.Close())
}

func holdsImage(t testing.TB, s *Store, n int) {
	t.Helper()
	for i := range n {
		got, err := s.Get(imageKey(i))
		require.NoError(t, err)
		require.True(t, bytes.Equal(imageValue(i), got))
	}
}

// TestKilledRewrite: whenever a process is killed while it rewrites a store, there
// is all of it, and the next one removes what was left.
func TestKilledRewrite(t *testing.T) {
	if testing.Short() {
		t.Skip("left out with the race detector, which sees nothing here")
	}
	dir := testdir.Memory(t)
	rng := newRand(t)
	require.NoError(t, os.Mkdir(dir+"/in", 0o700))
	path := dir + "/in/store"
	const n = 3000
	fillImage(t, path, n)
	board := newBoard(t, dir, 1)
	rounds := 25
	if testing.Short() {
		rounds = 5
	}
	left := 0
	version := uint64(0)
	for range rounds {
		board.set(0, 0)
		c := startChild(t, "rewrite", settings{"PATH": path, "BOARD": board.path})
		board.await(t, c, 0, 1)
		time.Sleep(time.Duration(rng.IntN(40000)) * time.Microsecond)
		c.kill(t)

		entries, err := os.ReadDir(dir + "/in")
		require.NoError(t, err)
		s := openSound(t, path)
		require.Equal(t, n, s.Len())
		holdsImage(t, s, n)
		require.GreaterOrEqual(t, s.Version(), version)
		version = s.Version()
		require.NoError(t, s.Close())
		for _, e := range entries {
			if e.Name() != "store" {
				left++
			}
		}
		require.NoError(t, Rewrite(context.Background(), path, nil))
		entries, err = os.ReadDir(dir + "/in")
		require.NoError(t, err)
		require.Len(t, entries, 1, "nothing but the store")
	}
	t.Logf("of %d killed, %d left something", rounds, left)
	require.Positive(t, left, "none was killed in the middle")
	checkFresh(t, path)
}

// TestRewriteBesideVisitors: who opens a store, writes and closes it, while others
// rewrite it again and again, never writes to one that is gone.
func TestRewriteBesideVisitors(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("left out with the race detector, which sees nothing here")
	}
	dir := testdir.Memory(t)
	path := dir + "/store"
	fillImage(t, path, 50)
	const visitors = 3
	board := newBoard(t, dir, 1+visitors)
	var all []*child
	for id := range visitors {
		all = append(all, startChild(t, "visit", settings{"PATH": path, "BOARD": board.path, "ID": fmt.Sprint(1 + id)}))
	}
	visited := func() (n uint64) {
		for id := 1; id <= visitors; id++ {
			n += board.get(id)
		}
		return n
	}
	done, refused := 0, 0
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end) && (done < testdir.Scale(20, 60) || visited() <= 100); {
		switch err := Rewrite(context.Background(), path, nil); {
		case err == nil:
			done++
		case errors.Is(err, ErrInUse):
			refused++
		default:
			require.NoError(t, err)
		}
	}
	board.set(0, 1)
	for _, c := range all {
		c.wait(t)
	}
	s := openSound(t, path)
	visits := visited()
	for id := 1; id <= visitors; id++ {
		got, err := s.Get(fmt.Appendf(nil, "visits of %d", id))
		require.NoError(t, err)
		require.Equal(t, board.get(id), binary.LittleEndian.Uint64(got))
	}
	holdsImage(t, s, 50)
	t.Logf("%d rewrites between %d visits, %d more were refused", done, visits, refused)
	require.Greater(t, done, 10)
	require.Greater(t, visits, uint64(100))
}

// What is wrong with procs, lists and bitmaps is mended, also where a store cannot
// be opened to write.
func TestRewriteMends(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("left out with the race detector, which sees nothing here")
	}
	last := func(m *image) uint64 { return m.slotPage(0) }
	refused, found := 0, 0
	for base := range images() {
		for name, edit := range map[string]func(m *image){
			"queue":            func(m *image) { m.setWord(last(m)+imgHead, 1<<45) },
			"log":              func(m *image) { m.setWord(last(m)+8*5, 4095) },
			"magazines":        func(m *image) { eachMagazine(m, last(m), func(b uint64) { m.setWord(b+8, b) }) },
			"heads":            func(m *image) { m.setWord(last(m)+imgMags+8*4, 1<<40) },
			"slabs":            func(m *image) { m.setWord(last(m)+imgSlabs+8*4, 12345) },
			"what is deferred": func(m *image) { m.setWord(last(m)+imgDeferred, 1<<40) },
			"slot's page":      func(m *image) { clear(m.data[last(m) : last(m)+4096]) },
			"directory":        func(m *image) { m.setWord(imgDir, 4096) },
			"bitmaps": func(m *image) {
				for d := uint64(imgDescs); d < imgDescs+256*64; d += 64 {
					if s := m.word(d) & 15; s == 3 || s == 4 {
						m.setWord(d+8, ^uint64(0))
					}
				}
			},
			"leak": func(m *image) {
				for d := uint64(imgDescs); d < imgDescs+256*64; d += 64 {
					if s := m.word(d) & 15; s == 1 || s == 10 {
						m.setWord(d, m.word(d)&^15|3)
					}
				}
			},
		} {
			t.Run(fmt.Sprintf("%s, image %d", name, base), func(t *testing.T) {
				data, slots := images()[base].clone()
				m := &image{data: data, slots: slots}
				if last(m) == 0 && name != "bitmaps" && name != "leak" {
					return
				}
				edit(m)
				path := (&damaged{m: m, data: m.data, slots: m.slots}).write(t)
				read, err := Open(path, &Options{ReadOnly: true})
				require.NoError(t, err)
				want := map[string]string{}
				require.NoError(t, read.View(func(sn *Snapshot) error {
					for key, value := range sn.All() {
						want[string(key)] = string(value)
					}
					return nil
				}))
				require.NotEmpty(t, want)
				if _, err := read.Check(context.Background(), nil); err != nil {
					require.ErrorIs(t, err, ErrCorrupt)
					found++
				}
				require.NoError(t, read.Close())
				if s, err := Open(path, nil); err != nil {
					require.ErrorIs(t, err, ErrCorrupt)
					refused++
				} else {
					require.NoError(t, s.Close())
				}
				require.NoError(t, Rewrite(context.Background(), path, nil))
				s := openSound(t, path)
				require.Equal(t, len(want), s.Len())
				for key, value := range want {
					got, err := s.Get([]byte(key))
					require.NoError(t, err)
					require.Equal(t, value, string(got))
				}
				checkFresh(t, path)
			})
		}
	}
	t.Logf("of all, %d could not be opened to write, in %d something was found", refused, found)
	require.Greater(t, refused, 10)
	require.Greater(t, found, 10)
}

// Damage among the entries cannot be mended, and what is there stays.
func TestRewriteOfADamagedTrie(t *testing.T) {
	path := testdir.Memory(t) + "/store"
	for what, edit := range map[string]func(m *image, root uint64){
		"an entry":           func(m *image, _ uint64) { copy(m.data[bytes.Index(m.data, imageKey(20)):], "yek") },
		"the reference":      func(m *image, root uint64) { m.setWord(root+imgTrie, 8) },
		"number of entries":  func(m *image, root uint64) { m.setWord(root+16, 17) },
		"bytes of all":       func(m *image, root uint64) { m.setWord(root+32, 17) },
		"the root's version": func(m *image, root uint64) { m.setWord(root, 17) },
	} {
		t.Run(what, func(t *testing.T) {
			require.NoError(t, os.RemoveAll(path))
			fillImage(t, path, 50)
			data, err := os.ReadFile(path + "/data")
			require.NoError(t, err)
			m := &image{data: data}
			edit(m, m.word(imgRoot)&imgOffset)
			patch(t, path+"/data", 0, m.data)
			before := contentsOf(t, path)["data"]
			require.ErrorIs(t, Rewrite(context.Background(), path, nil), ErrCorrupt)
			require.Equal(t, before, contentsOf(t, path)["data"])
			entries, err := os.ReadDir(path + "/..")
			require.NoError(t, err)
			require.Len(t, entries, 1)
		})
	}
}

// Dead processes do not keep Rewrite off, whatever they have pinned; nor do
// readers that nobody can see, who are told.
func TestRewriteAmongTheDead(t *testing.T) {
	dir := testdir.Memory(t)
	require.NoError(t, os.Chmod(dir, 0o755))
	path := dir + "/store"
	fillImage(t, path, 50)
	unseen, err := openUnpinned(path)
	require.NoError(t, err)
	defer func() { require.NoError(t, unseen.Close()) }()
	require.NoError(t, os.Chmod(path+"/procs", 0o600))
	_, err = unseen.Get(imageKey(1))
	require.NoError(t, err)
	slots, err := os.ReadFile(path + "/procs")
	require.NoError(t, err)
	m := &image{slots: slots}
	m.setShared(imgPinHigh, layout.MaxSnapPins)
	for i := range layout.MaxSnapPins {
		m.setShared(imgSnapPins+imgSnapPin*i, 2)
		m.setShared(imgSnapPins+imgSnapPin*i+8, 7+1)
	}
	m.setShared(imgEntries+7*64, 1<<8|1)
	patch(t, path+"/procs", 0, m.slots)
	require.NoError(t, Rewrite(context.Background(), path, nil))
	holdsImage(t, openSound(t, path), 50)
	_, err = unseen.Get(imageKey(1))
	require.ErrorIs(t, err, ErrClosed)
	require.ErrorContains(t, err, "rewritten")
}

// A mount of the store's directory elsewhere leads to the old one, which is gone: a
// store is not opened there, and none is made.
func TestRewriteOfMountedDirectory(t *testing.T) {
	t.Parallel()
	dir := testdir.Memory(t)
	path, mounted := dir+"/store", dir+"/mounted"
	fillImage(t, path, 50)
	require.NoError(t, os.Mkdir(mounted, 0o700))
	if err := unix.Mount(path, mounted, "", unix.MS_BIND, ""); err != nil {
		t.Skipf("mounting a directory elsewhere is not permitted here: %v", err)
	}
	defer func() { require.NoError(t, unix.Unmount(mounted, unix.MNT_DETACH)) }()
	s := openSound(t, mounted)
	require.ErrorIs(t, Rewrite(context.Background(), path, nil), ErrInUse, "who uses it there is seen")
	require.NoError(t, s.Close())
	require.Error(t, Rewrite(context.Background(), mounted, nil), "a mount point stays where it is")
	require.NoError(t, Rewrite(context.Background(), path, nil))
	holdsImage(t, openSound(t, path), 50)
	for _, o := range []*Options{nil, {MustExist: true}, {ReadOnly: true}} {
		_, err := Open(mounted, o)
		require.ErrorIs(t, err, fs.ErrNotExist)
	}
}
