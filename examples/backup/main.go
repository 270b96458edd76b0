// Backup backs a store up beside the processes that use it, and restores it. It is for
// scripts: each command does one thing, says what, and fails with exit code 1.
//
//	backup full DIR STORE        a whole copy, DIR/full, which must not be there
//	backup since DIR STORE       what has changed since, a new file DIR/since-VERSION
//	backup restore DIR STORE     makes STORE, which must not be there, of the latest in DIR
//
// A script may make a full backup once a week, each in a directory of its own, and one of
// the changes each hour:
//
//	17 3 * * 0   d=/backup/$(date +\%F); mkdir $d && backup full $d /run/app/store && ln -sfn $d /backup/latest
//	17 * * * *   backup since /backup/latest /run/app/store
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/seed-869cc763/shmkv/shm"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "backup:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	commands := map[string]func(ctx context.Context, dir, store string) error{"full": full, "since": since, "restore": restore}
	if len(args) != 3 || commands[args[0]] == nil {
		return errors.New("expected full, since or restore, a directory for backups, and a store")
	}
	return commands[args[0]](ctx, args[1], args[2])
}

// full makes a whole copy. It appears in one step, and is on disk by then.
func full(ctx context.Context, dir, path string) (err error) {
	store, err := shm.Open(path, &shm.Options{ReadOnly: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	// The snapshot is only here to say which version it was; store.Backup would do.
	version, err := store.Snapshot()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, version.Close()) }()
	if err := version.Backup(ctx, filepath.Join(dir, "full")); err != nil {
		return err
	}
	fmt.Printf("backed up version %d, %d entries\n", version.Version(), version.Len())
	return nil
}

// since writes down what has changed since the full backup. To restore takes the full
// backup and one such file, whichever of them.
func since(ctx context.Context, dir, path string) (err error) {
	store, now, err := open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	backup, base, err := open(filepath.Join(dir, "full"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, backup.Close()) }()

	// A file that is there is complete, because it gets its name in the end. Versions as
	// long as can be sort by name as by number.
	name := filepath.Join(dir, fmt.Sprintf("since-%020d", now.Version()))
	f, err := os.CreateTemp(dir, ".since-")
	if err != nil {
		return err
	}
	changes, err := now.BackupSince(ctx, base, f, nil)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	fmt.Printf("backed up version %d, %d changes\n", now.Version(), changes)
	return nil
}

// open opens a store for reading and takes a snapshot, which the store's Close ends.
func open(path string) (*shm.Store, *shm.Snapshot, error) {
	store, err := shm.Open(path, &shm.Options{ReadOnly: true})
	if err != nil {
		return nil, nil, err
	}
	sn, err := store.Snapshot()
	if err != nil {
		return nil, nil, errors.Join(err, store.Close())
	}
	return store, sn, nil
}

// restore makes a store of the full backup and the latest changes. It appears in one step.
// A file of changes that is damaged, or is of another backup, is refused.
func restore(ctx context.Context, dir, path string) error {
	files, err := filepath.Glob(filepath.Join(dir, "since-*"))
	if err != nil {
		return err
	}
	var differences []io.Reader
	from := "the full backup"
	if len(files) > 0 {
		from = slices.Max(files)
		f, err := os.Open(from)
		if err != nil {
			return err
		}
		defer f.Close()
		differences = append(differences, f)
	}
	if err := shm.Restore(ctx, filepath.Join(dir, "full"), path, differences, nil); err != nil {
		return err
	}
	fmt.Println("restored from", from)
	return nil
}
