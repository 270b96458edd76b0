package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/seed-869cc763/shmkv/cmd/shmctl/internal/daemon"
)

// How long a server that ends lets its connections answer what they have received.
const (
	promptly   = 500 * time.Millisecond // INT, TERM, the command shutdown
	gracefully = 10 * time.Second       // USR1, the command shutdown graceful
)

// spareFiles is how many files a server has open beside those of its connections: the store,
// listeners, standard ones, the runtime's.
const spareFiles = 64

// A serverRun is a run of shmctl serve, as far as all protocols have it in common. What it has
// opened, it closes in the other order.
type serverRun struct {
	log        *slog.Logger
	pidFile    string             // empty means none
	keepOutput bool               // of a daemon
	serves     []any              // what is served, for the log
	closed     error              // what a service returns after the shutdown
	reload     func()             // for HUP
	stops      chan time.Duration // asks for the end, with the time for answers
	signals    chan os.Signal
	services   []service
	closers    []func() error
}

// A service is an open listener, and what serves its connections.
type service struct {
	net.Listener
	serve func(net.Listener) error
	about []any // for the log
}

// newServerRun returns a run that is ended by INT and TERM. more are other signals that it
// takes: USR1 ends it gracefully, and HUP calls reload.
func newServerRun(log *slog.Logger, closed error, more ...os.Signal) *serverRun {
	r := &serverRun{log: log, closed: closed, stops: make(chan time.Duration, 1), signals: make(chan os.Signal, 4)}
	signal.Notify(r.signals, append(more, syscall.SIGINT, syscall.SIGTERM)...)
	signal.Ignore(syscall.SIGPIPE) // of standard error: a server goes on when its reader has ended
	r.onClose(func() error { signal.Stop(r.signals); return nil })
	return r
}

// levelOf returns the level of a log with -v this many times.
func levelOf(verbose int) slog.Level {
	levels := [...]slog.Level{slog.LevelWarn, slog.LevelInfo, slog.LevelDebug}
	return levels[min(verbose, len(levels)-1)]
}

func logTo(w io.Writer, level slog.Level) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level}))
}

func (r *serverRun) onClose(f func() error) { r.closers = append(r.closers, f) }

// close closes what the run has opened.
func (r *serverRun) close() (err error) {
	for _, f := range slices.Backward(r.closers) {
		err = errors.Join(err, f())
	}
	return err
}

// add adds an open listener, whose connections serve will serve.
func (r *serverRun) add(l net.Listener, serve func(net.Listener) error, about ...any) {
	r.services = append(r.services, service{l, serve, append(about, "address", l.Addr().String())})
	r.onClose(func() error { // unless serve has closed it
		if err := l.Close(); !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
	})
}

// listenTCP opens listeners, unless there are no addresses: see daemon.ListenTCP.
func (r *serverRun) listenTCP(ctx context.Context, addresses []string, port int, some bool, backlog int, serve func(net.Listener) error, about ...any) error {
	if len(addresses) == 0 {
		return nil
	}
	all, err := daemon.ListenTCP(ctx, addresses, port, some, backlog)
	for _, l := range all {
		r.add(l, serve, about...)
	}
	return err
}

// listenUnix opens a listener, unless the path is empty: see daemon.ListenUnix.
func (r *serverRun) listenUnix(path string, mode fs.FileMode, backlog int, serve func(net.Listener) error, about ...any) error {
	if path == "" {
		return nil
	}
	l, err := daemon.ListenUnix(path, mode, backlog)
	if err == nil {
		r.add(l, serve, about...)
	}
	return err
}

// serve serves until a signal, stop or an error of a listener ends it. It then lets the
// connections answer what they have received.
func (r *serverRun) serve(ctx context.Context, shutDown func(context.Context) error) error {
	failed, err := r.begin()
	patience := promptly
	for waiting := err == nil; waiting; {
		waiting = false
		select {
		case <-ctx.Done():
		case patience = <-r.stops:
		case err = <-failed:
		case sig := <-r.signals:
			r.log.Info("received a signal", "signal", sig)
			switch sig {
			case syscall.SIGUSR1:
				patience = gracefully
			case syscall.SIGHUP:
				waiting = true
				r.reload()
			}
		}
	}
	return errors.Join(err, r.end(patience, shutDown))
}

// begin accepts connections. The pid file is there and the log has the addresses before that, so
// whoever has got an answer finds both. The listeners are open by now, so a server that finds
// its addresses in use does not replace the pid file of the one that uses them.
func (r *serverRun) begin() (failed <-chan error, err error) {
	if r.pidFile != "" {
		remove, err := daemon.WritePID(r.pidFile)
		if err != nil {
			return nil, err
		}
		r.onClose(func() error { remove(); return nil })
	}
	for _, s := range r.services {
		r.log.Info("listening", append(s.about, r.serves...)...)
	}
	if err := daemon.Ready(r.keepOutput); err != nil {
		return nil, err
	}
	failures := make(chan error, len(r.services))
	for _, s := range r.services {
		go func() {
			if err := s.serve(s.Listener); err != nil && !errors.Is(err, r.closed) {
				failures <- fmt.Errorf("accepting connections on %v: %w", s.Addr(), err)
			}
		}()
	}
	return failures, nil
}

// stop asks for the end. The first one counts.
func (r *serverRun) stop(patience time.Duration) {
	select {
	case r.stops <- patience:
	default:
	}
}

// end lets the connections answer what they have received, and closes them after that, at the
// end of patience, or at a further INT or TERM.
func (r *serverRun) end(patience time.Duration, shutDown func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- shutDown(ctx) }()
	for {
		select {
		case err := <-ended:
			if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
				r.log.Info("closed connections that had not answered", "after", patience)
				err = nil
			}
			return err
		case sig := <-r.signals:
			if sig == syscall.SIGINT || sig == syscall.SIGTERM {
				cancel()
			}
		}
	}
}
