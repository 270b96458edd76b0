package memcache

import (
	"io"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// What can be watched. Of rawcmds, sysevents and what belongs to proxies nothing is told: they
// are there for memcached's sake. Of evictions those are told that the handle of this server
// makes.
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
	listen func() (stop func()) // lets the cache tell of evictions
	wanted atomic.Uint32        // what any of them wants

	mu     sync.Mutex
	all    []*watcher
	number uint64 // of the next line
	line   []byte // that is being made
	closed bool
	stop   func() // of listen, while anybody watches evictions
}

type watcher struct {
	wants   uint32
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
	c.leaveLoop()
	err := c.write([]byte("OK\r\n"))
	if err == nil {
		err = c.drain() // of what came before, nobody tells again
	}
	for err == nil {
		lines, ok := s.watchers.take(w)
		switch {
		case !ok:
			err = errClose
		case len(lines) > 0:
			c.counts.add(logSent, 1)
			err = c.write(lines)
		default:
			err = c.awaitLines(w)
		}
	}
	c.reason = closedNormally
	return err
}

// awaitLines waits until there may be lines for a watcher, and reads what its client sends.
func (c *conn) awaitLines(w *watcher) error {
	c.doing.Store(uint32(stateWatches))
	select {
	case <-w.woken:
		return nil
	case <-c.woken:
	}
	if !c.state.CompareAndSwap(signalled, running) {
		return nil
	}
	if c.dead.Load() {
		return errClose
	}
	return c.drain()
}

// drain reads all that has arrived, and forgets it.
func (c *conn) drain() error {
	c.in.r, c.in.w = 0, 0
	for {
		n, err := syscall.Read(c.fd, c.in.buf)
		switch {
		case n > 0 || err == syscall.EINTR:
		case err == syscall.EAGAIN:
			return nil
		case err == nil:
			return io.EOF
		default:
			return err
		}
	}
}

// add returns a new watcher, or nil if there are too many.
func (w *watchers) add(wants uint32) *watcher {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.all) >= maxWatchers || w.closed {
		return nil
	}
	one := &watcher{wants: wants, woken: make(chan struct{}, 1)}
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

// rewant finds out what is wanted now. The cache tells of evictions while anybody watches them:
// it copies items for that. The caller has mu.
func (w *watchers) rewant() {
	all := uint32(0)
	for _, one := range w.all {
		all |= one.wants
	}
	w.wanted.Store(all)
	switch evictions := all&watchEvictions != 0; {
	case evictions && w.stop == nil:
		w.stop = w.listen()
	case !evictions && w.stop != nil:
		w.stop()
		w.stop = nil
	}
}

// count returns the number of watchers.
func (w *watchers) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.all)
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

// take returns the lines that there are for a watcher. Without ok it is to end.
func (w *watchers) take(one *watcher) (lines []byte, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	lines, one.lines = one.lines, nil
	return lines, !one.closed
}

// tell gives a line to those who want it. fn appends what follows the time and the number.
func (w *watchers) tell(k *counts, what uint32, fn func(line []byte) []byte) {
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
	k.add(logWritten, 1)
	for _, one := range w.all {
		if one.wants&what == 0 {
			continue
		}
		if len(one.lines)+len(line)+len("skipped=18446744073709551615\n") > watcherBytes {
			one.skipped++
			k.add(logSkipped, 1)
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
