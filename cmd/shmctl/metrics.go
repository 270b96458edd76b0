package main

import (
	"context"
	"errors"
	"expvar"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

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

// writeMetrics writes metrics in Prometheus's text format, version 0.0.4.
func writeMetrics(w io.Writer, all []metric) error {
	var b strings.Builder
	for _, m := range all {
		kind := "counter"
		if m.gauge {
			kind = "gauge"
		}
		fmt.Fprintf(&b, "# HELP %s %s\n# TYPE %s %s\n%s %v\n", m.name, m.help, m.name, kind, m.name, m.value)
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

// serveMetrics serves metrics by HTTP, if that was asked for.
func (m *memcachedServer) serveMetrics(context.Context) error {
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
	mux := http.NewServeMux()
	mux.Handle("GET /debug/vars", expvar.Handler())
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		_ = writeMetrics(w, cacheMetrics(m.store.cache.Stats())) // whoever asked may have gone
	})
	h := &http.Server{Handler: mux, ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10}
	go func() { _ = h.Serve(l) }() // until Close
	m.onClose(h.Close)
	m.log.Info("serving metrics", "address", l.Addr().String())
	return nil
}
