package shm_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/shm"
)

// TestHashSharedMem goes through the tables of docs/hash-sharedmem.md.
func TestHashSharedMem(t *testing.T) {
	t.Run("open", hashSharedMemOpen)
	t.Run("modes", hashSharedMemModes)
	t.Run("single keys", hashSharedMemKeys)
	t.Run("whole hashes", hashSharedMemWhole)
	t.Run("order", hashSharedMemOrder)
	t.Run("snapshots", hashSharedMemSnapshots)
	t.Run("maintenance", hashSharedMemMaintenance)
	t.Run("tallies", hashSharedMemTallies)
}

// openModes are the modes of shash_open, as Options.
var openModes = map[string]*shm.Options{
	"rw":   {MustExist: true},
	"rwc":  nil,
	"rwce": {Exclusive: true},
	"r":    {ReadOnly: true},
	"rc":   {ReadOnly: true, Create: true},
	"rce":  {ReadOnly: true, Create: true, Exclusive: true},
	"re":   {ReadOnly: true, Exclusive: true},
	"rwe":  {MustExist: true, Exclusive: true},
}

func hashSharedMemOpen(t *testing.T) {
	write := func(t *testing.T, path string) { require.NoError(t, os.WriteFile(path, []byte("Dear all"), 0o600)) }
	mkdir := func(t *testing.T, path string) { require.NoError(t, os.Mkdir(path, 0o700)) }
	makeStore := func(t *testing.T, path string) {
		s, err := shm.Open(path, nil)
		require.NoError(t, err)
		set(t, s, "k", "v")
		require.NoError(t, s.Close())
	}
	missing, other := []error{fs.ErrNotExist}, []error{shm.ErrCorrupt, fs.ErrNotExist}
	taken := []error{shm.ErrExist, fs.ErrExist, shm.ErrCorrupt}
	for _, c := range []struct {
		what             string
		prepare          func(t *testing.T, path string)
		plain, c, ce     []error // that the error matches; nil: no error
		entries          int     // of the store that was opened
		says             string  // the error of something else
		where, untouched string  // below the prepared directory
	}{
		{what: "nothing", plain: missing},
		{what: "nothing in a missing directory", plain: missing, c: missing, ce: missing, where: "deeper/still"},
		{what: "a store", prepare: makeStore, ce: []error{shm.ErrExist, fs.ErrExist}, entries: 1},
		{what: "an empty directory", prepare: mkdir, plain: missing},
		{what: "a directory with a hidden file", plain: missing, untouched: ".keep",
			prepare: func(t *testing.T, path string) { mkdir(t, path); write(t, path+"/.keep") }},
		{what: "a file", prepare: write, plain: other, c: other, ce: taken, says: "not a store: found a file, expected a directory"},
		{what: "a directory with a letter", plain: other, c: other, ce: taken, untouched: "letter", says: `not a store: found "letter"`,
			prepare: func(t *testing.T, path string) { mkdir(t, path); write(t, path+"/letter") }},
	} {
		for mode, opts := range openModes {
			t.Run(c.what+" "+mode, func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "shash")
				if c.prepare != nil {
					c.prepare(t, path)
				}
				s, err := shm.Open(filepath.Join(path, c.where), opts)
				creates, exclusive := strings.Contains(mode, "c"), strings.Contains(mode, "e")
				want := c.plain
				switch {
				case exclusive && !creates:
					require.ErrorContains(t, err, "contradicts")
					return
				case exclusive:
					want = c.ce
				case creates:
					want = c.c
				}
				if want == nil {
					require.NoError(t, err)
					require.Equal(t, c.entries, s.Len())
					require.NoError(t, s.Close())
					require.FileExists(t, path+"/data")
				} else {
					for _, e := range []error{fs.ErrNotExist, fs.ErrExist, shm.ErrExist, shm.ErrCorrupt} {
						require.Equal(t, slices.Contains(want, e), errors.Is(err, e), "%v is %v", err, e)
					}
					require.ErrorContains(t, err, path)
					require.ErrorContains(t, err, c.says)
				}
				if c.untouched != "" {
					b, err := os.ReadFile(filepath.Join(path, c.untouched))
					require.NoError(t, err)
					require.Equal(t, "Dear all", string(b))
				}
			})
		}
	}
}

// What a handle may do follows from its options.
func hashSharedMemModes(t *testing.T) {
	path := t.TempDir() + "/shash"
	s := openWith(t, path, nil)
	set(t, s, "k", "v")
	for mode, opts := range map[string]*shm.Options{"rw": openModes["rw"], "rwc": openModes["rwc"], "r": openModes["r"], "rc": openModes["rc"]} {
		s := openWith(t, path, opts)
		require.Equal(t, "v", get(t, s, "k"), "every handle can read")
		k, v := []byte("k"), []byte("v")
		_, err1 := s.Delete([]byte("absent"))
		_, _, err2 := s.Swap(k, v)
		_, err3 := s.CompareAndSwap(k, v, v)
		for call, err := range []error{s.Set(k, v), err1, err2, err3, s.Update(func(tx *shm.Tx) error { return tx.Set(k, v) })} {
			if strings.Contains(mode, "w") {
				require.NoError(t, err, "%s %d", mode, call)
			} else {
				require.ErrorIs(t, err, shm.ErrReadOnly, "%s %d", mode, call)
				require.ErrorContains(t, err, path)
			}
		}
		require.Equal(t, !strings.Contains(mode, "w"), self(t, s).ReadOnly)
	}

	// The handle refers to the directory, whatever its name is.
	stale, err := s.Stale()
	require.NoError(t, err)
	require.False(t, stale)
	require.NoError(t, os.Rename(path, path+"-renamed"))
	set(t, s, "k", "renamed")
	require.Equal(t, "renamed", get(t, openWith(t, path+"-renamed", nil), "k"))
	stale, err = s.Stale()
	require.NoError(t, err)
	require.True(t, stale)
}

// openWith opens the store at path until the test ends.
func openWith(t testing.TB, path string, opts *shm.Options) *shm.Store {
	t.Helper()
	s, err := shm.Open(path, opts)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func hashSharedMemKeys(t *testing.T) {
	store := fileStore(t, nil)
	s := store.Ordered("shash")
	k := []byte("a\x00\xff")
	has := func(want bool) {
		t.Helper()
		found, err := s.Has(k)
		require.NoError(t, err)
		require.Equal(t, want, found)
	}
	has(false)
	_, err := s.Get(k)
	require.ErrorIs(t, err, shm.ErrNotFound)

	require.NoError(t, s.Set(k, []byte("one")))
	has(true)
	require.NoError(t, store.View(func(sn *shm.Snapshot) error {
		value, err := sn.Ordered("shash").Get(k)
		require.Len(t, value, 3)
		return err
	}))
	old, existed, err := s.Swap(k, []byte("two"))
	require.NoError(t, err)
	require.True(t, existed)
	require.Equal(t, "one", string(old))

	cset := func(old, new []byte, want bool) {
		t.Helper()
		swapped, err := s.CompareAndSwap(k, old, new)
		require.NoError(t, err)
		require.Equal(t, want, swapped)
	}
	cset([]byte("one"), []byte("three"), false)
	cset([]byte("two"), []byte("three"), true)
	cset(nil, []byte("four"), false)
	cset([]byte("three"), nil, true)
	has(false)
	cset(nil, []byte{}, true)
	has(true)
	value, err := s.Get(k)
	require.NoError(t, err)
	require.Equal(t, []byte{}, value, "empty is not absent")
	old, existed, err = s.Swap(k, nil)
	require.NoError(t, err)
	require.True(t, existed)
	require.Empty(t, old)
	has(false)
	_, existed, err = s.Swap(k, nil)
	require.NoError(t, err)
	require.False(t, existed)

	require.NoError(t, s.Set(k, nil)) // not as undef
	has(true)
	existed, err = s.Delete(k)
	require.NoError(t, err)
	require.True(t, existed)
	existed, err = s.Delete(k)
	require.NoError(t, err)
	require.False(t, existed)

	// The loop around shash_cset.
	for i := range int64(3) {
		n, err := s.Add([]byte("n"), 1)
		require.NoError(t, err)
		require.Equal(t, i+1, n)
	}
	require.NoError(t, s.Compute([]byte("n"), func(old []byte, exists bool) ([]byte, shm.Action, error) {
		n, err := strconv.Atoi(string(old))
		return fmt.Append(nil, 10*n), shm.ActionSet, err
	}))
	value, err = s.Get([]byte("n"))
	require.NoError(t, err)
	require.Equal(t, "30", string(value))
}

// hashSharedMemOrder asks for the neighbours of keys that are there and of keys that are
// not, in the order of bytes, through a handle, a snapshot and a transaction.
func hashSharedMemOrder(t *testing.T) {
	s := fileStore(t, nil)
	o := s.Ordered("shash")
	keys := []string{"", "a", "a\x00", "ab", "b", "b\xff", "\xff"}
	for i, key := range []int{3, 0, 6, 2, 5, 1, 4} {
		require.NoError(t, o.Set([]byte(keys[key]), fmt.Append(nil, i)))
	}
	ask := func(t *testing.T, o queries, all iter.Seq2[[]byte, []byte]) {
		key := func(key, _ []byte, err error) string {
			if errors.Is(err, shm.ErrNotFound) {
				return "undef"
			}
			require.NoError(t, err)
			return string(key)
		}
		require.Equal(t, "", key(o.Min()))
		require.Equal(t, "\xff", key(o.Max()))
		for _, c := range []struct{ key, ge, gt, le, lt string }{
			{"", "", "a", "", "undef"},
			{"\x00", "a", "a", "", ""},
			{"a", "a", "a\x00", "a", ""},
			{"a\x00\x00", "ab", "ab", "a\x00", "a\x00"},
			{"b", "b", "b\xff", "b", "ab"},
			{"b\xff\xff", "\xff", "\xff", "b\xff", "b\xff"},
			{"\xff", "\xff", "undef", "\xff", "b\xff"},
			{"\xff\xff", "undef", "undef", "\xff", "\xff"},
		} {
			k := []byte(c.key)
			require.Equal(t, c.ge, key(o.Ceil(k)), "ge %q", k)
			require.Equal(t, c.gt, key(o.Higher(k)), "gt %q", k)
			require.Equal(t, c.le, key(o.Floor(k)), "le %q", k)
			require.Equal(t, c.lt, key(o.Lower(k)), "lt %q", k)
		}
		for i, k := range keys {
			require.Equal(t, k, key(o.At(i)))
			rank, found, err := o.Rank([]byte(k))
			require.NoError(t, err)
			require.True(t, found)
			require.Equal(t, i, rank)
		}
		var got []string
		for key := range all {
			got = append(got, string(key))
		}
		require.Equal(t, keys, got)
	}
	require.NoError(t, s.View(func(sn *shm.Snapshot) error {
		ask(t, o, sn.Ordered("shash").All())
		ask(t, sn.Ordered("shash"), sn.Ordered("shash").All())
		return nil
	}))
	require.NoError(t, s.Update(func(tx *shm.Tx) error {
		ask(t, tx.Ordered("shash"), tx.Ordered("shash").All())
		return nil
	}))
	_, _, err := s.Ordered("none").Min()
	require.ErrorIs(t, err, shm.ErrNotFound)
	_, _, err = s.Map("shash").Swap([]byte("a"), nil)
	require.ErrorIs(t, err, shm.ErrKind)
}

func hashSharedMemWhole(t *testing.T) {
	s := fileStore(t, nil)
	o := s.Ordered("shash")
	require.Zero(t, o.Len())
	require.Zero(t, s.Stats().DataBytes)
	want := map[string]string{}
	bytesOf := 0
	for i := range 100 {
		key, value := string(numbered(i)), strings.Repeat("v", i)
		want[key] = value
		bytesOf += len(key) + len(value)
		require.NoError(t, o.Set([]byte(key), []byte(value)))
	}
	require.Equal(t, 100, o.Len())
	require.Greater(t, s.Stats().LiveBytes, int64(bytesOf))
	require.NoError(t, s.View(func(sn *shm.Snapshot) error {
		ov := sn.Ordered("shash")
		require.EqualValues(t, bytesOf, ov.Bytes())
		require.Equal(t, 100, ov.Len())
		group := map[string]string{}
		var keys [][]byte
		for key, value := range ov.All() {
			group[string(key)] = string(value)
			keys = append(keys, key)
		}
		require.Equal(t, want, group)
		require.True(t, slices.IsSortedFunc(keys, bytes.Compare))
		require.Equal(t, "key 0", string(keys[0]))
		require.Equal(t, "key 99", string(keys[99]))
		return sn.Err()
	}))
}

func hashSharedMemSnapshots(t *testing.T) {
	s := fileStore(t, nil)
	set(t, s, "k", "old")
	sn, err := s.Snapshot()
	require.NoError(t, err)
	set(t, s, "k", "new")
	set(t, s, "another", "")
	require.NoError(t, s.Close(), "a snapshot is a reference of its own")
	value, err := sn.Get([]byte("k"))
	require.NoError(t, err)
	require.Equal(t, "old", string(value))
	found, err := sn.Has([]byte("another"))
	require.NoError(t, err)
	require.False(t, found)
	require.Equal(t, 1, sn.Len())
	require.ErrorIs(t, shm.Rewrite(t.Context(), s.Path(), nil), shm.ErrInUse)
	require.NoError(t, sn.Close())
	require.NoError(t, shm.Rewrite(t.Context(), s.Path(), nil))
}

func hashSharedMemMaintenance(t *testing.T) {
	s := fileStore(t, nil)
	for i := range 1000 {
		require.NoError(t, s.Set(numbered(i), make([]byte, 5000)))
	}
	for i := range 1000 {
		if i%10 != 0 {
			_, err := s.Delete(numbered(i))
			require.NoError(t, err)
		}
	}
	before := s.Stats()
	tidy, err := s.Compact(t.Context(), nil)
	require.NoError(t, err)
	require.Less(t, tidy.After, before.AllocatedBytes/2)
	require.NoError(t, s.Idle())
	require.Equal(t, 100, s.Len())
	require.Equal(t, string(make([]byte, 5000)), get(t, s, "key 0"))
	set(t, s, "k", "v")
	require.NoError(t, s.Close())
	require.ErrorIs(t, s.Idle(), shm.ErrClosed)
}

func hashSharedMemTallies(t *testing.T) {
	s := fileStore(t, nil)
	other := openWith(t, s.Path(), nil)
	set(t, s, "k", "1")
	set(t, other, "k", "2")
	before := s.Tally()
	require.Equal(t, uint64(1), before.Commits)
	set(t, s, "k", "3")
	get(t, s, "k")
	require.Equal(t, shm.Counters{Commits: 1, Changes: 1}, s.Tally().Sub(before).Counters)
	require.Equal(t, uint64(1), other.Tally().Commits)
	require.Equal(t, uint64(3), s.Stats().Commits)
}
