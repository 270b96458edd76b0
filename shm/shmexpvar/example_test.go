package shmexpvar_test

import (
	"encoding/json"
	"expvar"
	"fmt"
	"log"
	"os"

	"github.com/seed-869cc763/shmkv/shm"
	"github.com/seed-869cc763/shmkv/shm/shmexpvar"
)

func ExamplePublish() {
	dir, err := os.MkdirTemp("", "shmkv-example-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	s, err := shm.Open(dir, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()

	// A program that serves net/http's DefaultServeMux shows it under /debug/vars.
	if err := shmexpvar.Publish("sessions", s); err != nil {
		log.Fatal(err)
	}
	_ = s.Set([]byte("alice"), []byte("signed in"))

	var st shm.Stats
	if err := json.Unmarshal([]byte(expvar.Get("sessions").String()), &st); err != nil {
		log.Fatal(err)
	}
	fmt.Println(st.Entries, "entry,", st.Commits, "commit")
	// Output: 1 entry, 1 commit
}
