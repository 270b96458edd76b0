package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-869cc763/shmkv/cmd/shmctl/internal/text"
	"github.com/seed-869cc763/shmkv/shm"
	"github.com/seed-869cc763/shmkv/shm/cache"
)

// cacheLook is what can be seen of a region of a cache, and of its store.
type cacheLook struct {
	Path     string     `json:"path"`
	Region   string     `json:"region,omitempty"`
	Region64 []byte     `json:"region64,omitempty"`
	Time     time.Time  `json:"time"`
	Seconds  float64    `json:"seconds,omitempty"`    // of PerSecond
	Rates    *cacheRate `json:"per_second,omitempty"` // nil: not asked for
	cache.Info
	LiveBytes int64 `json:"live_bytes"` // of the store
	FileBytes int64 `json:"file_bytes"`
	MaxSize   int64 `json:"max_size"`

	mapless bool // the region has no map: nothing was set since it was flushed, or ever
}

func lookAtCache(s *shm.Store, region string) (l cacheLook, err error) {
	st, err := stats(s)
	if err != nil {
		return l, err
	}
	l = cacheLook{Path: s.Path(), Time: time.Now(), LiveBytes: st.LiveBytes, FileBytes: st.FileBytes, MaxSize: st.MaxSize}
	name, in64 := textOr64([]byte(region))
	if l.Region64 = in64; name != nil {
		l.Region = *name
	}
	if l.Info, err = cache.Inspect(s, region); err != nil {
		return l, err
	}
	kind, err := kindIn(s, region)
	l.mapless = kind == 0
	return l, err
}

func newCacheStat() *cobra.Command {
	var of regionChoice
	cmd := &cobra.Command{
		Use:   "stat STORE",
		Short: "Show the items and the counts of a cache",
		Long: `stat shows the number of items of a region and their bytes, those that have expired
and are not yet deleted included. A claim is there while a value is created, and for
some seconds after a creation that failed or found no value.

The counts are those of all processes, in all regions of the store, since its file
hints was made. Each process adds what it has counted about once a second, so the
counts of a killed process lack its last second. Without that file there are no counts.
The bytes are those of the store, of all its maps together.`,
		Example: "  shmctl cache stat /dev/shm/cache\n  shmctl cache stat /dev/shm/cache --region sessions --json | jq .all.hits",
		RunE: func(cmd *cobra.Command, args []string) error {
			path, _, err := storeArguments(cmd, args, "STORE", 0, 0)
			if err != nil {
				return err
			}
			if err := of.parse(); err != nil {
				return err
			}
			return withStore(openToRead, path, func(s *shm.Store) error {
				if err := of.check(s, false); err != nil {
					return err
				}
				l, err := lookAtCache(s, of.name)
				if err != nil {
					return err
				}
				return printResult(cmd, l)
			})
		},
	}
	jsonFlag(cmd)
	of.flags(cmd)
	return cmd
}

// Print implements result.
func (l cacheLook) Print(w io.Writer) error {
	region := []byte(l.Region)
	if l.Region64 != nil {
		region = l.Region64
	}
	items := text.Count(l.Items)
	if l.mapless {
		items += "; the store has no map of this name"
	}
	rows := [][]string{
		{"store", text.Printable([]byte(l.Path))},
		{"region", text.Printable(region)},
		{"items", items},
		{"data", text.Size(l.DataBytes) + " of keys, values, flags and times"},
		{"claims", text.Count(l.Claims)},
		{"invalidated", text.Things(l.Invalidations, "time", "times") + " softly"},
	}
	if !l.FlushAt.IsZero() {
		rows = append(rows, []string{"flush", "at " + l.FlushAt.Format(time.RFC3339Nano)})
	}
	rows = append(rows, [][]string{
		{"live", text.Size(l.LiveBytes) + " of the store's blocks"},
		{"file", fmt.Sprintf("%s of at most %s", text.Size(l.FileBytes), text.Size(l.MaxSize))},
	}...)
	if !l.Counted {
		rows = append(rows, []string{"counts", "none: the store has no file hints that can be read"})
		return text.Table(w, "ll", rows...)
	}
	a := l.All
	return text.Table(w, "ll", append(rows, [][]string{
		{"hits", fmt.Sprintf("%s, %s of the reads", text.Count(a.Hits), percentHits(float64(a.Hits), float64(a.Misses)))},
		{"misses", text.Count(a.Misses)},
		{"evictions", text.Count(a.Evictions)},
		{"expirations", text.Count(a.Expirations)},
		{"creations", fmt.Sprintf("%s; %s, %s", text.Count(a.Creations), text.Things(a.Waits, "wait", "waits"), text.Things(a.Takeovers, "takeover", "takeovers"))},
	}...)...)
}
