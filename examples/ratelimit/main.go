// Ratelimit is a rate limiter that processes share: a token bucket in a store. Several
// processes ask it as fast as they can, and together get no more than it permits.
package main

import (
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/seed-869cc763/shmkv/shm"
)

// A Limiter permits burst events at once, and one more for each interval that passes.
type Limiter struct {
	store    *shm.Store
	key      []byte
	interval time.Duration
	burst    int
}

// Allow takes a token from the bucket, if there is one, for an event at the time now.
//
// One number is all that the bucket is: the time at which it will be full. Taking a token
// moves that on by an interval, and the bucket is empty when it is burst intervals away.
// It is the time of the wall clock, which all processes of a host share. If the clock is
// set back, the bucket fills later.
func (l *Limiter) Allow(now time.Time) (bool, error) {
	allowed := false
	err := l.store.Compute(l.key, func(old []byte, exists bool) ([]byte, shm.Action, error) {
		allowed = false // the function runs again if another process was faster
		full := now.UnixNano()
		if exists {
			if len(old) != 8 {
				return nil, shm.ActionKeep, fmt.Errorf("the bucket %s has %d bytes, expected 8", l.key, len(old))
			}
			full = max(full, int64(binary.LittleEndian.Uint64(old)))
		}
		full += int64(l.interval)
		if full-now.UnixNano() > int64(l.burst)*int64(l.interval) {
			return nil, shm.ActionKeep, nil // no write: to refuse an event costs little more than a read
		}
		allowed = true
		return binary.LittleEndian.AppendUint64(nil, uint64(full)), shm.ActionSet, nil
	})
	return allowed && err == nil, err
}

var (
	dir    = flag.String("store", "", "directory of the store (default: a temporary one in /dev/shm, removed in the end)")
	procs  = flag.Int("procs", 4, "how many processes share the limit")
	rate   = flag.Float64("rate", 100, "events that are permitted in a second")
	burst  = flag.Int("burst", 20, "events that are permitted at once")
	during = flag.Duration("for", time.Second, "how long the processes try")
	worker = flag.Bool("worker", false, "be a worker; the program starts these itself")
)

func main() {
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	run := lead
	if *worker {
		run = work
	}
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "ratelimit:", err)
		os.Exit(1)
	}
}

// work asks for events until its time is over, and prints how many it got and asked for.
func work(ctx context.Context) (err error) {
	store, err := shm.Open(*dir, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	limiter := &Limiter{store, []byte("limit/mail"), time.Duration(float64(time.Second) / *rate), *burst}
	got, asked := 0, 0
	for end := time.Now().Add(*during); time.Now().Before(end) && ctx.Err() == nil; asked++ {
		ok, err := limiter.Allow(time.Now())
		if err != nil {
			return err
		}
		if ok {
			got++
		}
	}
	fmt.Println(got, asked)
	return nil
}

// lead starts the workers, adds up what they print and compares it with the limit.
func lead(ctx context.Context) (err error) {
	if *dir == "" {
		if *dir, err = os.MkdirTemp("/dev/shm", "shmkv-ratelimit-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(*dir)) }()
	}
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	type result struct {
		out []byte
		err error
	}
	results := make(chan result, *procs)
	began := time.Now()
	for range *procs {
		cmd := exec.CommandContext(ctx, exe, "-worker", "-store", *dir, "-for", during.String(),
			"-rate", strconv.FormatFloat(*rate, 'g', -1, 64), "-burst", strconv.Itoa(*burst))
		cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
		cmd.Stderr = os.Stderr
		go func() {
			out, err := cmd.Output()
			results <- result{out, err}
		}()
	}
	got, asked := 0, 0
	for range *procs {
		r := <-results
		var g, a int
		if _, e := fmt.Sscan(string(r.out), &g, &a); e != nil || r.err != nil {
			err = errors.Join(err, r.err, e)
		}
		got, asked = got+g, asked+a
	}
	if err != nil {
		return err
	}
	limit := float64(*burst) + *rate*time.Since(began).Seconds()
	fmt.Printf("%d processes got %d of %d events, %.1f are permitted\n", *procs, got, asked, limit)
	if float64(got) > limit {
		return errors.New("that is more than the limit")
	}
	return nil
}
