package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-869cc763/shmkv/cmd/shmctl/internal/text"
	"github.com/seed-869cc763/shmkv/shm"
	"github.com/seed-869cc763/shmkv/shm/counter"
)

func newCounters() *cobra.Command {
	var v countersVerb
	cmd := &cobra.Command{
		Use:   "counters [KEYSPACE]",
		Short: "List counters by their counts",
		Long: `counters lists the counters of a keyspace (package shm/counter) of one version, by
descending counts, and those of one count by the bytes of their keys. Each line is the
count, a tab and the key; a key is quoted as keys quotes it. A keyspace that is not there
has no counters. Without KEYSPACE it lists the keyspaces: the number of counters, a tab
and the name. A damaged one whose name cannot be read is an error, after the others.

With --rank it prints how many counters are before that of KEY. With --watch it prints all
counters, and then, until it is interrupted, each counter that changes with its new count,
or with the word removed in place of the count. Commits within a hundredth of a second are
merged.

With --hex, KEYSPACE, KEY and the names that are printed are in hexadecimal. With --json
each line is {"count":N,"key":"KEY"}, with "rank" before them if --rank is given, and
"removed":true in place of the count of one that is removed. A key that is not valid UTF-8
is in base64, as "key64".

The store is that of --store, or of ` + storeVariable + `.`,
		Example: "  shmctl counters --store /dev/shm/counts pages --length 10\n  shmctl counters --store /dev/shm/counts pages --rank /index\n  shmctl counters --store /dev/shm/counts pages --watch",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := arguments("[KEYSPACE]", 0, 1)(cmd, args); err != nil {
				return usageError{err}
			}
			if err := v.check(cmd, args); err != nil {
				return err
			}
			return withStore(openToRead, v.store, func(s *shm.Store) error {
				v.s, v.out = s, bufio.NewWriter(cmd.OutOrStdout())
				return flush(v.out, v.run(cmd.Context(), len(args) > 0))
			})
		},
	}
	jsonFlag(cmd)
	f := cmd.Flags()
	f.StringVar(&v.store, "store", "", "`DIR` of the store (default $"+storeVariable+")")
	f.IntVar(&v.offset, "offset", 0, "leave out the first `N` counters")
	f.IntVar(&v.length, "length", 0, "list at most `N` counters (default all)")
	f.StringVar(&v.rank, "rank", "", "print the rank of `KEY` only")
	f.BoolVar(&v.watch, "watch", false, "print changes as they happen")
	f.IntVar(&v.count, "count", 0, "with --watch, end after `N` lines (0 = no limit)")
	f.BoolVar(&v.hex, "hex", false, "names are in hexadecimal, of arguments too")
	if err := cmd.MarkFlagDirname("store"); err != nil {
		panic(err)
	}
	return cmd
}

// countersVerb is a run of counters.
type countersVerb struct {
	store          string
	offset, length int
	rank           string
	ranked         bool // --rank is given
	watch          bool
	count          int
	hex, json      bool

	s        *shm.Store
	out      *bufio.Writer
	keyspace string
	key      []byte // of --rank
}

// check checks the command line.
func (v *countersVerb) check(cmd *cobra.Command, args []string) error {
	f := cmd.Flags()
	v.json, v.ranked = asJSON(cmd), f.Changed("rank")
	v.store = cmp.Or(v.store, os.Getenv(storeVariable))
	if !f.Changed("length") {
		v.length = math.MaxInt
	}
	selects := f.Changed("offset") || f.Changed("length")
	switch {
	case v.store == "":
		return usagef("counters: found no --store, expected the directory of a store")
	case v.offset < 0:
		return usagef("counters: found --offset %d, expected 0 or more", v.offset)
	case v.length < 0:
		return usagef("counters: found --length %d, expected 0 or more", v.length)
	case v.count < 0:
		return usagef("counters: found --count %d, expected 0 or more", v.count)
	case len(args) == 0 && (selects || v.ranked || v.watch):
		return usagef("counters: found a flag about counters without KEYSPACE, expected both")
	case v.ranked && (selects || v.watch) || v.watch && selects:
		return usagef("counters: found more than one of --rank, --watch, and --offset with --length, expected one of them at most")
	case v.count > 0 && !v.watch:
		return usagef("counters: found --count without --watch, expected both")
	}
	if len(args) == 0 {
		return nil
	}
	keyspace, err := v.argument(args[0])
	if err == nil {
		v.key, err = v.argument(v.rank)
	}
	v.keyspace = string(keyspace)
	return err
}

// argument returns the name that an argument has.
func (v *countersVerb) argument(arg string) ([]byte, error) {
	if !v.hex {
		return []byte(arg), nil
	}
	b, err := hex.DecodeString(arg)
	if err != nil {
		return nil, usagef("counters: --hex: found %q: %w", arg, err)
	}
	return b, nil
}

func (v *countersVerb) run(ctx context.Context, named bool) error {
	c := counter.Open(v.s, v.keyspace)
	switch {
	case !named:
		return v.listKeyspaces()
	case v.ranked:
		return v.printRank(c)
	case v.watch:
		return v.follow(ctx, c)
	}
	return c.View(func(w *counter.View) error {
		for key, n := range w.Range(v.offset, v.length) {
			if err := v.line(counterLine{Count: &n}, strconv.FormatInt(n, 10), key); err != nil {
				return err
			}
		}
		return w.Err()
	})
}

// counterLine is a line of JSON.
type counterLine struct {
	Rank    *int   `json:"rank,omitempty"`
	Count   *int64 `json:"count,omitempty"`
	Removed bool   `json:"removed,omitempty"`

	Counters *int    `json:"counters,omitempty"`
	Keyspace *string `json:"keyspace,omitempty"`
	Space64  []byte  `json:"keyspace64,omitempty"`

	Key   *string `json:"key,omitempty"`
	Key64 []byte  `json:"key64,omitempty"`
}

// line prints the line of a counter.
func (v *countersVerb) line(l counterLine, first string, key []byte) error {
	if v.json {
		if l.Key, l.Key64 = textOr64(key); v.hex {
			digits := hex.EncodeToString(key)
			l.Key, l.Key64 = &digits, nil
		}
		return newEncoder(v.out).Encode(l)
	}
	_, err := fmt.Fprintf(v.out, "%s\t%s\n", first, v.name(key))
	return err
}

// name returns a name as it is printed.
func (v *countersVerb) name(b []byte) string {
	if v.hex {
		return hex.EncodeToString(b)
	}
	return text.Printable(b)
}

func (v *countersVerb) listKeyspaces() error {
	all, damaged := counter.Keyspaces(v.s)
	for _, k := range all {
		var err error
		if v.json {
			l := counterLine{Counters: &k.Counters}
			if l.Keyspace, l.Space64 = textOr64([]byte(k.Keyspace)); v.hex {
				digits := hex.EncodeToString([]byte(k.Keyspace))
				l.Keyspace, l.Space64 = &digits, nil
			}
			err = newEncoder(v.out).Encode(l)
		} else {
			_, err = fmt.Fprintf(v.out, "%d\t%s\n", k.Counters, v.name([]byte(k.Keyspace)))
		}
		if err != nil {
			return err
		}
	}
	return damaged
}

func (v *countersVerb) printRank(c *counter.Set) error {
	return c.View(func(w *counter.View) error {
		rank, err := w.Rank(v.key)
		if errors.Is(err, shm.ErrNotFound) {
			return fmt.Errorf("counters %s: %w", text.Printable(v.key), err)
		}
		if err != nil {
			return err
		}
		if !v.json {
			_, err = fmt.Fprintln(v.out, rank)
			return err
		}
		n, err := w.Get(v.key)
		if err != nil {
			return err
		}
		return v.line(counterLine{Rank: &rank, Count: &n}, "", v.key)
	})
}

// follow prints the counters, and those that change.
func (v *countersVerb) follow(ctx context.Context, c *counter.Set) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process even while it waits to write
	u := c.Subscribe(ctx)
	printed, version, shown := 0, uint64(0), time.Time{}
	for ch := range u.Changes() {
		if u.Version() != version {
			version = u.Version()
			time.Sleep(time.Until(shown.Add(watchPause)))
			shown = time.Now()
		}
		l, first := counterLine{Count: &ch.New}, strconv.FormatInt(ch.New, 10)
		if !ch.Exists {
			l, first = counterLine{Removed: true}, "removed"
		}
		if err := flush(v.out, v.line(l, first, ch.Key)); err != nil {
			return err
		}
		if printed++; printed == v.count {
			return nil
		}
	}
	if ctx.Err() != nil {
		return fmt.Errorf("counters: %w", errInterrupted)
	}
	return u.Err()
}
