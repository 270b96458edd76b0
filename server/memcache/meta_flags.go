package memcache

import "time"

// metaFlags are the flags of a request of the meta protocol. Of these each command looks at
// some, and the others it permits:
//
//	b  the key is encoded in base64
//	c  answer with the unique number of the item
//	f  … with its flags
//	h  … with 1 if it was read before, else 0
//	k  … with its key
//	l  … with the seconds since it was used
//	s  … with the size of its value
//	t  … with the seconds until it ends, or -1
//	v  … with its value
//	q  do not answer in the usual case
//	u  do not count as a use
//	I  make the item stale, in place of deleting it; or store it as stale, if C is outdated
//	x  remove the value, in place of the item
//	C  number: the item must have this unique number
//	D  number: by how much to count
//	E  number: the unique number of what is written
//	F  number: the flags of what is written
//	J  number: where to begin to count
//	M  letter: the mode
//	N  time: make an item with this exptime if there is none
//	O  text: answer with it
//	R  time: win if the item ends within it
//	T  time: the exptime of what is written
//	L  text, and P: for proxies
type metaFlags struct {
	order     [maxMetaWords]byte // their letters
	n         int
	opaque    [maxOpaque]byte
	opaqueLen int

	encoded, withValue, quiet, unused, stale, empty bool // b v q u I x
	mode                                            byte // of M, or 0
	ttl, vivify, recache                            metaTime
	compare, token                                  metaNumber // C E
	flags                                           uint32
	delta, initial                                  uint64
	longOpaque                                      bool
	asksUse                                         bool // h or l
}

// maxOpaque is the largest length of the text of O.
const maxOpaque = 31

// A metaTime is the argument of T, N and R.
type metaTime struct {
	given   bool
	exptime int32
}

// A metaNumber is the argument of C and E.
type metaNumber struct {
	given bool
	n     uint64
}

func (t metaTime) expires(s *Server) time.Time { return s.expiry(int64(t.exptime)) }

// letters returns the letters of the flags, in the order of the request.
func (f *metaFlags) letters() []byte { return f.order[:f.n] }

const (
	wrongFlag   = "CLIENT_ERROR invalid flag"
	wrongTwice  = "CLIENT_ERROR duplicate flag"
	wrongToken  = "CLIENT_ERROR bad token in command line format"
	wrongKey    = "CLIENT_ERROR error decoding key"
	wrongMode   = "CLIENT_ERROR incorrect length for M token"
	wrongStart  = "CLIENT_ERROR invalid numeric initial value"
	wrongDelta  = "CLIENT_ERROR invalid numeric delta value"
	wrongOpaque = "CLIENT_ERROR opaque token too long"
)

// parse reads the flags, and returns the line of an error, or nothing. Of several errors the
// last one counts, and one after which it cannot go on.
func (f *metaFlags) parse(words [][]byte) (wrong string) {
	var seen [2]uint64 // a bit for each letter
	for _, word := range words {
		letter, arg := word[0], word[1:]
		bit := uint64(1) << (letter % 64)
		if letter >= 127 || seen[letter/64]&bit != 0 {
			return wrongTwice
		}
		seen[letter/64] |= bit
		f.order[f.n] = letter
		f.n++
		failed := ""
		switch letter {
		case 'c', 'f', 'k', 's', 't', 'L', 'P':
		case 'h', 'l':
			f.asksUse = true
		case 'b':
			f.encoded = true
		case 'v':
			f.withValue = true
		case 'q':
			f.quiet = true
		case 'u':
			f.unused = true
		case 'I':
			f.stale = true
		case 'x':
			f.empty = true
		case 'C':
			failed = f.compare.parse(arg)
		case 'E':
			failed = f.token.parse(arg)
		case 'T':
			failed = f.ttl.parse(arg)
		case 'N':
			failed = f.vivify.parse(arg)
		case 'R':
			failed = f.recache.parse(arg)
		case 'F':
			n, ok := parseUint32(arg)
			if f.flags = n; !ok && wrong == "" {
				failed = badLine
			}
		case 'D':
			n, ok := parseUint64(arg)
			if f.delta = n; !ok {
				failed = wrongDelta
			}
		case 'J':
			n, ok := parseUint64(arg)
			if f.initial = n; !ok {
				failed = wrongStart
			}
		case 'M':
			if len(arg) == 1 {
				f.mode = arg[0]
			} else {
				failed = wrongMode
			}
		case 'O':
			f.opaqueLen = copy(f.opaque[:], arg)
			f.longOpaque = len(arg) > maxOpaque
		default:
			return wrongFlag
		}
		if failed != "" {
			wrong = failed
		}
	}
	return wrong
}

func (t *metaTime) parse(arg []byte) (wrong string) {
	n, ok := parseInt32(arg)
	if t.given, t.exptime = ok, n; !ok {
		return wrongToken
	}
	return ""
}

func (c *metaNumber) parse(arg []byte) (wrong string) {
	n, ok := parseUint64(arg)
	if c.given, c.n = ok, n; !ok {
		return wrongToken
	}
	return ""
}
