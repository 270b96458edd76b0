// Python is a Go program that shares a cache with a Python program: this one has the cache
// open, and visits.py talks to a memcached server of the same store. Both count visits of one
// user at the same time.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"strconv"

	"github.com/seed-869cc763/shmkv/shm"
	"github.com/seed-869cc763/shmkv/shm/cache"
)

var (
	dir  = flag.String("store", "", "directory of the cache, the --store of the server")
	size = flag.Int64("m", 64, "bound of the cache in MiB, the -m of the server")
	user = flag.String("user", "ann", "whose visits to count")
	n    = flag.Int("visits", 1000, "how many to count")
)

func main() {
	flag.Parse()
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "python:", err)
		os.Exit(1)
	}
}

func run() (err error) {
	if *dir == "" {
		return errors.New("-store is missing")
	}
	c, err := cache.Open(*dir, &cache.Options{Bytes: *size << 20})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	if err := c.Set([]byte("greeting:"+*user), []byte("Hello from Go, "+*user), 0); err != nil {
		return err
	}
	visits := []byte("visits:" + *user)
	if err := c.Add(visits, []byte("0"), 0); err != nil && !errors.Is(err, shm.ErrExist) {
		return err
	}
	for range *n {
		if _, err := c.Increment(visits, 1); err != nil {
			return err
		}
	}
	it, err := c.Get(visits)
	if err != nil {
		return err
	}
	sum, err := strconv.Atoi(string(it.Value))
	if err != nil {
		return err
	}
	fmt.Printf("%d visits of %s by now\n", sum, *user)
	if it, err = c.Get([]byte("last:" + *user)); err == nil {
		fmt.Printf("the last was counted by %s\n", it.Value)
	} else if !errors.Is(err, shm.ErrNotFound) {
		return err
	}
	return nil
}
