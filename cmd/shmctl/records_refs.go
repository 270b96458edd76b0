package main

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"github.com/seed-869cc763/shmkv/shm/record"
)

// mostDrawn is how many records a picture may have.
const mostDrawn = 1000

func newRecordRefs() *cobra.Command {
	var dot bool
	cmd := &cobra.Command{
		Use:   "refs STORE ID|--dot",
		Short: "Print the ids that a record refers to, or draw all records",
		Long: fmt.Sprintf(`refs prints the ids that the record ID refers to, one in each line.

With --dot it prints a picture of all records instead, as text for the program dot of
Graphviz: each with its id and the bytes of its data, and an arrow for each reference.
The root has a double line. Records to which no way leads from the root are dashed, and
ids without a record dotted. A store may have at most %d records for that.`, mostDrawn),
		Example: "  shmctl record refs /var/lib/app/objects 0\n  shmctl record refs /var/lib/app/objects --dot | dot -Tsvg > objects.svg",
		RunE: func(cmd *cobra.Command, args []string) error {
			if dot {
				path, _, err := storeArguments(cmd, args, "STORE --dot", 0, 0)
				if err != nil {
					return err
				}
				return withRecords(openToRead, path, func(st *record.Storage) error { return drawRecords(cmd.OutOrStdout(), st) })
			}
			return oneRecord(cmd, args, func(r record.Record) error {
				for _, id := range r.Refs {
					if _, err := fmt.Fprintln(cmd.OutOrStdout(), uint64(id)); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
	cmd.Flags().BoolVar(&dot, "dot", false, "draw all records, as text for Graphviz")
	return cmd
}

// drawRecords writes the records of a store as a graph in Graphviz's language.
func drawRecords(to io.Writer, st *record.Storage) error {
	all := map[record.ID]record.Record{}
	for r, err := range st.All() {
		if err != nil {
			return err
		}
		if all[r.ID] = r; len(all) > mostDrawn {
			return fmt.Errorf("record refs: found %d records, expected at most %d for a picture", st.Len(), mostDrawn)
		}
	}
	reached, todo := map[record.ID]bool{}, []record.ID{0}
	for len(todo) > 0 {
		id := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if !reached[id] {
			reached[id] = true
			todo = append(todo, all[id].Refs...)
		}
	}
	var records []record.Record
	for _, r := range all {
		records = append(records, r)
	}
	slices.SortFunc(records, func(a, b record.Record) int { return cmp.Compare(a.ID, b.ID) })
	w := bufio.NewWriter(to)
	fmt.Fprintln(w, "digraph records {\n\tnode [shape=box]")
	missing := map[record.ID]bool{}
	for _, r := range records {
		style := ""
		switch {
		case r.ID == 0:
			style = ", peripheries=2"
		case !reached[r.ID]:
			style = ", style=dashed"
		}
		fmt.Fprintf(w, "\t%d [label=\"%d\\n%d bytes\"%s]\n", r.ID, r.ID, len(r.Data), style)
		for _, ref := range r.Refs {
			if _, there := all[ref]; !there && !missing[ref] {
				missing[ref] = true
				fmt.Fprintf(w, "\t%d [style=dotted]\n", ref)
			}
			fmt.Fprintf(w, "\t%d -> %d\n", r.ID, ref)
		}
	}
	fmt.Fprintln(w, "}")
	return w.Flush()
}
