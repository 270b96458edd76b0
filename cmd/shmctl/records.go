package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/seed-869cc763/shmkv/cmd/shmctl/internal/text"
	"github.com/seed-869cc763/shmkv/shm"
	"github.com/seed-869cc763/shmkv/shm/record"
)

func newRecord() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "record VERB",
		Short: "Look into objects with references, and move them",
		Long: `record has verbs for the records of package shm/record, which serve durus serves. A
record has an id, data, and the ids of the records that it refers to. The record 0 is
the root.`,
		Example: "  shmctl record migrate /var/lib/app/objects app.durus\n  shmctl record stat /var/lib/app/objects\n  shmctl record export /var/lib/app/objects copy.durus",
	}
	verbs := []*cobra.Command{newRecordExport(), newRecordGC(), newRecordGet(), newRecordMigrate(), newRecordRefs(), newRecordStat()}
	cmd.AddCommand(verbs...)
	var names []string
	for _, c := range verbs {
		names = append(names, c.Name())
	}
	cmd.Args = cobra.ArbitraryArgs
	cmd.RunE = func(_ *cobra.Command, args []string) error { // for an unknown verb
		found := "no verb"
		if len(args) > 0 {
			found = strconv.Quote(args[0])
		}
		return usagef("record: found %s, expected one of %s (see shmctl record --help)", found, strings.Join(names, ", "))
	}
	return cmd
}

// withRecords opens a store, calls fn with its records, and closes it.
func withRecords(open opener, path string, fn func(st *record.Storage) error) error {
	return withStore(open, path, func(s *shm.Store) (err error) {
		st, err := record.New(s, nil)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, st.Close()) }()
		return fn(st)
	})
}

// oneRecord calls fn with the record that a command line names by STORE ID.
func oneRecord(cmd *cobra.Command, args []string, fn func(r record.Record) error) error {
	path, rest, err := storeArguments(cmd, args, "STORE ID", 1, 1)
	if err != nil {
		return err
	}
	id, err := strconv.ParseUint(rest[0], 0, 64)
	if err != nil {
		return usagef("%s: found the id %q, expected a number such as 12 or 0xc", verbOf(cmd), rest[0])
	}
	return withRecords(openToRead, path, func(st *record.Storage) error {
		r, err := st.Get(record.ID(id))
		if err != nil {
			return err
		}
		return fn(r)
	})
}

func newRecordGet() *cobra.Command {
	return &cobra.Command{
		Use:   "get STORE ID",
		Short: "Print the data of a record",
		Long: `get prints the data of the record ID, which is 0 for the root. On a terminal, bytes
that are no text are escaped.`,
		Example: "  shmctl record get /var/lib/app/objects 0 > root.pickle",
		RunE: func(cmd *cobra.Command, args []string) error {
			return oneRecord(cmd, args, func(r record.Record) error {
				out := cmd.OutOrStdout()
				if isTerminal(out) {
					_, err := fmt.Fprintln(out, text.Printable(r.Data))
					return err
				}
				_, err := out.Write(r.Data)
				return err
			})
		},
	}
}

// recordLook is what record stat shows.
type recordLook struct {
	Path string `json:"path"`
	record.Stats
}

func newRecordStat() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "stat STORE",
		Short: "Show the numbers of records",
		Long: `stat shows the number of records, and of those that no other refers to. A fresh record
is one that a client has stored and that none but fresh ones has referred to. What nothing
leads to from the root or a fresh record is garbage, which gc collects. It may be more
than the records that no other refers to.`,
		Example: "  shmctl record stat /var/lib/app/objects",
		RunE: func(cmd *cobra.Command, args []string) error {
			path, _, err := storeArguments(cmd, args, "STORE", 0, 0)
			if err != nil {
				return err
			}
			return withRecords(openToRead, path, func(st *record.Storage) error {
				s, err := st.Stats()
				if err != nil {
					return err
				}
				return printResult(cmd, recordLook{path, s})
			})
		},
	}
	jsonFlag(cmd)
	return cmd
}

func (l recordLook) Print(w io.Writer) error {
	state := "none under way"
	if l.Packing {
		state = "under way, or interrupted"
	}
	return text.Table(w, "ll", [][]string{
		{"records", text.Count(l.Records)},
		{"unreferred", text.Count(l.Unreferred)},
		{"fresh", text.Count(l.Fresh)},
		{"collection", state},
		{"next id", text.Count(uint64(l.NextID)) + ", and " + text.Things(l.Waiting, "id", "ids") + " of collected records"},
		{"commits", text.Count(l.Stamp)},
	}...)
}

// recordGC is the result of record gc.
type recordGC struct {
	Path      string  `json:"path"`
	Collected uint64  `json:"collected"`
	Left      int     `json:"left"`
	Seconds   float64 `json:"seconds"`
}

func newRecordGC() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "gc STORE",
		Short: "Collect garbage",
		Long: `gc deletes the records to which no chain of references leads from the root, or from a
record that a live client has just stored. Clients and servers go on meanwhile, and are
told. A gc that is interrupted or killed is continued by the next one.`,
		Example: "  shmctl record gc /var/lib/app/objects",
		RunE: func(cmd *cobra.Command, args []string) error {
			path, _, err := storeArguments(cmd, args, "STORE", 0, 0)
			if err != nil {
				return err
			}
			return withRecords(openToWrite, path, func(st *record.Storage) error {
				return interruptible(cmd, func(ctx context.Context) error {
					p, err := st.Pack(ctx)
					if err != nil {
						return err
					}
					return printResult(cmd, recordGC{path, p.Collected, st.Len(), p.Took.Seconds()})
				})
			})
		},
	}
	jsonFlag(cmd)
	return cmd
}

func (r recordGC) Print(w io.Writer) error {
	_, err := fmt.Fprintf(w, "collected %s, %s left\n", text.Things(r.Collected, "record", "records"), text.Count(r.Left))
	return err
}
