package main

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-869cc763/shmkv/cmd/shmctl/internal/text"
	"github.com/seed-869cc763/shmkv/shm"
)

// storeStat is the result of stat.
type storeStat struct {
	Path string `json:"path"`
	shm.Info
	shm.Stats
	NamedMaps *int      `json:"named_maps,omitempty"` // nil: this process may not pin a version
	Rate      *statRate `json:"rate,omitempty"`
	Deep      *statDeep `json:"deep,omitempty"`
}

// statRate contains the changes of the counters during --rate.
type statRate struct {
	Seconds float64 `json:"seconds"`
	shm.Counters
}

func newStat() *cobra.Command {
	var deep bool
	var rate time.Duration
	cmd := &cobra.Command{
		Use:   "stat STORE",
		Short: "Show the properties and counters of a store",
		Long: `stat shows the version, sizes and counters of a store, of all its maps together. Its
time does not depend on the number of entries. The counters count events since the store was created. The
counts of a killed process may lack its last operation. Gets are not counted.

With --rate, stat reads the counters twice and shows the change in each second. With
--deep, it visits all records, as check does, and shows the use of each byte of the
file, the space that pins hold and the processes that hold them, the shape of the
trie, and the space of each block size.`,
		Example: "  shmctl stat /dev/shm/cache\n  shmctl stat /dev/shm/cache --json | jq .entries\n  shmctl stat /dev/shm/cache --rate 1s --deep",
		RunE: func(cmd *cobra.Command, args []string) error {
			path, _, err := storeArguments(cmd, args, "STORE", 0, 0)
			if err != nil {
				return err
			}
			if cmd.Flags().Changed("rate") && rate <= 0 {
				return usagef("stat: found --rate %v, expected a time such as 1s", rate)
			}
			return withStore(openToRead, path, func(s *shm.Store) (err error) {
				st := storeStat{Path: path, Info: s.Inspect().Info()}
				if st.Stats, err = stats(s); err != nil {
					return fmt.Errorf("stat %w", err)
				}
				if st.NamedMaps, err = namedMaps(s); err != nil {
					return fmt.Errorf("stat %w", err)
				}
				if rate > 0 {
					began, old := time.Now(), st.Stats
					time.Sleep(rate)
					if st.Stats, err = stats(s); err != nil {
						return fmt.Errorf("stat %w", err)
					}
					st.Rate = &statRate{time.Since(began).Seconds(), st.Sub(old).Counters}
				}
				if deep {
					if st.Deep, err = lookDeep(cmd.Context(), s, st.Checkpoints.Version); err != nil {
						return err
					}
				}
				return printResult(cmd, st)
			})
		},
	}
	jsonFlag(cmd)
	cmd.Flags().BoolVar(&deep, "deep", false, "visit all records and show the use of each byte")
	cmd.Flags().DurationVar(&rate, "rate", 0, "show the events of each second during this `time`, as in 1s")
	return cmd
}

// stats returns the store's Stats, or an error if the root cannot be read. Stats then has
// a FileBytes of 0.
func stats(s *shm.Store) (shm.Stats, error) {
	st := s.Stats()
	if st.FileBytes == 0 {
		return st, fmt.Errorf("%s: %w: the root cannot be read (see shmctl check)", s.Path(), shm.ErrCorrupt)
	}
	return st, nil
}

// namedMaps returns the number of named maps, or nil if this process may not pin a version.
func namedMaps(s *shm.Store) (*int, error) {
	maps, err := s.Maps()
	switch {
	case errors.Is(err, shm.ErrCannotPin):
		return nil, nil
	case err != nil:
		return nil, err
	}
	n := len(maps)
	return &n, nil
}

func (st storeStat) Print(w io.Writer) error {
	rows := [][]string{
		{"store", st.Path},
		{"id", fmt.Sprintf("%s, format %d", st.ID, st.Format)},
	}
	if o := st.Origin; o != nil {
		kind, form := "copy", "shows version %s of %s" // made by restore
		switch {
		case st.Backup:
			kind, form = "backup", form+"; can only be read"
		case o.At != st.Version:
			form = "written to since it showed version %s of %s"
		}
		rows = append(rows, []string{kind, fmt.Sprintf(form, text.Count(o.Version), o.ID)})
	}
	named := ""
	if n := st.NamedMaps; n != nil && *n > 0 {
		named = ", with those of " + text.Things(*n, "named map", "named maps")
	}
	rows = append(rows, [][]string{
		{"created", fmt.Sprintf("%s (%s)", st.Created.Format(time.RFC3339), text.Ago(st.Created, time.Now()))},
		{"version", text.Count(st.Version)},
		{"entries", text.Count(st.Entries) + named},
		{"data", text.Size(st.DataBytes) + " of keys and values"},
		{"live", text.Size(st.LiveBytes) + " of blocks hold them" + text.PerByte(st.LiveBytes, st.DataBytes)},
		{"free", text.Size(st.FreeBytes) + " of pages, about"},
		{"file", text.Size(st.FileBytes) + text.PerByte(st.FileBytes, st.DataBytes)},
		{"allocated", text.Size(st.AllocatedBytes) + " by the file system"},
		{"maximum", text.Size(st.MaxSize)},
		{"commits", fmt.Sprintf("%s, of %s; %s overtaken and tried again", text.Count(st.Commits), text.Things(st.Changes, "change", "changes"), text.Count(st.Lost))},
		{"refused", text.Things(st.Refused, "try", "tries") + " to write, for lack of space"},
		{"reclaimed", fmt.Sprintf("%s freed; %s deferred for pins, each time; memory of %s given back",
			text.Things(st.FreedBlocks, "block", "blocks"), text.Count(st.DeferredBlocks), text.Things(st.PunchedPages, "page", "pages"))},
		{"adopted", text.Things(st.AdoptedSlots, "writer's slot", "writers' slots") + " of the dead"},
	}...)
	if c := st.Checkpoints; c.Version != 0 {
		rows = append(rows, []string{"disk", fmt.Sprintf("%s; %s in %v", checkpoint(c, time.Now()), text.Things(c.Count, "checkpoint", "checkpoints"), c.Took.Round(time.Millisecond))})
	}
	if r := st.Rate; r != nil {
		per := func(n uint64) string { return text.Whole(float64(n) / r.Seconds) }
		rows = append(rows, []string{"rate", fmt.Sprintf("in %.1f s, each second: %s commits of %s changes; %s overtaken, %s refused; %s blocks freed, %s deferred",
			r.Seconds, per(r.Commits), per(r.Changes), per(r.Lost), per(r.Refused), per(r.FreedBlocks), per(r.DeferredBlocks))})
	}
	err := text.Table(w, "ll", rows...)
	if st.Deep != nil {
		err = errors.Join(err, st.Deep.print(w, time.Now()))
	}
	return err
}
