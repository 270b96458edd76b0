package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/seed-869cc763/shmkv/shm"
)

// storeChild carries out one task on the store itself: it is the main function of the bench's binary when the
// bench runs it as a child.
func storeChild(args []string, in io.Reader, out io.Writer) error {
	t, err := parseTask(args)
	if err != nil {
		return err
	}
	lines := json.NewEncoder(out)
	r, err := runStore(t, func() error {
		if err := lines.Encode(result{Ready: true}); err != nil {
			return err
		}
		_, err := in.Read(make([]byte, 1)) // a line, or the end
		if errors.Is(err, io.EOF) {
			return nil
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("shm %s: %w", t.work, err)
	}
	return lines.Encode(r)
}

// runStore carries out a task on the store in this process. It calls gate between what is not timed and what is.
func runStore(t task, gate func() error) (r result, err error) {
	store, err := shm.Open(t.path, &shm.Options{Exclusive: t.work == "load", MustExist: t.work != "load"})
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()

	c := storeClient{store: store, keys: sequence{seed: t.seed, n: uint64(t.n)}, value: make([]byte, valueBytes)}
	if t.work != "load" && t.work != "hold" {
		if err := c.prepare(t); err != nil {
			return r, fmt.Errorf("warming up: %w", err)
		}
	}
	switch t.work {
	case "load":
		r, err = c.timed(t, gate, c.load)
	case "get":
		r, err = c.timed(t, gate, c.get)
	case "get-dependent":
		r, err = c.timed(t, gate, c.getDependent)
	case "get-snapshot":
		err = store.View(func(sn *shm.Snapshot) error {
			c.snapshot = sn
			r, err = c.timed(t, gate, c.getSnapshot)
			return err
		})
	case "set":
		r, err = c.timed(t, gate, c.set)
	case "hold":
		err = store.View(func(*shm.Snapshot) error { return gate() })
	default:
		err = errors.New("no such work")
	}
	r.Peer = "shm"
	return r, err
}

// A storeClient is the store with the buffers that its operations use again and again.
type storeClient struct {
	store    *shm.Store
	snapshot *shm.Snapshot
	keys     sequence
	key      [keyBytes]byte
	value    []byte // written
	copied   []byte // read
}

// prepare brings the store into this process: every key is read once, and the first sets are not timed.
func (c *storeClient) prepare(t task) error {
	for i := range uint64(t.n) {
		if err := c.read(i); err != nil {
			return err
		}
	}
	for i := range uint64(t.warm) {
		if err := c.write(c.keys.draw(^i), i); err != nil {
			return err
		}
	}
	return nil
}

// timed passes the gate and runs the task's loop. A full store ends it early and is no error.
func (c *storeClient) timed(t task, gate func() error, op func(i uint64) error) (result, error) {
	if err := gate(); err != nil {
		return result{}, err
	}
	c.keys.sum = 0
	r, err := t.loop(op)
	r.Sum = c.keys.sum
	if errors.Is(err, shm.ErrFull) {
		r.Full, err = true, nil
	}
	return r, err
}

func (c *storeClient) load(i uint64) error {
	c.keys.sum += i
	return c.write(i, 0)
}

func (c *storeClient) set(i uint64) error { return c.write(c.keys.draw(i), i) }

func (c *storeClient) get(i uint64) error { return c.read(c.keys.draw(i)) }

// getDependent mixes the last byte of the value read before into the draw. It is always 0, but the CPU has to
// wait for it.
func (c *storeClient) getDependent(i uint64) error {
	return c.read(c.keys.draw(i + uint64(c.copied[valueBytes-1])))
}

func (c *storeClient) getSnapshot(i uint64) error {
	k := c.keys.draw(i)
	putKey(c.key[:], k)
	value, err := c.snapshot.Get(c.key[:])
	if err != nil {
		return err
	}
	c.copied = append(c.copied[:0], value...)
	return checkValue(c.copied, k)
}

func (c *storeClient) read(k uint64) (err error) {
	putKey(c.key[:], k)
	if c.copied, err = c.store.Append(c.copied[:0], c.key[:]); err != nil {
		return err
	}
	return checkValue(c.copied, k)
}

func (c *storeClient) write(k, stamp uint64) error {
	putKey(c.key[:], k)
	putValue(c.value, k, stamp)
	return c.store.Set(c.key[:], c.value)
}
