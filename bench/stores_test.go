package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
)

// Each store is filled once, except a store that was written to and cannot be copied, which is filled in each round. A
// measurement does not see the writes of an earlier one.
func TestFilledOnce(t *testing.T) {
	t.Parallel()
	const rounds = 3
	run := func(t *testing.T, p peer, ms ...measurement) (fills int) {
		b := &bench{
			config: config{rounds: rounds, ns: []int{500}, seconds: 0.01}, peers: []peer{p}, dir: t.TempDir(),
			stores: map[storeKey]*filledStore{}, meter: newMeter(t.Output(), rounds),
		}
		for round := range rounds {
			b.measure(t.Context(), ms, 500, round)
		}
		for s, times := range b.meter.done {
			if s.title == titleFill || s.title == titleRefill {
				fills += times
			}
		}
		b.dropStores()
		if left, _ := os.ReadDir(b.dir); len(left) > 0 {
			t.Errorf("files left behind: %v", left)
		}
		if len(b.report.Failed) > 0 {
			t.Error(b.report.Failed)
		}
		return fills
	}
	find := func(title string) measurement {
		return measurements[slices.IndexFunc(measurements, func(m measurement) bool { return m.title == title })]
	}
	// The store must be complete again for a second delete, and for a get after it.
	read, delete := find(titleGet), find(titleDelete)
	for _, p := range everyPeer(t).peers {
		switch {
		case p.name == "memory":
			continue // the peer cannot delete
		case p.fleeting:
			if fills := run(t, p, read, delete, delete, read); fills != 0 {
				t.Errorf("%s was filled %d times, though its children do that", p.name, fills)
			}
		case p.serves:
			if fills := run(t, p, read, find(titleSet), find(titleSet)); fills != rounds {
				t.Errorf("%s was filled %d times in %d rounds that wrote to it", p.name, fills, rounds)
			}
			if fills := run(t, p, delete, delete); fills != 2*rounds {
				t.Errorf("%s was filled %d times for %d deletes", p.name, fills, 2*rounds)
			}
			if fills := run(t, p, read, read); fills != 1 {
				t.Errorf("%s was filled %d times for reads", p.name, fills)
			}
		default:
			if fills := run(t, p, read, delete, delete, read); fills != 1 {
				t.Errorf("%s was filled %d times", p.name, fills)
			}
		}
	}
}

// A copy has the bytes, directories, permissions and holes of the original.
func TestCopyFiles(t *testing.T) {
	from, to := filepath.Join(t.TempDir(), "from"), filepath.Join(t.TempDir(), "to")
	if err := os.MkdirAll(filepath.Join(from, "folder"), 0o700); err != nil {
		t.Fatal(err)
	}
	sparse, err := os.OpenFile(filepath.Join(from, "folder", "sparse"), os.O_CREATE|os.O_WRONLY, 0o640)
	if err != nil {
		t.Fatal(err)
	}
	for at := range int64(3) {
		if _, err := sparse.WriteAt(bytes.Repeat([]byte{byte(at + 1)}, 3<<20+5), at<<30+7); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(sparse.Truncate(4<<30), sparse.Close(), os.WriteFile(filepath.Join(from, "empty"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if err := copyFiles(to, from, false); err != nil {
		t.Fatal(err)
	}
	before, after := statOf(t, filepath.Join(from, "folder", "sparse")), statOf(t, filepath.Join(to, "folder", "sparse"))
	if before.Size != after.Size || before.Mode != after.Mode || after.Blocks > before.Blocks {
		t.Errorf("copied %+v to %+v", before, after)
	}
	f, err := os.Open(filepath.Join(to, "folder", "sparse"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for at := range int64(3) {
		got := make([]byte, 3<<20+7)
		want := append(append([]byte{0}, bytes.Repeat([]byte{byte(at + 1)}, 3<<20+5)...), 0)
		if _, err := f.ReadAt(got, at<<30+6); err != nil || !bytes.Equal(got, want) {
			t.Errorf("other bytes at %d GiB: %v", at, err)
		}
	}
	if s := statOf(t, filepath.Join(to, "empty")); s.Size != 0 {
		t.Errorf("an empty file became %d bytes long", s.Size)
	}
	if err := copyFiles(to, from, false); err == nil {
		t.Error("copied onto what was there")
	}
}

func statOf(t *testing.T, path string) (s syscall.Stat_t) {
	t.Helper()
	if err := syscall.Stat(path, &s); err != nil {
		t.Fatal(err)
	}
	return s
}
