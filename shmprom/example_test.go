package shmprom_test

import (
	"fmt"
	"log"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed-869cc763/shmkv/shm"
	"github.com/seed-869cc763/shmkv/shm/cache"
	"github.com/seed-869cc763/shmkv/shmprom"
)

func ExampleNewCollector() {
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

	// A program registers it with prometheus.MustRegister, as a rule, and serves it with
	// promhttp.Handler.
	r := prometheus.NewRegistry()
	r.MustRegister(shmprom.NewCollector(s))
	_ = s.Set([]byte("alice"), []byte("signed in"))

	families, err := r.Gather()
	if err != nil {
		log.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "shmkv_commits_total" {
			fmt.Println(f.GetName(), f.GetMetric()[0].GetCounter().GetValue())
		}
	}
	// Output: shmkv_commits_total 1
}

func ExampleNewCacheCollector() {
	dir, err := os.MkdirTemp("", "shmkv-example-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	c, err := cache.Open(dir, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	r := prometheus.NewRegistry()
	r.MustRegister(shmprom.NewCacheCollector(c))
	_ = c.Set([]byte("alice"), []byte("signed in"), time.Minute)
	_, _ = c.Get([]byte("alice"))

	families, err := r.Gather()
	if err != nil {
		log.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "shmkv_cache_hits_total" {
			fmt.Println(f.GetName(), f.GetMetric()[0].GetCounter().GetValue())
		}
	}
	// Output: shmkv_cache_hits_total 1
}
