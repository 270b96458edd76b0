package main

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/seed-869cc763/shmkv/shm"
)

// selectionHelp describes the flags of a selection.
const selectionHelp = matchHelp + `

The entries of an ordered map come in the order of the bytes of their keys. --from and
--to choose the keys that are not less than the one and less than the other. --reverse
begins with the greatest key. --offset N skips the first N entries of those, or with
--reverse the last, in about the time of a lookup. A hash map refuses these four
flags.`

// A selection selects entries of a map: by their keys, and of an ordered map by their
// places in it.
type selection struct {
	keyMatch
	fromKey, toKey string // as written
	key64          bool
	from, to       []byte // nil: an open end; see parse
	reverse        bool
	offset         int
	limit          int // 0: no limit
}

func (s *selection) flags(cmd *cobra.Command) {
	s.keyMatch.flags(cmd)
	keyFlag(cmd, &s.key64)
	cmd.Flags().StringVar(&s.fromKey, "from", "", "of an ordered map: only keys from `KEY` on")
	cmd.Flags().StringVar(&s.toKey, "to", "", "of an ordered map: only keys less than `KEY`")
	cmd.Flags().BoolVar(&s.reverse, "reverse", false, "of an ordered map: begin with the greatest key")
	cmd.Flags().IntVar(&s.offset, "offset", 0, "of an ordered map: skip `N` entries")
	cmd.Flags().IntVar(&s.limit, "limit", 0, "end after `N` entries (0 = all)")
}

// orderFlags are the flags that need an ordered map.
var orderFlags = []string{"from", "to", "reverse", "offset"}

// needsOrder returns the flags on the command line that need an ordered map.
func (s *selection) needsOrder() (flags []string) {
	for _, name := range orderFlags {
		if s.cmd.Flags().Changed(name) {
			flags = append(flags, "--"+name)
		}
	}
	return flags
}

// given reports whether one of the flags is given.
func (s *selection) given() bool {
	return s.keyMatch.given() || s.cmd.Flags().Changed("limit") || len(s.needsOrder()) > 0
}

// parse parses the flags for a map. Call it before each.
func (s *selection) parse(of *mapChoice) error {
	verb, flags := s.cmd.Name(), s.needsOrder()
	switch {
	case s.limit < 0:
		return usagef("%s: found --limit %d, expected 0 or more", verb, s.limit)
	case s.offset < 0:
		return usagef("%s: found --offset %d, expected 0 or more", verb, s.offset)
	case s.offset > 0 && s.cmd.Flags().Changed("glob"):
		return usagef("%s: found --offset and --glob, expected one of them", verb)
	case len(flags) > 0 && !of.given():
		return usagef("%s: found %s and the unnamed map, which is a hash map, expected --map with the name of an ordered map", verb, strings.Join(flags, ", "))
	}
	for _, end := range []struct {
		name, written string
		key           *[]byte
	}{{"from", s.fromKey, &s.from}, {"to", s.toKey, &s.to}} {
		if !s.cmd.Flags().Changed(end.name) {
			continue
		}
		key, err := keyArgument(end.written, s.key64)
		if err != nil {
			return err
		}
		*end.key = key
	}
	return s.compile()
}

var errEnough = errors.New("enough entries")

// each calls fn for the selected entries of a map.
func (s *selection) each(v mapView, fn func(key, value []byte) error) error {
	left := s.limit
	limited := func(key, value []byte) error {
		if err := fn(key, value); err != nil {
			return err
		}
		if left--; left == 0 {
			return errEnough
		}
		return nil
	}
	var err error
	if o, ok := v.entries.(*shm.OrderedView); ok {
		err = s.scan(v.sn, o, limited)
	} else if flags := s.needsOrder(); len(flags) > 0 {
		err = fmt.Errorf("%s %s: %w", s.cmd.Name(), strings.Join(flags, " "), notOrdered(*v.name))
	} else {
		err = s.keyMatch.each(v, limited)
	}
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

// scan calls fn for the selected entries of an ordered map. To skip the offset it looks up
// the place of the first entry.
func (s *selection) scan(sn *shm.Snapshot, o *shm.OrderedView, fn func(key, value []byte) error) error {
	from, to := s.bounds()
	if s.offset > 0 {
		n, err := o.Count(from, to)
		if err != nil || s.offset >= n {
			return err
		}
		before, _, err := o.Rank(from)
		if err != nil {
			return err
		}
		if s.reverse {
			to, _, err = o.At(before + n - s.offset)
		} else {
			from, _, err = o.At(before + s.offset)
		}
		if err != nil {
			return err
		}
	}
	if s.reverse {
		return s.among(o.Backward(from, to), sn, fn)
	}
	return s.among(o.Range(from, to), sn, fn)
}

// bounds returns the range of keys from --from, --to and --prefix.
func (s *selection) bounds() (from, to []byte) {
	from, to = s.from, s.to
	if p := []byte(s.prefix); bytes.Compare(p, from) > 0 {
		from = p
	}
	if end := prefixEnd([]byte(s.prefix)); end != nil && (to == nil || bytes.Compare(end, to) < 0) {
		to = end
	}
	return from, to
}

// prefixEnd returns the least key that is greater than all keys with a prefix, or nil if
// there is none.
func prefixEnd(prefix []byte) []byte {
	for i := len(prefix) - 1; i >= 0; i-- {
		if prefix[i] != 0xff {
			end := bytes.Clone(prefix[:i+1])
			end[i]++
			return end
		}
	}
	return nil
}
