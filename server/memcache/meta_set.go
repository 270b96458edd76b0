package memcache

import (
	"github.com/seed-869cc763/shmkv/shm"
	"github.com/seed-869cc763/shmkv/shm/cache"
)

// set executes ms. Once the length of the value is known, the value is read also after an
// error, so that what follows is taken for the next request.
func (m *meta) set(c *conn, args [][]byte) error {
	if len(args) < 3 {
		if len(args) < 2 {
			return c.say("ERROR")
		}
		return c.say(badLine)
	}
	length, ok := parseInt32(args[2])
	size := int(length)
	if !ok || size < 0 || size > 1<<31-3 {
		return c.say(badLine)
	}
	v, wrong := m.startSet(c, args)
	if wrong != "" {
		_ = c.say(wrong)
		return c.in.discard(size + 2)
	}
	c.recordArriving(m.key)
	if !c.fits(len(m.key), m.flags, size) {
		m.refuse(v, outcomeTooLarge)
		_ = c.say(tooLarge)
		return c.in.discard(size + 2)
	}
	block, err := c.in.data(size + 2)
	if err != nil {
		return err
	}
	m.begin = len(c.out) // which was written while the value was not there
	if block[size] != '\r' || block[size+1] != '\n' {
		return c.say("CLIENT_ERROR bad data chunk")
	}
	m.value = block[:size]
	return m.end(m.store(v))
}

// startSet takes the request apart, and returns its mode as a verb, or the line of an error.
func (m *meta) startSet(c *conn, args [][]byte) (v verb, wrong string) {
	switch {
	case len(args[1]) > maxKey:
		return v, badLine
	case len(args) > maxMetaWords:
		return v, "CLIENT_ERROR options flags too long"
	}
	if wrong = m.parse(c, args[1], args[3:]); wrong != "" {
		return v, wrong
	}
	switch m.mode {
	case 0, 'S':
		v = verbSet
	case 'E':
		v = verbAdd
	case 'A':
		v = verbAppend
	case 'P':
		v = verbPrepend
	case 'R':
		v = verbReplace
	default:
		return v, "CLIENT_ERROR invalid mode for ms M token"
	}
	if m.longOpaque {
		return v, wrongOpaque
	}
	if m.compare.given && (v == verbSet || v == verbReplace) {
		v = verbCas
	}
	return v, ""
}

// store stores the value, and answers.
func (m *meta) store(v verb) error {
	c := m.c
	if c.srv.watchers.want(watchFetchers) {
		c.tellStored(m.key)
	}
	m.size, m.expires = len(m.value), m.ttl.expires(c.srv)
	var made cache.Item
	var err error
	if v == verbSet && !m.token.given {
		m.outcome = stored
		made.Token, err = c.srv.cache.SetItem(m.key, cache.Item{Value: m.value, Flags: m.flags, Expires: m.expires}, cache.Always)
	} else {
		m.verb = v
		made, err = m.compute(decideSet)
	}
	switch o := outcomeOf(err); {
	case err == nil:
	case o == outcomeTooLarge && v != verbAppend && v != verbPrepend, o == outcomeNoMemory:
		m.refuse(v, o)
		return err
	default:
		m.outcome, err = notStored, nil
	}
	c.recordStore(m.key, v, m.outcome, int64(m.ttl.exptime), len(m.value))
	code := "HD"
	switch m.outcome {
	case stored:
		m.item.Token = made.Token
		if m.quiet {
			return nil
		}
	case exists:
		code = "EX"
	case notFound:
		code = "NF"
	default:
		code = "NS"
	}
	c.out = append(m.appendHeader(c.out, code, "Okcs"), "\r\n"...)
	return nil
}

// refuse records that the value cannot be stored, and deletes the earlier one: the client
// believes that it is outdated.
func (m *meta) refuse(v verb, o outcome) {
	c := m.c
	c.recordStore(m.key, v, o, int64(m.ttl.exptime), 0)
	c.deleteOutdated(m.key)
}

func decideSet(m *meta, it cache.Item, there bool) (cache.Item, shm.Action, error) {
	next := cache.Item{Value: m.value, Flags: m.flags, Expires: m.expires, Token: m.token.n}
	m.outcome, m.size = stored, len(m.value)
	switch m.verb {
	case verbAdd:
		if there {
			m.outcome = notStored
		}
	case verbReplace:
		if !there {
			m.outcome = notStored
		}
	case verbCas:
		m.outcome = m.swaps(&it, there)
		if m.outcome == exists && m.stale && m.compared() != 0 {
			// The value was made of one that has been replaced since. It may be shown until
			// somebody stores a better one.
			m.outcome = stored
			next.Expires, next.Marks = it.Expires, it.Marks&markWon|markStale
		}
	case verbAppend, verbPrepend:
		next = m.joined(next, &it, there)
	}
	if m.outcome != stored {
		return it, shm.ActionKeep, nil
	}
	return next, shm.ActionSet, nil
}

// compared returns the number that the item must have, or 0, which no item has.
func (m *meta) compared() uint64 {
	if m.c.srv.opts.NoCAS {
		return 0
	}
	return m.compare.n
}

// swaps returns the outcome of a swap by the unique number.
func (m *meta) swaps(it *cache.Item, there bool) outcome {
	switch {
	case !there:
		return notFound
	case it.Token != m.compared():
		return exists
	}
	return stored
}

// joined returns the item of an append or a prepend. If there is none it is next, if the client
// wants so.
func (m *meta) joined(next cache.Item, it *cache.Item, there bool) cache.Item {
	n := len(it.Value) + len(m.value)
	switch {
	case !there && m.vivify.given:
		next.Expires = m.vivify.expires(m.c.srv)
		return next
	case !there || !m.c.fits(len(m.key), it.Flags, n):
		m.outcome = notStored
		return next
	case m.compared() != 0 && m.compared() != it.Token:
		m.outcome = exists
		return next
	}
	first, second := it.Value, m.value
	if m.verb == verbPrepend {
		first, second = second, first
	}
	next.Value = append(append(roomIn(&m.block, n), first...), second...)
	next.Flags, next.Expires, next.StaleAfter = it.Flags, it.Expires, it.StaleAfter
	m.size = n
	return next
}
