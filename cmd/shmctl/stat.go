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

// storeStat is what stat reports.
type storeStat struct {
	Path string `json:"path"`
	shm.Info
	shm.Stats
	Rate *statRate `json:"rate,omitempty"`
	Deep *statDeep `json:"deep,omitempty"`
}

// statRate is what happened in some time.
type statRate struct {
	Seconds float64 `json:"seconds"`
	shm.Counters
}

func newStat() *cobra.Command {
	var deep bool
	var rate time.Duration
	cmd := &cobra.Command{
		Use:   "stat STORE",
		Short: "Show what a store is and holds",
		Long: `stat shows what the store says of itself. It is cheap, whatever the store's size.
Commits and the like are counted by writers since the store was made, except for
what a process that was killed was just doing. Gets are not counted.

With --rate it looks twice, and tells also what happened in between. With --deep
it visits everything, as check does, and tells where each byte is, what is held
for which pins and by whom, how the trie is built, and what the blocks of each
size take.`,
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
				if rate > 0 {
					began, old := time.Now(), st.Stats
					time.Sleep(rate)
					if st.Stats, err = stats(s); err != nil {
						return fmt.Errorf("stat %w", err)
					}
					st.Rate = &statRate{time.Since(began).Seconds(), st.Sub(old).Counters}
				}
				if deep {
					if st.Deep, err = lookDeep(cmd.Context(), s); err != nil {
						return err
					}
				}
				return printResult(cmd, st)
			})
		},
	}
	jsonFlag(cmd)
	cmd.Flags().BoolVar(&deep, "deep", false, "visit everything, and show where each byte is")
	cmd.Flags().DurationVar(&rate, "rate", 0, "look again after this `time`, as in 1s, and show what happened in it")
	return cmd
}

// stats returns the store's Stats, which have no other way to say that the root
// cannot be read.
func stats(s *shm.Store) (shm.Stats, error) {
	st := s.Stats()
	if st.FileBytes == 0 {
		return st, fmt.Errorf("%s: %w: the root cannot be read (see shmctl check)", s.Path(), shm.ErrCorrupt)
	}
	return st, nil
}

func (st storeStat) Print(w io.Writer) error {
	rows := [][]string{
		{"store", st.Path},
		{"id", fmt.Sprintf("%s, format %d", st.ID, st.Format)},
	}
	if o := st.Origin; o != nil {
		kind, form := "copy", "shows version %s of %s" // that restore has made
		switch {
		case st.Backup:
			kind, form = "backup", form+"; can only be read"
		case o.At != st.Version:
			form = "written to since it showed version %s of %s"
		}
		rows = append(rows, []string{kind, fmt.Sprintf(form, text.Count(o.Version), o.ID)})
	}
	rows = append(rows, [][]string{
		{"created", fmt.Sprintf("%s (%s)", st.Created.Format(time.RFC3339), text.Ago(st.Created, time.Now()))},
		{"version", text.Count(st.Version)},
		{"entries", text.Count(st.Entries)},
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
