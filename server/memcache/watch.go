package memcache

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// What can be watched. Of rawcmds, sysevents and what belongs to proxies nothing is told: they
// are there for memcached's sake. The cache does not tell which items it evicts.
const (
	watchFetchers uint32 = 1 << iota
	watchMutations
	watchEvictions
	watchConns
	watchOther
)

// watchable has the words of the command watch.
var watchable = map[string]uint32{
	"fetchers": watchFetchers, "mutations": watchMutations, "evictions": watchEvictions, "connevents": watchConns,
	"rawcmds": watchOther, "sysevents": watchOther, "proxyreqs": watchOther, "proxyevents": watchOther, "proxyuser": watchOther,
}

const (
	maxWatchers = 20
	// watcherBytes is how many bytes of lines are kept for a watcher. Lines beyond are
	// skipped, and the next line tells how many.
	watcherBytes = 256 << 10
)

// watchers are the connections that have sent watch. Other connections append lines to the
// buffers of those who want them, and the watcher's goroutine writes them.
type watchers struct {
	wanted atomic.Uint32 // what any of them wants

	mu     sync.Mutex
	all    []*watcher
	number uint64 // of the next line
	line   []byte // that is being made
	closed bool
}

type watcher struct {
	wants   uint32
	since   uint64 // the number of the first line
	woken   chan struct{}
	lines   []byte // that are to be written
	skipped uint64 // lines, since the last one
	closed  bool
}

// want reports whether anybody watches this.
func (w *watchers) want(what uint32) bool { return w.wanted.Load()&what != 0 }

// watch executes watch <what>*: from now on the connection gets lines about what happens, and
// nothing else. What it sends is read and forgotten.
func (c *conn) watch(args [][]byte) error {
	s := c.srv
	c.wantsNoReply(args)
	if s.opts.NoWatch {
		return c.say("CLIENT_ERROR watch commands not allowed")
	}
	if c.answers > 1 {
		return c.say("ERROR cannot pipeline other commands before watch")
	}
	wants := uint32(0)
	for _, word := range args[1:] {
		what, ok := watchable[string(word)]
		if !ok {
			return c.say("ERROR")
		}
		wants |= what
	}
	if len(args) == 1 {
		wants = watchFetchers
	}
	w := s.watchers.add(wants)
	if w == nil {
		return c.say("WATCHER_TOO_MANY log watcher limit reached")
	}
	defer s.watchers.remove(w)
	c.state.Store(uint32(stateWatches))
	var reader sync.WaitGroup
	reader.Go(func() { // until the client closes its end, or the server shuts down
		var some [512]byte
		for {
			if _, err := c.nc.Read(some[:]); err != nil {
				break
			}
		}
		s.watchers.close(w)
		_ = c.nc.SetWriteDeadline(past)
	})
	err := c.write([]byte("OK\r\n"))
	for err == nil {
		lines := s.watchers.take(w)
		if lines == nil {
			break
		}
		err = c.write(lines)
		c.counts.add(logSent, 1)
		c.state.Store(uint32(stateWatches))
	}
	_ = c.nc.SetReadDeadline(past)
	reader.Wait()
	c.reason = closedNormally
	return errWatched
}

// errWatched ends the connection of a watcher.
var errWatched = fmt.Errorf("%w: it was a watcher's", errClose)

// add returns a new watcher, or nil if there are too many.
func (w *watchers) add(wants uint32) *watcher {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.all) >= maxWatchers || w.closed {
		return nil
	}
	one := &watcher{wants: wants, since: w.number, woken: make(chan struct{}, 1)}
	w.all = append(w.all, one)
	w.rewant()
	return one
}

func (w *watchers) remove(one *watcher) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all = slices.DeleteFunc(w.all, func(o *watcher) bool { return o == one })
	w.rewant()
}

func (w *watchers) rewant() {
	all := uint32(0)
	for _, one := range w.all {
		all |= one.wants
	}
	w.wanted.Store(all)
}

// count returns the number of watchers.
func (w *watchers) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.all)
}

func (w *watchers) close(one *watcher) {
	w.mu.Lock()
	defer w.mu.Unlock()
	one.closed = true
	one.wake()
}

// closeAll ends the watchers, and admits no more.
func (w *watchers) closeAll() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	for _, one := range w.all {
		one.closed = true
		one.wake()
	}
}

func (one *watcher) wake() {
	select {
	case one.woken <- struct{}{}:
	default:
	}
}

// take waits for lines and returns them, or nil when the watcher was closed.
func (w *watchers) take(one *watcher) []byte {
	for {
		w.mu.Lock()
		lines := one.lines
		one.lines = nil
		closed := one.closed
		w.mu.Unlock()
		switch {
		case closed:
			return nil
		case lines != nil:
			return lines
		}
		<-one.woken
	}
}

// tell gives a line to those who want it. fn appends what follows the time and the number.
func (w *watchers) tell(c *conn, what uint32, fn func(line []byte) []byte) {
	now := time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.number++
	line := append(w.line[:0], "ts="...)
	line = strconv.AppendInt(line, now.Unix(), 10)
	line = strconv.AppendInt(append(line, '.'), int64(now.Nanosecond()/1000), 10)
	line = strconv.AppendUint(append(line, " gid="...), w.number, 10)
	line = append(fn(append(line, ' ')), '\n')
	w.line = line
	c.counts.add(logWritten, 1)
	for _, one := range w.all {
		if one.wants&what == 0 {
			continue
		}
		if len(one.lines)+len(line)+len("skipped=18446744073709551615\n") > watcherBytes {
			one.skipped++
			c.counts.add(logSkipped, 1)
			continue
		}
		if one.skipped != 0 {
			one.lines = strconv.AppendUint(append(one.lines, "skipped="...), one.skipped, 10)
			one.lines = append(one.lines, '\n')
			one.skipped = 0
		}
		one.lines = append(one.lines, line...)
		one.wake()
	}
}

// get tells that an item was asked for.
func (w *watchers) get(c *conn, key []byte, hit bool, size int) {
	status := "not_found"
	if hit {
		status = "found"
	}
	w.tell(c, watchFetchers, func(line []byte) []byte {
		line = appendEncoded(append(line, "type=item_get key="...), key)
		return fmt.Appendf(line, " status=%s clsid=%d cfd=%d size=%d", status, index(hit), c.fd, size)
	})
}

// store tells how a request to store an item ended.
func (w *watchers) store(c *conn, key []byte, v verb, o outcome, exptime int64, size int) {
	ttl := int64(0)
	if exptime != 0 {
		ttl = max(0, int64(c.srv.expiry(exptime).Sub(c.srv.now()).Seconds()+0.5))
	}
	w.tell(c, watchMutations, func(line []byte) []byte {
		line = appendEncoded(append(line, "type=item_store key="...), key)
		return fmt.Appendf(line, " status=%s cmd=%s ttl=%d clsid=1 cfd=%d size=%d", outcomes[o], verbs[v], ttl, c.fd, size)
	})
}

// opened tells of a new connection.
func (w *watchers) opened(c *conn) {
	w.tell(c, watchConns, func(line []byte) []byte {
		host, port, transport := c.peer()
		return fmt.Appendf(line, "type=conn_new rip=%s rport=%s transport=%s cfd=%d", host, port, transport, c.fd)
	})
}

// ended tells of the end of a connection.
func (w *watchers) ended(c *conn) {
	w.tell(c, watchConns, func(line []byte) []byte {
		host, port, transport := c.peer()
		return fmt.Appendf(line, "type=conn_close rip=%s rport=%s transport=%s reason=%s cfd=%d", host, port, transport, closeReasons[c.reason], c.fd)
	})
}

// peer returns the address of the client.
func (c *conn) peer() (host, port, transport string) {
	if a, ok := c.nc.RemoteAddr().(*net.TCPAddr); ok {
		return a.IP.String(), strconv.Itoa(a.Port), "tcp"
	}
	return "unix", "0", "local"
}

// appendEncoded appends a key as in an address of the web.
func appendEncoded(dst, key []byte) []byte {
	const digits = "0123456789ABCDEF"
	for _, b := range key {
		switch {
		case b >= 'a' && b <= 'z', b >= 'A' && b <= 'Z', b >= '0' && b <= '9', b == '-', b == '.', b == '_', b == '~':
			dst = append(dst, b)
		default:
			dst = append(dst, '%', digits[b>>4], digits[b&15])
		}
	}
	return dst
}
