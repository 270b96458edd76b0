package shm_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"
)

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

func ExampleWatcher_Versions() {
	s, done := open()
	defer done()

	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	w := s.Watch(ctx)
	for range w.Versions() { // the current one, then each newer one that it sees
		n, err := s.Add([]byte("steps"), 1) // others write, as a rule
		if err != nil {
			log.Fatal(err)
		}
		if n == 3 {
			break
		}
	}
	steps, _ := s.Get([]byte("steps"))
	fmt.Printf("%s steps, %v\n", steps, w.Err())
	// Output: 3 steps, <nil>
}

func ExampleWatcher_Changes() {
	s, done := open()
	defer done()

	_ = s.Set([]byte("dark-mode"), []byte("off"))
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	w := s.Watch(ctx)
	flags := map[string]string{} // a copy of the store, which the loop keeps current
	for name, change := range w.Changes() {
		fmt.Printf("%s: %q, was %q\n", name, change.New, change.Old)
		if change.New == nil {
			delete(flags, string(name))
			cancel() // the loop ends when its context is done
		} else if flags[string(name)] = string(change.New); flags["dark-mode"] == "off" {
			_ = s.Set([]byte("dark-mode"), []byte("on")) // another process, as a rule
		} else {
			_, _ = s.Delete([]byte("dark-mode"))
		}
	}
	fmt.Println(len(flags), errors.Is(w.Err(), context.Canceled))
	// Output:
	// dark-mode: "off", was ""
	// dark-mode: "on", was "off"
	// dark-mode: "", was "on"
	// 0 true
}
