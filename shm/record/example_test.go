package record_test

import (
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/seed-869cc763/shmkv/shm/record"
)

func Example() {
	dir, err := os.MkdirTemp("", "objects")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	st, err := record.Open(filepath.Join(dir, "store"), nil)
	if err != nil {
		log.Fatal(err)
	}
	defer st.Close()
	s, err := st.Session()
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()

	ids, err := s.NewIDs(nil, 2) // of an empty storage: 0, the root, and 1
	if err != nil {
		log.Fatal(err)
	}
	c := s.Begin()
	for _, r := range []record.Record{
		{ID: ids[0], Data: []byte("the root"), Refs: ids[1:]},
		{ID: ids[1], Data: []byte("a leaf")},
	} {
		if err := c.Store(r); err != nil {
			log.Fatal(err)
		}
	}
	if err := c.End(); errors.Is(err, record.ErrConflict) {
		fmt.Println("another session was faster")
	} else if err != nil {
		log.Fatal(err)
	}
	r, err := s.Load(0)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s refers to %v\n", r.Data, r.Refs)
	// Output: the root refers to [1]
}
