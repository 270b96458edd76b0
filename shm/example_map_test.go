package shm_test

import (
	"fmt"
	"log"

	"github.com/seed-869cc763/shmkv/shm"
)

// A store holds any number of maps. The same key is another entry in each.
func ExampleStore_Map() {
	s, closeAndRemove := open()
	defer closeAndRemove()

	users, sessions := s.Map("users"), s.Map("sessions")
	if err := users.Set([]byte("1"), []byte("Ada")); err != nil {
		log.Fatal(err)
	}
	if err := sessions.Set([]byte("1"), []byte("since noon")); err != nil {
		log.Fatal(err)
	}
	for _, m := range []*shm.Map{users, sessions} {
		value, err := m.Get([]byte("1"))
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s\n", value)
	}

	if _, err := s.DropMap("sessions"); err != nil {
		log.Fatal(err)
	}
	maps, err := s.Maps()
	if err != nil {
		log.Fatal(err)
	}
	for _, m := range maps {
		fmt.Println(m.Name, m.Kind, m.Entries)
	}
	// Output:
	// Ada
	// since noon
	// users hash 1
}

// An ordered map finds the neighbours of a key, and the n-th key.
func ExampleOrdered() {
	s, closeAndRemove := open()
	defer closeAndRemove()

	prices := s.Ordered("prices") // by the day from which on each is valid
	for day, price := range map[string]string{"2026-01-01": "100", "2026-03-15": "110", "2026-09-01": "95"} {
		if err := prices.Set([]byte(day), []byte(price)); err != nil {
			log.Fatal(err)
		}
	}
	day, price, err := prices.Floor([]byte("2026-06-30"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("in June: %s, since %s\n", price, day)
	day, _, err = prices.At(2)
	if err != nil {
		log.Fatal(err)
	}
	n, err := prices.Count([]byte("2026-02-01"), nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("the third is of %s; %d since February\n", day, n)
	// Output:
	// in June: 110, since 2026-03-15
	// the third is of 2026-09-01; 2 since February
}

// Loops over an ordered map are over a snapshot, which no writer disturbs.
func ExampleOrderedView_Range() {
	s, closeAndRemove := open()
	defer closeAndRemove()

	files := s.Ordered("files")
	for _, name := range []string{"doc/b", "doc/a", "src/main.go", "doc/c"} {
		if err := files.Set([]byte(name), nil); err != nil {
			log.Fatal(err)
		}
	}
	err := s.View(func(sn *shm.Snapshot) error {
		v := sn.Ordered("files")
		for name := range v.Prefix([]byte("doc/")) {
			fmt.Printf("%s ", name)
		}
		for name := range v.Backward(nil, []byte("doc/c")) {
			fmt.Printf("%s ", name)
		}
		return sn.Err()
	})
	if err != nil {
		log.Fatal(err)
	}
	// Output:
	// doc/a doc/b doc/c doc/b doc/a
}

// An Update changes several maps in one commit. So an index never disagrees with what it
// is an index of.
func ExampleTx_Ordered() {
	s, closeAndRemove := open()
	defer closeAndRemove()

	move := func(task, from, to string) error {
		return s.Update(func(tx *shm.Tx) error {
			byDay := tx.Ordered("tasks by day")
			if _, err := byDay.Delete([]byte(from + " " + task)); err != nil {
				return err
			}
			if err := byDay.Set([]byte(to+" "+task), nil); err != nil {
				return err
			}
			return tx.Map("tasks").Set([]byte(task), []byte(to))
		})
	}
	for _, day := range []string{"Monday", "Tuesday"} {
		if err := move("paint", "Monday", day); err != nil {
			log.Fatal(err)
		}
	}
	err := s.View(func(sn *shm.Snapshot) error {
		day, err := sn.Map("tasks").Get([]byte("paint"))
		if err != nil {
			return err
		}
		for key := range sn.Ordered("tasks by day").All() {
			fmt.Printf("%s, in the index %q\n", day, key)
		}
		return sn.Err()
	})
	if err != nil {
		log.Fatal(err)
	}
	// Output:
	// Tuesday, in the index "Tuesday paint"
}
