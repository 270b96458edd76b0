package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/dgraph-io/ristretto/v2"
	"github.com/maypok86/otter/v2"

	"github.com/seed-869cc763/shmkv/shm/cache"
)

// A boundedTable is a peer as a cache, whose bound is the capacity of the task. Its values have several sizes.
type boundedTable interface {
	read(dst, key []byte) ([]byte, error)
	write(key, value []byte) error
	// held returns the bytes that the bound counts.
	held() (int64, error)
	close() error
}

// What an entry of the caches of one process costs beside the bytes of key and value: what the heap of a
// program grows by for each entry of 16 and 100 bytes, beyond these.
const (
	otterOverhead     = 115
	ristrettoOverhead = 340
)

type shmCache struct{ *cache.Cache }

func openShmCache(t task) (boundedTable, error) {
	c, err := cache.Open(t.path, &cache.Options{Bytes: t.capacity})
	return shmCache{c}, err
}

func (c shmCache) read(dst, key []byte) ([]byte, error) {
	v, err := c.Append(dst, key)
	return v, shmError(err)
}

func (c shmCache) write(key, value []byte) error { return shmError(c.Set(key, value, -1)) }

// held returns the bytes of all files of the store.
func (c shmCache) held() (sum int64, err error) {
	files, err := os.ReadDir(c.Store().Path())
	for _, f := range files {
		info, failed := os.Stat(filepath.Join(c.Store().Path(), f.Name()))
		if failed != nil {
			return 0, failed
		}
		sum += info.Size()
	}
	return sum, err
}

func (c shmCache) close() error { return c.Close() }

type memcachedCache struct{ *memcachedTable }

func openMemcachedCache(t task) (boundedTable, error) {
	tab, err := openMemcached(t)
	if err != nil {
		return nil, err
	}
	return memcachedCache{tab.(*memcachedTable)}, nil
}

// held returns the bytes of the server's pages for items.
func (m memcachedCache) held() (int64, error) {
	const opStat = 0x10
	m.send(opStat, 0, nil, []byte("slabs"), nil)
	if err := m.out.Flush(); err != nil {
		return 0, err
	}
	held := int64(-1)
	for {
		_, _, _, err := m.receive()
		if err != nil {
			return 0, err
		}
		start := int(m.header[4])
		end := start + int(binary.BigEndian.Uint16(m.header[2:]))
		if end == start {
			break
		}
		if string(m.body[start:end]) == "total_malloced" {
			if held, err = strconv.ParseInt(string(m.body[end:]), 10, 64); err != nil {
				return 0, err
			}
		}
	}
	if held < 0 {
		return 0, fmt.Errorf("memcached: found no total_malloced among the counters of its slabs")
	}
	return held, nil
}

type otterCache struct{ *otter.Cache[mapKey, []byte] }

func openOtterCache(t task) (boundedTable, error) {
	c, err := otter.New(&otter.Options[mapKey, []byte]{
		MaximumWeight: uint64(t.capacity),
		Weigher:       func(_ mapKey, value []byte) uint32 { return uint32(keyBytes + len(value) + otterOverhead) },
	})
	return otterCache{c}, err
}

func (o otterCache) read(dst, key []byte) ([]byte, error) {
	value, ok := o.GetIfPresent(mapKey(key))
	return copyOut(dst, value, ok)
}

// write also makes the cache evict at once, which otherwise holds more than its bound for a while.
func (o otterCache) write(key, value []byte) error {
	o.Set(mapKey(key), bytes.Clone(value))
	o.CleanUp()
	return nil
}

func (o otterCache) held() (int64, error) {
	o.CleanUp()
	return int64(o.WeightedSize()), nil
}

func (o otterCache) close() error {
	o.StopAllGoroutines()
	return nil
}

type ristrettoCache struct {
	*ristretto.Cache[[]byte, []byte]
}

func openRistrettoCache(t task) (boundedTable, error) {
	c, err := ristretto.NewCache(&ristretto.Config[[]byte, []byte]{
		NumCounters:        max(10*t.capacity/int64(keyBytes+t.value), 1000), // ten for each item, as its documentation says
		MaxCost:            t.capacity,
		BufferItems:        64,
		IgnoreInternalCost: true, // the cost includes it
	})
	return ristrettoCache{c}, err
}

func (r ristrettoCache) read(dst, key []byte) ([]byte, error) {
	value, ok := r.Get(key)
	return copyOut(dst, value, ok)
}

// write also waits for the cache's goroutine, which otherwise drops sets when it is late.
func (r ristrettoCache) write(key, value []byte) error {
	r.Set(bytes.Clone(key), bytes.Clone(value), int64(keyBytes+len(value)+ristrettoOverhead))
	r.Wait()
	return nil
}

func (r ristrettoCache) held() (int64, error) { return r.MaxCost() - r.RemainingCost(), nil }

func (r ristrettoCache) close() error {
	r.Close()
	return nil
}

// openNoTable is for peers that are caches only: they may drop any entry, so they cannot do other works.
func openNoTable(task) (table, error) { return nil, errUnsupported }
