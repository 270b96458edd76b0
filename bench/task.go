package main

import (
	"flag"
	"fmt"
	"io"
	"strconv"
	"time"
)

// A task is what one child process is asked to do. It travels as flags, to children written in any language.
//
// The works, which every peer knows:
//
//	load           make the store and insert keys 0, 1, 2, …, one commit each
//	get            read random keys, each read by itself, the value copied out
//	get-dependent  the same, but each key depends on the value read before, so that reads cannot overlap in the CPU
//	get-snapshot   read random keys in one snapshot (or read transaction), the values copied out
//	set            overwrite random keys, one commit each
//	hold           open a snapshot and keep it until let go
type task struct {
	work    string
	n       int     // entries in the store; for load, those it will have
	seed    uint64  // of the random sequence
	path    string  // of the store: a directory
	ops     int     // stop after so many operations; 0 is no limit
	seconds float64 // stop after so long; 0 is no limit
	warm    int     // sets that are made before the clock starts

	// capacity is the largest size in bytes of the store's files, for peers that cannot do without one.
	capacity int64
}

func (t task) args() []string {
	return []string{
		"-work", t.work,
		"-n", strconv.Itoa(t.n),
		"-seed", strconv.FormatUint(t.seed, 10),
		"-path", t.path,
		"-ops", strconv.Itoa(t.ops),
		"-seconds", strconv.FormatFloat(t.seconds, 'f', -1, 64),
		"-warm", strconv.Itoa(t.warm),
		"-capacity", strconv.FormatInt(t.capacity, 10),
	}
}

// parseTask is the inverse of args.
func parseTask(args []string) (task, error) {
	var t task
	f := flag.NewFlagSet("child", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.StringVar(&t.work, "work", "", "")
	f.IntVar(&t.n, "n", 0, "")
	f.Uint64Var(&t.seed, "seed", 0, "")
	f.StringVar(&t.path, "path", "", "")
	f.IntVar(&t.ops, "ops", 0, "")
	f.Float64Var(&t.seconds, "seconds", 0, "")
	f.IntVar(&t.warm, "warm", 0, "")
	f.Int64Var(&t.capacity, "capacity", 0, "")
	if err := f.Parse(args); err != nil {
		return task{}, err
	}
	if t.ops == 0 && t.seconds == 0 && t.work != "hold" {
		return task{}, fmt.Errorf("task %q: neither -ops nor -seconds is given", t.work)
	}
	return t, nil
}

// A result is what a child measured: one line of JSON on its standard output. A line that only says "ready"
// goes before it, when everything that is not timed is done.
type result struct {
	Ready bool   `json:"ready,omitempty"`
	Peer  string `json:"peer,omitempty"` // name and version
	Ops   int    `json:"ops"`
	Nanos int64  `json:"nanos"`
	Sum   uint64 `json:"sum"`  // of the indices of the keys used
	Full  bool   `json:"full"` // it stopped early, for want of room
}

func (r result) nanosPerOp() float64 { return float64(r.Nanos) / float64(r.Ops) }

// loop calls op with 0, 1, 2, … until the task's operations or seconds are used up. An error ends it early;
// the result then holds what was done until then.
func (t task) loop(op func(i uint64) error) (result, error) {
	const batch = 256 // operations between two looks at the clock
	var (
		r     result
		err   error
		limit = time.Duration(t.seconds * float64(time.Second))
		start = time.Now()
	)
	for i := uint64(0); err == nil && (t.ops == 0 || r.Ops < t.ops) && (limit == 0 || r.Nanos < int64(limit)); {
		end := i + batch
		if t.ops > 0 {
			end = min(end, uint64(t.ops))
		}
		for ; i < end; i++ {
			if err = op(i); err != nil {
				break
			}
		}
		r.Ops = int(i)
		r.Nanos = int64(time.Since(start))
	}
	return r, err
}
