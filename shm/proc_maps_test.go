// The race detector sees nothing of a mapping, and slows processes down.

//go:build !race

package shm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/internal/testdir"
)

// Processes move tokens between the maps of a store, in transactions, and are killed. In
// each version each token is in one map, and the values of all have the same sum. They also
// fill, drop and make anew other maps. The values in each of those have the sum 0, because
// entries come in pairs.

const (
	mapTokens  = 300
	mapValue   = 1000 // of each token, at first
	mapWriters = 3
)

// tokenMaps are the maps that tokens are in. The unnamed map is one of them.
var tokenMaps = []target{{}, {name: []byte("h1"), kind: KindHash}, {name: []byte("h2"), kind: KindHash},
	{name: []byte("o1"), kind: KindOrdered}, {name: []byte("o2"), kind: KindOrdered}}

func tokenMap(tx *Tx, i int) *txKeyed {
	switch to := tokenMaps[i]; to.kind {
	case KindHash:
		return &tx.Map(string(to.name)).txKeyed
	case KindOrdered:
		return &tx.Ordered(string(to.name)).txKeyed
	}
	return &tx.txKeyed
}

func tokenKey(i int) []byte { return fmt.Appendf(nil, "token%03d", i) }

func number(v []byte) int64 {
	if len(v) < 8 {
		return 1 << 40
	}
	return int64(binary.LittleEndian.Uint64(v))
}

func numberValue(n int64, size int) []byte {
	return append(binary.LittleEndian.AppendUint64(nil, uint64(n)), make([]byte, size)...)
}

// shiftTokens moves some tokens to other maps, and a part of the value of each to the one
// before.
func shiftTokens(s *Store, rnd *rand.Rand) error {
	seed := rnd.Uint64()
	return s.Update(func(tx *Tx) error {
		rnd := rand.New(rand.NewPCG(seed, 0))
		give := int64(0)
		n := 1 + rnd.IntN(10)
		for i := range n {
			key := tokenKey(rnd.IntN(mapTokens/10)*10 + i) // all different
			from := -1
			var value []byte
			for m := range tokenMaps {
				v, err := tokenMap(tx, m).Get(key)
				if err == ErrNotFound {
					continue
				}
				if err != nil {
					return err
				}
				if from >= 0 {
					failChild("%s is in two maps", key)
				}
				from, value = m, v
			}
			if from < 0 {
				failChild("%s is in no map", key)
			}
			is := number(value) + give
			if give = int64(rnd.IntN(10)); i == n-1 {
				give = 0
			}
			to := rnd.IntN(len(tokenMaps))
			if to != from {
				if _, err := tokenMap(tx, from).Delete(key); err != nil {
					return err
				}
			}
			if err := tokenMap(tx, to).Set(key, numberValue(is-give, rnd.IntN(100))); err != nil {
				return err
			}
		}
		return nil
	})
}

// fillOrDrop changes one of the maps that are dropped. Another process may have made it of
// the other kind.
func fillOrDrop(s *Store, rnd *rand.Rand) error {
	name := fmt.Sprint("dropped", rnd.IntN(3))
	if rnd.IntN(4) == 0 {
		_, err := s.DropMap(name)
		return err
	}
	n, ordered := 1+rnd.IntN(150), rnd.IntN(2) == 0
	err := s.Update(func(tx *Tx) error {
		m := &tx.Map(name).txKeyed
		if ordered {
			m = &tx.Ordered(name).txKeyed
		}
		for i := range n {
			v := int64(rnd.IntN(1000))
			if err := errors.Join(m.Set(fmt.Append(nil, i, "+"), numberValue(v, 10)), m.Set(fmt.Append(nil, i, "-"), numberValue(-v, 10))); err != nil {
				return err
			}
		}
		return nil
	})
	if errors.Is(err, ErrKind) {
		return nil
	}
	return err
}

// noise writes a key that does not count, in a map of tokens.
func noise(s *Store, rnd *rand.Rand) error {
	key := fmt.Append(nil, "noise", rnd.IntN(50))
	if rnd.IntN(2) == 0 {
		_, err := s.Map("h1").Add(key, 1)
		return err
	}
	if rnd.IntN(3) == 0 {
		_, err := s.Ordered("o1").Delete(key)
		return err
	}
	return s.Ordered("o1").Set(key, Fresh(rnd.IntN(60)))
}

// tokensOf checks the sums of a snapshot.
func tokensOf(sn *Snapshot) error {
	seen, sum := map[string]bool{}, int64(0)
	for _, to := range tokenMaps {
		m := sn.mapView
		if to.kind != 0 {
			m = sn.of(&to)
		}
		n := 0
		for k, v := range m.All() {
			n++
			if k[0] != 't' {
				continue
			}
			if seen[string(k)] {
				return fmt.Errorf("%s is in two maps, of version %d", k, sn.Version())
			}
			seen[string(k)] = true
			sum += number(v)
		}
		if n != m.Len() {
			return fmt.Errorf("%d entries of %s are counted, %d are there", m.Len(), to.name, n)
		}
	}
	if len(seen) != mapTokens || sum != mapTokens*mapValue {
		return fmt.Errorf("found %d tokens with a sum of %d in version %d, expected %d and %d", len(seen), sum, sn.Version(), mapTokens, mapTokens*mapValue)
	}
	infos, err := sn.Maps()
	for _, info := range infos {
		if info.Name[0] != 'd' {
			continue
		}
		to := sn.s.target(info.Name, info.Kind)
		m, sum, n := sn.of(&to), int64(0), int64(0)
		for _, v := range m.All() {
			sum += number(v)
			n++
		}
		if sum != 0 || n != info.Entries {
			return fmt.Errorf("map %s has the sum %d, and %d of %d entries, in version %d", info.Name, sum, n, info.Entries, sn.Version())
		}
	}
	return errors.Join(err, sn.Err())
}

func init() {
	children["maps"] = func() {
		b, err := openBoard(setting("BOARD"))
		must(err)
		s := mustOpen(setting("PATH"), nil)
		until, at := clock()+settingInt("NANOS"), int(settingInt("WRITER"))
		goAll(2, func(i int) {
			rnd := rand.New(rand.NewPCG(uint64(settingInt("SEED")), uint64(i)))
			for clock() < until {
				switch n := rnd.IntN(10); {
				case n < 5:
					must(shiftTokens(s, rnd))
				case n < 7:
					must(fillOrDrop(s, rnd))
				default:
					must(noise(s, rnd))
				}
				b.Add(uint64(at)*8, 1)
			}
		})
		must(s.Close())
	}
}

func TestKilledWritersOfMaps(t *testing.T) {
	t.Parallel()
	rnd := newRand(t)
	dir := testdir.Memory(t)
	path := dir + "/store"
	s, err := Open(path, nil)
	require.NoError(t, err)
	for i := range tokenMaps {
		if tokenMaps[i].kind != 0 {
			tokenMaps[i].hash = s.hashOf(tokenMaps[i].name)
		}
	}
	require.NoError(t, s.Update(func(tx *Tx) error {
		for i := range mapTokens {
			require.NoError(t, tokenMap(tx, i%len(tokenMaps)).Set(tokenKey(i), numberValue(mapValue, 0)))
		}
		return nil
	}))

	rounds := testdir.Scale(30, 1500)
	b := newBoard(t, dir, mapWriters)
	start := func(i int) *child {
		return startChild(t, "maps", settings{"PATH": path, "BOARD": b.path, "WRITER": fmt.Sprint(i),
			"SEED": fmt.Sprint(rnd.Int64()), "NANOS": fmt.Sprint(int64(time.Minute))})
	}
	var writers [mapWriters]*child
	for i := range writers {
		writers[i] = start(i)
	}
	for range rounds {
		i := rnd.IntN(mapWriters)
		b.await(t, writers[i], i, b.get(i)+1+rnd.Uint64N(50))
		for range 3 {
			require.NoError(t, s.View(tokensOf))
		}
		writers[i].kill(t)
		writers[i] = start(i)
	}
	for _, w := range writers {
		w.kill(t)
	}
	checkSound(t, s)
	require.NoError(t, s.View(tokensOf))

	// Dropped maps leave nothing, and neither does what is dropped now.
	_, err = s.Compact(t.Context(), nil)
	require.NoError(t, err)
	root, _, _ := s.rootNow()
	require.Zero(t, root.dropped)
	require.NoError(t, s.View(tokensOf))
	infos, err := s.Maps()
	require.NoError(t, err)
	for _, info := range infos {
		existed, err := s.DropMap(info.Name)
		require.NoError(t, err)
		require.True(t, existed)
	}
	stormClear(t, s)
	_, err = s.Compact(t.Context(), nil)
	require.NoError(t, err)
	st := s.Stats()
	require.Zero(t, st.Entries)
	require.Zero(t, st.LiveBytes)
	checkSound(t, s)
	require.NoError(t, s.Close())
	checkFresh(t, path)
}
