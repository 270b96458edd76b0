package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/pprof"

	"github.com/seed-869cc763/shmkv/internal/tempdir"
)

// profile executes one task on the store, or on a peer written in Go, in this process and writes a CPU profile of the timed part to a file. The
// config's work is the name of a task.
func profile(cfg config, file string, w io.Writer) (err error) {
	if len(cfg.works) != 1 || len(cfg.ns) != 1 {
		return errors.New("-cpuprofile takes one -work (a task, as in task.go) and one -n")
	}
	if goPeers[cfg.profiled].open == nil {
		return fmt.Errorf("-profiled: %q is not a peer written in Go", cfg.profiled)
	}
	tmp, err := tempdir.Make(cfg.dir, "shmkv-profile.tmp-")
	if err != nil {
		return err
	}
	defer tmp.Remove()
	dir := tmp.Path

	out, err := os.Create(file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()

	open := func() error { return nil }
	begin := func() error { return pprof.StartCPUProfile(out) }
	load := task{work: "load", n: cfg.ns[0], value: valueBytes, batch: 1, workers: 1, seed: cfg.seed, ops: cfg.ns[0],
		path: filepath.Join(dir, "store")}
	var r result
	if cfg.works[0] == "load" {
		r, err = runGo(cfg.profiled, load, begin)
	} else {
		if _, err := runGo(cfg.profiled, load, open); err != nil {
			return err
		}
		t := load
		t.work, t.ops, t.seconds = cfg.works[0], 0, cfg.seconds
		t.batch = cfg.batch
		r, err = runGo(cfg.profiled, t, begin)
	}
	pprof.StopCPUProfile()
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%s, %d entries: %s ns/op over %d operations\n", cfg.works[0], cfg.ns[0], number(r.nanosPerOp()), r.Ops)
	return err
}
