package counter_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/seed-869cc763/shmkv/shm"
	"github.com/seed-869cc763/shmkv/shm/counter"
)

// openExample makes a store for an example.
func openExample() (s *shm.Store, end func()) {
	dir, err := os.MkdirTemp("", "counter-example-")
	if err != nil {
		log.Fatal(err)
	}
	if s, err = shm.Open(dir, nil); err != nil {
		log.Fatal(err)
	}
	return s, func() {
		_ = s.Close()
		_ = os.RemoveAll(dir)
	}
}

func Example() {
	s, end := openExample()
	defer end()
	pages := counter.Open(s, "pages")
	for _, page := range []string{"/index", "/about", "/index", "/help", "/index", "/about"} {
		if _, err := pages.Add([]byte(page), 1); err != nil {
			log.Fatal(err)
		}
	}
	top, err := pages.Range(0, 2)
	if err != nil {
		log.Fatal(err)
	}
	for _, c := range top {
		fmt.Printf("%d %s\n", c.N, c.Key)
	}
	rank, err := pages.Rank([]byte("/help"))
	if err != nil {
		log.Fatal(err)
	}
	sum, err := pages.Sum()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%d counters with a sum of %d; /help has rank %d\n", pages.Len(), sum, rank)
	// Output:
	// 3 /index
	// 2 /about
	// 3 counters with a sum of 6; /help has rank 2
}

// A batch adds to counters of several keyspaces in one commit.
func ExampleBatch() {
	s, end := openExample()
	defer end()
	b := counter.NewBatch(s)
	b.Add([]byte("pages"), []byte("/index"), 1)
	b.Add([]byte("hosts"), []byte("192.0.2.7"), 1)
	b.Add([]byte("bytes"), []byte("/index"), 5120)
	if err := b.Commit(); err != nil {
		log.Fatal(err)
	}
	now, err := b.Result(2)
	fmt.Println(now, err)
	// Output: 5120 <nil>
}

// A follower sees what other processes add.
func ExampleSet_Subscribe() {
	s, end := openExample()
	defer end()
	pages := counter.Open(s, "pages")
	if _, err := pages.Add([]byte("/index"), 2); err != nil {
		log.Fatal(err)
	}
	u := pages.Subscribe(context.Background())
	for ch := range u.Changes() {
		fmt.Printf("%s was %d and is %d\n", ch.Key, ch.Old, ch.New)
		if ch.New == 3 {
			break
		}
		if _, err := pages.Add([]byte("/index"), 1); err != nil {
			log.Fatal(err)
		}
	}
	if err := u.Err(); err != nil {
		log.Fatal(err)
	}
	// Output:
	// /index was 0 and is 2
	// /index was 2 and is 3
}
