package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seed-869cc763/shmkv/cmd/shmctl/internal/daemon"
	"github.com/seed-869cc763/shmkv/shm"
	"github.com/seed-869cc763/shmkv/shm/cache"
)

// A servedStore is the store of a server, with its cache.
type servedStore struct {
	store *shm.Store
	cache *cache.Cache
	path  string
	made  bool // by this run
}

// openServed opens the store and the region of a server, and makes what is missing.
func openServed(s *memcachedSettings, now func() time.Time, log *slog.Logger) (*servedStore, error) {
	path, made, unlock, err := s.lockedStoreDir()
	if err != nil {
		return nil, err
	}
	defer unlock()
	v := &servedStore{path: path, made: made}
	o := shm.Options{Checkpoint: shm.OnSync(), Apart: true, Logger: log} // a few threads write
	if made {
		o.MaxSize = min(max(leastMaxSize, 4*s.bytes), shm.MaxStore)
	}
	if v.store, err = shm.Open(path, &o); err == nil {
		err = s.region.check(v.store, true)
	}
	if err == nil {
		v.cache, err = cache.New(v.store, &cache.Options{Bytes: s.bytes, NoEvict: s.noEvict, Region: s.region.name, Now: now, Logger: log})
	}
	if err != nil {
		if v.store != nil {
			err = errors.Join(err, v.store.Close())
		}
		if made {
			_ = removeStore(path)
		}
		return nil, err
	}
	return v, nil
}

// leastMaxSize is the least MaxSize of a store that a server makes. It is more than the bound of
// the cache, because clients may raise that, and another run may have a larger one.
const leastMaxSize = 64 << 30

// close closes the store. If remove is set, it removes the store if this run has made it and
// no other process has it open.
func (v *servedStore) close(remove bool, log *slog.Logger) error {
	remove = remove && v.made
	if remove {
		// A server that is about to open the store is seen, or comes later.
		others := 0
		unlock, err := daemon.LockDir(v.path)
		if err == nil {
			defer unlock()
			others, err = v.others()
		}
		if err != nil || others > 0 {
			log.Warn("the temporary store stays", "store", v.path, "processes that have it open", others, "err", err)
			remove = false
		}
	}
	err := errors.Join(v.cache.Close(), v.store.Close())
	if remove {
		err = errors.Join(err, removeStore(v.path))
	}
	return err
}

// others returns how many live handles there are beside this one.
func (v *servedStore) others() (n int, err error) {
	all, err := v.store.Inspect().Processes()
	for _, p := range all {
		if p.Alive && !p.Self {
			n++
		}
	}
	return n, err
}

// storeFiles are the files that a store with a cache may have.
var storeFiles = []string{"data", "procs", "journal", "hints"}

// removeStore removes the files of a store, and its directory if that is empty then.
func removeStore(path string) error {
	for _, name := range storeFiles {
		if err := os.Remove(filepath.Join(path, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return os.Remove(path)
}

// sharedMemory is where stores without a name are, if it is there.
const sharedMemory = "/dev/shm"

const storePrefix = "shmctl-memcached-"

// storeDir returns the directory of the store, and makes it if it is missing.
func (s *memcachedSettings) storeDir() (path string, made bool, err error) {
	if s.store != "" {
		return makeDir(s.store)
	}
	parent := sharedMemory
	if st, err := os.Stat(parent); err != nil || !st.IsDir() {
		parent = os.TempDir()
	}
	if s.temporary {
		path, err = os.MkdirTemp(parent, storePrefix)
		return path, err == nil, err
	}
	path, made, err = makeDir(filepath.Join(parent, s.storeName()))
	if err != nil {
		return "", false, err
	}
	// Everybody may make directories in the parent: also one of this name.
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return "", false, &fs.PathError{Op: "lstat", Path: path, Err: err}
	}
	if uid := os.Geteuid(); st.Mode&unix.S_IFMT != unix.S_IFDIR || int(st.Uid) != uid || st.Mode&0o022 != 0 {
		return "", false, fmt.Errorf("found %s of user %d and mode %o, expected a directory of user %d that only this user may write to (choose another one with --store)",
			path, st.Uid, st.Mode, uid)
	}
	return path, made, nil
}

// lockedStoreDir is storeDir with a lock, under which servers open a store and remove it. A server
// that is stopped while it has the lock does not keep others from their start. made is false if
// another one has put anything into the directory by now.
func (s *memcachedSettings) lockedStoreDir() (path string, made bool, unlock func(), err error) {
	for try := 0; ; try++ {
		path, made, err = s.storeDir()
		if err != nil {
			return "", false, nil, err
		}
		unlock, err = daemon.LockDir(path)
		if errors.Is(err, fs.ErrNotExist) && try < 10 {
			continue // it has been removed just now
		}
		if err != nil {
			return path, made, func() {}, nil // Open says what it finds
		}
		entries, err := os.ReadDir(path)
		return path, made && err == nil && len(entries) == 0, unlock, nil
	}
}

func makeDir(path string) (string, bool, error) {
	err := os.Mkdir(path, 0o700)
	if errors.Is(err, fs.ErrExist) {
		return path, false, nil
	}
	return path, err == nil, err
}

// storeName returns the name of the store of a server that names none: the same one for each
// run with the same addresses and socket.
func (s *memcachedSettings) storeName() string {
	where := strconv.Itoa(s.port)
	if s.socket != "" || !s.onLoopback {
		all := strings.Join(append([]string{s.socket, where}, s.addresses...), "\x00")
		sum := sha256.Sum256([]byte(all))
		where = hex.EncodeToString(sum[:6])
	}
	return fmt.Sprintf("%s%d-%s", storePrefix, os.Geteuid(), where)
}
