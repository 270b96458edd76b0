package main

import (
	"flag"
	"fmt"
	"io"
	"time"
)

// A task is what one child process is asked to do. It travels as flags, to children written in any language.
//
// The works; a peer that cannot do one says so:
//
//	load           make the store and insert keys 0, 1, 2, …
//	get            read random keys, each read by itself, the value copied out
//	get-dependent  the same, but each key depends on the value read before, so that reads cannot overlap in the CPU
//	get-absent     look for random keys that are not there
//	get-many       read random keys, -batch of them at a time in one version, the values copied out
//	get-snapshot   read random keys in one snapshot (or read transaction), the values copied out
//	get-in-place   the same, but the values are looked at where they lie
//	set            overwrite random keys
//	mixed          one operation in twenty is a set, the others are gets
//	delete         delete keys, each once, in another order than they were inserted
//	scan           go through all entries, as often as there is time
//	open           open the store and read one key
//	latency        get, and note how long each takes
//	latency-set    set, and note how long each takes
//	hold           open a snapshot and keep it until let go
//	serve          do what the store needs while others use it, until let go
//	chase          follow pointers at random through as much memory as the entries take
type task struct {
	work    string
	n       int     // entries in the store; for load, those it will have
	value   int     // bytes of each value
	seed    uint64  // of the random sequence
	zipf    float64 // 0: keys are drawn evenly; else by Zipf's law (zipfTop)
	path    string  // of the store: a directory
	batch   int     // keys in one commit of load and set, and in one get-many
	workers int     // that do the work at the same time in this process, each with a sequence of its own
	writers int     // that overwrite flat out meanwhile in this process, and are not measured
	ops     int     // stop each worker after so many operations; 0 is no limit
	seconds float64 // stop after so long; 0 is no limit
	warm    int     // sets that are made before the clock starts, -batch a commit, in no more than -seconds
	quiet   float64 // seconds that the process stays after its work, with the store open; only for peers that keep house

	// capacity is the largest size in bytes of the store's files, for peers that cannot do without one.
	capacity int64
}

// flags declares the task's flags, with their values now as defaults.
func (t *task) flags() *flag.FlagSet {
	f := flag.NewFlagSet("child", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.StringVar(&t.work, "work", t.work, "")
	f.IntVar(&t.n, "n", t.n, "")
	f.IntVar(&t.value, "value", t.value, "")
	f.Uint64Var(&t.seed, "seed", t.seed, "")
	f.Float64Var(&t.zipf, "zipf", t.zipf, "")
	f.StringVar(&t.path, "path", t.path, "")
	f.IntVar(&t.batch, "batch", t.batch, "")
	f.IntVar(&t.workers, "workers", t.workers, "")
	f.IntVar(&t.writers, "writers", t.writers, "")
	f.IntVar(&t.ops, "ops", t.ops, "")
	f.Float64Var(&t.seconds, "seconds", t.seconds, "")
	f.IntVar(&t.warm, "warm", t.warm, "")
	f.Float64Var(&t.quiet, "quiet", t.quiet, "")
	f.Int64Var(&t.capacity, "capacity", t.capacity, "")
	return f
}

func (t task) args() (args []string) {
	t.flags().VisitAll(func(f *flag.Flag) {
		if f.Name != "quiet" || t.quiet > 0 { // peers in other languages do not know it
			args = append(args, "-"+f.Name, f.Value.String())
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
	endless := t.work == "hold" || t.work == "serve" || t.work == "open"
	if t.ops == 0 && t.seconds == 0 && !endless {
		return task{}, fmt.Errorf("task %q: neither -ops nor -seconds is given", t.work)
	}
	t.batch, t.workers = max(t.batch, 1), max(t.workers, 1)
	return t, nil
}

// A result is what a child measured: one line of JSON on its standard output. A line that only says "ready"
// goes before it, when everything that is not timed is done; or one that says "unsupported", and nothing follows.
type result struct {
	Ready       bool   `json:"ready,omitempty"`
	Unsupported bool   `json:"unsupported,omitempty"`
	Peer        string `json:"peer,omitempty"` // name and version
	Ops         int    `json:"ops"`            // keys read or written
	Nanos       int64  `json:"nanos"`
	Sum         uint64 `json:"sum"`  // of the indices of the keys used
	Full        bool   `json:"full"` // it stopped early, for want of room
	// CPUNanos is the CPU time of the whole process while it worked. Peers that cannot tell leave it out.
	CPUNanos int64 `json:"cpuNanos,omitempty"`
	// Latencies are pairs: so many nanoseconds, seen so many times.
	Latencies [][2]int64 `json:"latencies,omitempty"`
	batchRuns

	at time.Time // when it came
}

// batchRuns counts commits of many keys and how often the function of each ran, where it can run again.
type batchRuns struct {
	Batches  int `json:"batches,omitempty"`
	Runs     int `json:"runs,omitempty"`     // of all of them
	MostRuns int `json:"mostRuns,omitempty"` // of one
}

func (b *batchRuns) add(c batchRuns) {
	b.Batches += c.Batches
	b.Runs += c.Runs
	b.MostRuns = max(b.MostRuns, c.MostRuns)
}

func (r result) nanosPerOp() float64 { return float64(r.Nanos) / float64(r.Ops) }

// perSecond returns operations a second, in thousands.
func (r result) perSecond() float64 { return float64(r.Ops) / float64(r.Nanos) * 1e6 }

// loop calls op with 0, 1, 2, … until the task's operations or seconds are used up. Each call counts as so many
// operations. An error ends it early; the result then holds what was done until then.
func (t task) loop(opsPerCall int, op func(i uint64) error) (result, error) {
	var (
		r     result
		err   error
		limit = time.Duration(t.seconds * float64(time.Second))
		calls = uint64((t.ops + opsPerCall - 1) / opsPerCall)
		batch = uint64(max(1, 256/opsPerCall)) // calls between two looks at the clock
		start = time.Now()
	)
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
