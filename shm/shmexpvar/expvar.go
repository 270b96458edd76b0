// Package shmexpvar publishes the Stats of stores and of caches among the
// variables of package expvar, which a program serves as JSON under
// /debug/vars. It is a package of its own because expvar brings net/http into
// every program that imports it.
package shmexpvar

import (
	"encoding/json"
	"expvar"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/seed-869cc763/shmkv/shm"
	"github.com/seed-869cc763/shmkv/shm/cache"
)

var publishing sync.Mutex

// Publish makes the present Stats of s the variable name. It is null once s is
// closed. A name that is taken is an error, for package expvar lets nothing be
// taken back; but that of a store that is closed may be used again.
func Publish(name string, s *shm.Store) error {
	return publish(name, subject{s, func() any { return s.Stats() }})
}

// PublishCache is Publish for the Stats of a cache: the counts of this handle,
// and those of all processes in "all". It is null once the store of c is closed.
func PublishCache(name string, c *cache.Cache) error {
	return publish(name, subject{c.Store(), func() any { return c.Stats() }})
}

// A subject is what a variable shows, while its store is open.
type subject struct {
	store *shm.Store
	stats func() any
}

func publish(name string, of subject) error {
	publishing.Lock()
	defer publishing.Unlock()
	switch v := expvar.Get(name).(type) {
	case nil:
		published := &variable{}
		published.subject.Store(&of)
		expvar.Publish(name, published)
		return nil
	case *variable:
		if v.subject.Load().store.Closed() {
			v.subject.Store(&of)
			return nil
		}
	}
	return fmt.Errorf("shmexpvar: publishing %s: a variable named %q is there already", of.store.Path(), name)
}

// variable is a subject among expvar's.
type variable struct{ subject atomic.Pointer[subject] }

// String is the Stats of the subject in JSON, or null.
func (v *variable) String() string {
	of := v.subject.Load()
	st := of.stats()
	if of.store.Closed() {
		return "null"
	}
	b, err := json.Marshal(st)
	if err != nil {
		return "null"
	}
	return string(b)
}
