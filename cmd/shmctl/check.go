package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/seed-869cc763/shmkv/shm"
)

// checked is what check reports.
type checked struct {
	Path  string `json:"path"`
	Sound bool   `json:"sound"`
	shm.Report
}

func newCheck() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "check STORE",
		Short: "Prove that a store is sound",
		Long: `check visits everything that the current version reaches, and accounts for
every byte of the file. With permission to write it first adopts processes that
died: it puts in order what they left. Others may use the store meanwhile. It
exits with 4 if something is wrong.`,
		Example: "  shmctl check /dev/shm/cache",
		Args:    arguments("STORE", 1, 1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			s, err := openToCheck(args[0])
			if err != nil {
				return err
			}
			defer closing(s, &err)
			bar := newProgress(cmd.ErrOrStderr(), cmd.Name())
			var found *shm.Report
			err = interruptible(cmd, func(ctx context.Context) error {
				var err error
				found, err = s.Check(ctx, &shm.CheckOptions{Progress: bar.show})
				return err
			})
			bar.clear()
			c := checked{Path: args[0], Sound: err == nil}
			switch {
			case found != nil:
				c.Report = *found
			case errors.Is(err, shm.ErrCorrupt): // so badly that nothing could be summed up
				c.Problems = []string{err.Error()}
			default:
				return err
			}
			if c.Problems == nil {
				c.Problems = []string{} // [] in JSON
			}
			print := c.print
			if asJSON {
				print = func(w io.Writer) error { return printJSON(w, c) }
			}
			if e := print(cmd.OutOrStdout()); err == nil {
				err = e
			}
			return err
		},
	}
	jsonFlag(cmd, &asJSON)
	return cmd
}

func (c checked) print(w io.Writer) error {
	rows := [][]string{{"store", c.Path, ""}}
	if c.FileBytes != 0 {
		rows = append(rows, []string{"version", count(c.Version), ""}, []string{"entries", count(c.Entries), ""})
		rows = append(rows, ledgerRows(c.Report)...)
	}
	verdict := "yes"
	if !c.Sound {
		verdict = things(len(c.Problems), "problem", "problems")
	}
	rows = append(rows, []string{"sound", verdict, ""})
	if err := table(w, "lll", rows...); err != nil {
		return err
	}
	for _, p := range c.Problems {
		if _, err := fmt.Fprintf(w, "  %s\n", oneLine(errors.New(p))); err != nil {
			return err
		}
	}
	return nil
}

// ledgerRows shows where each byte of the file is.
func ledgerRows(r shm.Report) [][]string {
	retired := "replaced, not yet reclaimed"
	if r.HeldBytes > 0 {
		retired += "; " + size(r.HeldBytes) + " of it were set aside for snapshots"
	}
	return [][]string{
		{"live", size(r.LiveBytes), "blocks that the current version reaches"},
		{"retired", size(r.RetiredBytes), retired},
		{"in flight", size(r.InFlightBytes), "of transactions under way"},
		{"free", size(r.FreeBytes), "blocks, pages and holes"},
		{"tables", size(r.TableBytes), "header, tables, writers' slots"},
		{"rounding", size(r.RoundingBytes), "left over in slabs"},
		{"leaked", size(r.LeakedBytes), "in none of these"},
		{"file", size(r.FileBytes), "the sum"},
	}
}
