package memcache

import (
	"os"
	"runtime"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/seed-869cc763/shmkv/shm/cache"
)

// A stat is what takes the lines of a group of statistics.
type stat func(name, value string)

func (add stat) number(name string, n uint64) { add(name, strconv.FormatUint(n, 10)) }

// Stats calls add with each line of a group of statistics, as memcached's command stats names
// them: the empty name is the general ones; settings, items, slabs, sizes and conns are others.
// It reports whether there is such a group.
func (s *Server) Stats(group string, add func(name, value string)) bool {
	switch group {
	case "":
		s.generalStats(add)
	case "settings":
		s.settings(add)
	case "items":
		s.itemStats(add)
	case "slabs":
		s.slabStats(add)
	case "sizes":
		add("sizes_status", "disabled")
	case "conns":
		s.connStats(add)
	default:
		return false
	}
	return true
}

// ResetStats sets the counters to 0, as stats reset does.
func (s *Server) ResetStats() {
	s.resetCounts()
	s.detail.reset()
}

// statsCommand executes stats and its subcommands.
func (c *conn) statsCommand(args [][]byte) error {
	group := ""
	if len(args) > 1 {
		group = string(args[1])
	}
	switch group {
	case "reset":
		c.srv.ResetStats()
		return c.say("RESET")
	case "detail":
		return c.statsDetail(args)
	case "cachedump":
		return c.cacheDump(args)
	case "sizes_enable", "sizes_disable":
		// memcached counts sizes while that is enabled. Here nothing counts them.
		group = "sizes"
	}
	if !c.srv.Stats(group, func(name, value string) {
		c.out = append(append(c.out, "STAT "...), name...)
		c.out = append(append(append(c.out, ' '), value...), "\r\n"...)
	}) {
		return c.say("ERROR")
	}
	return c.say("END")
}

func (c *conn) statsDetail(args [][]byte) error {
	what := ""
	if len(args) > 2 {
		what = string(args[2])
	}
	switch what {
	case "on", "off":
		c.srv.detail.on.Store(what == "on")
		return c.say("OK")
	case "dump":
		c.out = c.srv.detail.appendTo(c.out)
		return nil
	}
	return c.say("CLIENT_ERROR usage: stats detail on|off|dump")
}

// generalStats has memcached's names, in its order, without those of what there is not.
func (s *Server) generalStats(add stat) {
	var use syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &use)
	c := s.cache.Stats()
	s.mu.Lock()
	conns, waiting, before := len(s.conns), s.waiting, s.countedBefore
	s.mu.Unlock()
	since := c.Counts.Sub(before)

	add.number("pid", uint64(os.Getpid()))
	add.number("uptime", uint64(time.Since(s.started)/time.Second))
	add("time", strconv.FormatInt(s.now().Unix(), 10))
	add("version", Version)
	add("libevent", runtime.Version())
	add.number("pointer_size", 64)
	add("rusage_user", microseconds(use.Utime))
	add("rusage_system", microseconds(use.Stime))
	add.number("max_connections", uint64(s.opts.MaxConns))
	add.number("curr_connections", uint64(conns))
	add.number("total_connections", s.count(totalConns))
	if !s.opts.MaxConnsWait {
		add.number("rejected_connections", s.count(rejectedConns))
	}
	add.number("connection_structures", uint64(conns))
	for _, name := range []string{"response_obj_oom", "response_obj_count", "response_obj_bytes", "read_buf_count", "read_buf_bytes", "read_buf_bytes_free", "read_buf_oom", "reserved_fds"} {
		add.number(name, 0)
	}
	for _, k := range general {
		add.number(k.name, s.count(k.counter))
		if k.counter == getExpired {
			add.number("get_flushed", 0) // a flush drops all items at once, and nobody knows what they were
		}
	}
	if s.opts.IdleTimeout != 0 {
		add.number("idle_kicks", s.count(idleKicks))
	}
	add.number("bytes_read", s.count(bytesRead))
	add.number("bytes_written", s.count(bytesWritten))
	add.number("limit_maxbytes", uint64(s.memory.Load()))
	add.number("accepting_conns", uint64(index(waiting == 0)))
	add.number("listen_disabled_num", s.count(listenDisabled))
	add.number("time_in_listen_disabled_us", s.count(listenDisabledMicros))
	add.number("threads", uint64(s.opts.Threads))
	for _, name := range []string{"conn_yields", "hash_power_level", "hash_bytes", "hash_is_expanding",
		"slab_reassign_rescues", "slab_reassign_chunk_rescues", "slab_reassign_evictions_nomem", "slab_reassign_inline_reclaim",
		"slab_reassign_busy_items", "slab_reassign_busy_deletes", "slab_reassign_running", "slabs_moved"} {
		add.number(name, 0)
	}
	if s.crawler.Load() {
		add.number("lru_crawler_running", 0)
		add.number("lru_crawler_starts", s.count(crawlerStarts))
	}
	add.number("malloc_fails", 0)
	add.number("log_worker_dropped", 0)
	add.number("log_worker_written", s.count(logWritten))
	add.number("log_watcher_skipped", s.count(logSkipped))
	add.number("log_watcher_sent", s.count(logSent))
	add.number("log_watchers", uint64(s.watchers.count()))
	add.number("unexpected_napi_ids", 0)
	add.number("round_robin_fallback", 0)
	add.number("bytes", uint64(max(0, c.DataBytes)))
	add.number("curr_items", uint64(max(0, c.Items)))
	add.number("total_items", s.count(totalItems))
	add.number("slab_global_page_pool", 0)
	add.number("expired_unfetched", 0)
	add.number("evicted_unfetched", 0)
	add.number("evictions", since.Evictions)
	add.number("reclaimed", since.Expirations)
	add.number("crawler_reclaimed", 0)
	add.number("crawler_items_checked", 0)
	add.number("lrutail_reflocked", 0)
}

// general are the counters in the middle of the general statistics.
var general = []struct {
	name    string
	counter counter
}{
	{"cmd_get", cmdGet}, {"cmd_set", cmdSet}, {"cmd_flush", cmdFlush}, {"cmd_touch", cmdTouch}, {"cmd_meta", cmdMeta},
	{"get_hits", getHits}, {"get_misses", getMisses}, {"get_expired", getExpired},
	{"delete_misses", deleteMisses}, {"delete_hits", deleteHits},
	{"incr_misses", incrMisses}, {"incr_hits", incrHits}, {"decr_misses", decrMisses}, {"decr_hits", decrHits},
	{"cas_misses", casMisses}, {"cas_hits", casHits}, {"cas_badval", casBadval},
	{"touch_hits", touchHits}, {"touch_misses", touchMisses},
	{"store_too_large", storeTooLarge}, {"store_no_memory", storeNoMemory},
	{"auth_cmds", authCmds}, {"auth_errors", authErrors},
}

func microseconds(t syscall.Timeval) string {
	s := strconv.FormatInt(int64(t.Usec)+1_000_000, 10)
	return strconv.FormatInt(t.Sec, 10) + "." + s[1:]
}

func (s *Server) itemStats(add stat) {
	c := s.cache.Stats()
	if c.Items <= 0 {
		return
	}
	s.mu.Lock()
	since := c.Counts.Sub(s.countedBefore)
	s.mu.Unlock()
	item := func(name string, n uint64) { add.number("items:"+onlyClass+":"+name, n) }
	item("number", uint64(c.Items))
	item("age", 0)
	item("mem_requested", uint64(c.DataBytes+c.Items*int64(itemSize(0, 0, 0)-cache.Overhead)))
	item("evicted", since.Evictions)
	item("evicted_nonzero", 0)
	item("evicted_time", 0)
	item("outofmemory", s.count(storeNoMemory))
	item("tailrepairs", 0)
	item("reclaimed", since.Expirations)
	item("expired_unfetched", 0)
	item("evicted_unfetched", 0)
	item("crawler_reclaimed", since.Expirations)
	item("crawler_items_checked", 0)
	item("lrutail_reflocked", 0)
}

func (s *Server) slabStats(add stat) {
	const page = 1 << 20
	c := s.cache.Stats()
	active := 0
	if c.Items > 0 || s.count(totalItems) > 0 { // as memcached, which keeps a class that it has used
		active = 1
		slab := func(name string, n uint64) { add.number(onlyClass+":"+name, n) }
		items := uint64(max(0, c.Items))
		chunk := max(1, uint64(max(c.LiveBytes, c.DataBytes))/max(1, items))
		slab("chunk_size", chunk)
		slab("chunks_per_page", max(1, page/chunk))
		slab("total_pages", (uint64(c.LiveBytes)+page-1)/page)
		slab("total_chunks", items)
		slab("used_chunks", items)
		slab("free_chunks", 0)
		slab("free_chunks_end", 0)
		for _, k := range general {
			if slices.Contains([]counter{getHits, cmdSet, deleteHits, incrHits, decrHits, casHits, casBadval, touchHits}, k.counter) {
				slab(k.name, s.count(k.counter))
			}
		}
	}
	add.number("active_slabs", uint64(active))
	add.number("total_malloced", uint64(s.cache.Store().Stats().AllocatedBytes))
}
