package main

import (
	"errors"
	"io/fs"
	"syscall"

	"github.com/seed-869cc763/shmkv/shm"
)

// opener is a way to open the store in a directory.
type opener func(path string) (*shm.Store, error)

// withStore calls fn with a store that is open meanwhile. The error of fn comes first.
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

// withStores is withStore with several stores.
func withStores(open opener, paths []string, fn func(stores []*shm.Store) error) error {
	if len(paths) == 0 {
		return fn(nil)
	}
	return withStore(open, paths[0], func(s *shm.Store) error {
		return withStores(open, paths[1:], func(others []*shm.Store) error { return fn(append([]*shm.Store{s}, others...)) })
	})
}

// openToRead opens a store that exists, and writes nothing but pins to it.
func openToRead(path string) (*shm.Store, error) {
	return shm.Open(path, &shm.Options{ReadOnly: true, MustExist: true})
}

// openToWrite opens a store that exists.
func openToWrite(path string) (*shm.Store, error) {
	return shm.Open(path, &shm.Options{MustExist: true})
}

// openToCheck opens a store that exists, for writing if that is permitted and
// it is no backup: only then can the dead be adopted.
func openToCheck(path string) (*shm.Store, error) {
	s, err := openToWrite(path)
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) || errors.Is(err, shm.ErrReadOnly) {
		return openToRead(path)
	}
	return s, err
}

// openOrCreate opens a store, and creates it with a maximum size when it is missing.
func openOrCreate(maxSize bytesValue) opener {
	return func(path string) (*shm.Store, error) { return shm.Open(path, &shm.Options{MaxSize: int64(maxSize)}) }
}
