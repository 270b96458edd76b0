package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-869cc763/shmkv/cmd/shmctl/internal/text"
	"github.com/seed-869cc763/shmkv/shm"
)

// watchPause is the shortest time between two looks at a store, so that a fast writer
// wakes a watch at most 100 times a second.
const watchPause = 10 * time.Millisecond

func newWatch() *cobra.Command {
	var w watcher
	var all, key64 bool
	cmd := &cobra.Command{
		Use:   "watch STORE [KEY]",
		Short: "Print changes as they happen",
		Long: `watch prints a line for each change of KEY, or with --all of any key, until it is
interrupted. It watches one map: the unnamed one, or that of --map, which need not be
there yet. When a map is dropped, watch prints that its keys were deleted. A line shows the time at which watch saw the change, the version, and
the change. With --json a line is a record as dump writes it, with "time", "version"
and "change", which is "set" or "deleted".

watch sleeps while nobody commits. It wakes up once a second, because a writer may
die between its commit and the wake-up. watch compares versions at most 100 times a
second. If a key changes several times between two of them, watch prints only the
last value, and nothing if the value is the same as before. With --all it holds a
snapshot for the next comparison. watch shortens values of more than 64 bytes,
except in JSON.`,
		Example: "  shmctl watch /dev/shm/cache greeting\n  shmctl watch /dev/shm/cache --all --json | jq .key\n  shmctl watch /dev/shm/cache --map scores --all",
		RunE: func(cmd *cobra.Command, args []string) error {
			n := 1
			if all {
				n = 0
			}
			path, keys, err := storeArguments(cmd, args, "STORE KEY, or STORE with --all", n, n)
			if err != nil {
				return err
			}
			if w.count < 0 {
				return usagef("watch: found --count %d, expected 0 or more", w.count)
			}
			if err := w.of.parse(); err != nil {
				return err
			}
			var key []byte
			if !all {
				if key, err = keyArgument(keys[0], key64); err != nil {
					return err
				}
			}
			return withStore(openToRead, path, func(s *shm.Store) error {
				ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
				defer stop()
				context.AfterFunc(ctx, stop) // a second signal ends the process even while it waits to write
				w.done = ctx.Done()
				w.s, w.out = s, bufio.NewWriter(cmd.OutOrStdout())
				w.print = w.text
				if asJSON(cmd) {
					w.print = w.json
				}
				look := w.lookAtAll
				if !all {
					look = func() (uint64, error) { return w.lookAt(key) }
				}
				err := flush(w.out, w.watch(ctx, look))
				if w.last != nil {
					_ = w.last.Close()
				}
				if errors.Is(err, errEnoughChanges) {
					return nil
				}
				return err
			})
		},
	}
	jsonFlag(cmd)
	keyFlag(cmd, &key64)
	w.of.flags(cmd)
	cmd.Flags().BoolVar(&all, "all", false, "watch all keys")
	cmd.Flags().BoolVar(&w.existing, "existing", false, "first print the existing entries as if they were set now")
	cmd.Flags().IntVar(&w.count, "count", 0, "end after `N` changes (0 = no limit)")
	return cmd
}

// watcher prints changes of a store.
type watcher struct {
	s        *shm.Store
	of       mapChoice
	out      *bufio.Writer
	print    func(watched) error
	existing bool
	count    int             // number of changes to print; 0 = all
	done     <-chan struct{} // closed by an interrupt

	seen    bool          // the first look is done
	printed int           // number of changes
	last    *shm.Snapshot // of the last look at all keys
	value   []byte        // of the last look at one key; nil if absent
}

// watched is a change.
type watched struct {
	at      time.Time
	version uint64
	key     []byte
	value   []byte // nil: deleted
}

var (
	errEnoughChanges    = errors.New("enough changes")
	errWatchInterrupted = fmt.Errorf("watch: %w", errInterrupted)
)

// watch calls look, which returns its version, after each commit.
func (w *watcher) watch(ctx context.Context, look func() (uint64, error)) error {
	for {
		began := time.Now()
		version, err := look()
		if err == nil {
			err = w.out.Flush()
		}
		if err != nil {
			return err
		}
		w.seen = true
		if _, err = w.s.Wait(ctx, version); ctx.Err() != nil {
			return errWatchInterrupted
		}
		if err != nil {
			return err
		}
		select {
		case <-time.After(time.Until(began.Add(watchPause))):
		case <-w.done:
			return errWatchInterrupted
		}
	}
}

// lookAt prints the change of one key since the last look.
func (w *watcher) lookAt(key []byte) (version uint64, err error) {
	err = w.s.View(func(sn *shm.Snapshot) error {
		version = sn.Version()
		v, err := w.of.viewOrEmpty(sn)
		if err != nil {
			return err
		}
		value, err := v.Get(key)
		if err != nil && !errors.Is(err, shm.ErrNotFound) {
			return err
		}
		if bytes.Equal(value, w.value) && (value == nil) == (w.value == nil) {
			return nil
		}
		w.value = bytes.Clone(value)
		if !w.seen && !w.existing {
			return nil
		}
		return w.show(version, key, value)
	})
	return version, err
}

// lookAtAll prints the changes of all keys since the last look.
func (w *watcher) lookAtAll() (version uint64, err error) {
	sn, err := w.s.Snapshot()
	if err != nil {
		return 0, err
	}
	version = sn.Version()
	now, err := w.of.viewOrEmpty(sn)
	switch {
	case err != nil:
	case w.last != nil:
		err = w.compare(now)
	case w.existing:
		err = now.each(func(key, value []byte) error { return w.show(version, key, value) })
	}
	if w.last != nil {
		_ = w.last.Close()
	}
	w.last = sn
	return version, err
}

// compare prints the differences from the last snapshot.
func (w *watcher) compare(now mapView) error {
	past, err := w.of.viewOrEmpty(w.last)
	if err != nil {
		return err
	}
	entries, version := past.Len(), now.sn.Version()
	err = now.changes(past, func(key []byte, change shm.Change) error {
		if change.Old == nil {
			entries++
		}
		if change.New == nil {
			entries--
		}
		return w.show(version, key, change.New)
	})
	if err != nil {
		return err
	}
	if entries != now.Len() {
		return fmt.Errorf("%w: the changes from version %d to %d lead to %d entries, expected %d (see shmctl check)",
			shm.ErrCorrupt, w.last.Version(), version, entries, now.Len())
	}
	return nil
}

// show prints a change. It returns errEnoughChanges after the last one.
func (w *watcher) show(version uint64, key, value []byte) error {
	select {
	case <-w.done:
		return errWatchInterrupted
	default:
	}
	if err := w.print(watched{time.Now(), version, key, value}); err != nil {
		return err
	}
	if w.printed++; w.printed == w.count {
		return errEnoughChanges
	}
	return nil
}

func (w *watcher) text(c watched) error {
	what := "deleted  " + text.Printable(c.key)
	if c.value != nil {
		what = "set  " + text.Printable(c.key) + "  " + text.Brief(c.value)
	}
	_, err := fmt.Fprintf(w.out, "%s  version %s  %s\n", c.at.Format("15:04:05.000"), text.Count(c.version), what)
	return err
}

func (w *watcher) json(c watched) error {
	line := struct {
		Time    time.Time `json:"time"`
		Version uint64    `json:"version"`
		Change  string    `json:"change"`
		jsonRecord
	}{c.at, c.version, "deleted", jsonRecord{}}
	line.setKey(c.key)
	if c.value != nil {
		line.Change = "set"
		line.setValue(c.value)
	}
	return newEncoder(w.out).Encode(line)
}
