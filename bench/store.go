package main

import (
	"context"
	"errors"
	"time"

	"github.com/seed-869cc763/shmkv/shm"
)

// A shmTable is the store of this repository.
type shmTable struct{ store *shm.Store }

// openShm opens the store with these options.
func openShm(options shm.Options) func(task) (table, error) {
	return func(t task) (table, error) {
		s, err := openStore(t, options)
		return shmTable{s}, err
	}
}

// checkpointPolicies are the policies of a store for the values of a task's sync.
var checkpointPolicies = map[string]shm.CheckpointPolicy{
	syncEach: shm.EveryCommit(), syncSecond: shm.Every(time.Second), syncCall: shm.OnSync(),
}

// openStore opens the store of a task, and makes it for load.
func openStore(t task, o shm.Options) (*shm.Store, error) {
	o.Checkpoint = checkpointPolicies[t.sync]
	o.Exclusive, o.MustExist = t.work == "load", t.work != "load"
	return shm.Open(t.path, &o)
}

// shmStats returns the Stats of a store that others may use.
func shmStats(path string) (shm.Stats, error) {
	s, err := shm.Open(path, &shm.Options{ReadOnly: true})
	if err != nil {
		return shm.Stats{}, err
	}
	return s.Stats(), s.Close()
}

func rewriteShm(ctx context.Context, path string) error { return shm.Rewrite(ctx, path, nil) }

func (s shmTable) read(dst, key []byte) ([]byte, error) {
	v, err := s.store.Append(dst, key)
	if err == shm.ErrNotFound {
		err = errAbsent
	}
	return v, err
}

func (s shmTable) write(key, value []byte) error { return shmError(s.store.Set(key, value)) }

func (s shmTable) remove(key []byte) error {
	existed, err := s.store.Delete(key)
	if err == nil && !existed {
		err = errAbsent
	}
	return shmError(err)
}

func (s shmTable) readMany(keys [][]byte, each func(j int, value []byte) error) error {
	return readManyOf(s.store.GetMany, keys, each)
}

// readManyOf reads many keys with the GetMany of a map.
func readManyOf(getMany func([][]byte, func(int, []byte, bool)) error, keys [][]byte, each func(int, []byte) error) error {
	var failed error
	err := getMany(keys, func(j int, value []byte, ok bool) {
		if err := each(j, value); err != nil || !ok {
			failed = errors.Join(errAbsent, err)
		}
	})
	return errors.Join(err, failed)
}

func (s shmTable) writeMany(n int, entry func(j int) (key, value []byte)) error {
	return shmError(s.store.Update(func(tx *shm.Tx) error {
		for j := range n {
			if err := tx.Set(entry(j)); err != nil {
				return err
			}
		}
		return nil
	}))
}

func (s shmTable) view() (find func(key []byte) ([]byte, error), end func() error, err error) {
	sn, err := s.store.Snapshot()
	if err != nil {
		return nil, nil, err
	}
	return sn.Get, sn.Close, nil
}

func (s shmTable) scan(each func(key, value []byte) error) error {
	return s.store.View(func(sn *shm.Snapshot) error {
		for key, value := range sn.All() {
			if err := each(key, value); err != nil {
				return err
			}
		}
		return sn.Err()
	})
}

func (s shmTable) sync() error { return s.store.Sync() }

func (s shmTable) close() error { return s.store.Close() }

// shmError returns the error of the bench for one of the store.
func shmError(err error) error {
	switch {
	case err == shm.ErrNotFound:
		return errAbsent
	case errors.Is(err, shm.ErrFull):
		return errFull
	}
	return err
}
