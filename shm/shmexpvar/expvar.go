// Package shmexpvar publishes the Stats of stores among the variables of
// package expvar, which a program serves as JSON under /debug/vars. It is a
// package of its own because expvar brings net/http into every program that
// imports it.
package shmexpvar

import (
	"encoding/json"
	"errors"
	"expvar"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/seed-869cc763/shmkv/shm"
)

var publishing sync.Mutex

// Publish makes the present Stats of s the variable name. It is null once s is
// closed. A name that is taken is an error, for package expvar lets nothing be
// taken back; but that of a store that is closed may be used again.
func Publish(name string, s *shm.Store) error {
	publishing.Lock()
	defer publishing.Unlock()
	switch v := expvar.Get(name).(type) {
	case nil:
		published := &variable{}
		published.store.Store(s)
		expvar.Publish(name, published)
		return nil
	case *variable:
		if closed(v.store.Load()) {
			v.store.Store(s)
			return nil
		}
	}
	return fmt.Errorf("shmexpvar: publishing %s: a variable named %q is there already", s.Path(), name)
}

// variable is a store among expvar's.
type variable struct{ store atomic.Pointer[shm.Store] }

// String is the store's Stats in JSON, or null.
func (v *variable) String() string {
	st := v.store.Load().Stats()
	if st == (shm.Stats{}) {
		return "null"
	}
	b, err := json.Marshal(st)
	if err != nil {
		return "null"
	}
	return string(b)
}

func closed(s *shm.Store) bool {
	_, err := s.Has(nil)
	return errors.Is(err, shm.ErrClosed)
}
