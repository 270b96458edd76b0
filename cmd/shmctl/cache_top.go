package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-869cc763/shmkv/cmd/shmctl/internal/text"
	"github.com/seed-869cc763/shmkv/shm"
	"github.com/seed-869cc763/shmkv/shm/cache"
)

// rateSpan is the time of which rates are means. Processes add their counts about once a
// second, so the counts of one second may lack some, or have those of two.
const rateSpan = 5 * time.Second

// cacheRate is the events of a second.
type cacheRate struct {
	Hits        float64 `json:"hits"`
	Misses      float64 `json:"misses"`
	Evictions   float64 `json:"evictions"`
	Expirations float64 `json:"expirations"`
	Creations   float64 `json:"creations"`
	Waits       float64 `json:"waits"`
	Takeovers   float64 `json:"takeovers"`
}

func cacheRateOf(c cache.Counts, seconds float64) cacheRate {
	if seconds == 0 {
		return cacheRate{}
	}
	per := func(n uint64) float64 { return float64(n) / seconds }
	return cacheRate{per(c.Hits), per(c.Misses), per(c.Evictions), per(c.Expirations), per(c.Creations), per(c.Waits), per(c.Takeovers)}
}

// cacheTop is a run of cache top.
type cacheTop struct {
	updates
	s      *shm.Store
	region string
	out    io.Writer
	json   bool

	past  []cacheLook // the looks of the last rateSpan, and one before
	shown cacheLook
}

func newCacheTop() *cobra.Command {
	var of regionChoice
	var t cacheTop
	cmd := &cobra.Command{
		Use:   "top STORE",
		Short: "Show the activity of all processes in a cache",
		Long: `top shows the size of a region, and the hits, misses, evictions, expirations,
creations, waits and takeovers of each second, and updates them each second. They are
those of all processes, in all regions of the store. Each process adds what it has
counted about once a second, so the rates are means of the last 5 seconds.

A wait is a caller that slept because another one created the value that it wanted. A
takeover is a creation in place of one whose process was killed, or was stopped for
longer than its lease. Processes are not told apart: shmctl top shows what each of them
commits.

On a terminal top fills the screen until you press q. Otherwise, and with --json, it
prints a line for each update.`,
		Example: "  shmctl cache top /dev/shm/cache\n  shmctl cache top /dev/shm/cache --json --count 1 | jq .per_second.hits",
		RunE: func(cmd *cobra.Command, args []string) error {
			path, _, err := storeArguments(cmd, args, "STORE", 0, 0)
			if err != nil {
				return err
			}
			if err := t.check(cmd); err != nil {
				return err
			}
			if err := of.parse(); err != nil {
				return err
			}
			return withStore(openToRead, path, func(s *shm.Store) error {
				if err := of.check(s, false); err != nil {
					return err
				}
				t.s, t.region, t.out, t.json = s, of.name, cmd.OutOrStdout(), asJSON(cmd)
				return t.show(cmd, &t)
			})
		},
	}
	t.flags(cmd)
	jsonFlag(cmd)
	of.flags(cmd)
	return cmd
}

// look implements display.
func (t *cacheTop) look() error {
	l, err := lookAtCache(t.s, t.region)
	if err != nil {
		return fmt.Errorf("cache top %w", err)
	}
	if !l.Counted {
		return fmt.Errorf("cache top %s: found no file hints that can be read, expected one with the counts of the cache, as the programs that use it make it", t.s.Path())
	}
	for len(t.past) > 1 && l.Time.Sub(t.past[1].Time) >= rateSpan {
		t.past = t.past[1:]
	}
	l.Rates = &cacheRate{}
	if len(t.past) > 0 {
		old := t.past[0]
		l.Seconds = l.Time.Sub(old.Time).Seconds()
		*l.Rates = cacheRateOf(l.All.Sub(old.All), l.Seconds)
	}
	t.past = append(t.past, l)
	t.shown = l
	return nil
}

// print implements display.
func (t *cacheTop) print() error {
	l, r := t.shown, t.shown.Rates
	if t.json {
		return newEncoder(t.out).Encode(l)
	}
	parts := []string{l.Time.Format(time.TimeOnly), text.Printable([]byte(l.Path)), text.Printable([]byte(t.region)), text.Things(l.Items, "item", "items")}
	for _, row := range t.rows() {
		parts = append(parts, fmt.Sprintf("%s %s/s", text.Whole(row.rate), row.name))
	}
	parts = append(parts, "hit ratio "+percentHits(r.Hits, r.Misses), t.space())
	_, err := fmt.Fprintln(t.out, strings.Join(parts, "  "))
	return err
}

// cacheRow is a row of the screen.
type cacheRow struct {
	name string
	rate float64
	all  uint64
}

func (t *cacheTop) rows() []cacheRow {
	r, a := t.shown.Rates, t.shown.All
	return []cacheRow{
		{"hits", r.Hits, a.Hits}, {"misses", r.Misses, a.Misses},
		{"evictions", r.Evictions, a.Evictions}, {"expirations", r.Expirations, a.Expirations},
		{"creations", r.Creations, a.Creations}, {"waits", r.Waits, a.Waits}, {"takeovers", r.Takeovers, a.Takeovers},
	}
}

func (t *cacheTop) space() string {
	l := t.shown
	return fmt.Sprintf("%s live  %s file  %s maximum", text.Size(l.LiveBytes), text.Size(l.FileBytes), text.Size(l.MaxSize))
}

// lines implements display.
func (t *cacheTop) lines(now time.Time) []string {
	l := t.shown
	lines := []string{
		fmt.Sprintf("shmctl cache top  %s  every %v, q quit", now.Format(time.TimeOnly), t.interval), "",
		fmt.Sprintf("%s  region %s  %s  %s of data", text.Printable([]byte(l.Path)), text.Printable([]byte(t.region)), text.Things(l.Items, "item", "items"), text.Size(l.DataBytes)),
		"  " + t.space(),
	}
	creating := "  " + text.Things(l.Claims, "claim", "claims")
	if !l.FlushAt.IsZero() {
		creating += "  flush at " + l.FlushAt.Format(time.RFC3339)
	}
	table := [][]string{{"", "EACH SECOND", "IN ALL"}}
	for _, row := range t.rows() {
		table = append(table, []string{row.name, text.Whole(row.rate), text.Count(row.all)})
	}
	table = append(table, []string{"hit ratio", percentHits(l.Rates.Hits, l.Rates.Misses), percentHits(float64(l.All.Hits), float64(l.All.Misses))})
	var b strings.Builder
	_ = text.Table(&b, "lrr", table...)
	lines = append(lines, creating, "")
	for line := range strings.Lines(b.String()) {
		lines = append(lines, "  "+strings.TrimSuffix(line, "\n"))
	}
	return lines
}

// press implements display.
func (t *cacheTop) press(key byte) (end bool) { return endKey(key) }

// percentHits returns the part of reads that were hits, or "-" if there were none.
func percentHits(hits, misses float64) string {
	if hits+misses == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f %%", 100*hits/(hits+misses))
}
