package shm

import (
	"testing"

	"github.com/stretchr/testify/require"
)

type contents map[string]string

// allMaps returns the entries of all maps.
func allMaps(t testing.TB, s *Store) contents {
	c := contents{}
	require.NoError(t, s.View(func(sn *Snapshot) error {
		for k, v := range sn.All() {
			c["/"+string(k)] = string(v)
		}
		infos, err := sn.Maps()
		require.NoError(t, err)
		for _, info := range infos {
			c[info.Name+"/"] = info.Kind.String()
			each := sn.Ordered(info.Name).All()
			if info.Kind == KindHash {
				each = sn.Map(info.Name).All()
			}
			for k, v := range each {
				c[info.Name+"/"+string(k)] = string(v)
			}
		}
		return sn.Err()
	}))
	return c
}
