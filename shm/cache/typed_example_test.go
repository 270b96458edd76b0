package cache_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/seed-869cc763/shmkv/shm/cache"
	"github.com/seed-869cc763/shmkv/shm/codec"
)

// A view of a cache has keys and values of Go types.
func ExampleTyped() {
	type user struct {
		Name   string
		Visits int
	}
	c, closeAndRemove := open(&cache.Options{Region: "users"})
	defer closeAndRemove()
	users := cache.NewTyped(c, codec.Int[uint32]{}, codec.JSON[user]{})

	if err := users.Set(7, user{Name: "Ann"}, time.Hour); err != nil {
		log.Fatal(err)
	}
	// Several processes may do so at the same time: no visit is lost.
	if err := users.Update(7, time.Hour, func(u *user) error { u.Visits++; return nil }); err != nil {
		log.Fatal(err)
	}
	u, err := users.Get(7)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%+v\n", u)
	// Output: {Name:Ann Visits:1}
}

// The values that are missing come from a database, say, with one query for all of them.
func ExampleTyped_GetOrCreateMany() {
	c, closeAndRemove := open(&cache.Options{Region: "prices"})
	defer closeAndRemove()
	prices := cache.NewTyped(c, codec.String[string]{}, codec.Int[int]{})
	query := func(ctx context.Context, missing []string) (map[string]int, error) {
		fmt.Println("asking for", missing)
		return map[string]int{"apple": 30, "pear": 40}, nil
	}
	for range 2 {
		found, err := prices.GetOrCreateMany(context.Background(), []string{"apple", "pear", "stone"}, query,
			cache.WithTTL(time.Hour), cache.WithAbsentTTL(time.Minute)) // a minute for what has no price
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(found)
	}
	// Output:
	// asking for [apple pear stone]
	// map[apple:30 pear:40]
	// map[apple:30 pear:40]
}
