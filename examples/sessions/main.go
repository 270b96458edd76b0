// Sessions is a store of the sessions of a site that several processes serve. Each use makes
// a session last longer, and a session that nobody uses ends. The program logs some users in,
// lets processes count their visits, logs one of them out, and looks how the other sessions
// end.
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
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/seed-869cc763/shmkv/shm/cache"
)

var (
	dir    = flag.String("store", "", "directory of the cache (default: a temporary one in /dev/shm, removed in the end)")
	procs  = flag.Int("procs", 3, "how many processes serve")
	users  = flag.Int("users", 4, "how many users log in")
	visits = flag.Int("visits", 100, "how many visits of each user each process serves")
	ttl    = flag.Duration("ttl", time.Second, "how long a session lasts without a use")
	wait   = flag.Bool("wait", true, "wait for the end of the sessions")
	worker = flag.Bool("worker", false, "be a worker; the program starts these itself, with the sessions as arguments")
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
		fmt.Fprintln(os.Stderr, "sessions:", err)
		os.Exit(1)
	}
}

// work serves visits of all sessions, and prints how many came after the end of a session.
func work(ctx context.Context) (err error) {
	c, err := cache.Open(*dir, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	sessions := NewSessions(c, *ttl)
	late := 0
	for i := range *visits {
		for _, id := range flag.Args() {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			err := sessions.Visit(id, "page"+strconv.Itoa(i%3+1))
			if errors.Is(err, ErrEnded) {
				late++
			} else if err != nil {
				return err
			}
		}
	}
	fmt.Println(late)
	return nil
}

func lead(ctx context.Context) (err error) {
	if *dir == "" {
		var temporary string
		if temporary, err = os.MkdirTemp("/dev/shm", "shmkv-sessions-"); err != nil {
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
	sessions := NewSessions(c, *ttl)
	ids := make([]string, *users)
	for i := range ids {
		if ids[i], err = sessions.Login("user" + strconv.Itoa(i+1)); err != nil {
			return err
		}
	}
	late, err := serve(ctx, ids)
	if err != nil {
		return err
	}
	fmt.Printf("%d processes have served the sessions, %d visits came after their end\n", *procs, late)
	for i, id := range ids {
		v, err := sessions.Show(id)
		if errors.Is(err, ErrEnded) {
			fmt.Printf("user%d: %v\n", i+1, err)
			continue
		} else if err != nil {
			return err
		}
		fmt.Printf("%s: %d visits, of pages %v\n", v.User, v.Visits, v.Pages)
	}
	if len(ids) > 0 {
		if err := sessions.Logout(ids[0]); err != nil && !errors.Is(err, ErrEnded) {
			return err
		}
		fmt.Println("user1 has logged out")
		ids = ids[1:]
	}
	if *wait {
		return watch(ctx, sessions, ids)
	}
	return nil
}

// serve starts the workers and returns how many visits came too late.
func serve(ctx context.Context, ids []string) (late int, err error) {
	exe, err := os.Executable()
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		out []byte
		err error
	}
	results := make(chan result)
	for range *procs {
		args := append([]string{"-worker", "-store", *dir, "-visits", strconv.Itoa(*visits), "-ttl", ttl.String()}, ids...)
		cmd := exec.CommandContext(ctx, exe, args...)
		cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
		cmd.Stderr = os.Stderr
		go func() {
			out, err := cmd.Output()
			results <- result{out, err}
		}()
	}
	for range *procs {
		r := <-results
		n := 0
		if r.err == nil {
			n, r.err = strconv.Atoi(string(bytes.TrimSpace(r.out)))
		}
		if r.err != nil && err == nil {
			err = r.err
			cancel() // the others stop too
		}
		late += n
	}
	return late, err
}

// watch waits until the sessions have ended, and checks that none ends too early.
func watch(ctx context.Context, sessions *Sessions, ids []string) error {
	ends := map[string]time.Time{}
	for len(ids) > 0 {
		var left []string
		for _, id := range ids {
			end, err := sessions.Ends(id)
			switch {
			case err == nil:
				ends[id] = end
				left = append(left, id)
			case !errors.Is(err, ErrEnded):
				return err
			case ends[id].IsZero():
				// It had ended before.
			case time.Now().Before(ends[id]):
				return fmt.Errorf("a session has ended %v too early", time.Until(ends[id]))
			}
		}
		ids = left
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
	fmt.Printf("all sessions have ended, %d of them by time\n", len(ends))
	return nil
}
