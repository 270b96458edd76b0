package main

import (
	"expvar"
	"strconv"

	"github.com/seed-869cc763/shmkv/server/memcache"
	"github.com/seed-869cc763/shmkv/shm/cache"
	"github.com/seed-869cc763/shmkv/shm/shmexpvar"
)

// cacheMetrics are the numbers of the cache, of this process and of all. Their names are
// those of package shmprom.
func cacheMetrics(st cache.Stats) []metric {
	all := []metric{
		{"shmkv_cache_items", "Items of the region, expired ones included.", true, float64(st.Items)},
		{"shmkv_cache_data_bytes", "Bytes of their keys and values.", true, float64(st.DataBytes)},
		{"shmkv_cache_bound_bytes", "What the handle lets the file data grow to.", true, float64(st.Bound)},
		{"shmkv_cache_target_bytes", "Bytes of live blocks from which on writes evict.", true, float64(st.Target)},
		{"shmkv_cache_live_bytes", "Bytes of live blocks of the store.", true, float64(st.LiveBytes)},
		{"shmkv_cache_file_bytes", "Length of the file data.", true, float64(st.FileBytes)},
	}
	for _, of := range []struct {
		prefix, by string
		cache.Counts
	}{{"", "By this process.", st.Counts}, {"all_", "By all processes, in all regions of the store.", st.All}} {
		for _, c := range []struct {
			name, help string
			n          uint64
		}{
			{"hits", "Reads that found an item.", of.Hits},
			{"misses", "Reads that found none.", of.Misses},
			{"evictions", "Items that were deleted to make room.", of.Evictions},
			{"expirations", "Items that were deleted after they had expired.", of.Expirations},
		} {
			all = append(all, metric{"shmkv_cache_" + of.prefix + c.name + "_total", c.help + " " + of.by, false, float64(c.n)})
		}
	}
	return all
}

// serverMetrics are those of the statistics of the server that are numbers worth a graph, by
// the names that memcached's command stats gives them.
var serverMetrics = []struct {
	stat, name, help string
	gauge            bool
}{
	{"uptime", "uptime_seconds", "Time since the start.", true},
	{"curr_connections", "connections", "Open connections.", true},
	{"max_connections", "connections_limit", "Most connections at a time.", true},
	{"total_connections", "connections_total", "Connections that were accepted.", false},
	{"rejected_connections", "connections_rejected_total", "Connections that were refused because there were too many.", false},
	{"idle_kicks", "connections_idle_closed_total", "Connections that were closed because they were idle.", false},
	{"cmd_get", "gets_total", "Keys that clients asked for.", false},
	{"cmd_set", "sets_total", "Items that clients stored.", false},
	{"cmd_touch", "touches_total", "Times to live that clients changed.", false},
	{"cmd_meta", "meta_commands_total", "Meta commands.", false},
	{"cmd_flush", "flushes_total", "Commands flush_all.", false},
	{"get_hits", "get_hits_total", "Keys that were found.", false},
	{"get_misses", "get_misses_total", "Keys that were not found.", false},
	{"get_expired", "get_expired_total", "Keys that were not found because they had expired.", false},
	{"delete_hits", "delete_hits_total", "Deletes that found an item.", false},
	{"delete_misses", "delete_misses_total", "Deletes that found none.", false},
	{"cas_hits", "cas_hits_total", "Stores by cas that were made.", false},
	{"cas_badval", "cas_badval_total", "Stores by cas that were not made, because the item had changed.", false},
	{"store_too_large", "store_too_large_total", "Items that were too large.", false},
	{"store_no_memory", "store_no_memory_total", "Items for which there was no room.", false},
	{"auth_cmds", "auth_total", "Requests to authenticate.", false},
	{"auth_errors", "auth_errors_total", "Requests to authenticate that failed.", false},
	{"bytes_read", "read_bytes_total", "Bytes that clients sent.", false},
	{"bytes_written", "written_bytes_total", "Bytes that were sent to clients.", false},
	{"limit_maxbytes", "limit_bytes", "Memory that the cache may take.", true},
	{"log_watchers", "watchers", "Connections that watch.", true},
}

// metricsOf returns the metrics of a server.
func metricsOf(s *memcache.Server) (all []metric) {
	stats := map[string]string{}
	s.Stats("", func(name, value string) { stats[name] = value })
	for _, of := range serverMetrics {
		if n, err := strconv.ParseFloat(stats[of.stat], 64); err == nil { // some are there with some flags only
			all = append(all, metric{"shmctl_memcached_" + of.name, of.help, of.gauge, n})
		}
	}
	return all
}

// publishServer publishes the statistics of a server as a variable of package expvar.
func publishServer(s *memcache.Server) {
	expvar.Publish("memcached", expvar.Func(func() any {
		stats := map[string]any{}
		s.Stats("", func(name, value string) {
			if n, err := strconv.ParseInt(value, 10, 64); err == nil {
				stats[name] = n
			} else {
				stats[name] = value
			}
		})
		return stats
	}))
}

// listenForMetrics opens the listener of metrics, if there is an address for it.
func (m *memcachedServer) listenForMetrics() error {
	if m.metrics == "" {
		return nil
	}
	if err := shmexpvar.PublishCache("cache", m.store.cache); err != nil {
		return err
	}
	publishServer(m.server)
	return m.listenMetrics(m.metrics, func() []metric {
		return append(metricsOf(m.server), cacheMetrics(m.store.cache.Stats())...)
	})
}
