package memcache

import (
	"encoding/base64"
	"strconv"
	"strings"
	"time"

	"github.com/seed-869cc763/shmkv/shm"
	"github.com/seed-869cc763/shmkv/shm/cache"
)

// The meta protocol: mg reads, ms stores, md deletes, ma counts, me describes an item, and mn
// does nothing. A request is a line of the command, the key, with ms the length of the value
// that follows, and flags of one letter each, with an argument or without. See metaFlags.
//
// Two marks of an item are of this protocol: it is stale, and a client was told that it has
// won, which is that this client is to store it anew. They go when the item is written.
const (
	markStale uint8 = 1 << iota
	markWon
)

// A meta is a request of the meta protocol that is carried out. It is part of work, so that the
// function that it gives to the cache is not allocated for each.
type meta struct {
	c   *conn
	key []byte // memory of work
	metaFlags

	decide decision                                                         // of the command
	step   func(it cache.Item, exists bool) (cache.Item, shm.Action, error) // calls decide

	// What the answer is made of.
	begin   int        // of the answer in the output
	verb    verb       // of what stores
	outcome outcome    // of what is not a read
	found   bool       // there was an item
	created bool       // there is one now
	won     bool       // and the client is to store it
	item    cache.Item // with its token, flags, marks and expiry before
	expires time.Time  // afterwards
	size    int        // of its value
	ago     int64      // seconds since its last use
	read    bool       // it was read before
	value   []byte     // to be stored
	block   *block     // memory for a longer one; nil if it needs none
	large   bool       // the last value that mg has read was

	// Of ma.
	up        bool
	notNumber bool
	digits    [maxDigits]byte
}

// meta executes a command of the meta protocol.
func (c *conn) meta(line []byte) error {
	args, _ := c.split(line)
	c.room(maxMetaAnswer)
	m := &c.work.meta
	var err error
	switch args[0][1] {
	case 'n':
		return c.say("MN")
	case 'g':
		err = m.get(c, line, args)
	case 's':
		err = m.set(c, args)
	case 'd':
		err = m.delete(c, args)
	case 'a':
		err = m.count(c, args)
	case 'e':
		err = m.describe(c, args)
	default:
		return c.say("ERROR")
	}
	giveBlock(m.block)
	m.c, m.value, m.block = nil, nil, nil
	return err
}

// maxMetaAnswer is more than the length of an answer without its value.
const maxMetaAnswer = 1024

// maxMetaWords is the largest number of words of a request.
const maxMetaWords = 19

// start takes a request without a value apart. Without ok it has answered already.
func (m *meta) start(c *conn, args [][]byte, tooLong, badFlags string) (ok bool) {
	switch {
	case len(args) < 2:
		_ = c.say("ERROR")
		return false
	case len(args[1]) > maxKey:
		_ = c.say(badLine)
		return false
	case len(args) > maxMetaWords:
		_ = c.say(tooLong)
		return false
	}
	if wrong := m.parse(c, args[1], args[2:]); wrong != "" {
		if badFlags != "" {
			wrong = badFlags
		}
		_ = c.say(wrong)
		return false
	}
	return true
}

// parse takes the key and the flags of a request apart, and returns the line of an error, or
// nothing. It copies what the answer has of them, because reading a value moves them.
func (m *meta) parse(c *conn, key []byte, words [][]byte) (wrong string) {
	m.c, m.metaFlags = c, metaFlags{delta: 1}
	m.begins(nil)
	wrong = m.metaFlags.parse(words)
	if !m.encoded {
		m.key = append(c.work.key[:0], key...)
		return wrong
	}
	n, err := base64.StdEncoding.Decode(c.work.key[:], key)
	if m.key = c.work.key[:n]; (err != nil || n == 0) && wrong != wrongFlag && wrong != wrongTwice {
		wrong = wrongKey
	}
	return wrong
}

// begins begins the request for a key, whose flags are known.
func (m *meta) begins(key []byte) {
	m.key, m.begin = key, len(m.c.out)
	m.outcome, m.found, m.created, m.won = notStored, false, false, false
	m.item, m.expires, m.size = cache.Item{}, time.Time{}, 0
}

// A decision is what a command makes of the item that there is. It may be called several times
// for a request.
type decision func(m *meta, it cache.Item, exists bool) (cache.Item, shm.Action, error)

// compute lets decide carry the request out in one step.
func (m *meta) compute(decide decision) (made cache.Item, err error) {
	m.decide = decide
	return m.c.srv.cache.Compute(m.key, m.step)
}

// end ends a request, whose answer is the error of the cache if there is one.
func (m *meta) end(err error) error {
	if err == nil {
		return nil
	}
	m.c.out = m.c.out[:m.begin]
	return m.c.say(storeError(err))
}

// isStale reports whether an item is stale, by a request or by a Go process.
func isStale(it *cache.Item) bool { return it.Stale || it.Marks&markStale != 0 }

// remaining returns the seconds until a time, rounded up. -1 means never.
func (s *Server) remaining(t time.Time) int64 {
	if t.IsZero() {
		return -1
	}
	left := t.Sub(s.now())
	return max(0, int64((left+time.Second-1)/time.Second))
}

// appendHeader appends the line of an answer: its code, with a value the size of that, and
// those of the flags that are shown, in the order of the request.
func (m *meta) appendHeader(out []byte, code, shown string) []byte {
	out = append(out, code...)
	if code == "VA" {
		out = strconv.AppendInt(append(out, ' '), int64(m.size), 10)
	}
	expires := m.item.Expires
	for _, letter := range m.letters() {
		switch letter {
		case 'T': // what follows it in the request sees its effect
			expires = m.ttl.expires(m.c.srv)
			continue
		case 'N':
			if m.created {
				expires = m.vivify.expires(m.c.srv)
			}
			continue
		}
		if strings.IndexByte(shown, letter) < 0 {
			continue
		}
		out = append(out, ' ', letter)
		switch letter {
		case 'O':
			out = append(out, m.opaque[:m.opaqueLen]...)
		case 'k':
			out = m.appendKey(out)
			if m.encoded {
				out = append(out, " b"...)
			}
		case 's':
			out = strconv.AppendInt(out, int64(m.size), 10)
		case 'c':
			out = strconv.AppendUint(out, m.c.shown(m.item.Token), 10)
		case 'f':
			out = strconv.AppendUint(out, uint64(m.item.Flags), 10)
		case 't':
			out = strconv.AppendInt(out, m.c.srv.remaining(expires), 10)
		case 'h':
			out = append(out, '0'+byte(index(m.read)))
		case 'l':
			out = strconv.AppendInt(out, m.ago, 10)
		}
	}
	return out
}

// appendKey appends the key as the client sent it.
func (m *meta) appendKey(out []byte) []byte {
	if m.encoded {
		return base64.StdEncoding.AppendEncode(out, m.key)
	}
	return append(out, m.key...)
}
