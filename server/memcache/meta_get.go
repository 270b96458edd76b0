package memcache

import (
	"bytes"

	"github.com/seed-869cc763/shmkv/shm"
	"github.com/seed-869cc763/shmkv/shm/cache"
)

// get executes mg. Most requests change nothing, and are a look at the cache. Another step
// follows if that has shown that there is something to change: that decides anew.
func (m *meta) get(c *conn, line []byte, args [][]byte) error {
	if !m.start(c, args, "CLIENT_ERROR options flags are too long", "") {
		return nil
	}
	if m.longOpaque {
		return c.say(wrongOpaque)
	}
	if keys := m.alike(line, args[1]); len(keys) > 1 {
		return m.getMany(keys)
	}
	m.askUse()
	var err error
	done := false
	if !m.unused { // a look counts as a use
		done, err = m.look()
	}
	if !done && err == nil {
		err = m.getInOneStep()
	}
	return m.endGet(err)
}

// askUse finds out when the item was used, if the answer needs it.
func (m *meta) askUse() {
	if m.asksUse {
		m.ago, m.read = m.c.srv.lastUse(m.key)
	}
}

// endGet records how a request has ended, and answers if there is no item, or with an error of
// the cache.
func (m *meta) endGet(err error) error {
	c := m.c
	switch {
	case err != nil:
	case m.created || m.found:
		m.recordHit()
	default:
		c.countGet(m.key, false, 0)
		if !m.quiet {
			c.room(maxMetaAnswer)
			c.out = append(m.appendHeader(c.out, "EN", "Ok"), "\r\n"...)
		}
	}
	return m.end(err)
}

// alike returns the keys of a request and of those that follow it in the input and are the same
// but for their keys, if a look at all of them together may do.
func (m *meta) alike(line, key []byte) (keys [][]byte) {
	c, in := m.c, &m.c.in
	const prefix = "mg "
	if m.encoded || m.unused || m.ttl.given || !bytes.HasPrefix(line[len(prefix):], key) {
		return nil
	}
	flags := line[len(prefix)+len(key):]
	keys = append(c.work.keys[:0], key)
	for len(keys) < manyKeys {
		next := in.buf[in.r:in.w]
		if len(next) < len(prefix) || string(next[:len(prefix)]) != prefix {
			break
		}
		next = next[len(prefix):]
		n := bytes.IndexAny(next[:min(len(next), maxKey+1)], " \r\n\x00")
		end := n + len(flags)
		if n < 1 || len(next) < end+2 || !bytes.Equal(next[n:end], flags) || next[end] != '\r' || next[end+1] != '\n' {
			break
		}
		keys = append(keys, next[:n])
		in.r += len(prefix) + end + 2
		c.answers++
	}
	c.work.keys = keys
	return keys
}

// getMany executes requests that are the same but for their keys, as conn.getMany does. What is
// to be changed has a step of its own.
func (m *meta) getMany(keys [][]byte) error {
	c := m.c
	for len(keys) > 0 {
		if err := c.flushFull(); err != nil {
			return err
		}
		done, changes := 0, false
		err := c.srv.cache.GetMany(keys, func(i int, it cache.Item, ok bool) {
			if done < i || len(c.out) >= outputLimit {
				return
			}
			m.begins(keys[i])
			m.askUse()
			if ok {
				changes = !m.lookedAt(&it)
			} else {
				changes = m.vivify.given
			}
			if !changes {
				_ = m.endGet(nil)
				done = i + 1
			}
		})
		if err != nil {
			for range keys[done:] {
				_ = c.say(storeError(err))
			}
			return nil
		}
		if keys = keys[done:]; changes {
			m.begins(keys[0])
			m.askUse()
			if err := m.endGet(m.getInOneStep()); err != nil {
				return err
			}
			keys = keys[1:]
		}
	}
	return nil
}

// recordHit records that there was an item, or that there is one now.
func (m *meta) recordHit() {
	c := m.c
	if m.ttl.given {
		c.countTouch(m.key, true, false, m.size)
	} else {
		c.countGet(m.key, true, m.size)
	}
	if !m.unused {
		c.srv.noteRead(m.key)
	}
}

// look answers if there is nothing to change. It reports whether it has. It reads the value
// behind the room for the line before it, and moves it there. Where values are larger than
// the output has room for, it has them copied by GetMany, which tells their size first.
func (m *meta) look() (done bool, err error) {
	c := m.c
	if m.large {
		return m.lookAtLarge()
	}
	room := m.begin + maxMetaAnswer
	it, err := c.srv.cache.AppendItem(c.out[:room], m.key)
	if err == shm.ErrNotFound {
		return !m.vivify.given, nil
	}
	if err != nil {
		return false, err
	}
	c.out, it.Value = it.Value[:m.begin], it.Value[room:]
	return m.lookedAt(&it), nil
}

func (m *meta) lookAtLarge() (done bool, err error) {
	keys := append(m.c.work.keys[:0], m.key)
	m.c.work.keys = keys
	err = m.c.srv.cache.GetMany(keys, func(_ int, it cache.Item, ok bool) {
		if ok {
			done = m.lookedAt(&it)
		} else {
			done = !m.vivify.given
		}
	})
	return done, err
}

// lookedAt answers with an item that a look has found, if there is nothing to change.
func (m *meta) lookedAt(it *cache.Item) (done bool) {
	m.large = len(it.Value) > outputBytes/2
	if m.judge(it, false); m.won || m.ttl.given {
		return false
	}
	m.answer(it)
	return true
}

// getInOneStep looks, decides and changes the item in one step.
func (m *meta) getInOneStep() error {
	made, err := m.compute(decideGet)
	if err == nil && m.created {
		m.c.srv.noteStored(m.key)
		m.askUse() // of an earlier item with this key nobody asks
		m.item.Token = made.Token
		m.answer(&m.item)
	}
	return err
}

func decideGet(m *meta, it cache.Item, exists bool) (cache.Item, shm.Action, error) {
	m.c.out = m.c.out[:m.begin]
	m.found, m.created = false, !exists && m.vivify.given
	if !exists && !m.created {
		return it, shm.ActionKeep, nil
	}
	m.judge(&it, m.created)
	next := it
	next.Expires = m.expires
	if m.won {
		next.Marks |= markWon
	}
	if m.created {
		next.Token = m.token.n
		m.item = it
		return next, shm.ActionSet, nil
	}
	m.answer(&it)
	if !m.won && !m.ttl.given {
		return it, shm.ActionKeep, nil
	}
	return next, shm.ActionSet, nil
}

// judge finds out whether the client wins, and when the item ends afterwards. Flags are
// effective in their order.
func (m *meta) judge(it *cache.Item, created bool) {
	s := m.c.srv
	m.expires, m.won = it.Expires, false
	open := it.Marks&markWon == 0 // nobody has won it
	for _, letter := range m.letters() {
		switch letter {
		case 'T':
			m.expires = m.ttl.expires(s)
		case 'N':
			if created {
				m.expires, m.won = m.vivify.expires(s), true
			}
		case 'R':
			if open && !created && !m.expires.IsZero() && s.remaining(m.expires) < s.remaining(m.recache.expires(s)) {
				m.won = true
			}
		}
	}
	if open && isStale(it) {
		m.won = true
	}
}

// answer answers with an item as it was before the request, which may be memory of the store.
func (m *meta) answer(it *cache.Item) {
	c := m.c
	m.found, m.item, m.size = true, *it, len(it.Value)
	m.item.Value = nil
	c.room(maxMetaAnswer + len(it.Value))
	code := "HD"
	if m.withValue {
		code = "VA"
	}
	out := m.appendHeader(c.out, code, "sctfhlOk")
	if it.Marks&markWon != 0 {
		out = append(out, " Z"...)
	}
	if isStale(it) {
		out = append(out, " X"...)
	}
	if m.won {
		out = append(out, " W"...)
	}
	out = append(out, "\r\n"...)
	if code == "VA" {
		out = append(append(out, it.Value...), "\r\n"...)
	}
	c.out = out
}
