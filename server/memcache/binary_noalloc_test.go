//go:build !race

package memcache

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestBinaryAllocatesNothing counts what the server allocates for requests once it has warmed
// up. The client of the test allocates nothing either.
func TestBinaryAllocatesNothing(t *testing.T) {
	_, path := serve(t, Options{})
	nc := dial(t, path)
	value := strings.Repeat("v", 100)
	u := uniques{}
	for _, c := range []struct {
		name string
		reqs []req
	}{
		{"get", []req{{op: opGet, key: "a"}}},
		{"get of nothing", []req{{op: opGet, key: "b"}}},
		{"gets", []req{{op: opGetKQ, key: "a"}, {op: opGetQ, key: "b"}, {op: opGetQ, key: "a"}, {op: opNoop}}},
		{"set", []req{{op: opSet, key: "a", extras: keep, value: value}}},
		{"add", []req{{op: opDeleteQ, key: "x"}, {op: opAdd, key: "x", extras: storing(7, 100), value: value}}},
		{"replace", []req{{op: opReplace, key: "a", extras: keep, value: value}}},
		{"append", []req{{op: opSetQ, key: "x", extras: keep, value: value}, {op: opAppendQ, key: "x", value: value}, {op: opPrepend, key: "x", value: value}}},
		{"increment", []req{{op: opIncrement, key: "n", extras: counting(1, 100, 0)}}},
		{"decrement", []req{{op: opDecrement, key: "n", extras: counting(1, 100, 0)}}},
		{"touch", []req{{op: opTouch, key: "a", extras: touching(100)}}},
		{"gat", []req{{op: opGatK, key: "a", extras: touching(100)}}},
		{"delete", []req{{op: opSetQ, key: "x", extras: keep, value: value}, {op: opDelete, key: "x"}}},
		{"noop", []req{{op: opNoop}}},
	} {
		_, err := nc.Write(req{op: opSetQ, key: "a", extras: keep, value: value}.packet(t, u, 0))
		require.NoError(t, err)
		var requests []byte
		for _, r := range c.reqs {
			requests = append(requests, r.packet(t, u, 7)...)
		}
		answers := make([]byte, 4096)
		last := c.reqs[len(c.reqs)-1].op
		exchange := func() {
			if _, err := nc.Write(requests); err != nil {
				t.Fatal(err)
			}
			for n := 0; ; {
				m, err := nc.Read(answers[n:])
				if err != nil {
					t.Fatal(err)
				}
				if n += m; complete(answers[:n], last) {
					return
				}
			}
		}
		for range 100 {
			exchange()
		}
		// AllocsPerRun rounds down, and pools lose memory to a collection.
		require.Zero(t, testing.AllocsPerRun(500, exchange), c.name)
	}
}

// complete reports whether the last of answers is to this opcode, and whole.
func complete(answers []byte, op byte) bool {
	for len(answers) >= headerBytes {
		n := headerBytes + int(answers[8])<<24 + int(answers[9])<<16 + int(answers[10])<<8 + int(answers[11])
		if n >= len(answers) {
			return n == len(answers) && answers[1] == op
		}
		answers = answers[n:]
	}
	return false
}
