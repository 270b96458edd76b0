// The race detector sees nothing of a mapping, and slows processes down.

//go:build !race

package shm

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/internal/testdir"
	"github.com/seed-869cc763/shmkv/node"
)

// leavesOf returns the leaf of each entry, by the name of the map, a slash, and the key.
func leavesOf(t testing.TB, s *Store) map[string]node.Leaf {
	t.Helper()
	leaves := map[string]node.Leaf{}
	require.NoError(t, s.View(func(sn *Snapshot) error {
		r := s.reader()
		p := prover{s: s, r: r, at: sn.pin.Root, visit: func(to *target, n node.Node) error {
			if n.Leaf != (node.Leaf{}) {
				name := ""
				if to != nil {
					name = string(to.name)
				}
				leaves[name+"/"+string(r.Key(n.Leaf))] = n.Leaf
			}
			return nil
		}}
		_, err := p.run()
		return err
	}))
	return leaves
}

// summed returns which entries have a checksum, by the name of the map and the key.
func summed(t testing.TB, s *Store) map[string]bool {
	t.Helper()
	all := map[string]bool{}
	for name, l := range leavesOf(t, s) {
		all[name] = l.Flags()&node.HasSum != 0
	}
	return all
}

// threeMaps returns the calls on the unnamed map and on a named one of each kind.
func threeMaps(s *Store) map[string]*keyed {
	return map[string]*keyed{"": &s.keyed, "hash": &s.Map("hash").keyed, "ordered": &s.Ordered("ordered").keyed}
}

// flipBit changes a bit of the file data.
func flipBit(t testing.TB, path string, off, bit uint64) {
	t.Helper()
	data, err := os.ReadFile(path + "/data")
	require.NoError(t, err)
	patch(t, path+"/data", int64(off), []byte{data[off] ^ 1<<bit})
}

// reopen opens a store until the test ends.
func reopen(t testing.TB, path string, o *Options) *Store {
	t.Helper()
	s, err := Open(path, o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// Every way to write an entry gives it a checksum, if the handle was opened so, and none
// otherwise. A set of the value that is there already writes nothing.
func TestWhichEntriesHaveChecksums(t *testing.T) {
	path := testdir.Memory(t)
	with, without := reopen(t, path, &Options{Checksums: true}), reopen(t, path, nil)
	want := map[string]bool{}
	for _, s := range []*Store{with, without} {
		has := s == with
		for name, m := range threeMaps(s) {
			key := func(how string) []byte {
				key := fmt.Sprintf("%s %v", how, has)
				want[name+"/"+key] = has
				return []byte(key)
			}
			require.NoError(t, m.Set(key("set"), []byte("value")))
			require.NoError(t, m.Set(key("large"), make([]byte, 2*sharedMost)))
			_, _, err := m.Swap(key("swap"), []byte("value"))
			require.NoError(t, err)
			_, err = m.CompareAndSwap(key("cas"), nil, []byte("value"))
			require.NoError(t, err)
			_, err = m.Add(key("add"), 1)
			require.NoError(t, err)
			require.NoError(t, s.Update(func(tx *Tx) error {
				return (&txKeyed{tx: tx, to: m.to}).Set(key("update"), []byte("value"))
			}))
		}
	}
	require.Equal(t, want, summed(t, with))

	version := with.Version()
	for name, m := range threeMaps(without) {
		require.NoError(t, m.Set([]byte("set true"), []byte("value")))
		require.NoError(t, threeMaps(with)[name].Set([]byte("set false"), []byte("value")))
	}
	require.Equal(t, version, with.Version())
	require.Equal(t, want, summed(t, with))
	for name, m := range threeMaps(without) {
		require.NoError(t, m.Set([]byte("set true"), []byte("other")))
		require.NoError(t, threeMaps(with)[name].Set([]byte("set false"), []byte("other")))
		want[name+"/set true"], want[name+"/set false"] = false, true
	}
	require.Equal(t, want, summed(t, with))
}

func TestCreateWithChecksums(t *testing.T) {
	path := testdir.Memory(t) + "/store"
	require.NoError(t, Create(path, &Options{Checksums: true}, func(s *Store) error { return s.Set([]byte("k"), nil) }))
	require.Equal(t, map[string]bool{"/k": true}, summed(t, reopen(t, path, nil)))
}

// Compaction, copies and differences keep the checksum of an entry, and give none to others.
func TestCopiesKeepChecksums(t *testing.T) {
	dir := testdir.Memory(t)
	with, without := reopen(t, dir+"/store", &Options{Checksums: true}), reopen(t, dir+"/store", nil)
	fill := func(from, to int) {
		for i := from; i < to; i++ {
			s := []*Store{with, without}[i%2]
			for _, m := range threeMaps(s) {
				require.NoError(t, m.Set(fmt.Append(nil, i), fmt.Append(nil, "value ", i)))
			}
		}
	}
	fill(0, 3000)
	require.NoError(t, with.Backup(t.Context(), dir+"/backup"))
	require.Equal(t, summed(t, with), summed(t, reopen(t, dir+"/backup", &Options{ReadOnly: true})))

	before, err := with.Snapshot()
	require.NoError(t, err)
	for i := range 3000 {
		for _, m := range threeMaps(without) {
			if i%16 != 0 && i%17 != 0 {
				_, err := m.Delete(fmt.Append(nil, i))
				require.NoError(t, err)
			}
		}
	}
	fill(3000, 3100)
	now, err := with.Snapshot()
	require.NoError(t, err)
	base, err := reopen(t, dir+"/backup", &Options{ReadOnly: true}).Snapshot()
	require.NoError(t, err)
	want := summed(t, with)
	for i, from := range []*Snapshot{before, base} {
		var d bytes.Buffer
		_, err = now.BackupSince(t.Context(), from, &d, nil)
		require.NoError(t, err)
		path := fmt.Sprintf("%s/restored%d", dir, i)
		require.NoError(t, Restore(t.Context(), dir+"/backup", path, []io.Reader{&d}, nil))
		require.Equal(t, want, summed(t, reopen(t, path, nil)))
	}
	for _, sn := range []*Snapshot{before, now, base} {
		require.NoError(t, sn.Close())
	}

	st, err := with.Compact(t.Context(), nil)
	require.NoError(t, err)
	require.Positive(t, st.Moved)
	require.Equal(t, want, summed(t, with))

	require.NoError(t, with.Backup(t.Context(), dir+"/later"))
	require.NoError(t, Restore(t.Context(), dir+"/later", dir+"/rewritten", nil, nil))
	require.NoError(t, Rewrite(t.Context(), dir+"/rewritten", nil))
	rewritten := reopen(t, dir+"/rewritten", nil)
	require.Equal(t, want, summed(t, rewritten))
	_, err = rewritten.Check(t.Context(), nil)
	require.NoError(t, err)
}

// Check and copies find each bit of a key or a value that changes in the file. Without a
// checksum they do not find one in a value.
func TestChecksumsFindEachBit(t *testing.T) {
	t.Parallel()
	for _, checksums := range []bool{true, false} {
		dir := testdir.Memory(t)
		path := dir + "/store"
		s, err := Open(path, &Options{Checksums: checksums})
		require.NoError(t, err)
		for _, m := range threeMaps(s) {
			for i := range 20 {
				require.NoError(t, m.Set(fmt.Append(nil, "key ", i), fmt.Append(nil, "value ", i)))
			}
		}
		leaves := leavesOf(t, s)
		require.NoError(t, s.Close())
		for _, name := range []string{"", "hash", "ordered"} {
			l := leaves[name+"/key 7"]
			for bit := uint64(0); bit < 8*(l.KeyLen()+l.ValueLen()); bit++ {
				at := l.KeyOff() + bit/8
				flip := func() { flipBit(t, path, at, bit%8) }
				flip()
				inKey := at < l.ValueOff()
				s, err := Open(path, &Options{ReadOnly: true})
				require.NoError(t, err)
				_, err = s.Check(t.Context(), nil)
				found := errors.Is(err, ErrCorrupt)
				err = s.Backup(t.Context(), dir+"/backup")
				require.NoError(t, s.Close())
				if checksums || !inKey {
					require.Equal(t, checksums, found, "bit %d of map %q", bit, name)
				}
				if found {
					require.ErrorIs(t, err, ErrCorrupt)
					require.NoDirExists(t, dir+"/backup")
					require.True(t, inKey || strings.Contains(err.Error(), `checksum of the entry of key "key 7"`), "%v", err)
				} else {
					require.NoError(t, err)
					require.NoError(t, os.RemoveAll(dir+"/backup"))
				}
				flip()
			}
		}
		s = reopen(t, path, nil)
		_, err = s.Check(t.Context(), nil)
		require.NoError(t, err)
	}
}

// changedStore makes a closed store of checksums, in which the values of these keys have
// changed in each of three maps.
func changedStore(t *testing.T, path string, keys ...string) {
	t.Helper()
	s, err := Open(path, &Options{Checksums: true})
	require.NoError(t, err)
	for _, m := range threeMaps(s) {
		for i := range 100 {
			require.NoError(t, m.Set(fmt.Append(nil, i), fmt.Append(nil, "value ", i)))
		}
	}
	leaves := leavesOf(t, s)
	require.NoError(t, s.Close())
	for _, name := range []string{"", "hash", "ordered"} {
		for _, key := range keys {
			flipBit(t, path, leaves[name+"/"+key].ValueOff(), 3)
		}
	}
}

// Check goes on after a wrong checksum and reports all of them, and nothing else. A new
// value mends an entry.
func TestCheckReportsChangedEntries(t *testing.T) {
	path := testdir.Memory(t)
	changedStore(t, path, "3", "70")
	s := reopen(t, path, nil)
	rep, err := s.Check(t.Context(), nil)
	require.ErrorIs(t, err, ErrCorrupt)
	require.Len(t, rep.Problems, 6)
	for i, p := range rep.Problems {
		require.Regexp(t, `checksum of the entry of key "(3|70)" at offset \d+: found 0x[0-9a-f]+, expected 0x[0-9a-f]+$`, p, "%d", i)
	}
	require.Zero(t, rep.LeakedBytes)
	require.EqualValues(t, 300, rep.Entries)
	v, err := s.Get([]byte("3"))
	require.NoError(t, err, "reads do not verify")
	require.Equal(t, "~alue 3", string(v))

	for _, m := range threeMaps(s) {
		require.NoError(t, m.Set([]byte("3"), []byte("value 3")))
		_, err := m.Delete([]byte("70"))
		require.NoError(t, err)
	}
	_, err = s.Check(t.Context(), nil)
	require.NoError(t, err)
}

// Rewrite refuses a store with a changed entry, and leaves it as it is.
func TestRewriteOfChangedEntries(t *testing.T) {
	path := testdir.Memory(t) + "/store"
	changedStore(t, path, "3")
	err := Rewrite(t.Context(), path, nil)
	require.ErrorIs(t, err, ErrCorrupt)
	require.ErrorContains(t, err, `checksum of the entry of key "3"`)
	require.ErrorIs(t, Restore(t.Context(), path, path+"-restored", nil, nil), ErrCorrupt)
	s := reopen(t, path, nil)
	require.EqualValues(t, 100, s.Len())
}

// A difference does not contain an entry that has changed, whether the base is a backup or
// a snapshot of the same handle.
func TestDifferenceOfChangedEntries(t *testing.T) {
	for _, name := range []string{"", "hash", "ordered"} {
		dir := testdir.Memory(t)
		s := reopen(t, dir+"/store", &Options{Checksums: true})
		m := threeMaps(s)[name]
		require.NoError(t, m.Set([]byte("same"), []byte("value")))
		require.NoError(t, s.Backup(t.Context(), dir+"/backup"))
		base, err := reopen(t, dir+"/backup", &Options{ReadOnly: true}).Snapshot()
		require.NoError(t, err)
		older, err := s.Snapshot()
		require.NoError(t, err)
		require.NoError(t, m.Set([]byte("new\n"), []byte("value")))
		sn, err := s.Snapshot()
		require.NoError(t, err)
		since := func(base *Snapshot) error {
			_, err := sn.BackupSince(t.Context(), base, io.Discard, nil)
			return err
		}
		require.NoError(t, since(base))
		require.NoError(t, since(older))
		flipBit(t, s.Path(), leavesOf(t, s)[name+"/new\n"].ValueOff(), 0)
		for _, from := range []*Snapshot{base, older} {
			err := since(from)
			require.ErrorIs(t, err, ErrCorrupt)
			require.ErrorContains(t, err, `checksum of the entry of key "new\n"`)
		}
		for _, sn := range []*Snapshot{base, older, sn} {
			require.NoError(t, sn.Close())
		}
	}
}

// After a crash of the system, an entry that has changed is kept, and told: the rest of the
// store is worth more. Check names it.
func TestRecoveryOfChangedEntries(t *testing.T) {
	path := filepath.Join(testdir.Disk(t), "store")
	s, err := openUnder("one", path, Options{Checksums: true})
	require.NoError(t, err)
	for _, m := range threeMaps(s) {
		require.NoError(t, m.Set([]byte("key"), []byte("value")))
	}
	require.NoError(t, s.Sync())
	off := leavesOf(t, s)["ordered/key"].ValueOff()
	cutOff(t, s)
	flipBit(t, path, off, 5)
	s, err = openUnder("two", path, Options{})
	require.NoError(t, err)
	require.Equal(t, int64(1), s.Recovery().Changed)
	require.Equal(t, int64(3), s.Recovery().Entries)
	_, err = s.Check(t.Context(), nil)
	require.ErrorIs(t, err, ErrCorrupt)
	require.ErrorContains(t, err, `checksum of the entry of key "key"`)
	require.NoError(t, s.Ordered("ordered").Set([]byte("key"), []byte("value")))
	checkSound(t, s)
	require.NoError(t, s.Close())
}

// The largest value is smaller by the words of its leaf, and the error says by how much.
func TestLargestValueWithChecksum(t *testing.T) {
	path := testdir.Memory(t)
	with, without := reopen(t, path, &Options{Checksums: true, MaxSize: 1 << 20}), reopen(t, path, nil)
	most := int(without.maxBlock) - node.HeaderSize - 1
	for name, m := range threeMaps(with) {
		least := int(with.maxBlock - node.MakeLeaf(0, 0, 0, m.to.extra(node.HasSum).Flags).Size())
		value := make([]byte, least)
		err := m.Set([]byte("k"), value)
		require.ErrorIs(t, err, ErrTooLarge, name)
		require.ErrorContains(t, err, fmt.Sprintf("expected at most %d", least), name)
		require.ErrorIs(t, with.Update(func(tx *Tx) error { return (&txKeyed{tx: tx, to: m.to}).Set([]byte("k"), value) }), ErrTooLarge)
		_, _, err = m.Swap([]byte("k"), value)
		require.ErrorIs(t, err, ErrTooLarge)
		require.NotErrorIs(t, m.Set([]byte("k"), value[1:]), ErrTooLarge)
		_, err = m.Delete([]byte("k"))
		require.NoError(t, err)
	}
	require.NotErrorIs(t, without.Set([]byte("k"), make([]byte, most)), ErrTooLarge)
	require.ErrorIs(t, with.Set([]byte("k"), make([]byte, most)), ErrTooLarge)
}

// A leaf that gets the flag of a checksum, for which its block may have no room, is damage.
func TestFlagOfChecksumIsSet(t *testing.T) {
	dir := testdir.Memory(t)
	path := dir + "/store"
	s, err := Open(path, nil)
	require.NoError(t, err)
	for _, m := range threeMaps(s) {
		for i := range 30 {
			require.NoError(t, m.Set(fmt.Append(nil, i), make([]byte, 8*i)))
		}
	}
	leaves := leavesOf(t, s)
	require.NoError(t, s.Close())
	for name, l := range leaves {
		flipBit(t, path, l.Off+node.HeadOff+node.FlagsShift/8, node.FlagsShift%8+1)
		s, err := Open(path, nil)
		require.NoError(t, err)
		_, err = s.Check(t.Context(), nil)
		require.ErrorIs(t, err, ErrCorrupt, name)
		require.ErrorIs(t, s.Backup(t.Context(), dir+"/backup"), ErrCorrupt, name)
		require.NoError(t, s.Close())
		flipBit(t, path, l.Off+node.HeadOff+node.FlagsShift/8, node.FlagsShift%8+1)
	}
}
