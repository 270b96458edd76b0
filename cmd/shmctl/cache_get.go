package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/seed-869cc763/shmkv/cmd/shmctl/internal/text"
	"github.com/seed-869cc763/shmkv/shm"
	"github.com/seed-869cc763/shmkv/shm/cache"
)

func newCacheGet() *cobra.Command {
	var of regionChoice
	var key64, long bool
	cmd := &cobra.Command{
		Use:   "get STORE KEY...",
		Short: "Print the value of an item, or of many",
		Long: `get prints the value of KEY byte for byte. On a terminal it adds a newline, and
quotes a value that is not text as in Go. With several keys it prints a line for each
in their order: the key, a tab and the value, both quoted as in Go if they are not
printable. An item that has expired is not there. The exit code is 3 if one or more keys
are not in the cache.

With --long each key gets a line with the key, and the value, flags, expiry and token of
the item, with tabs between them. --json prints the same as a line of JSON: a key or
value that is not valid UTF-8 is in base64, as "key64" or "value64", and the token is a
string.

get counts as a hit or a miss, as the read of any program does.`,
		Example: "  shmctl cache get /dev/shm/cache greeting\n  shmctl cache get /dev/shm/cache greeting --long\n  shmctl cache get /dev/shm/cache --region sessions alice bob --json",
		RunE: func(cmd *cobra.Command, args []string) error {
			path, rest, err := storeArguments(cmd, args, "STORE KEY...", 1, unlimited)
			if err != nil {
				return err
			}
			keys, err := keyArguments(rest, key64)
			if err != nil {
				return err
			}
			return of.withRegion(openToRead, path, func(c *cache.Cache) error {
				out := cmd.OutOrStdout()
				buffered := bufio.NewWriter(out)
				enc := newEncoder(buffered)
				print := func(key []byte, it cache.Item) (err error) {
					switch {
					case asJSON(cmd):
						err = enc.Encode(itemRecord(key, it, true))
					case long:
						_, err = fmt.Fprintln(buffered, itemLine(key, it, true))
					case len(keys) > 1:
						_, err = fmt.Fprintf(buffered, "%s\t%s\n", text.Printable(key), text.Printable(it.Value))
					case isTerminal(out):
						_, err = fmt.Fprintln(buffered, printableText(it.Value))
					default:
						_, err = buffered.Write(it.Value)
					}
					return err
				}
				return flush(buffered, getItems(c, keys, print))
			})
		},
	}
	jsonFlag(cmd)
	keyFlag(cmd, &key64)
	of.flags(cmd)
	cmd.Flags().BoolVar(&long, "long", false, "print flags, expiry and token too")
	return cmd
}

func getItems(c *cache.Cache, keys [][]byte, print func(key []byte, it cache.Item) error) error {
	var absent [][]byte
	for _, key := range keys {
		it, err := c.Get(key)
		switch {
		case errors.Is(err, shm.ErrNotFound):
			absent = append(absent, bytes.Clone(key))
		case err != nil:
			return err
		default:
			if err := print(key, it); err != nil {
				return err
			}
		}
	}
	return absentKeys("cache get", absent)
}
