package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-869cc763/shmkv/shm"
)

// storeStat is what stat reports.
type storeStat struct {
	Path string `json:"path"`
	shm.Info
	shm.Stats
}

func newStat() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "stat STORE",
		Short:   "Show what a store is and holds",
		Long:    "stat shows what the store says of itself. It is cheap, whatever the store's size.",
		Example: "  shmctl stat /dev/shm/cache\n  shmctl stat /dev/shm/cache --json | jq .entries",
		Args:    arguments("STORE", 1, 1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			s, err := openToRead(args[0])
			if err != nil {
				return err
			}
			defer closing(s, &err)
			st := storeStat{args[0], s.Info(), s.Stats()}
			if st.FileBytes == 0 { // Stats has no other way to say so
				return fmt.Errorf("stat %s: %w: the root cannot be read (see shmctl check)", args[0], shm.ErrCorrupt)
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), st)
			}
			return st.print(cmd.OutOrStdout())
		},
	}
	jsonFlag(cmd, &asJSON)
	return cmd
}

func (st storeStat) print(w io.Writer) error {
	rows := [][]string{
		{"store", st.Path},
		{"id", fmt.Sprintf("%s, format %d", st.ID, st.Format)},
	}
	if o := st.Origin; o != nil {
		shows := "shows"
		if o.At != st.Version {
			shows = "written to since it showed"
		}
		rows = append(rows, []string{"backup", fmt.Sprintf("%s version %s of %s", shows, count(o.Version), o.ID)})
	}
	return table(w, "ll", append(rows,
		[]string{"created", fmt.Sprintf("%s (%s)", st.Created.Format(time.RFC3339), ago(st.Created, time.Now()))},
		[]string{"version", count(st.Version)},
		[]string{"entries", count(st.Entries)},
		[]string{"data", size(st.DataBytes) + " of keys and values"},
		[]string{"live", size(st.LiveBytes) + " of blocks hold them" + perByte(st.LiveBytes, st.DataBytes)},
		[]string{"free", size(st.FreeBytes) + " of pages, about"},
		[]string{"file", size(st.FileBytes) + perByte(st.FileBytes, st.DataBytes)},
		[]string{"allocated", size(st.AllocatedBytes) + " by the file system"},
		[]string{"maximum", size(st.MaxSize)},
	)...)
}

// perByte relates space to the data in it.
func perByte(space, data int64) string {
	if data == 0 {
		return ""
	}
	return fmt.Sprintf(", %.2f bytes per byte of data", float64(space)/float64(data))
}
