package main

import (
	"expvar"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A metric is a number that /metrics shows in Prometheus's text format.
type metric struct {
	name, help string
	gauge      bool
	value      float64
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

// metricsAddress completes an address without a host by that of loopback. An empty one is none.
func metricsAddress(address string) (string, error) {
	if address == "" {
		return "", nil
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", fmt.Errorf("found --metrics %q, expected HOST:PORT, or :PORT for loopback", address)
	}
	if host == "" {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port), nil
}

// listenMetrics opens a listener for clients of HTTP, which get metrics, and the variables of package
// expvar.
func (r *serverRun) listenMetrics(address string, metrics func() []metric) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("serving metrics: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /debug/vars", expvar.Handler())
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		_ = writeMetrics(w, metrics()) // whoever asked may have gone
	})
	h := &http.Server{Handler: mux, ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(r.log.Handler(), slog.LevelWarn)}
	r.add(l, func(l net.Listener) error {
		_ = h.Serve(newBounded(l, metricsConns)) // until Close
		return nil
	}, "for", "metrics")
	r.onClose(h.Close)
	return nil
}

// metricsConns is how many clients of metrics are served at once. More would take the files of
// the other connections.
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
