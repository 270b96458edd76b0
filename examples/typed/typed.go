package main

import (
	"encoding/json"
	"fmt"

	"github.com/seed-869cc763/shmkv/shm"
)

// Typed is a part of a store whose values are of one type, in JSON. The prefix of their
// keys tells them from values of other types in the same store.
type Typed[V any] struct {
	store  *shm.Store
	prefix string
}

// NewTyped returns the values of type V in store whose keys begin with prefix.
func NewTyped[V any](store *shm.Store, prefix string) Typed[V] {
	return Typed[V]{store, prefix}
}

// Get returns the value of a key, or shm.ErrNotFound.
func (t Typed[V]) Get(key string) (v V, err error) {
	data, err := t.store.Get(t.key(key))
	if err == nil {
		err = t.decode(key, data, &v)
	}
	return v, err
}

// Set makes v the value of a key.
func (t Typed[V]) Set(key string, v V) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return t.store.Set(t.key(key), data)
}

// Update lets fn change the value of a key in one step, which no other process comes
// between. An absent value is the zero V. If fn returns an error nothing is changed. fn
// runs again, on a fresh value, when another process was faster.
func (t Typed[V]) Update(key string, fn func(v *V) error) error {
	return t.store.Compute(t.key(key), func(old []byte, exists bool) ([]byte, shm.Action, error) {
		// Declared here, so that a second run does not see the changes of the first one.
		var v V
		if exists {
			// old is memory of the store. That does no harm: a decoder copies what it keeps.
			if err := t.decode(key, old, &v); err != nil {
				return nil, shm.ActionKeep, err
			}
		}
		if err := fn(&v); err != nil {
			return nil, shm.ActionKeep, err
		}
		data, err := json.Marshal(v)
		return data, shm.ActionSet, err
	})
}

func (t Typed[V]) key(key string) []byte { return []byte(t.prefix + key) }

func (t Typed[V]) decode(key string, data []byte, v *V) error {
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("the value of %s%s is no %T: %w", t.prefix, key, *v, err)
	}
	return nil
}
