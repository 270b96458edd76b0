package memcache

import (
	"bytes"
	"io"
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// FuzzBinary sends any bytes behind the first byte of a request. The server must answer with
// packets, close the connection or wait for more, and must not keep much more than it got.
func FuzzBinary(f *testing.F) {
	for _, s := range binaryStories {
		var all []byte
		for i, step := range s.steps {
			step.unique = ""
			all = append(all, step.packet(f, nil, uint32(i))...)
		}
		if len(all) < 4096 {
			f.Add(all)
		}
	}
	f.Add([]byte("\x80\x12\x00\x01\x08\x00\x00\x00\xff\xff\xff\xe8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\xff\xff\x01\x00\x00\x00k"))
	_, path := serve(f, Options{})
	f.Fuzz(func(t *testing.T, requests []byte) {
		if len(requests) > 0 {
			requests[0] = binaryRequest
		}
		answers := exchangeBytes(t, path, requests)
		r := bytes.NewReader(answers)
		for r.Len() > 0 {
			a, err := readAnswer(r)
			require.NoError(t, err, "answers %x", answers)
			require.Less(t, len(a.value), 2<<20)
		}
	})
}

// exchangeBytes sends requests, and returns the answers until the server closes.
func exchangeBytes(t testing.TB, path string, requests []byte) []byte {
	nc, err := net.Dial("unix", path)
	require.NoError(t, err)
	defer nc.Close()
	require.NoError(t, nc.SetDeadline(time.Now().Add(time.Minute)))
	go func() {
		_, _ = nc.Write(requests) // the server may have closed
		_ = nc.(*net.UnixConn).CloseWrite()
	}()
	answers, err := io.ReadAll(nc)
	if err != nil {
		require.ErrorContains(t, err, "connection reset", "it is closed before it has read all")
	}
	return answers
}

// TestHostileLengthsTakeNoMemory sends the headers of values of 4 GiB, and values that never
// end, on many connections at once.
func TestHostileLengthsTakeNoMemory(t *testing.T) {
	_, path := serve(t, Options{})
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range 200 {
		u := uniques{}
		nc := dial(t, path)
		r := req{op: opSet, key: "k", extras: keep, wrong: &[3]uint32{1, 8, 0xffffffff - uint32(i)}}
		if i%2 == 0 {
			r.wrong = &[3]uint32{1, 8, 1<<20 - 200} // fits, and never comes
		}
		_, err := nc.Write(append(r.packet(t, u, 1), make([]byte, 100)...))
		require.NoError(t, err)
	}
	nc := dial(t, path)
	u := uniques{}
	_, err := nc.Write(req{op: opNoop}.packet(t, u, 1))
	require.NoError(t, err)
	_, err = readAnswer(nc)
	require.NoError(t, err)
	runtime.GC()
	runtime.ReadMemStats(&after)
	require.Less(t, int64(after.HeapAlloc)-int64(before.HeapAlloc), int64(20<<20))
}
