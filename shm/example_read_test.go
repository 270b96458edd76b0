package shm_test

import (
	"fmt"
	"log"
	"slices"

	"github.com/seed-869cc763/shmkv/shm"
)

func ExampleStore_View() {
	s, done := open()
	defer done()

	for _, name := range []string{"carol", "alice", "bob"} {
		_ = s.Set([]byte(name), []byte("present"))
	}
	var names []string
	err := s.View(func(sn *shm.Snapshot) error {
		for key := range sn.All() {
			names = append(names, string(key)) // a copy: key is gone after View
		}
		return sn.Err() // why the loop ended early, if it did
	})
	if err != nil {
		log.Fatal(err)
	}
	slices.Sort(names) // the order of All is none
	fmt.Println(names)
	// Output: [alice bob carol]
}

// A snapshot shows one version, whatever is written meanwhile.
func ExampleSnapshot() {
	s, done := open()
	defer done()

	_ = s.Set([]byte("a"), []byte("1"))
	sn, err := s.Snapshot()
	if err != nil {
		log.Fatal(err)
	}
	defer sn.Close() // until then it holds the space of what only it can see

	_ = s.Set([]byte("a"), []byte("2"))
	_ = s.Set([]byte("b"), []byte("2"))
	old, _ := sn.Get([]byte("a"))
	now, _ := s.Get([]byte("a"))
	fmt.Printf("%s of %d, now %s of %d\n", old, sn.Len(), now, s.Len())
	// Output: 1 of 1, now 2 of 2
}

func ExampleSnapshot_GetMany() {
	s, done := open()
	defer done()

	_ = s.Set([]byte("b"), []byte("2"))
	_ = s.Set([]byte("c"), []byte("3"))
	err := s.View(func(sn *shm.Snapshot) error {
		// The first of several keys that is there.
		keys := [][]byte{[]byte("a"), []byte("b"), []byte("c")}
		for i, value := range sn.GetMany(keys) {
			if value != nil {
				fmt.Printf("%s is %s\n", keys[i], value)
				break
			}
		}
		return sn.Err() // why the loop ended early, if it did
	})
	if err != nil {
		log.Fatal(err)
	}
	// Output: b is 2
}

func ExampleSnapshot_Diff() {
	s, done := open()
	defer done()

	_ = s.Set([]byte("a"), []byte("1"))
	_ = s.Set([]byte("b"), []byte("1"))
	before, err := s.Snapshot()
	if err != nil {
		log.Fatal(err)
	}
	defer before.Close()

	_ = s.Set([]byte("b"), []byte("2"))
	_, _ = s.Delete([]byte("a"))
	_ = s.Set([]byte("c"), []byte("3"))
	after, err := s.Snapshot()
	if err != nil {
		log.Fatal(err)
	}
	defer after.Close()

	for key, c := range after.Diff(before) {
		switch {
		case c.Old == nil:
			fmt.Printf("%s added: %s\n", key, c.New)
		case c.New == nil:
			fmt.Printf("%s removed\n", key)
		default:
			fmt.Printf("%s changed from %s to %s\n", key, c.Old, c.New)
		}
	}
	// Unordered output:
	// a removed
	// b changed from 1 to 2
	// c added: 3
}
