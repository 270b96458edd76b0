package memcache

import (
	"math"
	"time"
)

// parseUint64 reads a number as memcached does: an optional sign, and digits to the end. A
// negative one is taken modulo 2^64 unless its absolute value is less than 2^63.
func parseUint64(b []byte) (n uint64, ok bool) {
	negative := false
	if len(b) > 0 && (b[0] == '-' || b[0] == '+') {
		negative = b[0] == '-'
		b = b[1:]
	}
	if len(b) == 0 {
		return 0, false
	}
	for _, d := range b {
		d -= '0'
		if d > 9 || n > math.MaxUint64/10 {
			return 0, false
		}
		if n *= 10; n > math.MaxUint64-uint64(d) {
			return 0, false
		}
		n += uint64(d)
	}
	if negative {
		n = -n
		if int64(n) < 0 {
			return 0, false
		}
	}
	return n, true
}

// parseUint32 is parseUint64 of a number that is cut off to 32 bits, as memcached does.
func parseUint32(b []byte) (uint32, bool) {
	n, ok := parseUint64(b)
	return uint32(n), ok
}

// parseInt32 reads a number with a sign, of 64 bits, and cuts it off to 32.
func parseInt32(b []byte) (int32, bool) {
	n, ok := parseInt64(b)
	return int32(n), ok
}

// parseInt64 reads a number with a sign.
func parseInt64(b []byte) (int64, bool) {
	if len(b) > 0 && b[0] == '-' {
		n, ok := parseUint64(b[1:])
		if len(b) > 1 && (b[1] == '-' || b[1] == '+') || n > 1<<63 {
			return 0, false
		}
		return -int64(n), ok
	}
	n, ok := parseUint64(b)
	return int64(n), ok && n <= math.MaxInt64
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
		return time.Unix(1, 0)
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
