package main

import (
	"errors"
	"io/fs"
	"syscall"

	"github.com/seed-869cc763/shmkv/shm"
)

// An opener opens the store in a directory.
type opener func(path string) (*shm.Store, error)

// withStore opens a store, calls fn, and closes the store. It returns the error of fn
// rather than that of Close.
func withStore(open opener, path string, fn func(s *shm.Store) error) (err error) {
	s, err := open(path)
	if err != nil {
		return err
	}
	defer func() {
		if e := s.Close(); err == nil {
			err = e
		}
	}()
	return fn(s)
}

// withStores is withStore for several stores.
func withStores(open opener, paths []string, fn func(stores []*shm.Store) error) error {
	if len(paths) == 0 {
		return fn(nil)
	}
	return withStore(open, paths[0], func(s *shm.Store) error {
		return withStores(open, paths[1:], func(others []*shm.Store) error { return fn(append([]*shm.Store{s}, others...)) })
	})
}

// openToRead opens an existing store for reading. Through this handle only pins are
// written.
func openToRead(path string) (*shm.Store, error) {
	return shm.Open(path, &shm.Options{ReadOnly: true, MustExist: true})
}

// openToWrite opens an existing store for writing.
func openToWrite(path string) (*shm.Store, error) {
	return shm.Open(path, &shm.Options{MustExist: true})
}

// openToCheck opens an existing store, for writing if that is permitted and the store is
// no backup. Only a handle for writing can adopt dead processes.
func openToCheck(path string) (*shm.Store, error) {
	s, err := openToWrite(path)
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) || errors.Is(err, shm.ErrReadOnly) {
		return openToRead(path)
	}
	return s, err
}

// openOrCreate returns an opener for writing that creates a missing store.
func openOrCreate(to writeFlags) opener {
	return func(path string) (*shm.Store, error) { return shm.Open(path, to.options()) }
}
