package main

import (
	"errors"
	"expvar"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/seed-869cc763/shmkv/server/memcache"
	"github.com/seed-869cc763/shmkv/shm/cache"
	"github.com/seed-869cc763/shmkv/shm/shmexpvar"
)

// A metric is a number that /metrics shows in Prometheus's text format.
type metric struct {
	name, help string
	gauge      bool
	value      float64
}

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

// writeMetrics writes metrics in Prometheus's text format, version 0.0.4.
func writeMetrics(w io.Writer, all []metric) error {
	var b strings.Builder
	for _, m := range all {
		kind := "counter"
		if m.gauge {
			kind = "gauge"
		}
		fmt.Fprintf(&b, "# HELP %s %s\n# TYPE %s %s\n%s %s\n", m.name, m.help, m.name, kind, m.name, strconv.FormatFloat(m.value, 'f', -1, 64))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// metricsAddress completes an address without a host by that of loopback.
func metricsAddress(address string) (string, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", fmt.Errorf("found --metrics %q, expected HOST:PORT, or :PORT for loopback", address)
	}
	if host == "" {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port), nil
}

// listenMetrics opens the listener of metrics, which are served by HTTP, if that was asked for.
func (m *memcachedServer) listenMetrics() error {
	if m.metrics == "" {
		return nil
	}
	l, err := net.Listen("tcp", m.metrics)
	if err != nil {
		return fmt.Errorf("serving metrics: %w", err)
	}
	if err := shmexpvar.PublishCache("cache", m.store.cache); err != nil {
		return errors.Join(err, l.Close())
	}
	publishServer(m.server)
	mux := http.NewServeMux()
	mux.Handle("GET /debug/vars", expvar.Handler())
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		_ = writeMetrics(w, append(metricsOf(m.server), cacheMetrics(m.store.cache.Stats())...)) // whoever asked may have gone
	})
	h := &http.Server{Handler: mux, ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10}
	m.add(l, func(l net.Listener) error {
		_ = h.Serve(newBounded(l, metricsConns)) // until Close
		return nil
	}, "for", "metrics")
	m.onClose(h.Close)
	return nil
}

// metricsConns is how many clients of metrics are served at once. More would take the files of
// memcached's connections.
const metricsConns = 16

// A bounded is a listener with a bound of open connections. Those beyond wait to be accepted.
type bounded struct {
	net.Listener
	places chan struct{}
	closed chan struct{}
	close  func() error
}

func newBounded(l net.Listener, most int) *bounded {
	b := &bounded{Listener: l, places: make(chan struct{}, most), closed: make(chan struct{})}
	b.close = sync.OnceValue(func() error {
		close(b.closed)
		return l.Close()
	})
	return b
}

func (b *bounded) Close() error { return b.close() }

func (b *bounded) Accept() (net.Conn, error) {
	select {
	case b.places <- struct{}{}:
	case <-b.closed:
		return nil, net.ErrClosed
	}
	c, err := b.Listener.Accept()
	if err != nil {
		<-b.places
		return nil, err
	}
	return &placed{Conn: c, leave: sync.OnceFunc(func() { <-b.places })}, nil
}

// A placed is a connection of a bounded.
type placed struct {
	net.Conn
	leave func()
}

func (p *placed) Close() error {
	defer p.leave()
	return p.Conn.Close()
}
