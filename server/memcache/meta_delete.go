package memcache

import (
	"github.com/seed-869cc763/shmkv/shm"
	"github.com/seed-869cc763/shmkv/shm/cache"
)

// delete executes md.
func (m *meta) delete(c *conn, args [][]byte) error {
	if !m.start(c, args, "CLIENT_ERROR options flags too long", "CLIENT_ERROR invalid or duplicate flag") {
		return nil
	}
	if m.longOpaque {
		return c.say(wrongOpaque)
	}
	_, err := m.compute(decideDelete)
	if err != nil {
		return m.end(err)
	}
	code := "HD"
	switch m.outcome {
	case notFound:
		code = "NF"
	case exists:
		code = "EX"
	}
	if m.outcome != stored || !m.stale {
		c.recordDelete(m.key, m.outcome == stored)
	}
	if m.outcome != stored || !m.quiet {
		c.out = append(m.appendHeader(c.out, code, "Ok"), "\r\n"...)
	}
	return m.end(nil)
}

func decideDelete(m *meta, it cache.Item, there bool) (cache.Item, shm.Action, error) {
	m.outcome = stored
	switch {
	case !there:
		m.outcome = notFound
	case m.compare.given && m.c.shown(it.Token) != m.compare.n:
		m.outcome = exists
	}
	if m.outcome != stored {
		return it, shm.ActionKeep, nil
	}
	if !m.stale && !m.empty {
		return it, shm.ActionDelete, nil
	}
	if m.ttl.given {
		it.Expires = m.ttl.expires(m.c.srv)
	}
	if m.empty {
		it.Value, it.Flags, it.Marks = nil, m.flags, 0
	}
	if m.stale { // and the next client wins
		it.Marks = markStale
		it.Token = 0
	}
	if m.token.given {
		it.Token = m.token.n
	}
	return it, shm.ActionSet, nil
}
