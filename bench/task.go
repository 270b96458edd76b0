package main

import (
	"flag"
	"fmt"
	"io"
	"time"
)

// A task describes the work of one child process. Children, which are written in any language, get it as flags.
//
// The works are (a peer reports that it cannot do one):
//
//	load           make the store and insert keys 0, 1, 2, …
//	get            read random keys, each with a separate call that copies the value
//	get-dependent  the same, but each key depends on the value read before, so that reads cannot overlap in the CPU
//	get-absent     look up random keys that do not exist
//	get-many       read random keys, -batch of them at a time in one version, and copy the values
//	get-snapshot   read random keys in one snapshot (or read transaction), and copy the values
//	get-in-place   the same, but read the values in place
//	set            overwrite random keys
//	mixed          one operation in twenty is a set, the others are gets
//	delete         delete keys, each once, in another order than that of their insertion
//	scan           visit all entries, repeatedly until the time is over
//	open           open the store and read one key
//	latency        get, and measure the time of each get
//	latency-set    set, and measure the time of each set
//	latency-sync   -batch sets, one a commit, then make them durable, and measure the time of the latter
//	hold           open a snapshot and keep it until release
//	serve          run the server of the store until release
//	range          visit -batch entries in ascending order, from a random key on, and read each cache line of the values
//	scan-ordered   visit all entries in ascending order like that, repeatedly until the time is over
//	min            find the least key, and copy its entry
//	higher         find the least key greater than a random key, and copy its entry
//	floor          find the greatest key not greater than a random key that does not exist, and copy its entry
//	at             find the entry of a random rank, and copy it
//	rank           count the keys less than a random key
//	cache-trace    access a cache by a trace, and set what it does not have; the first fifth is not counted
//	cache-get      get random keys of a cache that has all of them
//	cache-set      set new keys in a cache at its bound
//	cache-to-get, cache-create-to-get, cache-set-to-set    see cachebeside.go
//	cache-claim    hold the claim to create a key until the process is killed
//	server-get, server-set, server-many    be -workers clients of the server whose network and address are -path, or work
//	                                       on the cache in the store whose path follows "inside:"; server-many gets -batch keys
//	                                       in each get, and the others send -batch requests together
//	chase          follow random pointers through as much memory as the entries take
type task struct {
	work    string
	n       int     // entries in the store; for load, after it
	value   int     // bytes of each value
	seed    uint64  // of the random sequence
	zipf    float64 // 0 draws keys uniformly; else by Zipf's law (zipfTop)
	path    string  // of the store: a directory
	order   string  // in which load inserts: "" that of the indices, or ascending that of the keys
	sync    string  // when commits become durable, on a disk: "" is the peer's default, else see syncEach
	batch   int     // keys in one commit of load and set, in one get-many, and in one range; sets before each latency-sync
	workers int     // goroutines that do the work at the same time, each with its own sequence
	writers int     // goroutines that overwrite at full speed meanwhile, not measured
	ops     int     // operations of each worker; 0 is no limit
	seconds float64 // duration of the work; 0 is no limit
	warm    int     // sets before the clock starts, -batch a commit, in at most -seconds
	trace   string  // of cache-trace: see traceNames
	quiet   float64 // seconds to keep the store open after the work; only for peers with keepsHouse

	// capacity is the largest size in bytes of the store's files, for peers that need a limit.
	capacity int64
}

// Values of a task's sync.
const (
	syncEach    = "each"    // each commit, before its call returns
	syncBatched = "batched" // the same, with bbolt's Batch in place of Update
	syncSecond  = "second"  // every second, in the background
	syncCall    = "call"    // only when latency-sync asks for it
)

// flags declares the task's flags, with the current values as defaults.
func (t *task) flags() *flag.FlagSet {
	f := flag.NewFlagSet("child", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.StringVar(&t.work, "work", t.work, "")
	f.IntVar(&t.n, "n", t.n, "")
	f.IntVar(&t.value, "value", t.value, "")
	f.Uint64Var(&t.seed, "seed", t.seed, "")
	f.Float64Var(&t.zipf, "zipf", t.zipf, "")
	f.StringVar(&t.path, "path", t.path, "")
	f.StringVar(&t.order, "order", t.order, "")
	f.StringVar(&t.sync, "sync", t.sync, "")
	f.IntVar(&t.batch, "batch", t.batch, "")
	f.IntVar(&t.workers, "workers", t.workers, "")
	f.IntVar(&t.writers, "writers", t.writers, "")
	f.IntVar(&t.ops, "ops", t.ops, "")
	f.Float64Var(&t.seconds, "seconds", t.seconds, "")
	f.IntVar(&t.warm, "warm", t.warm, "")
	f.StringVar(&t.trace, "trace", t.trace, "")
	f.Float64Var(&t.quiet, "quiet", t.quiet, "")
	f.Int64Var(&t.capacity, "capacity", t.capacity, "")
	return f
}

func (t task) args() (args []string) {
	t.flags().VisitAll(func(f *flag.Flag) {
		switch value := f.Value.String(); {
		case value == "":
		case f.Name == "quiet" && t.quiet == 0: // peers in other languages do not have this flag
		default:
			args = append(args, "-"+f.Name, value)
		}
	})
	return args
}

// parseTask is the inverse of args.
func parseTask(args []string) (task, error) {
	var t task
	if err := t.flags().Parse(args); err != nil {
		return task{}, err
	}
	endless := t.work == "hold" || t.work == "serve" || t.work == "open" || t.work == "cache-claim"
	if t.ops == 0 && t.seconds == 0 && !endless {
		return task{}, fmt.Errorf("task %q: neither -ops nor -seconds is given", t.work)
	}
	t.batch, t.workers = max(t.batch, 1), max(t.workers, 1)
	return t, nil
}

// A result is the result of a child: one line of JSON on its standard output. When the child has done everything that
// is not timed, it prints a line with "ready" before. If it cannot do the work, it prints only a line with
// "unsupported".
type result struct {
	Ready       bool   `json:"ready,omitempty"`
	Unsupported bool   `json:"unsupported,omitempty"`
	Peer        string `json:"peer,omitempty"` // name and version
	Ops         int    `json:"ops"`            // keys read or written
	Nanos       int64  `json:"nanos"`
	Sum         uint64 `json:"sum"`  // of the indices of the keys used, and of the entries and ranks found
	Full        bool   `json:"full"` // the store was full before the end
	// CPUNanos is the CPU time of the whole process during the work. Some peers omit it.
	CPUNanos int64 `json:"cpuNanos,omitempty"`
	// Allocs is the number of objects that the process allocated on its heap during the work. Only peers in Go have it.
	Allocs uint64 `json:"allocs,omitempty"`
	// Latencies are pairs of a time in nanoseconds and its count.
	Latencies [][2]int64 `json:"latencies,omitempty"`
	batchRuns
	cacheCounts

	at time.Time // of its arrival
}

// batchRuns counts commits of many keys and the runs of their functions, if a function can run again.
type batchRuns struct {
	Batches  int `json:"batches,omitempty"`
	Runs     int `json:"runs,omitempty"`     // of all functions
	MostRuns int `json:"mostRuns,omitempty"` // of one function
}

func (b *batchRuns) add(c batchRuns) {
	b.Batches += c.Batches
	b.Runs += c.Runs
	b.MostRuns = max(b.MostRuns, c.MostRuns)
}

func (r result) nanosPerOp() float64 { return float64(r.Nanos) / float64(r.Ops) }

// perSecond returns the operations a second, in thousands.
func (r result) perSecond() float64 { return float64(r.Ops) / float64(r.Nanos) * 1e6 }

// loop calls op with 0, 1, 2, … until the task's operations or seconds are used up. Each call counts as opsPerCall
// operations. After an error it ends, and the result contains the work until then.
func (t task) loop(opsPerCall int, op func(i uint64) error) (result, error) {
	var (
		r     result
		err   error
		limit = time.Duration(t.seconds * float64(time.Second))
		calls = uint64((t.ops + opsPerCall - 1) / opsPerCall)
		batch = uint64(max(1, 256/opsPerCall)) // calls between two readings of the clock
		start = time.Now()
	)
	if t.sync == syncEach || t.sync == syncBatched {
		batch = 1
	}
	for i := uint64(0); err == nil && (calls == 0 || i < calls) && (limit == 0 || r.Nanos < int64(limit)); {
		end := i + batch
		if calls > 0 {
			end = min(end, calls)
		}
		for ; i < end; i++ {
			if err = op(i); err != nil {
				break
			}
		}
		r.Ops = int(i) * opsPerCall
		r.Nanos = int64(time.Since(start))
	}
	return r, err
}
