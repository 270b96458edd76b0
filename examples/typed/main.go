// Typed keeps Go values in a store: visitors, as structs, which several processes change at
// the same time without losing a change. Package typed makes a map of structs of a map of
// bytes.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"syscall"

	"github.com/seed-869cc763/shmkv/shm"
	"github.com/seed-869cc763/shmkv/shm/codec"
	"github.com/seed-869cc763/shmkv/shm/typed"
)

// Visitor is what the processes know about a user.
type Visitor struct {
	User   string         `json:"user"`
	Visits int            `json:"visits"`
	By     map[string]int `json:"by"` // visits, by the process that served them
}

// visitors is the map of visitors, by their names.
func visitors(store *shm.Store) *typed.Map[string, Visitor] {
	return typed.New(store.Map("visitors"), codec.String[string]{}, codec.JSON[Visitor]{})
}

func main() {
	dir := flag.String("store", "", "directory of the store (default: a temporary one in /dev/shm, removed in the end)")
	procs := flag.Int("procs", 4, "how many processes change the visitor")
	visits := flag.Int("visits", 1000, "how many visits each of them counts")
	worker := flag.String("worker", "", "the name of a worker; the program starts these itself")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	var err error
	if *worker != "" {
		err = work(ctx, *dir, *worker, *visits)
	} else {
		err = lead(ctx, *dir, *procs, *visits)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "typed:", err)
		os.Exit(1)
	}
}

// work counts visits of one user, as the others do.
func work(ctx context.Context, dir, name string, visits int) (err error) {
	store, err := shm.Open(dir, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	all := visitors(store)
	for i := 0; i < visits && ctx.Err() == nil; i++ {
		// A user who is not there yet is the zero Visitor.
		err := all.Update("alice", func(v *Visitor) error {
			v.User = "alice"
			v.Visits++
			if v.By == nil {
				v.By = map[string]int{}
			}
			v.By[name]++
			return nil
		})
		if err != nil {
			return err
		}
	}
	return ctx.Err()
}

// lead starts the workers and shows what they have made.
func lead(ctx context.Context, dir string, procs, visits int) (err error) {
	if dir == "" {
		if dir, err = os.MkdirTemp("/dev/shm", "shmkv-typed-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	}
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	failed := make(chan error, procs)
	for i := range procs {
		cmd := exec.CommandContext(ctx, exe, "-store", dir, "-worker", "worker"+strconv.Itoa(i+1), "-visits", strconv.Itoa(visits))
		cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
		cmd.Stderr = os.Stderr
		go func() { failed <- cmd.Run() }()
	}
	for range procs {
		if e := <-failed; e != nil && err == nil {
			err = e
			cancel() // the others stop too
		}
	}
	if err != nil {
		return err
	}

	store, err := shm.Open(dir, &shm.Options{ReadOnly: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	alice, err := visitors(store).Get("alice")
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(alice)
}
