// Flags are feature flags: one process sets them, and all others follow. A follower
// sleeps until a flag changes, and then is told which one and how.
//
//	flags follow                      prints the flags, and each change, until it is stopped
//	flags set name=value ...          sets flags, all in one step
//	flags unset name ...              removes flags, all in one step
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/seed-869cc763/shmkv/shm"
)

func main() {
	// The store outlives the processes, for flags stay set when nobody is there.
	dir := flag.String("store", "/dev/shm/shmkv-flags", "directory of the store")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *dir, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "flags:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, dir string, args []string) (err error) {
	if len(args) == 0 {
		return errors.New("expected follow, set or unset")
	}
	// Flags are few. A small MaxSize reserves little address space.
	store, err := shm.Open(dir, &shm.Options{MaxSize: 16 << 20})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	switch args[0] {
	case "follow":
		return follow(ctx, store)
	case "set":
		return set(store, args[1:])
	case "unset":
		return unset(store, args[1:])
	}
	return fmt.Errorf("found %q, expected follow, set or unset", args[0])
}

// set sets flags in one transaction, so that nobody sees some of them without the others.
func set(store *shm.Store, flags []string) error {
	return store.Update(func(tx *shm.Tx) error {
		for _, f := range flags {
			name, value, ok := strings.Cut(f, "=")
			if !ok || name == "" {
				return fmt.Errorf("found %q, expected name=value", f)
			}
			if err := tx.Set([]byte(name), []byte(value)); err != nil {
				return err
			}
		}
		return nil
	})
}

func unset(store *shm.Store, names []string) error {
	return store.Update(func(tx *shm.Tx) error {
		for _, name := range names {
			if _, err := tx.Delete([]byte(name)); err != nil {
				return err
			}
		}
		return nil
	})
}

// follow reacts to changes. What only asks for a flag now and then, without a reaction to
// its change, needs none of this: store.Get is fast, and always right.
func follow(ctx context.Context, store *shm.Store) error {
	var level slog.LevelVar
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: &level}))
	w := store.Watch(ctx)
	// First all flags come, as changes from nothing, then what changes. Between changes
	// the loop sleeps, in the kernel.
	for name, change := range w.Changes() {
		switch {
		case change.Old == nil:
			fmt.Printf("%s is %s\n", name, change.New)
		case change.New == nil:
			fmt.Printf("%s is unset, was %s\n", name, change.Old)
		default:
			fmt.Printf("%s is %s, was %s\n", name, change.New, change.Old)
		}
		// A flag that does something. It is not worth the end of the program if its
		// value is wrong.
		if string(name) == "log-level" && change.New != nil {
			if err := level.UnmarshalText(change.New); err != nil {
				log.Error("keeping the level", "level", level.Level(), "error", err)
			}
		}
		log.Debug("followed", "flag", string(name), "version", w.Version())
	}
	// A loop ends by an error, or because the process was asked to stop.
	if err := w.Err(); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}
