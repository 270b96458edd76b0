package main

import (
	"encoding/base64"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/shm"
)

// strangeNames are names of maps that must survive a dump.
var strangeNames = []string{
	"", "plain", "two\nlines", "\x00", "\xff\xfe", "null", `"quoted"`, "\u2028", "--map",
	strings.Repeat("n", shm.MaxName), strings.Repeat("\x80", shm.MaxName),
}

// contentsOf returns the entries of all maps of a store, by the kinds and names of the maps.
func contentsOf(t *testing.T, path string) map[string]map[string]string {
	t.Helper()
	s, err := openToRead(path)
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	all := map[string]map[string]string{}
	require.NoError(t, s.View(func(sn *shm.Snapshot) error {
		views, err := viewsOf(sn)
		for _, v := range views {
			name := "unnamed"
			if v.name != nil {
				name = fmt.Sprintf("%v %s", v.kind, *v.name)
			}
			all[name] = map[string]string{}
			err := v.each(func(key, value []byte) error {
				all[name][string(key)] = string(value)
				return nil
			})
			require.NoError(t, err)
		}
		return err
	}))
	return all
}

// A dump that is loaded has the same maps: names of any bytes, both kinds, empty maps. So has
// a dump of each map alone.
func TestDumpHasAllMaps(t *testing.T) {
	s := newStore(t)
	require.NoError(t, s.Set([]byte("k"), []byte("unnamed")))
	require.NoError(t, s.Update(func(tx *shm.Tx) error {
		for i, name := range strangeNames {
			set, err := setIn(tx, &mapHead{name, shm.KindHash + shm.Kind(i%2)})
			require.NoError(t, err)
			for n := range i % 3 * 100 {
				require.NoError(t, set(fmt.Append(nil, "k", n), fmt.Append([]byte{0xff}, i, n)))
			}
		}
		return nil
	}))
	want := contentsOf(t, s.Path())
	require.Len(t, want, 1+len(strangeNames))

	file, whole := filepath.Join(t.TempDir(), "dump"), filepath.Join(t.TempDir(), "store")
	code, _, stderr := runs("", "dump", s.Path(), file)
	require.Equal(t, exitOK, code, stderr)
	code, _, stderr = runs("", "load", whole, file, "--batch", "7")
	require.Equal(t, exitOK, code, stderr)
	require.Equal(t, want, contentsOf(t, whole))
	code, out, stderr := runs("", "diff", s.Path(), whole)
	require.Equal(t, exitOK, code, out, stderr)

	parts, picked := filepath.Join(t.TempDir(), "parts"), filepath.Join(t.TempDir(), "picked")
	for _, name := range strangeNames {
		name64 := base64.StdEncoding.EncodeToString([]byte(name))
		code, part, stderr := runs("", "dump", s.Path(), "--name64", "--map", name64)
		require.Equal(t, exitOK, code, stderr)
		code, _, stderr = runs(part, "load", parts)
		require.Equal(t, exitOK, code, stderr)
		code, _, stderr = runs("", "load", picked, file, "--name64", "--map", name64)
		require.Equal(t, exitOK, code, stderr)
	}
	want["unnamed"] = map[string]string{}
	require.Equal(t, want, contentsOf(t, parts))
	require.Equal(t, want, contentsOf(t, picked))

	for _, name := range strangeNames {
		code, _, stderr := runs("", "drop", parts, "--name64", base64.StdEncoding.EncodeToString([]byte(name)))
		require.Equal(t, exitOK, code, stderr)
	}
	require.Equal(t, map[string]map[string]string{"unnamed": {}}, contentsOf(t, parts))
}

// A batch that begins a map and fails makes no map.
func TestLoadMakesMapsInItsTransaction(t *testing.T) {
	s := newStore(t)
	code, _, stderr := runs("{\"map\":\"m\",\"kind\":\"ordered\"}\n{\"map\":\"m\",\"kind\":\"hash\"}\n", "load", s.Path())
	require.Equal(t, exitFailure, code)
	require.Contains(t, stderr, "a map of another kind")
	require.Len(t, contentsOf(t, s.Path()), 1)
}

// keys selects from an ordered map what a loop over a sorted list does.
func TestSelectionIsThatOfASortedList(t *testing.T) {
	s := newStore(t)
	const alphabet = "ab\xff"
	random := func() string {
		var key []byte
		for range rand.IntN(4) {
			key = append(key, alphabet[rand.IntN(len(alphabet))])
		}
		return string(key)
	}
	model := map[string]bool{}
	for range 30 {
		key := random()
		model[key] = true
		require.NoError(t, s.Ordered("m").Set([]byte(key), nil))
	}
	sorted := slices.Sorted(maps.Keys(model))
	for range 300 {
		args := []string{"keys", s.Path(), "--map", "m", "--key64"}
		want := slices.Clone(sorted)
		bound := func(flag string, outside func(key, bound string) bool) {
			if rand.IntN(2) == 0 {
				return
			}
			b := random()
			args = append(args, flag, base64.StdEncoding.EncodeToString([]byte(b)))
			want = slices.DeleteFunc(want, func(key string) bool { return outside(key, b) })
		}
		bound("--from", func(key, b string) bool { return key < b })
		bound("--to", func(key, b string) bool { return key >= b })
		if rand.IntN(2) == 0 {
			p := random()
			args = append(args, "--prefix", p)
			want = slices.DeleteFunc(want, func(key string) bool { return !strings.HasPrefix(key, p) })
		}
		if rand.IntN(2) == 0 {
			args = append(args, "--reverse")
			slices.Reverse(want)
		}
		if rand.IntN(2) == 0 {
			n := rand.IntN(8)
			args = append(args, "--offset", fmt.Sprint(n))
			want = want[min(n, len(want)):]
		}
		if rand.IntN(2) == 0 {
			n := 1 + rand.IntN(8)
			args = append(args, "--limit", fmt.Sprint(n))
			want = want[:min(n, len(want))]
		}
		code, out, stderr := runs("", append(args, "--json")...)
		require.Equal(t, exitOK, code, "%q: %s", args, stderr)
		var got []string
		for text := range strings.Lines(out) {
			l, err := parseLine([]byte(strings.Replace(text, "}", `,"value":""}`, 1)))
			require.NoError(t, err)
			got = append(got, string(l.key))
		}
		require.Equal(t, append([]string{}, want...), append([]string{}, got...), "%q", args)
	}
}
