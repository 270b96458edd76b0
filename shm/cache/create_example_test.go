package cache_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/seed-869cc763/shmkv/shm/cache"
)

// Many processes may ask for the page at the same time: one of them makes it. After a minute
// one makes it again, in the background, while the others get the old one.
func ExampleCache_GetOrCreate() {
	dir, err := os.MkdirTemp("/dev/shm", "example-")
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	c, err := cache.Open(dir+"/pages", nil)
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = c.Close() }()

	render := func(ctx context.Context) ([]byte, error) {
		fmt.Println("rendering")
		return []byte("<h1>Hello</h1>"), nil
	}
	for range 2 {
		page, err := c.GetOrCreate(context.Background(), []byte("/hello"), render,
			cache.WithTTL(time.Hour), cache.WithSoftTTL(time.Minute), cache.WithJitter(0.1), cache.WithBackground())
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s\n", page)
	}
	// Output:
	// rendering
	// <h1>Hello</h1>
	// <h1>Hello</h1>
}
