package shm_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"slices"

	"github.com/seed-869cc763/shmkv/shm"
)

// open gives an example a store of its own.
func open() (s *shm.Store, closeAndRemove func()) {
	dir, err := os.MkdirTemp("", "shmkv-example-")
	if err != nil {
		log.Fatal(err)
	}
	s, err = shm.Open(filepath.Join(dir, "store"), nil)
	if err != nil {
		log.Fatal(err)
	}
	return s, func() {
		_ = s.Close()
		_ = os.RemoveAll(dir)
	}
}

func ExampleOpen() {
	dir, err := os.MkdirTemp("", "shmkv-example-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	// Every process that opens the directory uses the same store. On
	// /dev/shm it lives in memory only.
	s, err := shm.Open(filepath.Join(dir, "sessions"), &shm.Options{MaxSize: 1 << 30})
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()

	fmt.Println(s.Len(), "entries")
	// Output: 0 entries
}

func ExampleStore_Get() {
	s, done := open()
	defer done()

	if err := s.Set([]byte("greeting"), []byte("hello")); err != nil {
		log.Fatal(err)
	}
	value, err := s.Get([]byte("greeting"))
	fmt.Printf("%s %v\n", value, err)

	_, err = s.Get([]byte("farewell"))
	fmt.Println(errors.Is(err, shm.ErrNotFound))
	// Output:
	// hello <nil>
	// true
}

func ExampleStore_Append() {
	s, done := open()
	defer done()

	_ = s.Set([]byte("a"), []byte("one"))
	_ = s.Set([]byte("b"), []byte("two"))

	// One buffer serves many reads, without an allocation for each.
	var buf []byte
	for _, key := range []string{"a", "b"} {
		var err error
		if buf, err = s.Append(buf[:0], []byte(key)); err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s\n", buf)
	}
	// Output:
	// one
	// two
}

func ExampleStore_Update() {
	s, done := open()
	defer done()

	_ = s.Set([]byte("alice"), []byte{5})
	_ = s.Set([]byte("bob"), []byte{1})

	// Both change, or none. The function runs again if another commit came
	// first.
	err := s.Update(func(tx *shm.Tx) error {
		from, err := tx.Get([]byte("alice"))
		if err != nil {
			return err
		}
		to, err := tx.Get([]byte("bob"))
		if err != nil {
			return err
		}
		if from[0] < 2 {
			return errors.New("not enough")
		}
		if err := tx.Set([]byte("alice"), []byte{from[0] - 2}); err != nil {
			return err
		}
		return tx.Set([]byte("bob"), []byte{to[0] + 2})
	})
	if err != nil {
		log.Fatal(err)
	}
	alice, _ := s.Get([]byte("alice"))
	bob, _ := s.Get([]byte("bob"))
	fmt.Println(alice, bob)
	// Output: [3] [3]
}

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
		return nil
	})
	if err != nil {
		log.Fatal(err)
	}
	slices.Sort(names) // the order of All is none
	fmt.Println(names)
	// Output: [alice bob carol]
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

func ExampleStore_CompareAndSwap() {
	s, done := open()
	defer done()

	// nil means absent: of all who try, one becomes the leader.
	for _, name := range []string{"alice", "bob"} {
		won, err := s.CompareAndSwap([]byte("leader"), nil, []byte(name))
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(name, won)
	}
	// Only who holds it can give it up.
	gone, _ := s.CompareAndSwap([]byte("leader"), []byte("bob"), nil)
	fmt.Println("bob gives up:", gone)
	// Output:
	// alice true
	// bob false
	// bob gives up: false
}

func ExampleStore_Wait() {
	s, done := open()
	defer done()

	seen := s.Version()
	go func() { // another process, as a rule
		_ = s.Set([]byte("job"), []byte("42"))
	}()
	if _, err := s.Wait(context.Background(), seen); err != nil {
		log.Fatal(err)
	}
	job, _ := s.Get([]byte("job"))
	fmt.Printf("job %s\n", job)
	// Output: job 42
}

func ExampleStore_Backup() {
	s, done := open()
	defer done()

	_ = s.Set([]byte("a"), []byte("1"))
	copied := filepath.Join(filepath.Dir(s.Path()), "monday")
	if err := s.Backup(context.Background(), copied); err != nil {
		log.Fatal(err)
	}
	_ = s.Set([]byte("a"), []byte("2"))

	// A backup is a store that can only be read.
	b, err := shm.Open(copied, &shm.Options{ReadOnly: true})
	if err != nil {
		log.Fatal(err)
	}
	defer b.Close()
	a, _ := b.Get([]byte("a"))
	fmt.Printf("a %s, of version %d\n", a, b.Inspect().Info().Origin.Version)
	// Output: a 1, of version 2
}
