package memcache

import (
	"strings"
)

// The items of a server without slabs are in one class, the first.
const onlyClass = "1"

// slabs executes slabs reassign <from> <to> and slabs automove <level>, or ratio <ratio>.
// There are no slabs: reassign finds none to spare, and automove keeps its setting.
func (c *conn) slabs(args [][]byte) error {
	n := len(args)
	switch {
	case n == 4 && string(args[1]) == "reassign":
		from, ok1 := parseInt32(args[2])
		to, ok2 := parseInt32(args[3])
		switch {
		case !ok1 || !ok2:
			return c.say(badLine)
		case from == to:
			return c.say("SAME src and dst class are identical")
		case from > mostClass || to < 0 || to > mostClass:
			return c.say("BADCLASS invalid src or dst class id")
		}
		return c.say("NOSPARE source class has no spare pages")
	case n >= 3 && string(args[1]) == "automove":
		return c.automove(args)
	}
	return c.say("ERROR")
}

func (c *conn) automove(args [][]byte) error {
	c.wantsNoReply(args)
	if string(args[2]) == "ratio" {
		if len(args) < 4 {
			return c.say("ERROR")
		}
		ratio, ok := parseFloat(args[3])
		if !ok {
			return c.say("ERROR")
		}
		c.srv.tuning.set(func(t *tuned) { t.automoveRatio = ratio })
		return c.say("OK")
	}
	level, ok := parseUint32(args[2])
	switch {
	case !ok:
		return c.say(badLine)
	case level > 2:
		return c.say("ERROR")
	}
	c.srv.tuning.set(func(t *tuned) { t.automove = level })
	return c.say("OK")
}

// mostClass is the largest number of a slab class that memcached has.
const mostClass = 63

// lru executes lru tune, lru mode and lru temp_ttl. The cache evicts by another rule, which
// they do not change; stats settings shows what they have set.
func (c *conn) lru(args [][]byte) error {
	c.wantsNoReply(args)
	n, t := len(args), &c.srv.tuning
	switch {
	case string(args[1]) == "tune" && n >= 6:
		hot, ok1 := parseUint32(args[2])
		warm, ok2 := parseUint32(args[3])
		hotFactor, ok3 := parseFloat(args[4])
		warmFactor, ok4 := parseFloat(args[5])
		switch {
		case !ok1 || !ok2 || !ok3 || !ok4:
			return c.say("ERROR")
		case uint32(hot+warm) > 80:
			return c.say("ERROR hot and warm pcts must not exceed 80")
		case warmFactor <= 0 || hotFactor <= 0:
			return c.say("ERROR hot/warm age factors must be greater than 0")
		}
		t.set(func(t *tuned) {
			t.hotPercent, t.warmPercent, t.hotFactor, t.warmFactor = hot, warm, hotFactor, warmFactor
		})
		return c.say("OK")
	case string(args[1]) == "mode" && n >= 3 && (string(args[2]) == "flat" || string(args[2]) == "segmented"):
		segmented := args[2][0] == 's'
		t.set(func(t *tuned) { t.segmented = segmented })
		return c.say("OK")
	case string(args[1]) == "temp_ttl" && n >= 3:
		ttl, ok := parseInt32(args[2])
		if !ok {
			break
		}
		t.set(func(t *tuned) {
			if t.temporary = ttl >= 0; t.temporary {
				t.temporaryTTL = uint32(ttl)
			}
		})
		return c.say("OK")
	}
	return c.say("ERROR")
}

// lruCrawler executes lru_crawler with enable, disable, sleep, tocrawl, crawl, metadump and
// mgdump.
func (c *conn) lruCrawler(args [][]byte) error {
	n := len(args)
	if n != 2 && n != 3 {
		return c.say("ERROR")
	}
	switch name := string(args[1]); {
	case n == 2 && (name == "enable" || name == "disable"):
		c.srv.crawler.Store(name == "enable")
		return c.say("OK")
	case n == 3 && (name == "sleep" || name == "tocrawl"):
		return c.tuneCrawler(name == "sleep", args[2])
	case n == 3 && (name == "crawl" || name == "metadump" || name == "mgdump"):
		if !c.srv.crawler.Load() {
			return c.say("CLIENT_ERROR lru crawler disabled")
		}
		if name == "crawl" {
			return c.crawl(args[2])
		}
		return c.dump(name, args[2])
	}
	return c.say("ERROR")
}

func (c *conn) tuneCrawler(sleep bool, word []byte) error {
	const mostSleep = 1_000_000 // microseconds
	n, ok := parseUint32(word)
	switch {
	case !ok:
		return c.say(badLine)
	case sleep && n > mostSleep:
		return c.say("CLIENT_ERROR sleep must be one second or less")
	}
	c.srv.tuning.set(func(t *tuned) {
		if sleep {
			t.crawlerSleep = n
		} else {
			t.crawlerMost = n
		}
	})
	return c.say("OK")
}

// crawl deletes all items that have expired before it answers.
func (c *conn) crawl(classes []byte) error {
	if !areClasses(string(classes)) {
		return c.say("BADCLASS invalid class id")
	}
	c.counts.add(crawlerStarts, 1)
	c.leaveLoop()
	if _, err := c.srv.cache.DeleteExpired(c.srv.working); err != nil {
		if c.srv.working.Err() != nil {
			return errClose
		}
		return c.sayAlways(storeError(err))
	}
	return c.say("OK")
}

// areClasses reports whether a word names slab classes: all, or numbers with commas.
func areClasses(word string) bool {
	if word == "all" {
		return true
	}
	for part := range strings.SplitSeq(word, ",") {
		n, ok := parseUint32([]byte(part))
		if !ok || n < 1 || n > mostClass {
			return false
		}
	}
	return true
}

// hasOnlyClass reports whether the class in which all items are is one of classes.
func hasOnlyClass(classes string) bool {
	for len(classes) > 0 {
		n := 0
		for n < len(classes) && classes[n] != ',' {
			n++
		}
		if classes[:n] == onlyClass {
			return true
		}
		classes = classes[min(n+1, len(classes)):]
	}
	return false
}
