package memcache

import "strings"

// A binaryStory is a sequence of requests to an empty cache on one connection, with the answers of
// memcached 1.6.18.
type binaryStory struct {
	name   string
	steps  []step
	closed bool // the server closes the connection after the last answer
	// ours tells of a story in which the server differs from memcached, and why.
	ours string
}

var (
	stored1 = []ans{{unique: "*"}}
	done0   = []ans{{}}
	silent  = []ans(nil)
	noop    = step{req{op: 0x0a}, done0}
	keep    = storing(0, 0)
	miss    = text(0x01)
	exist   = text(0x02)
	nothing = text(0x81)
)

// item returns the answer to a get: flags, value and unique.
func item(f uint32, value, unique string) []ans {
	return []ans{{extras: flags(f), value: value, unique: unique}}
}

// keyed is item with a key.
func keyed(key string, f uint32, value, unique string) []ans {
	return []ans{{key: key, extras: flags(f), value: value, unique: unique}}
}

// count is the answer to an increment.
func count(n uint64, unique string) []ans { return []ans{{value: number(n), unique: unique}} }

var binaryStories = []binaryStory{
	{name: "get", steps: []step{
		{req{op: 0x00, key: "a"}, miss},
		{req{op: 0x01, key: "a", extras: storing(7, 0), value: "abc"}, []ans{{unique: "$1"}}},
		{req{op: 0x00, key: "a"}, item(7, "abc", "$1")},
		{req{op: 0x09, key: "a"}, item(7, "abc", "$1")},
		{req{op: 0x09, key: "b"}, silent},
		{req{op: 0x0c, key: "a"}, keyed("a", 7, "abc", "$1")},
		{req{op: 0x0c, key: "bb"}, []ans{{status: 1, key: "bb"}}},
		{req{op: 0x0d, key: "a"}, keyed("a", 7, "abc", "$1")},
		{req{op: 0x0d, key: "b"}, silent},
		noop,
	}},
	{name: "any bytes", steps: []step{
		{req{op: 0x01, key: "a b\r\n\x00\x80", extras: storing(0xffffffff, 0), value: "\r\n\x00\x80\xff"}, stored1},
		{req{op: 0x0c, key: "a b\r\n\x00\x80"}, keyed("a b\r\n\x00\x80", 0xffffffff, "\r\n\x00\x80\xff", "*")},
		{req{op: 0x01, key: "e", extras: keep}, stored1},
		{req{op: 0x00, key: "e"}, item(0, "", "*")},
		{req{op: 0x01, key: strings.Repeat("k", 250), extras: keep, value: "v"}, stored1},
		{req{op: 0x0d, key: strings.Repeat("k", 250)}, keyed(strings.Repeat("k", 250), 0, "v", "*")},
		{req{op: 0x00, key: strings.Repeat("m", 250)}, miss},
	}},
	{name: "set", steps: []step{
		{req{op: 0x11, key: "a", extras: storing(1, 0), value: "1"}, silent},
		{req{op: 0x00, key: "a"}, item(1, "1", "$1")},
		{req{op: 0x11, key: "a", extras: storing(2, 0), value: "2"}, silent},
		{req{op: 0x00, key: "a"}, item(2, "2", "$2")},
		{req{op: 0x01, key: "a", extras: keep, value: "3", unique: "$1"}, exist},
		{req{op: 0x11, key: "a", extras: keep, value: "3", unique: "$2+1"}, exist},
		{req{op: 0x01, key: "a", extras: keep, value: "3", unique: "$2"}, []ans{{unique: "$3"}}},
		{req{op: 0x11, key: "a", extras: keep, value: "4", unique: "$3"}, silent},
		{req{op: 0x00, key: "a"}, item(0, "4", "$4")},
		{req{op: 0x01, key: "b", extras: keep, value: "1", unique: "987654321"}, miss},
		{req{op: 0x11, key: "b", extras: keep, value: "1", unique: "987654321"}, miss},
	}},
	{name: "add", steps: []step{
		{req{op: 0x02, key: "a", extras: storing(5, 0), value: "1"}, []ans{{unique: "$1"}}},
		{req{op: 0x02, key: "a", extras: keep, value: "2"}, exist},
		{req{op: 0x12, key: "a", extras: keep, value: "2"}, exist},
		{req{op: 0x00, key: "a"}, item(5, "1", "$1")},
		{req{op: 0x12, key: "b", extras: keep, value: "2"}, silent},
		{req{op: 0x00, key: "b"}, item(0, "2", "$2")},
		{req{op: 0x02, key: "c", extras: keep, value: "3", unique: "987654321"}, miss},
		{req{op: 0x02, key: "a", extras: keep, value: "3", unique: "987654321"}, exist},
		{req{op: 0x02, key: "a", extras: keep, value: "3", unique: "$1"}, []ans{{unique: "$3"}}},
	}},
	{name: "replace", steps: []step{
		{req{op: 0x03, key: "a", extras: keep, value: "1"}, miss},
		{req{op: 0x13, key: "a", extras: keep, value: "1"}, miss},
		{req{op: 0x01, key: "a", extras: keep, value: "1"}, []ans{{unique: "$1"}}},
		{req{op: 0x03, key: "a", extras: storing(9, 0), value: "2"}, []ans{{unique: "$2"}}},
		{req{op: 0x13, key: "a", extras: storing(8, 0), value: "3"}, silent},
		{req{op: 0x00, key: "a"}, item(8, "3", "$3")},
		{req{op: 0x03, key: "a", extras: keep, value: "4", unique: "$2"}, exist},
		{req{op: 0x03, key: "a", extras: keep, value: "4", unique: "$3"}, []ans{{unique: "$4"}}},
		{req{op: 0x03, key: "b", extras: keep, value: "4", unique: "987654321"}, miss},
	}},
	{name: "delete", steps: []step{
		{req{op: 0x04, key: "a"}, miss},
		{req{op: 0x14, key: "a"}, miss},
		{req{op: 0x04, key: "a", unique: "987654321"}, miss},
		{req{op: 0x01, key: "a", extras: keep, value: "1"}, []ans{{unique: "$1"}}},
		{req{op: 0x04, key: "a", unique: "$1+1"}, exist},
		{req{op: 0x14, key: "a", unique: "$1+1"}, exist},
		{req{op: 0x04, key: "a", unique: "$1"}, done0},
		{req{op: 0x00, key: "a"}, miss},
		{req{op: 0x01, key: "a", extras: keep, value: "1"}, stored1},
		{req{op: 0x04, key: "a"}, done0},
		{req{op: 0x01, key: "a", extras: keep, value: "1"}, stored1},
		{req{op: 0x14, key: "a"}, silent},
		{req{op: 0x00, key: "a"}, miss},
	}},
	{name: "append and prepend", steps: []step{
		{req{op: 0x0e, key: "a", value: "x"}, text(0x05)},
		{req{op: 0x19, key: "a", value: "x"}, text(0x05)},
		{req{op: 0x0f, key: "a", value: "x"}, text(0x05)},
		{req{op: 0x1a, key: "a", value: "x"}, text(0x05)},
		{req{op: 0x0e, key: "a", value: "x", unique: "987654321"}, text(0x05)},
		{req{op: 0x01, key: "a", extras: storing(3, 0), value: "m"}, []ans{{unique: "$1"}}},
		{req{op: 0x0e, key: "a", value: "r"}, []ans{{unique: "$2"}}},
		{req{op: 0x0f, key: "a", value: "l"}, []ans{{unique: "$3"}}},
		{req{op: 0x00, key: "a"}, item(3, "lmr", "$3")},
		{req{op: 0x19, key: "a", value: "R"}, silent},
		{req{op: 0x1a, key: "a", value: "L"}, silent},
		{req{op: 0x00, key: "a"}, item(3, "LlmrR", "$4")},
		{req{op: 0x0e, key: "a", value: "x", unique: "$3"}, exist},
		{req{op: 0x1a, key: "a", value: "x", unique: "$3"}, exist},
		{req{op: 0x0e, key: "a", value: "x", unique: "$4"}, []ans{{unique: "$5"}}},
		{req{op: 0x0f, key: "a"}, []ans{{unique: "$6"}}},
		{req{op: 0x00, key: "a"}, item(3, "LlmrRx", "$6")},
	}},
	{name: "increment and decrement", steps: []step{
		{req{op: 0x05, key: "n", extras: counting(1, 5, 0xffffffff)}, miss},
		{req{op: 0x15, key: "n", extras: counting(1, 5, 0xffffffff)}, miss},
		{req{op: 0x06, key: "n", extras: counting(1, 5, 0xffffffff)}, miss},
		{req{op: 0x16, key: "n", extras: counting(1, 5, 0xffffffff)}, miss},
		{req{op: 0x05, key: "n", extras: counting(1, 5, 0)}, count(5, "$1")},
		{req{op: 0x00, key: "n"}, item(0, "5", "$1")},
		{req{op: 0x05, key: "n", extras: counting(995, 5, 0)}, count(1000, "$2")},
		{req{op: 0x06, key: "n", extras: counting(1, 5, 0xffffffff)}, count(999, "$3")},
		{req{op: 0x00, key: "n"}, item(0, "999 ", "$3")},
		{req{op: 0x06, key: "n", extras: counting(1000, 5, 0)}, count(0, "$4")},
		{req{op: 0x15, key: "n", extras: counting(41, 5, 0)}, silent},
		{req{op: 0x15, key: "n", extras: counting(2, 5, 0)}, silent},
		{req{op: 0x16, key: "n", extras: counting(1, 5, 0)}, silent},
		{req{op: 0x00, key: "n"}, item(0, "42  ", "$5")},
		{req{op: 0x05, key: "n", extras: counting(1, 0, 0), unique: "$4"}, exist},
		{req{op: 0x16, key: "n", extras: counting(1, 0, 0), unique: "$4"}, exist},
		{req{op: 0x05, key: "n", extras: counting(1, 0, 0), unique: "$5"}, count(43, "$6")},
		{req{op: 0x16, key: "m", extras: counting(1, 18446744073709551615, 0)}, silent},
		{req{op: 0x00, key: "m"}, item(0, "18446744073709551615", "*")},
		{req{op: 0x05, key: "m", extras: counting(2, 0, 0)}, count(1, "*")},
		{req{op: 0x00, key: "m"}, item(0, "1                   ", "*")},
		{req{op: 0x05, key: "c", extras: counting(1, 6, 0), unique: "987654321"}, count(6, "*")},
	}},
	{name: "numbers in values", steps: []step{
		{req{op: 0x01, key: "e", extras: storing(7, 0)}, stored1},
		{req{op: 0x05, key: "e", extras: counting(1, 0, 0)}, text(0x06)},
		{req{op: 0x05, key: "e", extras: counting(1, 0, 0), unique: "987654321"}, text(0x06)},
		{req{op: 0x01, key: "t", extras: storing(7, 0), value: "text"}, stored1},
		{req{op: 0x05, key: "t", extras: counting(1, 0, 0)}, text(0x06)},
		{req{op: 0x15, key: "t", extras: counting(1, 0, 0)}, text(0x06)},
		{req{op: 0x06, key: "t", extras: counting(1, 0, 0)}, text(0x06)},
		{req{op: 0x16, key: "t", extras: counting(1, 0, 0)}, text(0x06)},
		{req{op: 0x05, key: "t", extras: counting(1, 0, 0), unique: "987654321"}, exist},
		{req{op: 0x00, key: "t"}, item(7, "text", "*")},
		{req{op: 0x11, key: "1", extras: storing(7, 0), value: "12 a"}, silent},
		{req{op: 0x05, key: "1", extras: counting(1, 0, 0)}, count(13, "*")},
		{req{op: 0x00, key: "1"}, item(7, "13  ", "*")},
		{req{op: 0x11, key: "2", extras: keep, value: " \n+12"}, silent},
		{req{op: 0x05, key: "2", extras: counting(1, 0, 0)}, count(13, "*")},
		{req{op: 0x00, key: "2"}, item(0, "13   ", "*")},
		{req{op: 0x11, key: "3", extras: keep, value: "12\x00a"}, silent},
		{req{op: 0x06, key: "3", extras: counting(3, 0, 0)}, count(9, "*")},
		{req{op: 0x00, key: "3"}, item(0, "9   ", "*")},
		{req{op: 0x11, key: "4", extras: keep, value: "-1"}, silent},
		{req{op: 0x05, key: "4", extras: counting(1, 0, 0)}, text(0x06)},
		{req{op: 0x11, key: "5", extras: keep, value: "-18446744073709551615"}, silent},
		{req{op: 0x05, key: "5", extras: counting(1, 0, 0)}, count(2, "*")},
		{req{op: 0x11, key: "6", extras: keep, value: "18446744073709551616"}, silent},
		{req{op: 0x05, key: "6", extras: counting(1, 0, 0)}, text(0x06)},
		{req{op: 0x11, key: "7", extras: keep, value: "00000000000000000000000000000012"}, silent},
		{req{op: 0x05, key: "7", extras: counting(1, 0, 0)}, count(13, "*")},
		{req{op: 0x00, key: "7"}, item(0, "13"+strings.Repeat(" ", 30), "*")},
		{req{op: 0x11, key: "8", extras: keep, value: "18446744073709551615 -"}, silent},
		{req{op: 0x05, key: "8", extras: counting(1, 0, 0)}, text(0x06)},
		{req{op: 0x11, key: "9", extras: keep, value: "12a"}, silent},
		{req{op: 0x05, key: "9", extras: counting(1, 0, 0)}, text(0x06)},
		{req{op: 0x11, key: "10", extras: keep, value: "+ 1"}, silent},
		{req{op: 0x05, key: "10", extras: counting(1, 0, 0)}, text(0x06)},
		{req{op: 0x11, key: "11", extras: keep, value: " "}, silent},
		{req{op: 0x05, key: "11", extras: counting(1, 0, 0)}, text(0x06)},
	}},
	{name: "touch", steps: []step{
		{req{op: 0x1c, key: "a", extras: touching(0)}, miss},
		{req{op: 0x1d, key: "a", extras: touching(0)}, miss},
		{req{op: 0x1e, key: "a", extras: touching(0)}, silent},
		{req{op: 0x23, key: "a", extras: touching(0)}, []ans{{status: 1, key: "a"}}},
		{req{op: 0x24, key: "a", extras: touching(0)}, silent},
		{req{op: 0x01, key: "a", extras: storing(5, 0), value: "v"}, []ans{{unique: "$1"}}},
		{req{op: 0x1c, key: "a", extras: touching(100)}, []ans{{extras: flags(5), unique: "$1"}}},
		{req{op: 0x1d, key: "a", extras: touching(100)}, item(5, "v", "$1")},
		{req{op: 0x1e, key: "a", extras: touching(100)}, item(5, "v", "$1")},
		{req{op: 0x23, key: "a", extras: touching(100)}, keyed("a", 5, "v", "$1")},
		{req{op: 0x24, key: "a", extras: touching(2592000)}, keyed("a", 5, "v", "$1")},
		{req{op: 0x00, key: "a"}, item(5, "v", "$1")},
		{req{op: 0x1c, key: "a", extras: touching(2592001)}, []ans{{extras: flags(5), unique: "$1"}}},
		{req{op: 0x00, key: "a"}, miss},
	}},
	{name: "time to live", steps: []step{
		{req{op: 0x01, key: "a", extras: storing(0, 0xffffffff), value: "v"}, stored1},
		{req{op: 0x00, key: "a"}, item(0, "v", "*")},
		{req{op: 0x01, key: "a", extras: storing(0, 2592001), value: "v"}, stored1},
		{req{op: 0x00, key: "a"}, miss},
		{req{op: 0x05, key: "n", extras: counting(1, 5, 2592001)}, count(5, "*")},
		{req{op: 0x00, key: "n"}, miss},
	}},
	{name: "flush", steps: []step{
		{req{op: 0x01, key: "a", extras: keep, value: "v"}, stored1},
		{req{op: 0x08}, done0},
		{req{op: 0x00, key: "a"}, miss},
		{req{op: 0x01, key: "a", extras: keep, value: "v"}, stored1},
		{req{op: 0x18}, silent},
		{req{op: 0x00, key: "a"}, miss},
		{req{op: 0x01, key: "a", extras: keep, value: "v"}, stored1},
		{req{op: 0x08, extras: touching(0)}, done0},
		{req{op: 0x00, key: "a"}, miss},
		{req{op: 0x01, key: "a", extras: keep, value: "v"}, stored1},
		{req{op: 0x18, extras: touching(1000)}, silent},
		{req{op: 0x00, key: "a"}, item(0, "v", "*")},
		{req{op: 0x08, extras: touching(1000)}, done0},
		{req{op: 0x00, key: "a"}, item(0, "v", "*")},
	}},
	{name: "noop and version", steps: []step{
		noop,
		{req{op: 0x0b}, []ans{{value: "1.6.18"}}},
		noop,
	}},
	{name: "quit", steps: []step{noop, {req{op: 0x07}, done0}}, closed: true},
	{name: "quiet quit", steps: []step{noop, {req{op: 0x17}, silent}}, closed: true},
	{name: "nothing after quit", steps: []step{{req{op: 0x07}, done0}, {req{op: 0x0a}, silent}}, closed: true},

	{name: "unknown opcodes", steps: []step{
		{req{op: 0x1b}, nothing}, {req{op: 0x1f}, nothing}, {req{op: 0x25}, nothing}, {req{op: 0x30}, nothing},
		{req{op: 0x3c}, nothing}, {req{op: 0x80}, nothing}, {req{op: 0xff}, nothing},
		{req{op: 0xff, value: "value"}, nothing},
		noop,
	}},
	{name: "SASL without SASL", steps: []step{
		{req{op: 0x20}, nothing},
		{req{op: 0x21, key: "PLAIN", value: "\x00user\x00password"}, nothing},
		{req{op: 0x22, key: "PLAIN", value: "\x00user\x00password"}, nothing},
		noop,
	}},
	{name: "an unknown opcode with a key", steps: []step{{req{op: 0x30, key: "key", extras: "extras", value: "value"}, nothing}, noop},
		ours: "memcached takes as many bytes of the next request as the key and the extras have"},
	{name: "verbosity", steps: []step{{req{op: 0x1b, extras: touching(1)}, done0}, {req{op: 0x1b, extras: touching(0)}, done0}, noop},
		ours: "memcached does not have it"},
	{name: "a value of 3 GiB", steps: []step{{req{op: 0x01, key: "a", extras: keep, wrong: &[3]uint32{1, 8, 3 << 30}}, text(0x03)}},
		ours: "memcached takes the length as a negative one, and what follows as a request"},
}

func init() {
	// Requests with lengths that their opcode does not have, after which the connection ends.
	lengths := []struct {
		name string
		req
		status int
	}{
		{"get with extras", req{op: 0x00, key: "k", extras: "1234"}, 0x04},
		{"get with a value", req{op: 0x00, key: "k", value: "v"}, 0x04},
		{"get without a key", req{op: 0x00}, 0x04},
		{"quiet get without a key", req{op: 0x09}, 0x04},
		{"getk without a key", req{op: 0x0c}, 0x04},
		{"quiet getk without a key", req{op: 0x0d}, 0x04},
		{"set without extras", req{op: 0x01, key: "k", value: "v"}, 0x04},
		{"set without a key", req{op: 0x01, extras: keep, value: "v"}, 0x04},
		{"set with many extras", req{op: 0x01, key: "k", extras: strings.Repeat("x", 255)}, 0x04},
		{"quiet add without extras", req{op: 0x12, key: "k", value: "v"}, 0x04},
		{"replace with few extras", req{op: 0x03, key: "k", extras: "1234567", value: "v"}, 0x04},
		{"delete with extras", req{op: 0x04, key: "k", extras: "1234"}, 0x04},
		{"delete with a value", req{op: 0x04, key: "k", value: "v"}, 0x04},
		{"quiet delete without a key", req{op: 0x14}, 0x04},
		{"increment with few extras", req{op: 0x05, key: "k", extras: strings.Repeat("1", 19)}, 0x04},
		{"increment with a value", req{op: 0x05, key: "k", extras: counting(1, 1, 1), value: "v"}, 0x04},
		{"quiet decrement without a key", req{op: 0x16, extras: counting(1, 1, 1)}, 0x04},
		{"append with extras", req{op: 0x0e, key: "k", extras: "1", value: "v"}, 0x04},
		{"quiet prepend without a key", req{op: 0x1a, value: "v"}, 0x04},
		{"touch without extras", req{op: 0x1c, key: "k"}, 0x04},
		{"gat without a key", req{op: 0x1d, extras: touching(1)}, 0x04},
		{"quiet gatk with many extras", req{op: 0x24, key: "k", extras: "12345"}, 0x04},
		{"stat with extras", req{op: 0x10, extras: "1"}, 0x04},
		{"flush with few extras", req{op: 0x08, extras: "123"}, 0x04},
		{"flush with a key", req{op: 0x08, key: "k"}, 0x04},
		{"flush with a value", req{op: 0x18, extras: touching(0), value: "v"}, 0x04},
		{"noop with a key", req{op: 0x0a, key: "k"}, 0x04},
		{"version with a value", req{op: 0x0b, value: "v"}, 0x04},
		{"quit with extras", req{op: 0x07, extras: "1"}, 0x04},
		{"list of mechanisms with a value", req{op: 0x20, value: "v"}, 0x04},
		{"authentication without a mechanism", req{op: 0x21, value: "v"}, 0x04},
		{"authentication with extras", req{op: 0x22, key: "k", extras: "1"}, 0x04},
		{"a key of 251 bytes", req{op: 0x00, key: strings.Repeat("k", 251)}, 0x04},
		{"a key of 251 bytes to set", req{op: 0x11, key: strings.Repeat("k", 251), extras: keep, value: "v"}, 0x04},
		{"a long key of an unknown opcode", req{op: 0xff, key: strings.Repeat("k", 1000)}, 0x04},
		{"a key longer than the body", req{op: 0x00, key: "key", wrong: &[3]uint32{3, 0, 2}}, 0x81},
		{"extras longer than the body", req{op: 0x01, key: "k", extras: keep, wrong: &[3]uint32{1, 8, 8}}, 0x81},
		{"an unknown opcode with a key longer than the body", req{op: 0xff, key: "key", wrong: &[3]uint32{3, 0, 2}}, 0x81},
	}
	for _, l := range lengths {
		binaryStories = append(binaryStories, binaryStory{name: l.name, closed: true, steps: []step{noop, {l.req, text(l.status)}}})
	}
	// The first byte.
	for name, raw := range map[string]string{
		"an answer":   "\x81" + strings.Repeat("\x00", 23),
		"a text line": "get a\r\n" + strings.Repeat(" ", 24),
	} {
		binaryStories = append(binaryStories, binaryStory{name: name + " as a request", closed: true, steps: []step{noop, {req{raw: raw}, silent}}})
	}
	// Values that are too large.
	big, fits := strings.Repeat("x", 1<<20), strings.Repeat("x", 1<<20-200)
	binaryStories = append(binaryStories, binaryStory{name: "too large", steps: []step{
		{req{op: 0x01, key: "a", extras: storing(5, 0), value: "old"}, []ans{{unique: "$1"}}},
		{req{op: 0x02, key: "a", extras: keep, value: big}, text(0x03)},
		{req{op: 0x03, key: "a", extras: keep, value: big}, text(0x03)},
		{req{op: 0x0e, key: "a", value: big}, text(0x03)},
		{req{op: 0x1a, key: "a", value: big}, text(0x03)},
		{req{op: 0x00, key: "a"}, item(5, "old", "$1")},
		{req{op: 0x01, key: "a", extras: keep, value: big}, text(0x03)},
		{req{op: 0x00, key: "a"}, miss},
		{req{op: 0x11, key: "a", extras: keep, value: "old"}, silent},
		{req{op: 0x11, key: "a", extras: keep, value: big}, text(0x03)},
		{req{op: 0x00, key: "a"}, miss},
		{req{op: 0x01, key: "a", extras: keep, value: fits}, []ans{{unique: "$2"}}},
		{req{op: 0x0f, key: "a", value: strings.Repeat("x", 500)}, text(0x05)},
		{req{op: 0x00, key: "a"}, item(0, fits, "$2")},
	}})
}
