// Dedup runs jobs in several processes, each job once: a worker claims a job by a
// CompareAndSwap that only one can win. A worker that dies is replaced, and the new one
// takes over the job that the dead one had claimed.
package main

import (
	"bytes"
	"context"
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

var (
	dir     = flag.String("store", "", "directory of the store (default: a temporary one in /dev/shm, removed in the end)")
	jobs    = flag.Int("jobs", 40, "how many jobs there are")
	workers = flag.Int("workers", 3, "how many processes run them")
	crash   = flag.Int("crash", 0, "kill the first worker in the middle of its job of this number, from 1")
	worker  = flag.Bool("worker", false, "be a worker; the program starts these itself")
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
		fmt.Fprintln(os.Stderr, "dedup:", err)
		os.Exit(1)
	}
}

// The state of a job is the value of its name: absent, or one of these with who it was.
const (
	running = "running in "
	done    = "done by "
)

// work runs the jobs that nobody else runs, until all are done.
func work(ctx context.Context) (err error) {
	store, err := shm.Open(*dir, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	me, _, err := look(store, "")
	if err != nil {
		return err
	}
	for n := 0; ; {
		version, left := store.Version(), false
		for i := range *jobs {
			job := fmt.Appendf(nil, "job %d", i+1)
			state, err := store.Get(job) // nil if absent, which CompareAndSwap takes for absent too
			if err != nil && !errors.Is(err, shm.ErrNotFound) {
				return err
			}
			if bytes.HasPrefix(state, []byte(done)) {
				continue
			}
			left = true
			if owner, ok := bytes.CutPrefix(state, []byte(running)); ok {
				// In this order, the claim first and then whether its owner lives: an
				// owner opens the store before it claims anything.
				if _, lives, err := look(store, string(owner)); err != nil {
					return err
				} else if lives {
					continue
				}
			}
			// Of all who have seen this state one gets the job.
			if won, err := store.CompareAndSwap(job, state, []byte(running+me)); err != nil {
				return err
			} else if !won {
				continue
			}
			if n++; n == *crash {
				return syscall.Kill(os.Getpid(), syscall.SIGKILL)
			}
			select {
			case <-time.After(2 * time.Millisecond): // the work
			case <-ctx.Done():
				return ctx.Err() // the claim ends with this process
			}
			if ok, err := store.CompareAndSwap(job, []byte(running+me), []byte(done+me)); err != nil {
				return err
			} else if !ok {
				return fmt.Errorf("%s was taken away from %s", job, me)
			}
			fmt.Printf("%s, %s%s\n", job, done, me)
		}
		if !left {
			return nil
		}
		// Others run what is left. If one dies, a new worker starts and takes over its
		// job; that the job is done then is a commit, as all that this waits for is.
		if _, err := store.Wait(ctx, version); err != nil {
			return err
		}
	}
}

// look returns a name for this process's handle on the store, and whether that of an owner
// is open. A process number alone would be that of another one some day.
func look(store *shm.Store, owner string) (me string, lives bool, err error) {
	all, err := store.Inspect().Processes()
	for _, p := range all {
		name := fmt.Sprintf("process %d of %s", p.Pid, p.Started.UTC().Format(time.RFC3339Nano))
		if p.Self {
			me = name
		}
		lives = lives || p.Alive && name == owner
	}
	return me, lives, err
}

// lead keeps as many workers as there should be, until one ends because all is done.
func lead(ctx context.Context) (err error) {
	if *dir == "" {
		if *dir, err = os.MkdirTemp("/dev/shm", "shmkv-dedup-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(*dir)) }()
	}
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error)
	start := func(crash int) {
		cmd := exec.CommandContext(ctx, exe, "-worker", "-store", *dir,
			"-jobs", strconv.Itoa(*jobs), "-crash", strconv.Itoa(crash))
		cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		go func() { ended <- cmd.Run() }()
	}
	start(*crash)
	for range *workers - 1 {
		start(0)
	}
	for left := *workers; left > 0; left-- {
		e := <-ended
		var exit *exec.ExitError
		if errors.As(e, &exit) && !exit.Exited() && ctx.Err() == nil { // killed by a signal
			fmt.Println("replacing a worker:", e)
			start(0)
			left++
		} else if e != nil && err == nil {
			err = e
			cancel() // the others stop too
		}
	}
	return err
}
