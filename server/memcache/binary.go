package memcache

import (
	"encoding/binary"
	"errors"

	"github.com/seed-869cc763/shmkv/shm"
)

// The binary protocol. A request and an answer are a packet each: a header of 24 bytes, and
// then the extras, the key and the value, whose lengths the header tells. All numbers are
// big-endian.
//
//	0   1  0x80 in a request, 0x81 in an answer
//	1   1  opcode
//	2   2  length of the key
//	4   1  length of the extras
//	5   1  type of the data; nobody looks at it
//	6   2  0 in a request, the status in an answer
//	8   4  length of extras, key and value together
//	12  4  opaque: an answer has that of its request
//	16  8  the item's unique number; 0 for none
//
// A quiet form of an opcode is answered if something failed, and gets also if they have found
// the item. So a client sends quiet requests, and a loud one whose answer tells that all are
// done.
//
// It differs from memcached 1.6.18 in this: the bytes of a request with an unknown opcode are
// forgotten whole, where memcached takes more than them if there is a key; a value of 2 GiB
// or more is refused and forgotten, where memcached reads requests in it; there is verbosity;
// and the statistics of sizes always have an end.

// headerBytes is the length of a header.
const headerBytes = 24

// binaryAnswer is the first byte of an answer.
const binaryAnswer = 0x81

// The opcodes.
const (
	opGet        = 0x00
	opSet        = 0x01
	opAdd        = 0x02
	opReplace    = 0x03
	opDelete     = 0x04
	opIncrement  = 0x05
	opDecrement  = 0x06
	opQuit       = 0x07
	opFlush      = 0x08
	opGetQ       = 0x09
	opNoop       = 0x0a
	opVersion    = 0x0b
	opGetK       = 0x0c
	opGetKQ      = 0x0d
	opAppend     = 0x0e
	opPrepend    = 0x0f
	opStat       = 0x10
	opSetQ       = 0x11
	opAddQ       = 0x12
	opReplaceQ   = 0x13
	opDeleteQ    = 0x14
	opIncrementQ = 0x15
	opDecrementQ = 0x16
	opQuitQ      = 0x17
	opFlushQ     = 0x18
	opAppendQ    = 0x19
	opPrependQ   = 0x1a
	opVerbosity  = 0x1b
	opTouch      = 0x1c
	opGat        = 0x1d
	opGatQ       = 0x1e
	opSASLList   = 0x20
	opSASLAuth   = 0x21
	opSASLStep   = 0x22
	opGatK       = 0x23
	opGatKQ      = 0x24
)

// loud returns the loud form of a quiet opcode. Other opcodes stay as they are.
func loud(opcode byte) (op byte, quiet bool) {
	switch opcode {
	case opGetQ:
		return opGet, true
	case opGetKQ:
		return opGetK, true
	case opGatQ:
		return opGat, true
	case opGatKQ:
		return opGatK, true
	case opDeleteQ, opIncrementQ, opDecrementQ, opQuitQ, opFlushQ:
		return opcode - (opDeleteQ - opDelete), true
	case opSetQ, opAddQ, opReplaceQ:
		return opcode - (opSetQ - opSet), true
	case opAppendQ, opPrependQ:
		return opcode - (opAppendQ - opAppend), true
	}
	return opcode, false
}

// A packet is the header of a request.
type packet struct {
	opcode byte // as it was sent
	op     byte // its loud form
	quiet  bool
	key    int // lengths
	extras int
	body   int
	opaque uint32
	unique uint64
}

// readPacket takes a header apart.
func readPacket(h []byte) packet {
	p := packet{
		opcode: h[1],
		key:    int(binary.BigEndian.Uint16(h[2:])),
		extras: int(h[4]),
		body:   int(binary.BigEndian.Uint32(h[8:])),
		opaque: binary.BigEndian.Uint32(h[12:]),
		unique: binary.BigEndian.Uint64(h[16:]),
	}
	p.op, p.quiet = loud(p.opcode)
	return p
}

// value is the length of the value.
func (p *packet) value() int { return p.body - p.key - p.extras }

// binary executes the request of the binary protocol that is next in the input. It leaves the
// header in the input until all is there that it needs, so that the connection is not idle.
func (c *conn) binary() error {
	if err := c.flushFull(); err != nil {
		return err
	}
	h, err := c.in.ahead(headerBytes)
	if err != nil {
		return err
	}
	if h[0] != binaryRequest {
		return errClose
	}
	p := readPacket(h)
	if c.srv.verbose.Load() > 1 {
		c.srv.log.Info("request", "conn", c.fd, "opcode", p.opcode, "key", p.key, "extras", p.extras, "body", p.body)
	}
	c.answers++
	switch {
	case p.value() < 0:
		c.refuse(&p, statusUnknown)
		return errClose
	case p.key > maxKey:
		if err := c.in.discard(headerBytes + p.extras + p.key); err != nil {
			return err
		}
		return c.invalid(&p)
	case !p.known():
		c.refuse(&p, statusUnknown)
		return c.in.discard(headerBytes + p.body)
	case !p.valid():
		return c.invalid(&p)
	}
	return c.execute(&p)
}

// invalid answers a request whose lengths are none that its opcode has, and ends the
// connection.
func (c *conn) invalid(p *packet) error {
	c.refuse(p, statusInvalid)
	return errClose
}

// known reports whether the server has the opcode. A server without authentication has not
// those of SASL. memcached has no verbosity, so one without the level is unknown.
func (p *packet) known() bool {
	switch p.op {
	case opSASLList:
		return p.body > 0 // is invalid
	case opSASLAuth, opSASLStep:
		return p.extras != 0 || p.key == 0 // is invalid
	case opVerbosity:
		return p.extras == 4 && p.body == 4
	}
	return p.op <= opPrepend || p.op == opStat || p.op >= opTouch && p.op <= opGat || p.op == opGatK
}

// valid reports whether the lengths are those that the opcode has. As in memcached, some
// opcodes do not look at the length of the value, which is not theirs: see execute.
func (p *packet) valid() bool {
	switch p.op {
	case opGet, opGetK, opDelete:
		return p.extras == 0 && p.key > 0 && p.value() == 0
	case opSet, opAdd, opReplace:
		return p.extras == 8 && p.key > 0
	case opAppend, opPrepend:
		return p.extras == 0 && p.key > 0
	case opIncrement, opDecrement:
		return p.extras == 20 && p.key > 0 && p.value() == 0
	case opTouch, opGat, opGatK:
		return p.extras == 4 && p.key > 0
	case opStat:
		return p.extras == 0
	case opFlush:
		return p.key == 0 && p.value() == 0 && (p.extras == 0 || p.extras == 4)
	case opQuit, opNoop, opVersion:
		return p.body == 0
	}
	return p.op == opVerbosity
}

// execute executes a request whose lengths are valid. A touch or a stat with a value leaves it
// in the input, as memcached does, and the connection ends if it is not a request.
func (c *conn) execute(p *packet) error {
	switch p.op {
	case opGet, opGetK:
		return c.binaryGets(p)
	case opSet, opAdd, opReplace:
		return c.binaryStore(p)
	case opAppend, opPrepend:
		return c.binaryConcat(p)
	}
	b, err := c.in.data(headerBytes + p.extras + p.key)
	if err != nil {
		return err
	}
	extras, key := b[headerBytes:headerBytes+p.extras], b[headerBytes+p.extras:]
	switch p.op {
	case opTouch, opGat, opGatK:
		c.binaryTouch(p, key, binary.BigEndian.Uint32(extras))
	case opDelete:
		c.binaryDelete(p, key)
	case opIncrement, opDecrement:
		c.binaryCount(p, key, extras)
	case opFlush:
		c.binaryFlush(p, extras)
	case opStat:
		c.binaryStat(p, key)
	case opVerbosity:
		c.binaryVerbosity(p, binary.BigEndian.Uint32(extras))
	case opVersion:
		c.header(p, statusOK, 0, 0, len(Version), 0)
		c.out = append(c.out, Version...)
	case opNoop:
		c.done(p, 0)
	case opQuit:
		c.done(p, 0)
		return errClose
	}
	return nil
}

// The statuses of answers.
const (
	statusOK        = 0x00
	statusNotFound  = 0x01
	statusExists    = 0x02
	statusTooLarge  = 0x03
	statusInvalid   = 0x04
	statusNotStored = 0x05
	statusNotNumber = 0x06
	statusRefused   = 0x20
	statusUnknown   = 0x81
	statusNoMemory  = 0x82
	statusInternal  = 0x84
)

// statusText has the text of each status, to the letter of memcached.
var statusText = [256]string{
	statusNotFound:  "Not found",
	statusExists:    "Data exists for key.",
	statusTooLarge:  "Too large.",
	statusInvalid:   "Invalid arguments",
	statusNotStored: "Not stored.",
	statusNotNumber: "Non-numeric server-side value for incr or decr",
	statusRefused:   "Auth failure.",
	statusUnknown:   "Unknown command",
}

// header appends the header of an answer.
func (c *conn) header(p *packet, status, key, extras, body int, unique uint64) {
	c.out = append(c.out, make([]byte, headerBytes)...)
	putHeader(c.out[len(c.out)-headerBytes:], p, status, key, extras, body, unique)
}

// putHeader writes the header of an answer.
func putHeader(h []byte, p *packet, status, key, extras, body int, unique uint64) {
	h[0], h[1] = binaryAnswer, p.opcode
	binary.BigEndian.PutUint16(h[2:], uint16(key))
	h[4], h[5] = byte(extras), 0
	binary.BigEndian.PutUint16(h[6:], uint16(status))
	binary.BigEndian.PutUint32(h[8:], uint32(body))
	binary.BigEndian.PutUint32(h[12:], p.opaque)
	binary.BigEndian.PutUint64(h[16:], unique)
}

// done answers a request that was carried out, unless it is a quiet one.
func (c *conn) done(p *packet, unique uint64) {
	if !p.quiet {
		c.header(p, statusOK, 0, 0, 0, c.shown(unique))
	}
}

// refuse answers a request that failed, also a quiet one.
func (c *conn) refuse(p *packet, status int) { c.refuseWith(p, status, statusText[status]) }

func (c *conn) refuseWith(p *packet, status int, text string) {
	c.header(p, status, 0, 0, len(text), 0)
	c.out = append(c.out, text...)
}

// broken answers a request that the cache could not carry out. Without room in the store the
// answer has the given text.
func (c *conn) broken(p *packet, err error, noRoom string) {
	if errors.Is(err, shm.ErrFull) {
		c.refuseWith(p, statusNoMemory, noRoom)
	} else {
		c.refuseWith(p, statusInternal, oneLine(err.Error()))
	}
}
