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

// checked is what check reports.
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
		Long: `check visits everything that the current version reaches, and accounts for
every byte of the file. With permission to write it first adopts processes that
died: it puts in order what they left. Others may use the store meanwhile. It
exits with 4 if something is wrong.

With --repair, what is wrong is mended, if it is so with lists, bitmaps or writers'
slots, and not with records or the trie: the store is written anew from all that the
current version reaches, as by compact --exclusive, and checked again. It exits
with 0 if the store is sound then, and says what was wrong. Nobody else may have the
store open then: otherwise it stays as it is, the exit code is 8, and standard
error names the processes. Damage to records cannot be mended: the store stays as it
is, and the exit code is 4. A sound store is not written anew.`,
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
	cmd.Flags().BoolVar(&repair, "repair", false, "mend what is wrong, if nobody else has the store open")
	cmd.Flags().BoolVar(&deep, "deep", false, "visit everything, as check always does")
	return cmd
}

// look checks a store. If it could not, there is only an error.
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
		case errors.Is(err, shm.ErrCorrupt): // so badly that nothing could be summed up
			c.Problems = []string{err.Error()}
		default:
			return err
		}
		c.Path = path
		if c.Problems == nil {
			c.Problems = []string{} // [] in JSON
		}
		return err
	})
	return c, err
}

// mend rewrites a store in which look found what c and wrong say, and looks again.
func mend(cmd *cobra.Command, path string, c checked, wrong error) (checked, error) {
	was := c.Problems
	if len(was) == 0 { // it could not even be opened
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
