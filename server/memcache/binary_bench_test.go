package memcache

import (
	"bytes"
	"strings"
	"testing"
)

// BenchmarkBinary measures a round trip of one connection, or of 64 requests sent together.
func BenchmarkBinary(b *testing.B) {
	_, path := serve(b, Options{})
	nc := dial(b, path)
	value := strings.Repeat("v", 100)
	for _, c := range []struct {
		name string
		req  req
		many int
	}{
		{"set", req{op: opSet, key: "a", extras: keep, value: value}, 1},
		{"get", req{op: opGet, key: "a"}, 1},
		{"get-pipelined-64", req{op: opGet, key: "a"}, 64},
		{"set-pipelined-64", req{op: opSet, key: "a", extras: keep, value: value}, 64},
	} {
		b.Run(c.name, func(b *testing.B) {
			one := c.req.packet(b, nil, 1)
			all := bytes.Repeat(one, c.many)
			answers := make([]byte, 64<<10)
			length := 0 // of an answer
			b.ReportAllocs()
			for n := 0; n < b.N; n += c.many {
				if _, err := nc.Write(all); err != nil {
					b.Fatal(err)
				}
				for got := 0; length == 0 || got < length*c.many; {
					m, err := nc.Read(answers[got:])
					if err != nil {
						b.Fatal(err)
					}
					got += m
					if length == 0 && got >= headerBytes {
						length = headerBytes + int(answers[11]) + int(answers[10])<<8
					}
				}
			}
		})
	}
}
