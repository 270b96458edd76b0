package memcache

import (
	"strconv"

	"github.com/seed-869cc763/shmkv/shm"
	"github.com/seed-869cc763/shmkv/shm/cache"
)

// describe executes me. Of its flags it looks at b, if that comes first.
func (m *meta) describe(c *conn, args [][]byte) error {
	if len(args) < 2 || len(args[1]) > maxKey {
		return c.say(badLine)
	}
	var flags [][]byte
	if len(args) > 2 && string(args[2]) == "b" {
		flags = args[2:3]
	}
	if m.parse(c, args[1], flags) != "" {
		return c.say(badLine)
	}
	_, err := m.compute(decideDescribe)
	if err == nil {
		c.counts.add(cmdMeta, 1)
		if !m.found {
			_ = c.say("EN")
		}
	}
	return m.end(err)
}

// decideDescribe appends the line of an item, and leaves it.
func decideDescribe(m *meta, it cache.Item, exists bool) (cache.Item, shm.Action, error) {
	c := m.c
	c.out = c.out[:m.begin]
	if m.found = exists; !exists {
		return it, shm.ActionKeep, nil
	}
	ago, read := c.srv.lastUse(m.key)
	out := append(m.appendKey(append(c.out, "ME "...)), " exp="...)
	out = strconv.AppendInt(out, c.srv.remaining(it.Expires), 10)
	out = strconv.AppendInt(append(out, " la="...), ago, 10)
	out = strconv.AppendUint(append(out, " cas="...), m.c.shown(it.Token), 10)
	out = append(append(out, " fetch="...), yes(read)...)
	out = append(append(out, " cls="...), onlyClass...)
	out = strconv.AppendInt(append(out, " size="...), int64(itemSize(len(m.key), it.Flags, len(it.Value))), 10)
	c.out = append(out, "\r\n"...)
	return it, shm.ActionKeep, nil
}
