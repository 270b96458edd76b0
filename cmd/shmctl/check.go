package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"github.com/seed-869cc763/shmkv/cmd/shmctl/internal/text"
	"github.com/seed-869cc763/shmkv/shm"
)

// checked is the result of check.
type checked struct {
	Path  string `json:"path"`
	Sound bool   `json:"sound"`
	shm.Report
	Mended []string `json:"mended,omitempty"` // problems that --repair found
}

func newCheck() *cobra.Command {
	var repair, deep bool
	cmd := &cobra.Command{
		Use:   "check STORE",
		Short: "Prove that a store is sound",
		Long: `check visits all records of the current version and accounts for every byte of
the file. If it may write to the store, it first adopts processes that died: it
finishes or reverts their transactions and frees their slots. Others may use the
store meanwhile. check also verifies the checksums of records that have one (set
and load --checksums). The exit code is 4 if check finds a problem.

With --repair, check repairs problems of lists, bitmaps and writers' slots. It
rewrites the store from the current version, as compact --exclusive does, and
checks it again. The exit code is 0 if the store is sound then, and check prints
the problems that it found. It does not rewrite a sound store.

--repair needs the store to itself. If others have it open, the store stays as it
is, the exit code is 8, and standard error names the processes. --repair cannot
repair records or the trie: the store stays as it is, and the exit code is 4. To
mend a record with a wrong checksum, set or delete its key.`,
		Example: "  shmctl check /dev/shm/cache\n  shmctl check /dev/shm/cache --repair",
		RunE: func(cmd *cobra.Command, args []string) error {
			path, _, err := storeArguments(cmd, args, "STORE", 0, 0)
			if err != nil {
				return err
			}
			c, err := look(cmd, path)
			if repair && errors.Is(err, shm.ErrCorrupt) {
				c, err = mend(cmd, path, c, err)
			}
			if c.Path == "" {
				return err
			}
			if e := printResult(cmd, c); err == nil {
				err = e
			}
			return err
		},
	}
	jsonFlag(cmd)
	cmd.Flags().BoolVar(&repair, "repair", false, "repair problems, if nobody else has the store open")
	cmd.Flags().BoolVar(&deep, "deep", false, "no effect: check always visits everything")
	return cmd
}

// look checks a store. If the check cannot run, c.Path is empty.
func look(cmd *cobra.Command, path string) (c checked, err error) {
	err = withStore(openToCheck, path, func(s *shm.Store) error {
		bar := newProgress(cmd.ErrOrStderr(), cmd.Name())
		var found *shm.Report
		err := interruptible(cmd, func(ctx context.Context) error {
			var err error
			found, err = s.Check(ctx, &shm.CheckOptions{Progress: bar.show})
			return err
		})
		bar.clear()
		c.Sound = err == nil
		switch {
		case found != nil:
			c.Report = *found
		case errors.Is(err, shm.ErrCorrupt): // the store is too damaged for a report
			c.Problems = []string{err.Error()}
		default:
			return err
		}
		c.Path = path
		if c.Problems == nil {
			c.Problems = []string{} // encodes as [] in JSON
		}
		return err
	})
	return c, err
}

// mend rewrites a store and checks it again. c and wrong are the results of the first
// check.
func mend(cmd *cobra.Command, path string, c checked, wrong error) (checked, error) {
	was := c.Problems
	if len(was) == 0 { // the store could not be opened
		was = []string{wrong.Error()}
	}
	if err := rewrite(cmd, path, 0); err != nil {
		return c, err
	}
	c, err := look(cmd, path)
	c.Mended = was
	return c, err
}

func (c checked) Print(w io.Writer) error {
	rows := [][]string{{"store", c.Path, ""}}
	if c.FileBytes != 0 {
		rows = append(rows, []string{"version", text.Count(c.Version), ""}, []string{"entries", text.Count(c.Entries), ""})
		rows = append(rows, text.Ledger(c.Report)...)
	}
	verdict := "yes"
	if !c.Sound {
		verdict = text.Things(len(c.Problems), "problem", "problems")
	}
	rows = append(rows, []string{"sound", verdict, ""})
	if len(c.Mended) > 0 {
		rows = append(rows, []string{"mended", text.Things(len(c.Mended), "problem", "problems"), ""})
	}
	if err := text.Table(w, "lll", rows...); err != nil {
		return err
	}
	for _, p := range slices.Concat(c.Problems, c.Mended) {
		if _, err := fmt.Fprintf(w, "  %s\n", text.OneLine(errors.New(p))); err != nil {
			return err
		}
	}
	return nil
}
