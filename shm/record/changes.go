package record

import "sort"

// changes is the ids that some session of a handle was not told of: those that changed since
// the least position.
type changes struct {
	newest map[ID]change
	log    []logged // by stamp; an item that is not the newest of its id counts for nothing
}

// A change is the last one of an id.
type change struct {
	stamp     uint64
	by        *Session // whose commit it was, which need not be told; nil if another handle's
	collected bool
}

type logged struct {
	stamp uint64
	id    ID
}

func (c *changes) add(id ID, at change) {
	if c.newest == nil {
		c.newest = map[ID]change{}
	}
	if was, ok := c.newest[id]; !ok || was.stamp != at.stamp {
		c.log = append(c.log, logged{at.stamp, id})
	}
	c.newest[id] = at
	if len(c.log) > 2*len(c.newest)+1024 {
		c.forget(0)
	}
}

// changed reports whether id changed for a session since its position.
func (c *changes) changed(id ID, s *Session) bool {
	at, ok := c.newest[id]
	return ok && at.stamp > s.position && at.by != s
}

// since calls f for each id that changed for a session since its position.
func (c *changes) since(s *Session, f func(id ID, collected bool)) {
	from := sort.Search(len(c.log), func(i int) bool { return c.log[i].stamp > s.position })
	for _, l := range c.log[from:] {
		if at := c.newest[l.id]; at.stamp == l.stamp && at.by != s {
			f(l.id, at.collected)
		}
	}
}

// forget drops the changes up to a stamp, which all sessions know, and items that are not the
// newest of their id.
func (c *changes) forget(stamp uint64) {
	if stamp > 0 && (len(c.log) == 0 || c.log[0].stamp > stamp) {
		return
	}
	kept := c.log[:0]
	for _, l := range c.log {
		switch newest := c.newest[l.id].stamp == l.stamp; {
		case newest && l.stamp <= stamp:
			delete(c.newest, l.id)
		case newest:
			kept = append(kept, l)
		}
	}
	c.log = kept
}
