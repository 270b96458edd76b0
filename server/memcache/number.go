package memcache

import (
	"bytes"
	"math"
	"strconv"
	"strings"
	"time"
)

// The numbers of a command line are read as memcached reads them, by C's strtoul and strtol:
// white space may come first, then a sign; a number ends at the end of the word or at white
// space that is no blank.

// digits returns the number that b is, without a sign, and whether there is a minus.
func digits(b []byte) (n uint64, minus, ok bool) {
	for len(b) > 0 && isSpace(b[0]) {
		b = b[1:]
	}
	if len(b) > 0 && (b[0] == '-' || b[0] == '+') {
		minus = b[0] == '-'
		b = b[1:]
	}
	for i, d := range b {
		if isSpace(d) && i > 0 {
			return n, minus, true
		}
		if d -= '0'; d > 9 || n > math.MaxUint64/10 {
			return 0, minus, false
		}
		if n *= 10; n > math.MaxUint64-uint64(d) {
			return 0, minus, false
		}
		n += uint64(d)
	}
	return n, minus, len(b) > 0
}

func isSpace(b byte) bool { return b == ' ' || b >= '\t' && b <= '\r' }

// parseUint64 reads a number without a sign. A negative one is taken modulo 2^64, if the result
// is less than 2^63, and is none else.
func parseUint64(b []byte) (n uint64, ok bool) {
	n, minus, ok := digits(b)
	if minus {
		n = -n
		ok = ok && int64(n) >= 0
	}
	return n, ok
}

// parseUint32 is parseUint64 without the upper 32 bits, as memcached reads flags.
func parseUint32(b []byte) (uint32, bool) {
	n, ok := parseUint64(b)
	return uint32(n), ok
}

// parseInt64 reads a number with a sign.
func parseInt64(b []byte) (int64, bool) {
	n, minus, ok := digits(b)
	if minus {
		return -int64(n), ok && n <= 1<<63
	}
	return int64(n), ok && n <= math.MaxInt64
}

// parseInt32 is parseInt64 without the upper 32 bits, as memcached reads lengths and times.
func parseInt32(b []byte) (int32, bool) {
	n, ok := parseInt64(b)
	return int32(n), ok
}

const spaces = " \t\n\v\f\r"

// parseStored reads the number that a value begins with, as memcached does to count: spaces may
// stand before it, and a sign, and any text may follow after a space or a zero byte.
func parseStored(value []byte) (n uint64, ok bool) {
	value = bytes.TrimLeft(value, spaces)
	end := bytes.IndexAny(value, spaces+"\x00")
	if end < 0 {
		end = len(value)
	}
	n, ok = parseUint64(value[:end])
	if ok && int64(n) < 0 { // memcached then looks for a minus anywhere
		text, _, _ := bytes.Cut(value, []byte{0})
		ok = bytes.IndexByte(text, '-') < 0
	}
	return n, ok
}

// counted returns the number that a value is, with delta added or subtracted. A sum begins again
// at 0 beyond the greatest number, and a difference is never less than 0.
func counted(value []byte, up bool, delta uint64) (n uint64, ok bool) {
	n, ok = parseStored(value)
	if up {
		return n + delta, ok
	}
	return n - min(n, delta), ok
}

// appendStored appends a number that is stored in place of a value of so many bytes. It keeps
// that length, by spaces behind it.
func appendStored(dst []byte, n uint64, length int) []byte {
	begin := len(dst)
	dst = strconv.AppendUint(dst, n, 10)
	for len(dst)-begin < length {
		dst = append(dst, ' ')
	}
	return dst
}

// maxRelative is the largest time to live that is relative, in seconds: 30 days.
const maxRelative = 60 * 60 * 24 * 30

// expiry returns when an item with memcached's exptime ends: 0 is never, up to 30 days count
// from now, more is a time since 1970, and a negative one has passed.
func (s *Server) expiry(exptime int64) time.Time {
	switch {
	case exptime == 0:
		return time.Time{}
	case exptime < 0:
		return longAgo
	case exptime <= maxRelative:
		return s.now().Add(time.Duration(exptime) * time.Second)
	}
	return time.Unix(exptime, 0)
}

// now returns the time by the clock of the server.
func (s *Server) now() time.Time {
	if s.opts.Clock != nil {
		return s.opts.Clock.Now()
	}
	return time.Now()
}

// longAgo is when an item with a negative exptime ends.
var longAgo = time.Unix(1, 0)

// parseFloat reads a number with a point, as C's strtod does in most cases.
func parseFloat(b []byte) (float64, bool) {
	f, err := strconv.ParseFloat(strings.TrimSpace(string(b)), 64)
	return f, err == nil
}

// shown returns the unique number of an item as clients see it.
func (c *conn) shown(token uint64) uint64 {
	if c.srv.opts.NoCAS {
		return 0
	}
	return token
}
