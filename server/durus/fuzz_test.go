package durus

import (
	"bytes"
	"io"
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/shm/record"
)

// FuzzInput sends bytes to a server. Whatever they are, the books of the store stay right, what
// another client has stored stays unless the bytes are a commit, and that client is served.
func FuzzInput(f *testing.F) {
	for _, seed := range [][]byte{
		append([]byte{'V'}, be4(1)...), {'N'}, {'M', 3}, {'S', 'S', 'P'}, append([]byte{'L'}, be8(0)...),
		append(append([]byte{'B'}, be4(2)...), be8(0, 1)...),
		append(append([]byte{'C'}, be4(len(entries(rec(0, "new", 1))))...), entries(rec(0, "new", 1))...),
		append(append([]byte{'N', 'C'}, be4(len(entries(rec(2, "new", 1))))...), entries(rec(2, "new", 1))...),
		{'C', 0, 0, 0, 0, '.'},
	} {
		f.Add(seed)
	}
	w := serve(f, f.TempDir(), Options{MaxCommit: 1 << 16}, nil)
	good := w.dial("unix")
	good.newIDs(2)
	good.commits(rec(0, "root", 1), rec(1, "one"))
	f.Fuzz(func(t *testing.T, input []byte) {
		if bytes.ContainsAny(input, "Q") {
			t.Skip()
		}
		nc, err := net.Dial("unix", w.unix)
		require.NoError(t, err)
		defer nc.Close()
		go func() {
			_, _ = nc.Write(input)
			_ = nc.(*net.UnixConn).CloseWrite()
		}()
		_, _ = io.Copy(io.Discard, nc)
		good.t = t
		good.sync()
		status, _ := good.load(0)
		require.Equal(t, "O", string(status))
		require.NoError(t, w.st.Check(t.Context()))
	})
}

// FuzzCommit parses bytes as a commit. What is accepted is what entries makes of the records.
func FuzzCommit(f *testing.F) {
	f.Add(entries(rec(0, "data", 1, 2), rec(7, "")))
	f.Add([]byte{0, 0, 0, 8})
	f.Fuzz(func(t *testing.T, b []byte) {
		var all []record.Record
		if parseCommit(b, func(r record.Record) error { all = append(all, r); return nil }) == nil {
			require.Equal(t, string(b), string(entries(all...)))
		}
	})
}
