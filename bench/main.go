// Command bench compares the speed and space of the store with those of its peers.
//
// README.md describes the measurements and the figures.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

func main() {
	if err := command(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func command(args []string) error {
	if len(args) > 0 && goPeers[args[0]].open != nil {
		return goChild(args[0], args[1:], os.Stdin, os.Stdout)
	}
	var cfg config
	f := flag.NewFlagSet("bench", flag.ExitOnError)
	works := f.String("work", defaultWorks, "what to measure; all (but durable), ordered, crowd, durable, cache, server, counter, record, or of "+strings.Join(knownWorks(), ","))
	ns := f.String("n", "", "numbers of entries, for speed (default \"100000,1000000\"), ordered and crowd (default \"1000,100000,1000000\"), durable (default \"1000000\"), cache and server (default \"100000\"), counter (default \"10000,1000000\"), record (default \"1000000\")")
	values := f.String("values", "8,1024,65536,1048576", "bytes of the values, for the work values")
	sizes := f.String("sizes", "1000,1000000", "numbers of entries, for file sizes")
	peers := f.String("peers", defaultPeers, "what to compare the store with; all, or of "+strings.Join(allPeers(), ","))
	f.IntVar(&cfg.overwrites, "overwrites", 10_000_000, "sets before the file size is taken again")
	f.Float64Var(&cfg.quiet, "quiet", 10, "seconds that the store is left alone, open, after it was filled and before its space is taken")
	f.IntVar(&cfg.rounds, "rounds", 3, "rounds of the measurements of speed")
	f.Float64Var(&cfg.seconds, "seconds", 0.5, "duration of each timed read; sets may take four times that")
	f.Float64Var(&cfg.crowdSeconds, "crowdseconds", 2, "duration of each measurement of crowd")
	f.Float64Var(&cfg.durableSeconds, "durableseconds", 5, "duration of each measurement of durable")
	f.Int64Var(&cfg.cacheBytes, "cachebytes", 210_000_000, "bytes of all keys and values of a trace of cache-ratio")
	f.IntVar(&cfg.cacheReads, "cachereads", 10, "reads of a trace of cache-ratio for each key")
	connections := f.String("connections", "1,8,64", "numbers of clients of a server, for server")
	f.IntVar(&cfg.idleConnections, "idle", 10_000, "idle connections of a server, for server-idle")
	f.IntVar(&cfg.restartItems, "restartitems", 1_000_000, "items of a server that restarts, for server-restart")
	written := f.Int64("written", 640, "MiB that are written to a server with -m 64, for server-memory")
	f.StringVar(&cfg.shmctl, "shmctl", "", "for server: take this `program`, and build none")
	processes := f.String("processes", "1,2,4,8,16", "numbers of processes that write together, for crowd")
	goroutines := f.String("goroutines", "1,8,64", "numbers of goroutines that write together, for crowd")
	f.Uint64Var(&cfg.seed, "seed", 1, "of the random sequences")
	f.StringVar(&cfg.dir, "dir", "/dev/shm", "directory to make the stores in; use a tmpfs, but for durable a disk")
	from := f.String("from", "", "measure nothing, and take the report from this `file` that -json wrote")
	plots := f.String("plots", "", "draw plots into this `directory`")
	asJSON := f.Bool("json", false, "print the report as JSON")
	cpuProfile := f.String("cpuprofile", "", "write a CPU profile of the store to this `file` instead; -work then names a task")
	f.StringVar(&cfg.profiled, "profiled", storeName, "with -cpuprofile: the store, or a peer written in Go")
	f.IntVar(&cfg.batch, "batch", 1, "with -cpuprofile: keys in one get-many, one range, or one commit of set")
	if err := f.Parse(args); err != nil {
		return err
	}
	var err error
	cfg.works, cfg.peers, cfg.progress = expand(list(*works)), list(*peers), os.Stderr
	if *peers == "all" {
		cfg.peers = allPeers()
	}
	if slices.ContainsFunc(cfg.works, isOrdered) && !slices.Contains(cfg.peers, orderedName) {
		cfg.peers = append(cfg.peers, orderedName)
	}
	if cfg.ns, err = numbers(cmp.Or(*ns, "100000,1000000")); err != nil {
		return fmt.Errorf("-n: %w", err)
	}
	if cfg.crowdNs, err = numbers(cmp.Or(*ns, "1000,100000,1000000")); err != nil {
		return fmt.Errorf("-n: %w", err)
	}
	cfg.orderedNs = cfg.crowdNs
	if cfg.durableNs, err = numbers(cmp.Or(*ns, "1000000")); err != nil {
		return fmt.Errorf("-n: %w", err)
	}
	if cfg.cacheNs, err = numbers(cmp.Or(*ns, "100000")); err != nil {
		return fmt.Errorf("-n: %w", err)
	}
	if cfg.counterNs, err = numbers(cmp.Or(*ns, "10000,1000000")); err != nil {
		return fmt.Errorf("-n: %w", err)
	}
	if cfg.recordNs, err = numbers(cmp.Or(*ns, "1000000")); err != nil {
		return fmt.Errorf("-n: %w", err)
	}
	cfg.serverNs, cfg.serverWrites = cfg.cacheNs, *written<<20
	if cfg.connections, err = numbers(*connections); err != nil {
		return fmt.Errorf("-connections: %w", err)
	}
	if cfg.processes, err = numbers(*processes); err != nil {
		return fmt.Errorf("-processes: %w", err)
	}
	if cfg.goroutines, err = numbers(*goroutines); err != nil {
		return fmt.Errorf("-goroutines: %w", err)
	}
	if cfg.values, err = numbers(*values); err != nil {
		return fmt.Errorf("-values: %w", err)
	}
	if cfg.sizes, err = numbers(*sizes); err != nil {
		return fmt.Errorf("-sizes: %w", err)
	}
	if *cpuProfile != "" {
		return profile(cfg, *cpuProfile, os.Stdout)
	}
	if err := cfg.validate(); err != nil {
		return err
	}

	r, err := find(cfg, *from)
	if err != nil {
		return err
	}
	if *plots != "" {
		if err := r.writePlots(*plots); err != nil {
			return err
		}
	}
	write := r.writeTables
	if *asJSON {
		write = r.writeJSON
	}
	if err := write(os.Stdout); err != nil {
		return err
	}
	switch {
	case r.Incomplete != "":
		return fmt.Errorf("the report is not complete: %s", r.Incomplete)
	case len(r.Failed) > 0:
		return errors.New("some tasks failed")
	}
	return nil
}

// find returns the summarized report of a new run, or of an earlier run from a file. A first signal ends the run with
// an incomplete report. A second signal ends the process.
func find(cfg config, file string) (*report, error) {
	if file != "" {
		return readReport(file)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	r, err := runBench(ctx, cfg)
	if err == nil {
		r.summarize()
	}
	return r, err
}

// The defaults of a run, which takes some minutes.
const (
	defaultWorks = "get,many,readers,latency,set,batch,writers"
	defaultPeers = "lmdb,tdb,xsync,flat"
)

func allWorks() []string {
	return slices.Concat(speedWorks(), []string{"values", "size"}, orderedWorks(), crowdWorks(), cacheWorks(), serverWorks(), counterWorks(), recordWorks())
}

// knownWorks returns all works, also those that "all" leaves out because they need a disk.
func knownWorks() []string { return append(allWorks(), durableWorks()...) }

// expand replaces the names of groups of works by their works.
func expand(works []string) (all []string) {
	for _, w := range works {
		switch w {
		case "all":
			all = append(all, allWorks()...)
		case ordered:
			all = append(all, orderedWorks()...)
		case crowd:
			all = append(all, crowdWorks()...)
		case durable:
			all = append(all, durableWorks()...)
		case cacheWork:
			all = append(all, cacheWorks()...)
		case serverWork:
			all = append(all, serverWorks()...)
		case counterWork:
			all = append(all, counterWorks()...)
		case recordWork:
			all = append(all, recordWorks()...)
		default:
			all = append(all, w)
		}
	}
	return all
}

func allPeers() (names []string) {
	for _, b := range peerBuilders {
		names = append(names, b.name)
	}
	return names
}

func (c config) validate() error {
	for _, w := range c.works {
		if !slices.Contains(knownWorks(), w) {
			return fmt.Errorf("-work: %q is none of %q", w, knownWorks())
		}
		if fs := inMemory(c.dir); isDurable(w) && fs != "" {
			return fmt.Errorf("-work %s measures a disk, but -dir %s is in memory (%s): give a directory on a disk", w, c.dir, fs)
		}
	}
	for _, p := range c.peers {
		if !slices.Contains(allPeers(), p) {
			return fmt.Errorf("-peers: %q is none of %q", p, allPeers())
		}
	}
	for _, bytes := range c.values {
		if bytes < minValueBytes {
			return fmt.Errorf("-values: %d bytes are fewer than %d", bytes, minValueBytes)
		}
	}
	return nil
}

// list splits a string at commas. An empty string has no items.
func list(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' })
}

func numbers(s string) ([]int, error) {
	var all []int
	for _, item := range list(s) {
		n, err := strconv.Atoi(item)
		if err != nil || n <= 0 {
			return nil, fmt.Errorf("%q is not a number above zero", item)
		}
		all = append(all, n)
	}
	return all, nil
}
