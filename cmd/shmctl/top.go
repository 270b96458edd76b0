package main

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-869cc763/shmkv/cmd/shmctl/internal/text"
	"github.com/seed-869cc763/shmkv/shm"
)

func newTop() *cobra.Command {
	var t top
	var by string
	cmd := &cobra.Command{
		Use:   "top STORE...",
		Short: "Show the activity of processes in stores",
		Long: `top shows the sizes of the stores and the activity of each process, and updates
them each second. Gets are not counted, because readers write no counters. top
does not show its own handle.

On a terminal top fills the screen until you press q. The key ? shows the keys.
Otherwise, and with --json, top prints a line for each store, followed by a line for
each process. In JSON a store and its processes are one line. Servers (shmctl serve) have a
line more, with their addresses and connections, if they are in the same pid namespace
and this user may examine them.

--sort, or a key on the screen, selects the column by which the processes are sorted:

` + topColumnHelp() + `
` + topSortHelp + ` Printed lines are sorted in each update.`,
		Example: "  shmctl top /dev/shm/cache\n  shmctl top /dev/shm/cache --sort commits\n  shmctl top /dev/shm/cache --json --count 1 | jq .per_second.commits",
		RunE: func(cmd *cobra.Command, args []string) error {
			path, more, err := storeArguments(cmd, args, "STORE...", 0, unlimited)
			if err != nil {
				return err
			}
			if err := t.check(cmd); err != nil {
				return err
			}
			if t.by, err = topColumnNamed(by); err != nil {
				return err
			}
			return withStores(openToRead, append([]string{path}, more...), func(stores []*shm.Store) error {
				for _, s := range stores {
					t.stores = append(t.stores, &topStore{s: s, real: realPath(s.Path())})
				}
				v := topView{top: &t, printLook: func(l topLook) error { return l.print(cmd.OutOrStdout()) }}
				if asJSON(cmd) {
					v.printLook = func(l topLook) error { return newEncoder(cmd.OutOrStdout()).Encode(l) }
				}
				t.keepPlaces = screenOf(cmd) != nil
				return t.show(cmd, &v)
			})
		},
	}
	t.flags(cmd)
	cmd.Flags().StringVar(&by, "sort", topColumns[0].name, "sort the processes by `COLUMN`: "+strings.Join(topColumnNames(), ", "))
	_ = cmd.RegisterFlagCompletionFunc("sort", cobra.FixedCompletions(topColumnNames(), cobra.ShellCompDirectiveNoFileComp))
	jsonFlag(cmd)
	return cmd
}

// realPath returns an absolute path without symbolic links, or path if there is none.
func realPath(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	return path
}

// top is a run of the verb.
type top struct {
	updates
	by         topColumn // sorts the processes
	keepPlaces bool      // keep the order of processes from one look to the next
	stores     []*topStore
}

// topStore is a store and the last look at it.
type topStore struct {
	s     *shm.Store
	real  string // its path without symbolic links
	at    time.Time
	stats shm.Stats
	procs []shm.Process
	order topOrder // of the processes that keep their places
}

// topLook is the state of a store at one time.
type topLook struct {
	Time      time.Time    `json:"time"`
	Path      string       `json:"path"`
	Seconds   float64      `json:"seconds"` // since the last look
	Stats     shm.Stats    `json:"stats"`
	PerSecond topRates     `json:"per_second"`
	Processes []topProcess `json:"processes"`
}

// topRates are the events in each second since the last look.
type topRates struct {
	Commits  float64 `json:"commits"`
	Changes  float64 `json:"changes"`
	Lost     float64 `json:"lost"`
	Refused  float64 `json:"refused"`
	Freed    float64 `json:"freed_blocks"`
	Deferred float64 `json:"deferred_blocks"`
	Punched  float64 `json:"punched_pages"`
}

type topProcess struct {
	Pid       int        `json:"pid"`
	Name      string     `json:"name"`
	ReadOnly  bool       `json:"read_only"`
	Alive     bool       `json:"alive"`
	Writers   int        `json:"writers"`
	PerSecond topRates   `json:"per_second"`
	Pins      int        `json:"pins"`
	Behind    uint64     `json:"behind"`                 // versions since the oldest pin
	Since     *time.Time `json:"pinned_since,omitempty"` // start of the oldest snapshot
	Server    *topServer `json:"server,omitempty"`       // what it serves, as shmctl serve

	handle shm.Process
}

func ratesOf(c shm.Counters, seconds float64) topRates {
	per := func(n uint64) float64 { return float64(n) / seconds }
	return topRates{per(c.Commits), per(c.Changes), per(c.Lost), per(c.Refused), per(c.FreedBlocks), per(c.DeferredBlocks), per(c.PunchedPages)}
}

// look reads the state of the store. The rates are those since the last look, or 0 at the
// first one.
func (t *topStore) look() (topLook, error) {
	st, err := stats(t.s)
	if err != nil {
		return topLook{}, fmt.Errorf("top %w", err)
	}
	procs, err := t.s.Inspect().Processes()
	if err != nil {
		return topLook{}, err
	}
	was := *t
	t.at, t.stats, t.procs = time.Now(), st, procs
	l := topLook{Time: t.at, Path: t.s.Path(), Stats: st, Processes: []topProcess{}}
	if !was.at.IsZero() {
		l.Seconds = t.at.Sub(was.at).Seconds()
		l.PerSecond = ratesOf(st.Sub(was.stats).Counters, l.Seconds)
	}
	for _, p := range procs {
		if p.Self {
			continue
		}
		q := topProcess{Pid: p.Pid, Name: p.Name, ReadOnly: p.ReadOnly, Alive: p.Alive, Writers: p.Writers, Pins: len(p.Pins), handle: p}
		if p.Alive {
			q.Server = serverOf(p.Pid, t.real)
		}
		for _, old := range was.procs {
			if p.Same(old) {
				q.PerSecond = ratesOf(p.Sub(old), l.Seconds)
			}
		}
		for _, pin := range p.Pins {
			q.Behind = max(q.Behind, st.Version-min(pin.Version, st.Version))
			if !pin.Writer && (q.Since == nil || pin.Since.Before(*q.Since)) {
				q.Since = &pin.Since
			}
		}
		l.Processes = append(l.Processes, q)
	}
	return l, nil
}

// looks calls look for all stores and sorts the processes.
func (t *top) looks() (all []topLook, err error) {
	for _, s := range t.stores {
		l, err := s.look()
		if err != nil {
			return nil, err
		}
		t.arrange(s, l)
		all = append(all, l)
	}
	return all, nil
}

// arrange sorts the processes of a look and, if they keep their places, notes the order.
// The first look has no rates, so an order by rate is noted at the second one.
func (t *top) arrange(s *topStore, l topLook) {
	s.order.sort(l.Processes, t.by)
	if t.keepPlaces && (l.Seconds > 0 || !t.by.isRate) {
		s.order = topOrderOf(l.Processes)
	}
}

func (l topLook) print(w io.Writer) error {
	var b strings.Builder
	path := text.Printable([]byte(l.Path))
	fmt.Fprintf(&b, "%s  %s  version %s  %s entries  %s  %s\n", l.Time.Format(time.TimeOnly), path, text.Count(l.Stats.Version), text.Count(l.Stats.Entries), l.rates(), l.space())
	for _, p := range l.Processes {
		fmt.Fprintf(&b, "%s  %s  %s\n", l.Time.Format(time.TimeOnly), path, strings.Join(p.row(l.Time), "  "))
	}
	for _, line := range l.servers() {
		fmt.Fprintf(&b, "%s  %s  %s\n", l.Time.Format(time.TimeOnly), path, line)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (l topLook) rates() string {
	return fmt.Sprintf("%s commits/s  %s changes/s  %s lost/s  %s refused/s", text.Whole(l.PerSecond.Commits),
		text.Whole(l.PerSecond.Changes), text.Whole(l.PerSecond.Lost), text.Whole(l.PerSecond.Refused))
}

func (l topLook) space() string {
	s := fmt.Sprintf("%s live  %s free  %s file  %s allocated", text.Size(l.Stats.LiveBytes), text.Size(l.Stats.FreeBytes),
		text.Size(l.Stats.FileBytes), text.Size(l.Stats.AllocatedBytes))
	if c := l.Stats.Checkpoints; c.Version != 0 {
		s += "  checkpoint " + text.Ago(c.At, l.Time)
	}
	return s
}

func (l topLook) reclaim() string {
	return fmt.Sprintf("%s blocks freed/s  %s deferred/s  %s pages punched/s  %s adopted", text.Whole(l.PerSecond.Freed),
		text.Whole(l.PerSecond.Deferred), text.Whole(l.PerSecond.Punched), text.Things(l.Stats.AdoptedSlots, "slot", "slots"))
}
