package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-869cc763/shmkv/cmd/shmctl/internal/text"
	"github.com/seed-869cc763/shmkv/shm/cache"
)

// itemProperties is the JSON form of an item of a cache without its value. The token is a
// string, because readers of JSON round large numbers.
type itemProperties struct {
	Bytes      int       `json:"bytes"` // of the value
	Flags      uint32    `json:"flags"`
	Marks      uint8     `json:"marks,omitempty"`
	Expires    time.Time `json:"expires,omitzero"`
	StaleAfter time.Time `json:"stale_after,omitzero"`
	Stale      bool      `json:"stale,omitempty"`
	Token      uint64    `json:"token,string"`
}

// jsonItem is the JSON form of an item.
type jsonItem struct {
	jsonRecord
	itemProperties
}

func propertiesOf(it cache.Item) itemProperties {
	return itemProperties{len(it.Value), it.Flags, it.Marks, it.Expires, it.StaleAfter, it.Stale, it.Token}
}

// itemRecord returns the JSON form of an item.
func itemRecord(key []byte, it cache.Item, withValue bool) (r jsonItem) {
	r.setKey(key)
	if withValue {
		r.setValue(it.Value)
	}
	r.itemProperties = propertiesOf(it)
	return r
}

// itemLine returns the line of an item: its key, its value or the size of that, and the rest.
func itemLine(key []byte, it cache.Item, withValue bool) string {
	value := text.Things(len(it.Value), "byte", "bytes")
	if withValue {
		value = text.Printable(it.Value)
	}
	expires := "never expires"
	switch {
	case it.Expires.IsZero():
	case it.Expires.After(time.Now()):
		expires = "expires " + it.Expires.Format(time.RFC3339)
	default:
		expires = "expired " + it.Expires.Format(time.RFC3339)
	}
	line := fmt.Sprintf("%s\t%s\tflags %d\t%s\ttoken %d", text.Printable(key), value, it.Flags, expires, it.Token)
	switch {
	case it.Stale:
		line += "\tstale"
	case !it.StaleAfter.IsZero():
		line += "\tstale after " + it.StaleAfter.Format(time.RFC3339)
	}
	return line
}

// itemsHelp describes --items.
const itemsHelp = `--items takes the entries of the map for items of a cache (see shmctl cache), also those
that have expired: each gets a line with its key, %s, flags, expiry
and token, with tabs between them. In JSON the token is a string.`

// An itemFlag is --items, for verbs that show entries.
type itemFlag struct{ on bool }

func (f *itemFlag) flags(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.on, "items", false, "of a cache: print flags, expiry and token of the items")
}

func (f *itemFlag) check(of *mapChoice) error {
	if f.on && !of.given() {
		return usagef("%s: found --items without --map, expected both: a cache is in a named map", verbOf(of.cmd))
	}
	return nil
}

// printer returns a function that prints the entries of a map as items.
func (f *itemFlag) printer(cmd *cobra.Command, out io.Writer, withValue bool) func(key, value []byte) error {
	enc := newEncoder(out)
	return func(key, value []byte) error {
		it, err := cache.ParseItem(value)
		if err != nil {
			return fmt.Errorf("%s --items: found key %s with a value of %s that is no item, expected a region of a cache",
				verbOf(cmd), text.Brief(key), text.Things(len(value), "byte", "bytes"))
		}
		if asJSON(cmd) {
			return enc.Encode(itemRecord(key, it, withValue))
		}
		_, err = fmt.Fprintln(out, itemLine(key, it, withValue))
		return err
	}
}
