package memcache

import (
	"bufio"
	"encoding/binary"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/internal/testdir"
)

// A packetItem is an item as the model knows it. Of one that a quiet request has written it
// does not know the unique number.
type packetItem struct {
	value  string
	flags  uint32
	unique uint64
	fresh  bool // unique is not known
}

// A packetModel is the protocol over a map.
type packetModel map[string]*packetItem

// An expected is the answer that the model expects, or none. learn is the item whose unique
// number the answer tells.
type expected struct {
	none  bool
	ans   ans
	learn *packetItem
}

func failed(status int) expected { return expected{ans: text(status)[0]} }

// write puts an item in, and returns the answer.
func (m packetModel) write(key string, it *packetItem, quiet bool, value string) expected {
	it.fresh = true
	m[key] = it
	if quiet {
		return expected{none: true}
	}
	return expected{ans: ans{value: value}, learn: it}
}

// conflict reports whether a request with a unique number is for an item of another write. The
// generator gives numbers of items that it knows, or that no item has.
func conflict(it *packetItem, unique uint64) bool {
	return unique != 0 && (it.fresh || it.unique != unique)
}

func (m packetModel) answer(r req, unique uint64) expected {
	op, quiet := loud(r.op)
	it, there := m[r.key]
	switch op {
	case opGet, opGetK, opTouch, opGat, opGatK:
		withKey := op == opGetK || op == opGatK
		switch {
		case !there && quiet:
			return expected{none: true}
		case !there && withKey:
			return expected{ans: ans{status: statusNotFound, key: r.key}}
		case !there:
			return failed(statusNotFound)
		}
		a := ans{extras: flags(it.flags), value: it.value}
		if withKey {
			a.key = r.key
		}
		if op == opTouch {
			a.value = ""
		}
		return expected{ans: a, learn: it}
	case opSet, opAdd, opReplace:
		next := &packetItem{value: r.value, flags: binary.BigEndian.Uint32([]byte(r.extras))}
		switch {
		case unique != 0 && !there, op == opReplace && !there:
			return failed(statusNotFound)
		case unique != 0 && conflict(it, unique), op == opAdd && unique == 0 && there:
			return failed(statusExists)
		}
		return m.write(r.key, next, quiet, "")
	case opAppend, opPrepend:
		switch {
		case !there:
			return failed(statusNotStored)
		case conflict(it, unique):
			return failed(statusExists)
		}
		value := it.value + r.value
		if op == opPrepend {
			value = r.value + it.value
		}
		return m.write(r.key, &packetItem{value: value, flags: it.flags}, quiet, "")
	case opIncrement, opDecrement:
		delta, initial := binary.BigEndian.Uint64([]byte(r.extras)), binary.BigEndian.Uint64([]byte(r.extras[8:]))
		if !there {
			if r.extras[16:] == "\xff\xff\xff\xff" {
				return failed(statusNotFound)
			}
			return m.write(r.key, &packetItem{value: strconv.FormatUint(initial, 10)}, quiet, number(initial))
		}
		word, _, _ := strings.Cut(it.value, " ")
		n, err := strconv.ParseUint(word, 10, 64)
		switch {
		case it.value == "":
			return failed(statusNotNumber)
		case conflict(it, unique):
			return failed(statusExists)
		case err != nil:
			return failed(statusNotNumber)
		case op == opIncrement:
			n += delta
		default:
			n -= min(n, delta)
		}
		value := strconv.FormatUint(n, 10)
		value += strings.Repeat(" ", max(0, len(it.value)-len(value)))
		return m.write(r.key, &packetItem{value: value, flags: it.flags}, quiet, number(n))
	case opDelete:
		switch {
		case !there:
			return failed(statusNotFound)
		case conflict(it, unique):
			return failed(statusExists)
		}
		delete(m, r.key)
		return expected{none: quiet}
	case opFlush:
		clear(m)
		return expected{none: quiet}
	}
	return expected{} // a noop
}

// draw makes a request. Values are numbers mostly, so that they can be counted.
func draw(rnd *rand.Rand, m packetModel) req {
	ops := []byte{opGet, opGetQ, opGetK, opGetKQ, opGet, opGetKQ, opSet, opSetQ, opAdd, opAddQ, opReplace, opReplaceQ, opAppend, opAppendQ,
		opPrepend, opPrependQ, opIncrement, opIncrementQ, opDecrement, opDecrementQ, opDelete, opDeleteQ, opTouch, opGat, opGatQ, opGatK, opGatKQ, opNoop}
	r := req{op: ops[rnd.IntN(len(ops))], key: "key" + strconv.Itoa(rnd.IntN(12))}
	if rnd.IntN(200) == 0 {
		r.op = []byte{opFlush, opFlushQ}[rnd.IntN(2)]
	}
	value := strconv.FormatUint(rnd.Uint64()>>rnd.IntN(64), 10)
	switch rnd.IntN(8) {
	case 0:
		value = "text"
	case 1:
		value = ""
	case 2:
		value = strings.Repeat("long ", rnd.IntN(9000))
	}
	switch op, _ := loud(r.op); op {
	case opSet, opAdd, opReplace:
		r.extras, r.value = storing(rnd.Uint32(), 0), value
	case opAppend, opPrepend:
		r.value = value[:min(len(value), 3)]
	case opIncrement, opDecrement:
		r.extras = counting(rnd.Uint64()>>rnd.IntN(64), rnd.Uint64N(1000), []uint32{0, 100, noInitial}[rnd.IntN(3)])
	case opTouch, opGat, opGatK:
		r.extras = touching(uint32(rnd.IntN(2)) * 1000)
		return r
	case opGet, opGetK:
		return r
	case opNoop, opFlush:
		r.key = ""
		return r
	}
	if rnd.IntN(4) == 0 { // for an item that there is, or was
		r.unique = "1000"
		if it, ok := m[r.key]; ok && !it.fresh && rnd.IntN(4) > 0 {
			r.unique = strconv.FormatUint(it.unique, 10)
		}
	}
	return r
}

// TestBinaryModel compares the server with the model, and the model with memcached.
func TestBinaryModel(t *testing.T) {
	t.Run("server", func(t *testing.T) {
		_, path := serve(t, Options{})
		compareWithModel(t, path, 20)
	})
	t.Run("memcached", func(t *testing.T) {
		// While an answer with an item is not written yet, or a thread looks at it, memcached
		// counts it in another place, without spaces behind the number. So this is one by one,
		// and without such threads.
		path, _ := memcached(t, "-o no_modern")
		compareWithModel(t, path, 1)
	})
}

// compareWithModel sends random requests, up to most at once, and compares all answers with
// those of the model.
func compareWithModel(t *testing.T, path string, most int) {
	rounds := testdir.Scale(700, 2000)
	if testing.Short() {
		rounds = 300
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	nc := dial(t, path)
	require.NoError(t, nc.SetDeadline(time.Now().Add(time.Minute)))
	r := bufio.NewReader(nc)
	m := packetModel{}
	opaque := uint32(0)
	for range rounds {
		type pair struct {
			req
			expected
			opaque uint32
		}
		var sent []pair
		var all []byte
		for range 1 + rnd.IntN(most) {
			q := draw(rnd, m)
			opaque++
			all = append(all, q.packet(t, uniques{}, opaque)...)
			sent = append(sent, pair{q, m.answer(q, uniques{}.number(t, q.unique)), opaque})
		}
		opaque++
		all = append(all, req{op: opNoop}.packet(t, nil, opaque)...)
		sent = append(sent, pair{req{op: opNoop}, expected{}, opaque})
		go func() { _ = whole(nc, all) }()
		for _, p := range sent {
			if p.none {
				continue
			}
			g, err := readAnswer(r)
			require.NoError(t, err, "%+v", p)
			want := got{p.op, p.ans.status, p.ans.key, p.ans.extras, p.ans.value, p.opaque, 0}
			if it := p.learn; it != nil {
				require.NotZero(t, g.unique, "%+v", p.req)
				if it.fresh {
					it.unique, it.fresh = g.unique, false
				}
				want.unique = it.unique
			}
			require.Equal(t, want, g, "%+v", p.req)
		}
	}
}
