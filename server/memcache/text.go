package memcache

// Version is the version of memcached whose answers the server gives.
const Version = "1.6.18"

const badLine = "CLIENT_ERROR bad command line format"

// text executes a command of the text protocol, whose line was read. The number of words
// decides first whether it is one, then the words do.
func (c *conn) text(line []byte) error {
	args, rest := c.split(line)
	n := len(args)
	if n == 0 || len(args[0]) < 2 {
		return c.say("ERROR")
	}
	between := func(least, most int) bool { return n >= least && n <= most }
	switch name := args[0]; string(name) {
	case "get", "gets", "bget":
		if n >= 2 {
			return c.get(args, rest, len(name) == 4 && name[0] == 'g')
		}
	case "gat", "gats":
		if n >= 2 {
			return c.getAndTouch(args, rest, len(name) == 4)
		}
	case "set", "add", "replace", "append", "prepend":
		if between(5, 6) {
			return c.store(args, verbOf(name))
		}
	case "cas":
		if between(6, 7) {
			return c.store(args, verbCas)
		}
	case "delete":
		if between(2, 4) {
			return c.delete(args)
		}
	case "incr", "decr":
		if between(3, 4) {
			return c.increment(args, name[0] == 'i')
		}
	case "touch":
		if between(3, 4) {
			return c.touch(args)
		}
	case "flush_all":
		if between(1, 3) {
			return c.flushAll(args)
		}
	case "verbosity":
		if between(2, 3) {
			return c.verbosity(args)
		}
	case "cache_memlimit":
		if between(2, 3) {
			return c.memlimit(args)
		}
	case "version":
		return c.say("VERSION " + Version)
	case "quit":
		c.reason = closedNormally
		return errClose
	case "stats":
		return c.statsCommand(args)
	case "shutdown":
		return c.shutdown(args)
	case "slabs":
		return c.slabs(args)
	case "lru":
		if n >= 2 {
			return c.lru(args)
		}
	case "lru_crawler":
		return c.lruCrawler(args)
	case "watch":
		return c.watch(args)
	case "debugtime":
		if c.srv.opts.Clock != nil {
			return c.debugTime(args)
		}
	default:
		if last := args[n-1]; isOther(name[0]) && len(last) >= 5 && string(last[:5]) == "HTTP/" {
			return errClose // a browser, or somebody who lets it send what looks like commands
		}
	}
	return c.say("ERROR")
}

// isOther reports whether memcached looks at the last word of a line whose unknown command
// begins with this letter.
func isOther(letter byte) bool {
	switch letter {
	case 'g', 's', 'a', 'c', 'i', 'd', 't':
		return false
	}
	return true
}

// split returns the words of a line, at most maxTokens-1, and what follows them.
func (c *conn) split(line []byte) (words [][]byte, rest []byte) {
	tokens := &c.work.tokens
	n, from := 0, 0
	for i, b := range line {
		if b != ' ' {
			continue
		}
		if i > from {
			tokens[n] = line[from:i]
			if n++; n == len(tokens)-1 {
				return tokens[:n], line[i+1:]
			}
		}
		from = i + 1
	}
	if from < len(line) {
		tokens[n] = line[from:]
		n++
	}
	return tokens[:n], nil
}

// wantsNoReply reports whether the last word of a line is noreply, and remembers that.
func (c *conn) wantsNoReply(args [][]byte) bool {
	c.noreply = string(args[len(args)-1]) == "noreply"
	return c.noreply
}
