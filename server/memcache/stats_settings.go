package memcache

import (
	"slices"
	"strconv"
	"time"
)

// settings has memcached's names, in its order. What Options.Settings tells takes the place of
// what the server knows, and what it does not know has memcached's default.
func (s *Server) settings(add stat) {
	o, t := &s.opts, s.tuning.get()
	auth := "no"
	if o.Auth != nil {
		auth = o.Auth.path
	}
	protocol := "auto-negotiate"
	switch {
	case o.Binary:
		protocol = "binary"
	case o.Text:
		protocol = "ascii"
	}
	lines := []Setting{
		{"maxbytes", strconv.FormatInt(s.memory.Load(), 10)},
		{"maxconns", strconv.Itoa(o.MaxConns)},
		{"tcpport", "0"},
		{"udpport", "0"},
		{"inter", "NULL"},
		{"verbosity", strconv.Itoa(int(s.verbose.Load()))},
		{"oldest", "0"},
		{"evictions", "on"},
		{"domain_socket", "NULL"},
		{"umask", "700"},
		{"shutdown_command", yes(o.AllowShutdown)},
		{"growth_factor", "1.25"},
		{"chunk_size", "48"},
		{"num_threads", "4"},
		{"num_threads_per_udp", "0"},
		{"stat_key_prefix", string(rune(o.Prefix))},
		{"detail_enabled", yes(s.detail.on.Load())},
		{"reqs_per_event", "20"},
		{"cas_enabled", yes(!o.NoCAS)},
		{"tcp_backlog", "1024"},
		{"binding_protocol", protocol},
		{"auth_enabled_sasl", "no"},
		{"auth_enabled_ascii", auth},
		{"item_size_max", strconv.Itoa(o.ItemSize)},
		{"maxconns_fast", yes(!o.MaxConnsWait)},
		{"hashpower_init", "0"},
		{"slab_reassign", "no"},
		{"slab_automove", strconv.Itoa(int(t.automove))},
		{"slab_automove_ratio", fixed(t.automoveRatio)},
		{"slab_automove_window", "30"},
		{"slab_chunk_max", "524288"},
		{"lru_crawler", yes(s.crawler.Load())},
		{"lru_crawler_sleep", strconv.Itoa(int(t.crawlerSleep))},
		{"lru_crawler_tocrawl", strconv.Itoa(int(t.crawlerMost))},
		{"tail_repair_time", "0"},
		{"flush_enabled", yes(!o.NoFlush)},
		{"dump_enabled", yes(!o.NoDump)},
		{"hash_algorithm", "siphash"},
		{"lru_maintainer_thread", "no"},
		{"lru_segmented", yes(t.segmented)},
		{"hot_lru_pct", strconv.Itoa(int(t.hotPercent))},
		{"warm_lru_pct", strconv.Itoa(int(t.warmPercent))},
		{"hot_max_factor", fixed(t.hotFactor)},
		{"warm_max_factor", fixed(t.warmFactor)},
		{"temp_lru", yes(t.temporary)},
		{"temporary_ttl", strconv.Itoa(int(t.temporaryTTL))},
		{"idle_timeout", strconv.Itoa(int(o.IdleTimeout / time.Second))},
		{"watcher_logbuf_size", strconv.Itoa(watcherBytes)},
		{"worker_logbuf_size", "65536"},
		{"read_buf_mem_limit", "0"},
		{"track_sizes", "no"},
		{"inline_ascii_response", "no"},
		{"num_napi_ids", "NULL"},
		{"memory_file", s.cache.Store().Path()},
	}
	for _, l := range lines {
		if i := slices.IndexFunc(o.Settings, func(o Setting) bool { return o.Name == l.Name }); i >= 0 {
			l = o.Settings[i]
		}
		add(l.Name, l.Value)
	}
	for _, l := range o.Settings {
		if !slices.ContainsFunc(lines, func(o Setting) bool { return o.Name == l.Name }) {
			add(l.Name, l.Value)
		}
	}
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func fixed(f float64) string { return strconv.FormatFloat(f, 'f', 2, 64) }
