package counter

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/seed-869cc763/shmkv/shm"
)

// Info is what a store knows of a keyspace.
type Info struct {
	Keyspace string
	Counters int
}

// Keyspaces returns the keyspaces of a store, by their names. It takes time in proportion to the
// number of named maps. A keyspace whose name cannot be read, because it is longer than 240 bytes and
// damaged, is left out, and the error tells of each of them.
func Keyspaces(s *shm.Store) (all []Info, err error) {
	var damaged []error
	err = s.View(func(sn *shm.Snapshot) error {
		maps, err := sn.Maps()
		if err != nil {
			return err
		}
		for _, m := range maps {
			name, ok := strings.CutPrefix(m.Name, countsPrefix)
			if digits, long := strings.CutPrefix(m.Name, longCountsPrefix); long {
				name, err = longKeyspace(s, sn, digits)
				if ok = err == nil; !ok {
					damaged = append(damaged, err)
				}
			}
			if ok {
				all = append(all, Info{name, int(m.Entries)})
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(all, func(a, b Info) int { return cmp.Compare(a.Keyspace, b.Keyspace) })
	return all, errors.Join(damaged...)
}

// longKeyspace returns the name of a keyspace of whose name the maps have the SHA-256 only.
func longKeyspace(s *shm.Store, sn *shm.Snapshot, digits string) (string, error) {
	value, err := sn.Ordered(longOrderPrefix + digits).Get(nil)
	if err == shm.ErrNotFound {
		err = fmt.Errorf("%w: found no summary, expected one", shm.ErrCorrupt)
	}
	if err == nil {
		var m summary
		if m, err = readSummary(value); err == nil {
			name := string(m.name)
			counts, _ := mapNames(name)
			if counts == longCountsPrefix+digits {
				return name, nil
			}
			err = errName(m.name, "a name of SHA-256 "+digits)
		}
	}
	return "", Open(s, "of SHA-256 "+digits).fail("looking for the name of", err)
}
