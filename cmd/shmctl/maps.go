package main

import (
	"bufio"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/seed-869cc763/shmkv/cmd/shmctl/internal/text"
	"github.com/seed-869cc763/shmkv/shm"
)

func newMaps() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "maps STORE",
		Short: "List the named maps",
		Long: `maps lists the named maps of one version of the store by their names: the kind, the
number of entries, the bytes of keys and values, and the name. A name is quoted as
keys quotes a key. If there are no named maps, maps prints nothing. The unnamed map is
not listed: see stat.

With --json each line is {"map":"NAME","kind":"hash","entries":N,"data_bytes":N}. The
kind is "hash" or "ordered". A name that is not valid UTF-8 is in base64, as "map64".`,
		Example: "  shmctl maps /dev/shm/cache\n  shmctl maps /dev/shm/cache --json | jq .map",
		RunE: func(cmd *cobra.Command, args []string) error {
			path, _, err := storeArguments(cmd, args, "STORE", 0, 0)
			if err != nil {
				return err
			}
			return withStore(openToRead, path, func(s *shm.Store) error {
				maps, err := s.Maps()
				if err != nil {
					return err
				}
				if asJSON(cmd) {
					out := bufio.NewWriter(cmd.OutOrStdout())
					return flush(out, writeMaps(out, maps))
				}
				return printMaps(cmd.OutOrStdout(), maps)
			})
		},
	}
	jsonFlag(cmd)
	return cmd
}

// writeMaps writes the maps as JSON Lines.
func writeMaps(w io.Writer, maps []shm.MapInfo) error {
	enc := newEncoder(w)
	for _, m := range maps {
		line := struct {
			jsonMap
			Entries   int64 `json:"entries"`
			DataBytes int64 `json:"data_bytes"`
		}{jsonMap{nameOf(m.Name), m.Kind.String()}, m.Entries, m.DataBytes}
		if err := enc.Encode(line); err != nil {
			return err
		}
	}
	return nil
}

func printMaps(w io.Writer, maps []shm.MapInfo) error {
	if len(maps) == 0 {
		return nil
	}
	rows := [][]string{{"KIND", "ENTRIES", "DATA", "NAME"}}
	for _, m := range maps {
		rows = append(rows, []string{fmt.Sprint(m.Kind), text.Count(m.Entries), text.Size(m.DataBytes), text.Printable([]byte(m.Name))})
	}
	return text.Table(w, "lrrl", rows...)
}
