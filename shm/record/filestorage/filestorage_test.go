package filestorage

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io/fs"
	"iter"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/internal/testdir"
	"github.com/seed-869cc763/shmkv/shm/record"
)

func TestMain(m *testing.M) { os.Exit(testdir.Main(m)) }

func be(size int, n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n)[8-size:] }

func rec(id record.ID, data string, refs ...record.ID) record.Record {
	return record.Record{ID: id, Data: []byte(data), Refs: refs}
}

func file(t testing.TB, content []byte) string {
	path := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(path, content, 0o600))
	return path
}

func read(t testing.TB, path string) (all []record.Record, err error) {
	f, err := Open(path)
	require.NoError(t, err)
	defer func() { require.NoError(t, f.Close()) }()
	last := int64(0)
	for r, err := range f.Records(func(done, total int64) {
		require.Greater(t, done, last)
		require.Equal(t, f.Size(), total)
		last = done
	}) {
		if err != nil {
			return all, err
		}
		all = append(all, r)
	}
	return all, nil
}

func shelfTransaction(records ...record.Record) []byte {
	var b []byte
	for _, r := range records {
		packed := r.Append(nil)
		b = append(b, be(8, uint64(8+len(packed)))...)
		b = append(b, be(8, uint64(r.ID))...)
		b = append(b, packed...)
	}
	return append(be(8, uint64(len(b))), b...)
}

// shelf returns a file whose map of offsets is not right: no reader of all records needs it.
func shelf(transactions ...[]byte) []byte {
	b := append([]byte(shelfPrefix), transactions[0]...)
	b = append(b, bytes.Join([][]byte{be(8, 18), be(8, 2), be(8, 1), {7, 7}}, nil)...)
	return append(b, bytes.Join(transactions[1:], nil)...)
}

func dfsTransaction(records ...record.Record) []byte {
	var b []byte
	for _, r := range records {
		packed := r.Append(nil)
		b = append(append(b, be(4, uint64(len(packed)))...), packed...)
	}
	return append(b, be(4, 0)...)
}

func dfs20(before [][]byte, after ...[]byte) []byte {
	first := bytes.Join(before, nil)
	b := append([]byte(dfsPrefix), be(8, uint64(14+len(first)))...)
	b = append(b, first...)
	b = append(append(b, be(8, 5)...), "index"...)
	return append(b, bytes.Join(after, nil)...)
}

// Both formats are read entry by entry, later ones of an id too.
func TestRead(t *testing.T) {
	want := []record.Record{rec(0, "root", 1, 2), rec(1, ""), rec(7, "seven"), rec(1, "one", 0), rec(2, "two")}
	for name, content := range map[string][]byte{
		"shelf":             shelf(shelfTransaction(want[:3]...), shelfTransaction(), shelfTransaction(want[3:]...)),
		"shelf, empty base": shelf(shelfTransaction(), shelfTransaction(want...)),
		"DFS20":             dfs20([][]byte{dfsTransaction(want[:3]...)}, dfsTransaction(want[3:]...)),
		"DFS20, more":       dfs20([][]byte{dfsTransaction(want[0]), dfsTransaction(), dfsTransaction(want[1:4]...)}, dfsTransaction(), dfsTransaction(want[4])),
		"DFS20, new":        dfs20(nil, dfsTransaction(want...)),
	} {
		t.Run(name, func(t *testing.T) {
			got, err := read(t, file(t, content))
			require.NoError(t, err)
			require.Equal(t, want, got)
		})
	}
	for _, content := range [][]byte{shelf(shelfTransaction()), dfs20(nil)} {
		got, err := read(t, file(t, content))
		require.NoError(t, err)
		require.Empty(t, got)
	}
}

// A file that was cut off anywhere in its last transaction yields those before it, and ErrTorn.
func TestTorn(t *testing.T) {
	first, second := []record.Record{rec(0, "root", 1), rec(1, "")}, []record.Record{rec(0, "changed"), rec(1, "changed")}
	for _, c := range [][2][]byte{
		{shelf(shelfTransaction(first...)), shelfTransaction(second...)},
		{dfs20([][]byte{dfsTransaction(first...)}), dfsTransaction(second...)},
	} {
		for n := 1; n < len(c[1]); n++ {
			got, err := read(t, file(t, append(bytes.Clone(c[0]), c[1][:n]...)))
			require.ErrorIs(t, err, ErrTorn, "%d", n)
			require.ErrorIs(t, err, ErrDamaged)
			require.Equal(t, first, got)
		}
	}
}

// Durus writes 0 for the length of a transaction, then its entries, and then the length. A crash in between
// leaves entries behind a 0, or what has arrived of them.
func TestTornBeforeItsLength(t *testing.T) {
	first := []record.Record{rec(0, "root", 1), rec(1, "")}
	for _, second := range [][]record.Record{
		{rec(1, "changed")}, {rec(0, "changed", 1), rec(1, "changed")}, {rec(30, string(make([]byte, 100))), rec(31, "new")},
	} {
		whole := shelfTransaction(second...)
		copy(whole, make([]byte, 8))
		for n := 8 + 1; n <= len(whole); n++ {
			got, err := read(t, file(t, append(shelf(shelfTransaction(first...), shelfTransaction()), whole[:n]...)))
			require.ErrorIs(t, err, ErrTorn, "%d", n)
			require.Equal(t, first, got)
		}
	}
}

// What is damaged behind a good entry is no such end, also when an empty transaction comes before it.
func TestDamagedBehindAnEmptyTransaction(t *testing.T) {
	bad := shelfTransaction(rec(1, "one"), rec(2, "two"))
	bad[len(bad)-len("two")-4-1]++ // the id in the second record
	got, err := read(t, file(t, append(shelf(shelfTransaction(rec(0, "root")), shelfTransaction()), bad...)))
	require.ErrorIs(t, err, ErrDamaged)
	require.NotErrorIs(t, err, ErrTorn)
	require.Equal(t, []record.Record{rec(0, "root"), rec(1, "one")}, got)
}

// Only the end of a file can be torn: a transaction that Durus itself would not cut off is damaged.
func TestDamagedWithMoreBehind(t *testing.T) {
	cut := shelfTransaction(rec(0, "root"))
	cut = cut[:len(cut)-1]
	long := dfsTransaction(rec(0, "root"))
	long[3] += 100
	for name, content := range map[string][]byte{
		"the first of a shelf":         append([]byte(shelfPrefix), cut...),
		"no length of the first":       append([]byte(shelfPrefix), 0, 0, 0),
		"one before the index":         dfs20([][]byte{long}, dfsTransaction(rec(1, "one"))),
		"one without an end before it": dfs20([][]byte{dfsTransaction(rec(0, "root"))[:20]}, dfsTransaction(rec(1, "one"))),
	} {
		t.Run(name, func(t *testing.T) {
			got, err := read(t, file(t, content))
			require.ErrorIs(t, err, ErrDamaged)
			require.NotErrorIs(t, err, ErrTorn)
			require.Empty(t, got)
		})
	}
}

func TestDamaged(t *testing.T) {
	for _, content := range []string{"", "SHELF", "SHELF-2\n", "DFS10\x00aaaaaaaa"} {
		_, err := Open(file(t, []byte(content)))
		require.ErrorIs(t, err, ErrFormat)
	}
	_, err := Open(t.TempDir())
	require.ErrorIs(t, err, ErrFormat)
	good := shelfTransaction(rec(0, "root"))
	other := bytes.Clone(good)
	other[8+8+7] = 1
	short := bytes.Clone(good)
	short[8+7] = 3
	for name, content := range map[string][]byte{
		"no map":        append([]byte(shelfPrefix), good...),
		"map too long":  append(append([]byte(shelfPrefix), good...), bytes.Repeat([]byte{1}, 40)...),
		"two ids":       shelf(other),
		"short entry":   shelf(short),
		"index in head": append([]byte(dfsPrefix), be(8, 3)...),
		"no index":      append([]byte(dfsPrefix), be(8, 14)...),
		"short record":  dfs20(nil, append(be(4, 3), 1, 2, 3, 0, 0, 0, 0)),
	} {
		_, err := read(t, file(t, content))
		require.ErrorIs(t, err, ErrDamaged, name)
	}
}

func sequence(records []record.Record) iter.Seq2[record.Record, error] {
	return func(yield func(record.Record, error) bool) {
		for _, r := range records {
			if !yield(r, nil) {
				return
			}
		}
	}
}

// A small file, byte by byte.
func TestWriteGolden(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out")
	n, err := Write(path, sequence([]record.Record{rec(0, "a", 2), rec(2, "")}), nil)
	require.NoError(t, err)
	require.Equal(t, int64(2), n)
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	want, err := hex.DecodeString(strings.ReplaceAll(
		"5348454c462d310a 0000000000000041"+ // prefix; bytes of the transaction
			"000000000000001d 0000000000000000 0000000000000000 00000001 61 0000000000000002"+
			"0000000000000014 0000000000000002 0000000000000002 00000000"+
			"0000000000000014 0000000000000001 0000000000000004"+ // 4 places of 1 byte, at 81
			"10 54 35 52", " ", "")) // the entries at 16 and 53; holes: 1, then 3, which leads to 1
	require.NoError(t, err)
	require.Equal(t, hex.Dump(want), hex.Dump(got))
}

// lookups reads a file as Durus does: by the map of offsets.
type lookups struct {
	b        []byte
	begin    int
	width, n int
}

func newLookups(t *testing.T, path string) lookups {
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	begin := 16 + int(binary.BigEndian.Uint64(b[8:]))
	l := lookups{b, begin, int(binary.BigEndian.Uint64(b[begin+8:])), int(binary.BigEndian.Uint64(b[begin+16:]))}
	require.Equal(t, 16+l.width*l.n, int(binary.BigEndian.Uint64(b[begin:])))
	require.Len(t, b, begin+24+l.width*l.n)
	return l
}

func (l lookups) place(i int) int {
	var b [8]byte
	copy(b[8-l.width:], l.b[l.begin+24+i*l.width:][:l.width])
	return int(binary.BigEndian.Uint64(b[:]))
}

func (l lookups) holes() (all []int) {
	if l.n == 0 {
		return nil
	}
	for at := l.n - 1; ; {
		at = l.place(at) - l.begin
		all = append(all, at)
		if at == l.n-1 {
			return all
		}
	}
}

// What is written is read, by its entries and by its map of offsets, and the holes of the map are the ids
// without a record.
func TestWrite(t *testing.T) {
	for range 30 {
		rnd := rand.New(rand.NewPCG(rand.Uint64(), 0))
		want := map[record.ID]record.Record{}
		for range rnd.IntN(200) {
			id := record.ID(rnd.IntN(1 + rnd.IntN(3000)))
			want[id] = rec(id, strings.Repeat("x", rnd.IntN(100)), record.ID(rnd.IntN(9)))
		}
		var all []record.Record
		for _, r := range want {
			all = append(all, r)
		}
		path := filepath.Join(t.TempDir(), "out")
		require.NoError(t, os.WriteFile(path+partSuffix, []byte("what another one has left"), 0o600))
		n, err := Write(path, sequence(all), nil)
		require.NoError(t, err)
		require.Len(t, want, int(n))
		require.NoFileExists(t, path+partSuffix)
		got, err := read(t, path)
		require.NoError(t, err)
		require.Equal(t, all, got)
		l := newLookups(t, path)
		holes := map[int]bool{}
		for _, hole := range l.holes() {
			require.False(t, holes[hole])
			holes[hole] = true
		}
		for i := range l.n {
			r, there := want[record.ID(i)]
			require.Equal(t, !there, holes[i])
			if there {
				require.Less(t, l.place(i), l.begin)
				require.Equal(t, r.Append(be(8, uint64(i))), l.b[l.place(i)+8:][:8+len(r.Append(nil))])
			}
		}
		require.Equal(t, len(want), l.n-len(holes))
	}
}

func TestWriteErrors(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "out")
	broken := errors.New("broken")
	_, err := Write(path, func(yield func(record.Record, error) bool) { yield(record.Record{}, broken) }, nil)
	require.ErrorIs(t, err, broken)
	require.NoFileExists(t, path)
	_, err = Write(path, sequence([]record.Record{rec(1<<40, "")}), nil)
	require.ErrorContains(t, err, "expected at most 2147483648")
	require.NoError(t, os.WriteFile(path, []byte("mine"), 0o600))
	_, err = Write(path, sequence(nil), nil)
	require.ErrorIs(t, err, fs.ErrExist)
	kept, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "mine", string(kept))
}

// Records of a file come into a store and out of it again.
func TestThroughAStore(t *testing.T) {
	want := []record.Record{rec(0, "root", 1, 2), rec(1, "one", 0), rec(2, "two"), rec(9, "nobody refers to it")}
	in := file(t, dfs20([][]byte{dfsTransaction(rec(0, "old"), want[1])}, dfsTransaction(want[0], want[2], want[3])))
	st, err := record.Open(filepath.Join(t.TempDir(), "store"), nil)
	require.NoError(t, err)
	defer st.Close()
	f, err := Open(in)
	require.NoError(t, err)
	defer f.Close()
	_, err = st.Import(t.Context(), f.Records(nil), nil)
	require.NoError(t, err)
	require.NoError(t, st.Check(t.Context()))
	out := filepath.Join(t.TempDir(), "out")
	_, err = Write(out, st.All(), nil)
	require.NoError(t, err)
	got, err := read(t, out)
	require.NoError(t, err)
	require.ElementsMatch(t, want, got)
}

// FuzzRead reads bytes as a file: that ends with records or an error.
func FuzzRead(f *testing.F) {
	f.Add(shelf(shelfTransaction(rec(0, "root", 1)), shelfTransaction(rec(1, ""))))
	f.Add(dfs20([][]byte{dfsTransaction(rec(0, "root", 1))}, dfsTransaction(rec(1, ""))))
	path := filepath.Join(f.TempDir(), "file")
	f.Fuzz(func(t *testing.T, b []byte) {
		require.NoError(t, os.WriteFile(path, b, 0o600))
		file, err := Open(path)
		if err != nil {
			return
		}
		defer file.Close()
		total := 0
		for r, err := range file.Records(nil) {
			if err != nil {
				break
			}
			total += len(r.Append(nil))
		}
		require.LessOrEqual(t, total, len(b))
	})
}
