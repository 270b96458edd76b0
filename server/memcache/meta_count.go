package memcache

import (
	"errors"
	"strconv"

	"github.com/seed-869cc763/shmkv/shm"
	"github.com/seed-869cc763/shmkv/shm/cache"
)

// count executes ma.
func (m *meta) count(c *conn, args [][]byte) error {
	if !m.start(c, args, "CLIENT_ERROR options flags too long", "CLIENT_ERROR invalid or duplicate flag") {
		return nil
	}
	up := true
	switch m.mode {
	case 0, 'I', '+':
	case 'D', '-':
		up = false
	default:
		return c.say("CLIENT_ERROR invalid mode for ma M token")
	}
	if m.longOpaque {
		return c.say(wrongOpaque)
	}
	m.up = up
	made, err := m.compute(decideCount)
	switch {
	case errors.Is(err, shm.ErrFull):
		err = nil
		_ = c.say("SERVER_ERROR out of memory")
	case err != nil:
	case m.notNumber:
		_ = c.say(notNumber)
	default:
		if m.created {
			c.srv.noteStored(m.key)
		}
		m.item.Token = made.Token
		m.answerCount()
	}
	return m.end(err)
}

// answerCount answers with the number, or why there is none.
func (m *meta) answerCount() {
	c := m.c
	code, shown := "HD", "ctOk"
	switch m.outcome {
	case notFound:
		code, shown = "NF", "Ok"
	case exists:
		code, shown = "EX", "Ok"
	default:
		if m.withValue {
			code = "VA"
		}
	}
	if m.outcome == notFound || m.outcome == stored && !m.created {
		c.recordCount(m.up, m.outcome == stored)
	}
	if m.outcome == stored && m.quiet {
		return
	}
	out := append(m.appendHeader(c.out, code, shown), "\r\n"...)
	if code == "VA" {
		out = append(append(out, m.digits[:m.size]...), "\r\n"...)
	}
	c.out = out
}

// decideCount counts as incr and decr do, or makes the number where there is none.
func decideCount(m *meta, it cache.Item, there bool) (cache.Item, shm.Action, error) {
	m.outcome, m.notNumber, m.created = stored, false, !there
	var n uint64
	var ok bool
	switch {
	case !there && !m.vivify.given:
		m.outcome = notFound
	case !there:
		n = m.initial
	case len(it.Value) == 0:
		m.notNumber = true
	case m.compare.n != 0 && m.c.shown(it.Token) != m.compare.n:
		m.outcome = exists
	default:
		n, ok = counted(it.Value, m.up, m.delta)
		m.notNumber = !ok
	}
	if m.notNumber || m.outcome != stored {
		return it, shm.ActionKeep, nil
	}
	m.judge(&it, m.created)
	m.item = it
	m.item.Value = nil
	m.size = len(strconv.AppendUint(m.digits[:0], n, 10))
	digits := appendStored(m.digits[:0], n, len(it.Value))
	it.Value, it.Expires, it.Token = digits, m.expires, m.token.n
	return it, shm.ActionSet, nil
}

// maxDigits is the length of the largest number.
const maxDigits = 20
