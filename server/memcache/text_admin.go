package memcache

import (
	"time"
)

// flushAll executes flush_all [exptime] [noreply].
func (c *conn) flushAll(args [][]byte) error {
	c.wantsNoReply(args)
	c.counts.add(cmdFlush, 1)
	if c.srv.opts.NoFlush {
		return c.say("CLIENT_ERROR flush_all not allowed")
	}
	var exptime int32
	if len(args) > 2 || len(args) == 2 && !c.noreply {
		var ok bool
		if exptime, ok = parseInt32(args[1]); !ok {
			return c.say(badExptime)
		}
	}
	if err := c.srv.flushAll(int64(exptime)); err != nil {
		return c.sayAlways(storeError(err))
	}
	return c.say("OK")
}

// flushAll makes the cache empty at memcached's exptime; at once if that is not positive.
func (s *Server) flushAll(exptime int64) error {
	at := time.Time{}
	if exptime > 0 {
		at = s.expiry(exptime)
	}
	return s.cache.Flush(at)
}

// verbosity executes verbosity <level> [noreply].
func (c *conn) verbosity(args [][]byte) error {
	c.wantsNoReply(args)
	level, ok := parseUint32(args[1])
	if !ok {
		return c.say(badLine)
	}
	c.srv.setVerbosity(level)
	return c.say("OK")
}

// setVerbosity sets the level of verbosity. There are three.
func (s *Server) setVerbosity(level uint32) { s.verbose.Store(int32(min(level, 2))) }

// memlimit executes cache_memlimit <MiB> [noreply].
func (c *conn) memlimit(args [][]byte) error {
	c.wantsNoReply(args)
	n, ok := parseUint32(args[1])
	switch {
	case !ok:
		return c.say("ERROR")
	case n < 8:
		return c.say("MEMLIMIT_TOO_SMALL cannot set maxbytes to less than 8m")
	case n > 1_000_000_000:
		return c.say("MEMLIMIT_ADJUST_FAILED input value is megabytes not bytes")
	}
	bytes := int64(n) << 20
	c.leaveLoop() // to evict takes its time
	err := c.srv.setBytes(bytes)
	if c.srv.working.Err() != nil {
		return errClose
	}
	if err != nil {
		c.srv.log.Error("the memory limit cannot be changed", "bytes", bytes, "error", err)
		return c.say("MEMLIMIT_ADJUST_FAILED out of bounds or unable to adjust")
	}
	c.srv.memory.Store(bytes)
	return c.say("OK")
}

// setBytes changes the bound of the cache. It lowers it step by step, so that the server can end
// before all has been evicted.
func (s *Server) setBytes(bytes int64) error {
	const step = 1 << 20
	now := s.cache.Stats()
	// The first steps evict nothing: the bound is also that of other files, and has a reserve.
	for at := min(now.Bound, 2*now.LiveBytes+64*step); at > bytes; at -= step {
		if err := s.working.Err(); err != nil {
			return err
		}
		if err := s.cache.SetBytes(at); err != nil {
			return err
		}
	}
	return s.cache.SetBytes(bytes)
}

// shutdown executes shutdown [graceful].
func (c *conn) shutdown(args [][]byte) error {
	o := &c.srv.opts
	switch {
	case !o.AllowShutdown || o.Stop == nil:
		return c.say("ERROR: shutdown not enabled")
	case len(args) == 1:
		o.Stop(false)
	case len(args) == 2 && string(args[1]) == "graceful":
		o.Stop(true)
	default:
		return c.say("CLIENT_ERROR invalid shutdown mode")
	}
	c.reason = closedByShutdown
	return errClose
}

// debugTime executes debugtime p|r|<seconds>: it stops the clock, lets it run, or sets it
// forward.
func (c *conn) debugTime(args [][]byte) error {
	if len(args) < 2 {
		return c.say("ERROR")
	}
	switch k := c.srv.opts.Clock; string(args[1]) {
	case "p":
		k.Pause()
	case "r":
		k.Run()
	default:
		n, ok := parseInt64(args[1])
		if !ok {
			return c.say("ERROR")
		}
		k.Advance(time.Duration(n) * time.Second)
	}
	return c.say("OK")
}
