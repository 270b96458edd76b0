package shm_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/seed-869cc763/shmkv/shm"
)

func ExampleStore_Stats() {
	s, done := open()
	defer done()

	before := s.Stats()
	_ = s.Set([]byte("key"), []byte("value"))
	_ = s.Set([]byte("key"), []byte("other"))
	st := s.Stats()
	fmt.Println(st.Entries, "entry of", st.DataBytes, "bytes")
	fmt.Println(st.Sub(before).Commits, "commits since") // of all processes
	// Output:
	// 1 entry of 8 bytes
	// 2 commits since
}

// Check accounts for every byte of the file.
func ExampleStore_Check() {
	s, done := open()
	defer done()

	for i := range 1000 {
		_ = s.Set(fmt.Append(nil, i), []byte("value"))
	}
	r, err := s.Check(context.Background(), nil)
	if err != nil { // it matches ErrCorrupt if r.Problems says what is wrong
		log.Fatal(err)
	}
	sum := r.LiveBytes + r.RetiredBytes + r.InFlightBytes + r.FreeBytes + r.TableBytes + r.RoundingBytes
	fmt.Println(r.Entries, "entries,", len(r.Problems), "problems,", r.FileBytes-sum, "bytes leaked")
	// Output: 1000 entries, 0 problems, 0 bytes leaked
}

// Compact gives space back after much was deleted. Without it that happens too, slowly,
// while processes write.
func ExampleStore_Compact() {
	s, done := open()
	defer done()

	for i := range 5000 {
		_ = s.Set(fmt.Append(nil, i), make([]byte, 1000))
	}
	for i := range 5000 {
		if i%10 != 0 {
			_, _ = s.Delete(fmt.Append(nil, i))
		}
	}
	c, err := s.Compact(context.Background(), nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(c.Before > 5_000_000, c.After < 1_500_000)
	fmt.Println(s.Len(), "entries")
	// Output:
	// true true
	// 500 entries
}

func ExampleInspector_Processes() {
	s, done := open()
	defer done()

	// A snapshot that is never closed keeps space. This tells who has one.
	sn, err := s.Snapshot()
	if err != nil {
		log.Fatal(err)
	}
	defer sn.Close()
	all, err := s.Inspect().Processes()
	if err != nil {
		log.Fatal(err)
	}
	for _, p := range all {
		fmt.Println("this process:", p.Pid == os.Getpid(), "this handle:", p.Self, "alive:", p.Alive)
		for _, pin := range p.Pins {
			fmt.Println("keeps the snapshot's version:", pin.Version == sn.Version())
		}
	}
	// Output:
	// this process: true this handle: true alive: true
	// keeps the snapshot's version: true
}

func ExampleInspector_Extents() {
	s, done := open()
	defer done()

	_ = s.Set([]byte("large"), make([]byte, 100_000))
	var file, largest int64
	x := s.Inspect().Extents(context.Background())
	for e := range x.All() {
		file += e.Bytes
		if e.Kind == shm.ExtentRun {
			largest = max(largest, e.BlockBytes)
		}
	}
	if err := x.Err(); err != nil {
		log.Fatal(err)
	}
	fmt.Println("all of the file:", file == s.Stats().FileBytes)
	fmt.Println("the value is a run of its own:", largest >= 100_000)
	// Output:
	// all of the file: true
	// the value is a run of its own: true
}
