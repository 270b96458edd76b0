package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/seed-869cc763/shmkv/cmd/shmctl/internal/text"
	"github.com/seed-869cc763/shmkv/shm"
)

var errNoMap = errors.New("no such map")

// A mapChoice is the map that a command line chooses: the named map of --map, or else the
// unnamed map of the store.
type mapChoice struct {
	cmd     *cobra.Command
	written string // the value of --map
	in64    bool
	ordered bool   // --ordered
	name    string // of the map; see parse
}

// flags adds --map.
func (c *mapChoice) flags(cmd *cobra.Command) {
	c.cmd = cmd
	cmd.Flags().StringVar(&c.written, "map", "", "the named map `NAME` instead of the unnamed one")
	nameFlag(cmd, &c.in64)
	if err := cmd.RegisterFlagCompletionFunc("map", completeMap); err != nil {
		panic(err)
	}
}

// flagsToMake adds --map and --ordered to a verb that makes a missing map.
func (c *mapChoice) flagsToMake(cmd *cobra.Command) {
	c.flags(cmd)
	cmd.Flags().BoolVar(&c.ordered, "ordered", false, "make a missing map an ordered one, and refuse one that is a hash map")
}

// nameFlag adds --name64, with which a command line can contain names of any bytes.
func nameFlag(cmd *cobra.Command, on *bool) {
	cmd.Flags().BoolVar(on, "name64", false, "NAME is written in base64")
}

func nameArgument(arg string, in64 bool) (string, error) {
	if !in64 {
		return arg, nil
	}
	name, err := decode64(arg)
	if err != nil {
		return "", usagef("name %q: %w", arg, err)
	}
	return string(name), nil
}

// given reports whether --map is given. Its value may be empty.
func (c *mapChoice) given() bool { return c.cmd.Flags().Changed("map") }

// parse parses the name. Call it before the other methods.
func (c *mapChoice) parse() (err error) {
	switch {
	case c.given():
		c.name, err = nameArgument(c.written, c.in64)
	case c.in64:
		err = usagef("%s: found --name64 without --map, expected both", c.cmd.Name())
	case c.ordered:
		err = usagef("%s: found --ordered without --map, expected both: the unnamed map is a hash map", c.cmd.Name())
	}
	return err
}

// keyed is the calls on the keys of a map: a *shm.Store, a *shm.Map or a *shm.Ordered.
type keyed interface {
	Get(key []byte) ([]byte, error)
	GetMany(keys [][]byte, fn func(i int, value []byte, ok bool)) error
	Has(key []byte) (bool, error)
	Set(key, value []byte) error
	Delete(key []byte) (existed bool, err error)
	Add(key []byte, n int64) (sum int64, err error)
}

// find returns the map of a store. It returns errNoMap if the store does not have it.
func (c *mapChoice) find(s *shm.Store) (keyed, error) {
	if !c.given() {
		return s, nil
	}
	kind, err := kindIn(s, c.name)
	if err == nil && kind == 0 {
		err = c.missing()
	}
	if err != nil {
		return nil, err
	}
	return keysOf(s, c.name, kind), nil
}

// findOrMake returns the map of a store. If the store does not have it, the first write
// makes it.
func (c *mapChoice) findOrMake(s *shm.Store) (keyed, error) {
	if !c.given() {
		return s, nil
	}
	kind, err := c.kindToMake(s)
	if err != nil {
		return nil, err
	}
	return keysOf(s, c.name, kind), nil
}

// kindToMake returns the kind of the named map, or the one that it gets when it is made. It
// returns ErrKind for --ordered if the map is a hash map.
func (c *mapChoice) kindToMake(s *shm.Store) (shm.Kind, error) {
	kind, err := kindIn(s, c.name)
	switch {
	case err != nil:
		return 0, err
	case kind == shm.KindHash && c.ordered:
		return 0, fmt.Errorf("%s --ordered: %w", c.cmd.Name(), notOrdered(c.name))
	case kind == 0 && c.ordered:
		return shm.KindOrdered, nil
	case kind == 0:
		return shm.KindHash, nil
	}
	return kind, nil
}

// view returns the map in a snapshot. It returns errNoMap if the snapshot does not have it.
func (c *mapChoice) view(sn *shm.Snapshot) (mapView, error) {
	v, err := c.viewOrEmpty(sn)
	if err == nil && v.kind == 0 {
		err = c.missing()
	}
	return v, err
}

// viewOrEmpty returns the map in a snapshot, or an empty view of no kind if the snapshot does
// not have it.
func (c *mapChoice) viewOrEmpty(sn *shm.Snapshot) (mapView, error) {
	if !c.given() {
		return unnamedView(sn), nil
	}
	return viewOf(sn, c.name)
}

// missing returns the error of a map that is not there.
func (c *mapChoice) missing() error {
	return fmt.Errorf("%s --map %s: %w", c.cmd.Name(), text.Printable([]byte(c.name)), errNoMap)
}

// notOrdered returns the error of a hash map where an ordered map is expected.
func notOrdered(name string) error {
	return fmt.Errorf("%w: found map %s of kind %v, expected %v", shm.ErrKind, text.Printable([]byte(name)), shm.KindHash, shm.KindOrdered)
}

// keysOf returns the map of a name and kind.
func keysOf(s *shm.Store, name string, kind shm.Kind) keyed {
	if kind == shm.KindOrdered {
		return s.Ordered(name)
	}
	return s.Map(name)
}

// kindIn returns the kind of a map of a store, or 0 if the store does not have it.
func kindIn(s *shm.Store, name string) (shm.Kind, error) {
	return kindFrom(s.Map(name), s.Ordered(name))
}

// kindFrom returns the kind of a map, or 0 if it is not there, from the errors of lookups in
// it as a map of either kind.
func kindFrom(hash, ordered interface {
	Has(key []byte) (bool, error)
}) (shm.Kind, error) {
	if _, err := ordered.Has(nil); err != nil {
		return kindUnless(shm.KindHash, err)
	}
	if _, err := hash.Has(nil); err != nil {
		return kindUnless(shm.KindOrdered, err)
	}
	return 0, nil
}

// kindUnless returns kind if err is ErrKind, and err otherwise.
func kindUnless(kind shm.Kind, err error) (shm.Kind, error) {
	if errors.Is(err, shm.ErrKind) {
		return kind, nil
	}
	return 0, err
}
