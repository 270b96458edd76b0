package shm_test

import (
	"bytes"
	"errors"
	"fmt"
	"log"
	"strconv"
	"strings"
	"sync"

	"github.com/seed-869cc763/shmkv/shm"
)

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

// A transaction sees its own writes, and changes nothing if its function fails.
func ExampleTx() {
	s, done := open()
	defer done()

	_ = s.Set([]byte("stock"), []byte("full"))
	soldOut := errors.New("sold out")
	err := s.Update(func(tx *shm.Tx) error {
		if err := tx.Set([]byte("stock"), []byte("empty")); err != nil {
			return err
		}
		stock, err := tx.Get([]byte("stock"))
		if err != nil {
			return err
		}
		fmt.Printf("within: %s\n", stock)
		return soldOut
	})
	stock, _ := s.Get([]byte("stock"))
	fmt.Println(errors.Is(err, soldOut))
	fmt.Printf("after: %s\n", stock)
	// Output:
	// within: empty
	// true
	// after: full
}

// The loop may write to the transaction: it shows the entries as they were at its begin.
func ExampleTx_All() {
	s, done := open()
	defer done()

	for _, name := range []string{"session/1", "session/2", "user/1"} {
		_ = s.Set([]byte(name), nil)
	}
	err := s.Update(func(tx *shm.Tx) error {
		for key := range tx.All() {
			if bytes.HasPrefix(key, []byte("session/")) {
				if _, err := tx.Delete(key); err != nil {
					return err
				}
			}
		}
		return tx.Err() // why the loop ended early, if it did
	})
	fmt.Println(s.Len(), err)
	// Output: 1 <nil>
}

// Who has written something can tell others which version to wait for.
func ExampleStore_UpdateVersion() {
	s, done := open()
	defer done()

	version, err := s.UpdateVersion(func(tx *shm.Tx) error {
		return tx.Set([]byte("job"), []byte("42"))
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(version == s.Version())
	// Output: true
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

// Swap takes what is there, and nobody else gets it: nil deletes the key.
func ExampleStore_Swap() {
	s, done := open()
	defer done()

	_ = s.Set([]byte("mail"), []byte("hello"))
	for range 2 {
		mail, there, err := s.Swap([]byte("mail"), nil)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%q %t\n", mail, there)
	}
	// Output:
	// "hello" true
	// "" false
}

func ExampleStore_Compute() {
	s, done := open()
	defer done()

	// Take a ticket, if there is one, and delete the key with the last one.
	_ = s.Set([]byte("tickets"), []byte("2"))
	soldOut := errors.New("sold out")
	take := func() error {
		return s.Compute([]byte("tickets"), func(old []byte, exists bool) ([]byte, shm.Action, error) {
			if !exists {
				return nil, shm.ActionKeep, soldOut
			}
			n, err := strconv.Atoi(string(old))
			if err != nil {
				return nil, shm.ActionKeep, err
			}
			if n == 1 {
				return nil, shm.ActionDelete, nil
			}
			return strconv.AppendInt(nil, int64(n-1), 10), shm.ActionSet, nil
		})
	}
	fmt.Println(take(), take(), take())
	// Output: <nil> <nil> sold out
}

func ExampleStore_Modify() {
	s, done := open()
	defer done()

	// A list of the last three visitors. The new value is a copy, since old is memory
	// of the store.
	for _, name := range []string{"ann", "bob", "eve", "joe"} {
		err := s.Modify([]byte("visitors"), func(old []byte, exists bool) ([]byte, bool) {
			all := append(strings.Fields(string(old)), name)
			all = all[max(0, len(all)-3):]
			return []byte(strings.Join(all, " ")), true
		})
		if err != nil {
			log.Fatal(err)
		}
	}
	visitors, _ := s.Get([]byte("visitors"))
	fmt.Printf("%s\n", visitors)
	// Output: bob eve joe
}

func ExampleStore_Add() {
	s, done := open()
	defer done()

	// Any number of processes may count at the same time.
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() { _, _ = s.Add([]byte("hits"), 1) })
	}
	wg.Wait()
	hits, _ := s.Get([]byte("hits")) // in decimal
	fmt.Printf("%s\n", hits)

	_ = s.Set([]byte("name"), []byte("ann"))
	_, err := s.Add([]byte("name"), 1)
	fmt.Println(errors.Is(err, shm.ErrNotNumber))
	// Output:
	// 10
	// true
}
