// Stampede lets many goroutines of several processes ask a cache for the same value at the
// same time. One of them creates it, and the others sleep. Then the process of the creator is
// killed. One of the others takes over, and all who are left get the value: it was begun
// twice, and made once.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/seed-869cc763/shmkv/shm"
	"github.com/seed-869cc763/shmkv/shm/cache"
)

var (
	dir    = flag.String("dir", "", "directory of the cache (default: a temporary one in /dev/shm, removed in the end)")
	procs  = flag.Int("procs", 4, "how many processes ask")
	each   = flag.Int("goroutines", 50, "how many goroutines ask in each of them")
	takes  = flag.Duration("takes", 50*time.Millisecond, "how long a creation takes")
	kill   = flag.Bool("kill", true, "kill the process of the first creator")
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
		fmt.Fprintln(os.Stderr, "stampede:", err)
		os.Exit(1)
	}
}

// The counts lie in a map beside the cache, so that they survive those who count.
const countsMap = "counts"

var (
	asking   = []byte("goroutines that have asked")
	creators = []byte("calls of create")
	creator  = []byte("process of the last call of create")
)

// create is what the cache saves.
func create(ctx context.Context, counts *shm.Map) ([]byte, error) {
	n, err := counts.Add(creators, 1)
	if err == nil {
		err = counts.Set(creator, strconv.AppendInt(nil, int64(os.Getpid()), 10))
	}
	if err != nil {
		return nil, err
	}
	done := time.After(*takes)
	if n == 1 && *kill {
		done = time.After(time.Minute) // it will be killed before that
	}
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-done:
		return fmt.Appendf(nil, "made by process %d", os.Getpid()), nil
	}
}

// work asks in many goroutines, and prints how many got which value.
func work(ctx context.Context) (err error) {
	c, err := cache.Open(*dir, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	counts := c.Store().Map(countsMap)
	var mu sync.Mutex
	var wg sync.WaitGroup
	got := map[string]int{}
	for range *each {
		wg.Go(func() {
			_, failed := counts.Add(asking, 1)
			var value []byte
			if failed == nil {
				value, failed = c.GetOrCreate(ctx, []byte("key"), func(ctx context.Context) ([]byte, error) {
					return create(ctx, counts)
				})
			}
			mu.Lock()
			defer mu.Unlock()
			if failed != nil {
				err = errors.Join(err, failed)
			} else {
				got[string(value)]++
			}
		})
	}
	wg.Wait()
	for value, n := range got {
		fmt.Printf("%d goroutines got %q\n", n, value)
	}
	return err
}

// lead starts the workers, kills the one that creates, and counts.
func lead(ctx context.Context) (err error) {
	if *dir == "" {
		var temporary string
		if temporary, err = os.MkdirTemp("/dev/shm", "shmkv-stampede-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(temporary)) }()
		*dir = filepath.Join(temporary, "cache")
	}
	c, err := cache.Open(*dir, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	counts := c.Store().Map(countsMap)
	if counts.Len() > 0 {
		return fmt.Errorf("%s has the cache of another run", *dir)
	}
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		pid int
		out []byte
		err error
	}
	ended := make(chan result)
	for range *procs {
		cmd := exec.CommandContext(ctx, exe, "-worker", "-dir", *dir,
			"-goroutines", strconv.Itoa(*each), "-takes", takes.String(), "-kill="+strconv.FormatBool(*kill))
		cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
		cmd.Stderr = os.Stderr
		go func() {
			out, err := cmd.Output()
			pid := 0
			if cmd.Process != nil {
				pid = cmd.Process.Pid
			}
			ended <- result{pid, out, err}
		}()
	}
	victim := 0
	if *kill {
		if victim, err = allAsk(ctx, c.Store(), counts); err != nil {
			cancel()
		} else {
			fmt.Printf("%d goroutines of %d processes wait for process %d, which is killed now\n", *procs**each, *procs, victim)
			err = syscall.Kill(victim, syscall.SIGKILL)
		}
	}
	for range *procs {
		r := <-ended
		if r.err != nil && r.pid != victim && err == nil {
			err = fmt.Errorf("process %d: %w", r.pid, r.err)
			cancel() // the others stop too
		}
		os.Stdout.Write(r.out)
	}
	if err != nil {
		return err
	}
	n, err := counts.Get(creators)
	if err != nil {
		return err
	}
	fmt.Printf("calls of create: %s\n", n)
	return nil
}

// allAsk waits until all goroutines have asked and one creates, and returns the process of
// that one.
func allAsk(ctx context.Context, store *shm.Store, counts *shm.Map) (pid int, err error) {
	number := func(key []byte) (n int) {
		value, e := counts.Get(key)
		if e == nil {
			n, e = strconv.Atoi(string(value))
		}
		if e != nil && e != shm.ErrNotFound {
			err = e
		}
		return n
	}
	for {
		version := store.Version()
		asked, pid := number(asking), number(creator)
		if err != nil || asked == *procs**each && pid != 0 {
			return pid, err
		}
		if _, err := store.Wait(ctx, version); err != nil {
			return 0, err
		}
	}
}
