package cache_test

import (
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/seed-869cc763/shmkv/shm"
	"github.com/seed-869cc763/shmkv/shm/cache"
)

// open gives an example a cache of its own.
func open(opts *cache.Options) (c *cache.Cache, closeAndRemove func()) {
	dir, err := os.MkdirTemp("/dev/shm", "shmkv-example-")
	if err != nil {
		log.Fatal(err)
	}
	c, err = cache.Open(filepath.Join(dir, "cache"), opts)
	if err != nil {
		log.Fatal(err)
	}
	return c, func() {
		_ = c.Close()
		_ = os.RemoveAll(dir)
	}
}

// Each process opens the same directory with the same bound. Here two handles stand for two
// processes. When all have closed it, the items are still there.
func ExampleOpen() {
	dir, err := os.MkdirTemp("/dev/shm", "shmkv-example-")
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	opts := &cache.Options{
		Bytes: 256 << 20,        // then items that are seldom read make room for others
		TTL:   10 * time.Minute, // of items that are written without one
	}
	first, err := cache.Open(filepath.Join(dir, "pages"), opts)
	if err != nil {
		log.Fatal(err)
	}
	if err := first.Set([]byte("/"), []byte("<h1>Welcome</h1>"), 0); err != nil {
		log.Fatal(err)
	}
	if err := first.Close(); err != nil {
		log.Fatal(err)
	}

	second, err := cache.Open(filepath.Join(dir, "pages"), opts)
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = second.Close() }()
	it, err := second.Get([]byte("/"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", it.Value)
	// Output: <h1>Welcome</h1>
}

// A cache can lie in a store that has other maps too.
func ExampleNew() {
	dir, err := os.MkdirTemp("/dev/shm", "shmkv-example-")
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	store, err := shm.Open(filepath.Join(dir, "store"), nil)
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = store.Close() }()
	thumbnails, err := cache.New(store, &cache.Options{Region: "thumbnails", Bytes: 16 << 20})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = thumbnails.Close() }()

	if err := store.Map("images").Set([]byte("cat"), []byte("large")); err != nil {
		log.Fatal(err)
	}
	if err := thumbnails.Set([]byte("cat"), []byte("small"), time.Hour); err != nil {
		log.Fatal(err)
	}
	fmt.Println(thumbnails.Stats().Items, store.Map("images").Len())
	// Output: 1 1
}

// An item ends when its time to live is over. No call returns it afterwards.
func ExampleCache_Set() {
	now := time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)
	c, closeAndRemove := open(&cache.Options{Now: func() time.Time { return now }})
	defer closeAndRemove()

	if err := c.Set([]byte("token"), []byte("secret"), time.Minute); err != nil {
		log.Fatal(err)
	}
	for range 2 {
		it, err := c.Get([]byte("token"))
		switch {
		case errors.Is(err, shm.ErrNotFound):
			fmt.Println("none")
		case err != nil:
			log.Fatal(err)
		default:
			fmt.Printf("%s until %s\n", it.Value, it.Expires.UTC().Format(time.TimeOnly))
		}
		now = now.Add(time.Minute)
	}
	// Output:
	// secret until 12:01:00
	// none
}

// The token of an item tells whether somebody has written it since.
func ExampleCache_CompareAndSwap() {
	c, closeAndRemove := open(nil)
	defer closeAndRemove()
	key := []byte("list")
	if err := c.Set(key, []byte("a"), 0); err != nil {
		log.Fatal(err)
	}
	it, err := c.Get(key)
	if err != nil {
		log.Fatal(err)
	}
	if err := c.Set(key, []byte("a, b"), 0); err != nil { // by another process, say
		log.Fatal(err)
	}
	err = c.CompareAndSwap(key, it.Token, append(it.Value, ", c"...), 0)
	fmt.Println(errors.Is(err, cache.ErrToken))

	if it, err = c.Get(key); err != nil {
		log.Fatal(err)
	}
	if err := c.CompareAndSwap(key, it.Token, append(it.Value, ", c"...), 0); err != nil {
		log.Fatal(err)
	}
	if it, err = c.Get(key); err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", it.Value)
	// Output:
	// true
	// a, b, c
}

// A flush empties the region for all processes at once. A soft invalidation keeps the items,
// which are stale from then on: GetOrCreate creates them again, one after the other.
func ExampleCache_Flush() {
	c, closeAndRemove := open(nil)
	defer closeAndRemove()
	for _, key := range []string{"a", "b"} {
		if err := c.Set([]byte(key), []byte("value"), -1); err != nil {
			log.Fatal(err)
		}
	}
	if err := c.Invalidate(true); err != nil {
		log.Fatal(err)
	}
	it, err := c.Get([]byte("a"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(c.Stats().Items, it.Stale)

	if err := c.Flush(time.Time{}); err != nil { // the zero time is now
		log.Fatal(err)
	}
	fmt.Println(c.Stats().Items)
	// Output:
	// 2 true
	// 0
}
