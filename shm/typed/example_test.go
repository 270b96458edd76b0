package typed_test

import (
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/seed-869cc763/shmkv/shm"
	"github.com/seed-869cc763/shmkv/shm/codec"
	"github.com/seed-869cc763/shmkv/shm/typed"
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

// A transaction moves money from one account to another: both change, or none does.
func ExampleMap_In() {
	store, closeAndRemove := open()
	defer closeAndRemove()
	accounts := typed.New(store.Map("accounts"), codec.String[string]{}, codec.Int[int]{})
	if err := accounts.Set("ann", 100); err != nil {
		log.Fatal(err)
	}
	err := store.Update(func(tx *shm.Tx) error {
		in := accounts.In(tx.Map("accounts"))
		if err := in.Update("ann", func(n *int) error { *n -= 30; return nil }); err != nil {
			return err
		}
		return in.Update("bob", func(n *int) error { *n += 30; return nil })
	})
	if err != nil {
		log.Fatal(err)
	}
	both, err := accounts.GetMany([]string{"ann", "bob"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(both)
	// Output: map[ann:70 bob:30]
}

// An ordered map with numbers as keys is in their order, the negative ones first.
func ExampleOrdered() {
	store, closeAndRemove := open()
	defer closeAndRemove()
	floors := typed.NewOrdered(store.Ordered("floors"), codec.Int[int8]{}, codec.String[string]{})
	for n, name := range map[int8]string{2: "roof", -1: "cellar", 0: "shop", 1: "flat"} {
		if err := floors.Set(n, name); err != nil {
			log.Fatal(err)
		}
	}
	below, err := floors.Lower(0)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("below the shop:", below.Value)
	err = store.View(func(sn *shm.Snapshot) error {
		for e, err := range floors.Entries(sn.Ordered("floors").All()) {
			if err != nil {
				return err
			}
			fmt.Println(e.Key, e.Value)
		}
		return sn.Err()
	})
	if err != nil {
		log.Fatal(err)
	}
	// Output:
	// below the shop: cellar
	// -1 cellar
	// 0 shop
	// 1 flat
	// 2 roof
}
