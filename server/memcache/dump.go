package memcache

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"

	"github.com/seed-869cc763/shmkv/shm"
	"github.com/seed-869cc763/shmkv/shm/cache"
)

// A dump goes through the items in the order of their positions in the map, some at a time.
// Between these steps it holds nothing in the store, however slowly its client reads: so an
// item that comes or goes while the dump is under way may be in it or not.

const (
	dumpStep  = 512      // items that a step looks at
	dumpBytes = 32 << 10 // bytes of lines after which a step ends
)

// dump executes lru_crawler metadump and mgdump, whose argument says all, hash, or which
// classes of slabs.
func (c *conn) dump(name string, classes []byte) error {
	what := string(classes)
	switch {
	case c.srv.opts.NoDump:
		return c.say("ERROR " + name + " not allowed")
	case c.answers > 1:
		return c.say("ERROR cannot pipeline other commands before " + name)
	case what != "hash" && !areClasses(what):
		return c.say("BADCLASS invalid class id")
	}
	line, end := appendMeta, "END"
	if name == "mgdump" {
		line, end = appendMg, "EN"
	}
	if what != "all" && what != "hash" && !hasOnlyClass(what) {
		return c.say("NOTSTARTED no items to crawl")
	}
	c.leaveLoop()
	err := c.srv.eachItem(func(key []byte, it *cache.Item) bool {
		c.out = line(c, c.out, key, it)
		return len(c.out) < dumpBytes
	}, c.flush)
	if err != nil {
		return err
	}
	return c.say(end)
}

// appendMeta appends the line of an item in a metadump.
func appendMeta(c *conn, out, key []byte, it *cache.Item) []byte {
	exp := int64(-1)
	if !it.Expires.IsZero() {
		exp = it.Expires.Unix()
	}
	ago, read := c.srv.lastUse(key)
	out = appendEncoded(append(out, "key="...), key)
	return fmt.Appendf(out, " exp=%d la=%d cas=%d fetch=%s cls=%s size=%d\n",
		exp, c.srv.now().Unix()-ago, it.Token, yes(read), onlyClass, itemSize(len(key), it.Flags, len(it.Value)))
}

// appendMg appends the line of an item in an mgdump, which is a request mg.
func appendMg(_ *conn, out, key []byte, _ *cache.Item) []byte {
	out = append(out, "mg "...)
	if !isText(key) {
		return append(base64.StdEncoding.AppendEncode(out, key), " b\r\n"...)
	}
	return append(append(out, key...), "\r\n"...)
}

// isText reports whether a key can stand in a line. The meta and the binary protocol and Go
// processes can make others.
func isText(key []byte) bool {
	for _, b := range key {
		if b <= ' ' || b == 0x7f {
			return false
		}
	}
	return len(key) > 0
}

// eachItem calls fn with the items that there are. It stops for a while when fn returns false,
// and in any case now and then, and calls pause, which may take its time; an error of pause
// ends it.
func (s *Server) eachItem(fn func(key []byte, it *cache.Item) (more bool), pause func() error) error {
	// A flush that is due happens with the next look at the cache.
	if err := s.cache.GetMany(nil, nil); err != nil {
		return err
	}
	m := s.cache.Store().Map(s.cache.Region())
	for from, end := uint64(0), false; !end; {
		var damaged error
		err := s.cache.Store().View(func(sn *shm.Snapshot) error {
			now, begin, n, full := s.now(), from, 0, false
			for key, b := range sn.Map(s.cache.Region()).AllFrom(begin) {
				behind := m.After(key)
				switch {
				case behind != 0 && behind <= begin:
					continue // it lies before where the step begins
				case full && behind != from:
					return nil // and not between two items in one position
				}
				it, err := cache.ParseItem(b)
				if err != nil {
					damaged = err
					break
				}
				from = behind
				if it.Expires.IsZero() || it.Expires.After(now) {
					full = !fn(key, &it) || full
				}
				n++
				full = full || n >= dumpStep
			}
			end = true
			return nil
		})
		if err == nil {
			err = damaged
		}
		if err == nil {
			err = pause()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// maxCacheDump is how many bytes a stats cachedump has at most.
const maxCacheDump = 2 << 20

// errDumped ends a dump that has all that was asked for.
var errDumped = errors.New("enough was dumped")

// cacheDump executes stats cachedump <class> <limit>.
func (c *conn) cacheDump(args [][]byte) error {
	if c.srv.opts.NoDump {
		return c.say("CLIENT_ERROR stats cachedump not allowed")
	}
	if len(args) < 4 {
		return c.say("CLIENT_ERROR bad command line")
	}
	class, ok1 := parseUint32(args[2])
	limit, ok2 := parseUint32(args[3])
	switch {
	case !ok1 || !ok2:
		return c.say(badLine)
	case class > mostClass:
		return c.say("CLIENT_ERROR Illegal slab id")
	}
	if strconv.Itoa(int(class)) != onlyClass {
		return c.say("END")
	}
	c.leaveLoop()
	items, bytes, done := uint32(0), 0, false
	err := c.srv.eachItem(func(key []byte, it *cache.Item) bool {
		if done = done || bytes > maxCacheDump || limit != 0 && items == limit; done {
			return false
		}
		if !isText(key) {
			return true
		}
		exp := int64(0)
		if !it.Expires.IsZero() {
			exp = it.Expires.Unix()
		}
		before := len(c.out)
		c.out = append(append(c.out, "ITEM "...), key...)
		c.out = fmt.Appendf(c.out, " [%d b; %d s]\r\n", len(it.Value), exp)
		bytes += len(c.out) - before
		items++
		return len(c.out) < dumpBytes
	}, func() error {
		if done {
			return errDumped
		}
		return c.flush()
	})
	if err != nil && err != errDumped {
		return err
	}
	return c.say("END")
}
