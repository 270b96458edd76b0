package main

import (
	"context"
	"fmt"
	"time"
)

// The work "server" measures "shmctl serve memcached" beside memcached, with the same clients. It consists of all works
// whose names begin with "server-". In its rows the store is that server.
const serverWork = "server"

// networks are the ways to a server, with their names in titles.
var networks = []struct{ name, title string }{{"unix", "unix socket"}, {"tcp", "TCP"}}

const (
	pipelined = 64 // gets that a client sends together
	keysOfGet = 32 // keys of one get

	// turnsOfServers is in how many parts a measurement of a server is made, alternating with those of the other one.
	turnsOfServers = 4
)

// A shape is what each client of a server sends: a request, and the next one when it was answered.
type shape struct {
	work  string // of a child: server-get, server-set or server-many
	batch int    // requests that are sent together, or keys of one get
	title string
	speed goal
	p99   goal
}

var (
	beside = goal{AtLeast: 0.9, Peer: memcachedName}
	late   = goal{AtLeast: 1 / 1.3, Peer: memcachedName}
	many   = goal{AtLeast: 1.2, Peer: memcachedName}

	getShape  = shape{"server-get", 1, "get", beside, late}
	setShape  = shape{"server-set", 1, "set", beside, late}
	pipeShape = shape{"server-get", pipelined, fmt.Sprintf("get, %d pipelined", pipelined), many, goal{}}
	manyShape = shape{"server-many", keysOfGet, fmt.Sprintf("get of %d keys", keysOfGet), many, goal{}}
)

// serverMeasurements returns the measurements of the work "server" in order.
func (c config) serverMeasurements() (all []measurement) {
	add := func(part, title string, measure func(ctx context.Context, b *bench, t task) error) {
		all = append(all, measurement{serverWork + "-" + part, "server, " + title, makesStore, ofServers(measure)})
	}
	for _, net := range networks {
		add("get", net.title+": get", measureShapes(net.name, net.title, c.connections, getShape))
		add("set", net.title+": set", measureShapes(net.name, net.title, c.connections, setShape))
		add("pipelined", net.title+": many keys", measureShapes(net.name, net.title, []int{1}, pipeShape, manyShape))
	}
	add("idle", "idle connections", measureIdle)
	add("memory", "memory", measureServerMemory)
	add("restart", "restart", measureRestart)
	add("inside", "a Go process inside", measureInside)
	return all
}

// serverWorks returns the names of the parts of server for -work.
func serverWorks() []string { return worksOf((config{connections: []int{1}}).serverMeasurements()) }

// ofServers returns the measurement of all servers. They take turns of a fraction of a second within it, so it is made
// when it is the store's turn, and nothing is left to do for the other peers.
func ofServers(measure func(ctx context.Context, b *bench, t task) error) func(ctx context.Context, b *bench, p peer, t task) error {
	return func(ctx context.Context, b *bench, p peer, t task) error {
		if p.name != storeName {
			return errUnsupported
		}
		return measure(ctx, b, t)
	}
}

func titleServer(network string, conns int, what string) string {
	return fmt.Sprintf("server, %s, %s: %s", network, plural(conns, "connection"), what)
}

// measureShapes measures requests on numbers of connections.
func measureShapes(network, title string, conns []int, shapes ...shape) func(ctx context.Context, b *bench, t task) error {
	return func(ctx context.Context, b *bench, t task) error {
		servers, stop, err := b.startFilled(ctx, t, network)
		defer stop()
		if err != nil {
			return err
		}
		for _, s := range shapes {
			for _, k := range conns {
				t.work, t.batch, t.workers, t.seconds = s.work, s.batch, k, b.seconds/2
				sums, err := alternate(ctx, servers, t)
				if err != nil {
					return err
				}
				if err := b.addShape(titleServer(title, k, s.title), s, servers, sums, t.n); err != nil {
					return err
				}
			}
		}
		return nil
	}
}

// addShape adds the rows of one shape.
func (b *bench) addShape(title string, s shape, servers []*server, sums []result, n int) error {
	for i, r := range sums {
		p := servers[i].peer
		b.report.add(title, n, thousandsPerSecond, p, r.perSecond())
		h, err := histogramOf(r.Latencies)
		if err != nil {
			return err
		}
		for _, q := range []float64{50, 99} {
			b.report.add(fmt.Sprintf("%s, p%g", title, q), n, nanosPerOp, p, float64(h.ValueAtQuantile(q)))
		}
		b.report.add(title+", server's processor time", n, nanosPerOp, p, float64(r.CPUNanos)/float64(r.Ops))
	}
	b.report.aim(title, n, s.speed)
	b.report.aim(title+", p99", n, s.p99)
	return nil
}

// alternate makes a task on each server, in slices by turns, and returns the sums. Their CPU time is that of the server.
func alternate(ctx context.Context, servers []*server, t task) ([]result, error) {
	sums := make([]result, len(servers))
	for slice := range turnsOfServers {
		t.seed = splitmix64(t.seed)
		for i := range servers {
			j := (i + slice) % len(servers)
			r, err := servers[j].load(ctx, t)
			if err != nil {
				return nil, err
			}
			sum := &sums[j]
			sum.Ops += r.Ops
			sum.Nanos += r.Nanos
			sum.CPUNanos += r.CPUNanos
			sum.Latencies = append(sum.Latencies, r.Latencies...)
		}
	}
	return sums, nil
}

const (
	titleInsideGet = "server, a Go process inside beside a unix socket: get"
	titleInsideSet = "server, a Go process inside beside a unix socket: set"
)

// measureInside compares a Go process that has the server's cache open with one connection to each server. The
// figures of the store are those of the process inside, and memcached's those of a connection to it.
func measureInside(ctx context.Context, b *bench, t task) error {
	servers, stop, err := b.startFilled(ctx, t, "unix")
	defer stop()
	if err != nil {
		return err
	}
	store := servers[0]
	inside := *store
	inside.inside = true
	all := append([]*server{&inside}, servers...)
	for _, s := range []struct {
		shape
		title string
	}{{getShape, titleInsideGet}, {setShape, titleInsideSet}} {
		t.work, t.batch, t.workers, t.seconds = s.work, 1, 1, b.seconds/2
		sums, err := alternate(ctx, all, t)
		if err != nil {
			return err
		}
		b.report.add(s.title, t.n, nanosPerOp, store.peer, sums[0].nanosPerOp())
		b.report.add(s.title+", to the server's socket", t.n, timesSocket, store.peer, sums[1].nanosPerOp()/sums[0].nanosPerOp())
		if len(servers) > 1 {
			b.report.add(s.title, t.n, nanosPerOp, servers[1].peer, sums[2].nanosPerOp())
		}
	}
	return nil
}

const (
	titleRestart = "server, restart after a SIGKILL"
	restarts     = 5
)

// measureRestart kills each server when it has many items, starts it again, and measures the time from the start to
// the first answer to a get.
func measureRestart(ctx context.Context, b *bench, t task) error {
	t.n = b.restartItems
	for _, p := range b.servedPeers() {
		s, err := b.startServer(ctx, p, t, "unix", "-m", megabytes(roomy(t)))
		if err != nil {
			return err
		}
		defer s.remove()
		if err := s.fill(t); err != nil {
			return err
		}
		var took []float64
		for range restarts {
			s.kill()
			began := time.Now()
			if err := s.start(ctx); err != nil {
				return err
			}
			if err := s.askUntilAnswered(t); err != nil {
				return err
			}
			took = append(took, float64(time.Since(began)))
		}
		items, err := s.items()
		if err != nil {
			return err
		}
		b.report.add(titleRestart+": to the first answer", t.n, nanosPerOp, p, summarize(took).Median)
		b.report.add(titleRestart+": items there", t.n, count, p, float64(items))
	}
	b.report.aim(titleRestart+": to the first answer", t.n, goal{AtMost: float64(50 * time.Millisecond)})
	b.report.aim(titleRestart+": items there", t.n, goal{AtLeast: float64(t.n)})
	return nil
}
