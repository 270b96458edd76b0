package memcache

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A req is a request of the binary protocol, or with raw any bytes.
type req struct {
	op     byte
	key    string
	extras string
	value  string
	unique string // a number, or $name for that of an answer, or $name+1
	raw    string
	// wrong replaces lengths in the header: of key, extras and body.
	wrong *[3]uint32
}

// An ans is an answer: to the request that it stands behind, and with its opcode unless it has
// one of its own.
type ans struct {
	op     byte
	status int
	key    string
	extras string
	value  string
	unique string // "" is 0, * is any but 0, $name the same wherever it stands, and not 0
}

// A step is a request with its answers.
type step struct {
	req
	answers []ans
}

// uniques are the numbers that answers of a story had.
type uniques map[string]uint64

// number returns the unique number of a request.
func (u uniques) number(t testing.TB, s string) uint64 {
	name, more := strings.CutSuffix(s, "+1")
	n, ok := u[name]
	if !ok && s != "" {
		var err error
		n, err = strconv.ParseUint(s, 10, 64)
		require.NoError(t, err, "no answer had %s", s)
	}
	if more {
		n++
	}
	return n
}

// packet returns the bytes of a request.
func (r req) packet(t testing.TB, u uniques, opaque uint32) []byte {
	if r.raw != "" {
		return []byte(r.raw)
	}
	lengths := [3]uint32{uint32(len(r.key)), uint32(len(r.extras)), uint32(len(r.key) + len(r.extras) + len(r.value))}
	if r.wrong != nil {
		lengths = *r.wrong
	}
	b := []byte{binaryRequest, r.op}
	b = binary.BigEndian.AppendUint16(b, uint16(lengths[0]))
	b = append(b, byte(lengths[1]), 0, 0, 0)
	b = binary.BigEndian.AppendUint32(b, lengths[2])
	b = binary.BigEndian.AppendUint32(b, opaque)
	b = binary.BigEndian.AppendUint64(b, u.number(t, r.unique))
	return append(b, r.extras+r.key+r.value...)
}

// A got is an answer as it came.
type got struct {
	op                 byte
	status             int
	key, extras, value string
	opaque             uint32
	unique             uint64
}

// readAnswer reads an answer.
func readAnswer(r io.Reader) (g got, err error) {
	var h [headerBytes]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return g, err
	}
	body := make([]byte, binary.BigEndian.Uint32(h[8:]))
	if _, err := io.ReadFull(r, body); err != nil {
		return g, fmt.Errorf("found the header %x without its body: %w", h, err)
	}
	key, extras := int(binary.BigEndian.Uint16(h[2:])), int(h[4])
	if h[0] != binaryAnswer || h[5] != 0 || key+extras > len(body) {
		return g, fmt.Errorf("found the header %x, expected one of an answer", h)
	}
	return got{
		op:     h[1],
		status: int(binary.BigEndian.Uint16(h[6:])),
		extras: string(body[:extras]),
		key:    string(body[extras : extras+key]),
		value:  string(body[extras+key:]),
		opaque: binary.BigEndian.Uint32(h[12:]),
		unique: binary.BigEndian.Uint64(h[16:]),
	}, nil
}

// check compares an answer with the expected one.
func (u uniques) check(t testing.TB, s step, want ans, opaque uint32, r *bufio.Reader) {
	g, err := readAnswer(r)
	require.NoError(t, err, "expected the answer %+v", want)
	op := s.op
	if want.op != 0 {
		op = want.op
	}
	unique := uint64(0)
	switch {
	case want.unique == "*":
		unique = g.unique
		require.NotZero(t, unique, "unique of %+v", g)
	case want.unique != "":
		known, ok := u[want.unique]
		if !ok {
			require.NotZero(t, g.unique, "unique of %+v", g)
			for name, n := range u {
				require.NotEqual(t, n, g.unique, "unique of %+v is that of %s", g, name)
			}
			known = g.unique
			u[want.unique] = known
		}
		unique = known
	}
	require.Equal(t, got{op, want.status, want.key, want.extras, want.value, opaque, unique}, g)
}

// text returns an answer with a status and its text, which a mistake in the server's table
// does not change.
func text(status int) []ans {
	return []ans{{status: status, value: map[int]string{
		0x01: "Not found",
		0x02: "Data exists for key.",
		0x03: "Too large.",
		0x04: "Invalid arguments",
		0x05: "Not stored.",
		0x06: "Non-numeric server-side value for incr or decr",
		0x20: "Auth failure.",
		0x81: "Unknown command",
	}[status]}}
}

// The extras of requests, and those of answers with an item.
func storing(flags, exptime uint32) string {
	return string(binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, flags), exptime))
}
func touching(exptime uint32) string { return string(binary.BigEndian.AppendUint32(nil, exptime)) }
func counting(delta, initial uint64, exptime uint32) string {
	return number(delta) + number(initial) + touching(exptime)
}
func number(n uint64) string    { return string(binary.BigEndian.AppendUint64(nil, n)) }
func flags(flags uint32) string { return touching(flags) }
