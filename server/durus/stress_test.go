package durus

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/internal/testdir"
	"github.com/seed-869cc763/shmkv/shm/record"
)

// A connection keeps objects between transactions, as a program of Durus does: it loads what it does not
// have, forgets what it is told has changed, and gives a transaction up when it has used that.
type connection struct {
	*client
	rnd   *rand.Rand
	cache map[record.ID]record.Record
	used  map[record.ID]bool // in the transaction
	dirty map[record.ID]bool
	pool  []record.ID
	done  struct{ commits, conflicts int }
}

var errConflict = errors.New("conflict")

func (c *connection) get(id record.ID) (record.Record, error) {
	r, have := c.cache[id]
	if !have {
		status, got := c.load(id)
		if status != 'O' {
			return r, errConflict // I, or K for an object that only what has changed refers to
		}
		r = got
		c.cache[id] = r
	}
	c.used[id] = true
	return r, nil
}

func (c *connection) set(r record.Record) {
	c.cache[r.ID], c.used[r.ID], c.dirty[r.ID] = r, true, true
}

func (c *connection) newID() record.ID {
	if len(c.pool) == 0 {
		c.pool = c.newIDs(32)
	}
	id := c.pool[0]
	c.pool = c.pool[1:]
	return id
}

func (c *connection) abort() {
	for id := range c.dirty {
		delete(c.cache, id)
	}
	for _, id := range c.sync() {
		delete(c.cache, id)
	}
	clear(c.used)
	clear(c.dirty)
}

func (c *connection) end() error {
	c.send([]byte{'C'})
	conflict := false
	for _, id := range c.ids(c.number()) {
		conflict = conflict || c.used[id]
		delete(c.cache, id)
	}
	var b []byte
	if !conflict {
		for id := range c.dirty {
			b = append(b, entry(c.cache[id])...)
		}
	}
	c.send(be4(len(b)), b)
	if conflict || len(b) > 0 && c.read(1)[0] != 'O' {
		return errConflict
	}
	clear(c.used)
	clear(c.dirty)
	return nil
}

// A node has a sum and a value; the sum of its children is the sum of both.
func node(id record.ID, sum, value int, children []record.ID) record.Record {
	return rec(id, fmt.Sprintf("%d %d", sum, value), children...)
}

func (c *connection) node(id record.ID, sum int) (r record.Record, value int, err error) {
	if r, err = c.get(id); err != nil {
		return r, 0, err
	}
	var got int
	_, err = fmt.Sscanf(string(r.Data), "%d %d", &got, &value)
	if err == nil && got != sum {
		err = fmt.Errorf("node %d has the sum %d, expected %d", id, got, sum)
	}
	return r, value, err
}

func (c *connection) build(sum, depth int) record.ID {
	id, value := c.newID(), c.rnd.IntN(10)
	var children []record.ID
	if depth > 0 {
		for range 1 + c.rnd.IntN(4) {
			children = append(children, c.build(sum+value, depth-1))
		}
	}
	c.set(node(id, sum, value, children))
	return id
}

// mutate goes down a random path and changes something there: an object is replaced by another one with
// the same children, or by a new tree, or stored again.
func (c *connection) mutate() error {
	at, sum := record.ID(0), 0
	for {
		parent, value, err := c.node(at, sum)
		if err != nil {
			return err
		}
		sum += value
		i := c.rnd.IntN(len(parent.Refs))
		child, childValue, err := c.node(parent.Refs[i], sum)
		if err != nil {
			return err
		}
		if len(child.Refs) > 0 && c.rnd.IntN(3) > 0 {
			at = child.ID
			continue
		}
		refs := append([]record.ID(nil), parent.Refs...)
		switch c.rnd.IntN(3) {
		case 0:
			refs[i] = c.newID()
			c.set(node(refs[i], sum, childValue, child.Refs))
		case 1:
			refs[i] = c.build(sum, c.rnd.IntN(3))
		default:
			c.set(node(child.ID, sum, childValue, child.Refs))
			return nil
		}
		c.set(node(at, sum-value, value, refs))
		return nil
	}
}

func (c *connection) verify(id record.ID, sum int) (n int, err error) {
	r, value, err := c.node(id, sum)
	if err != nil {
		return 0, err
	}
	n = 1
	for _, child := range r.Refs {
		more, err := c.verify(child, sum+value)
		if err != nil {
			return 0, err
		}
		n += more
	}
	return n, nil
}

func (c *connection) work(n int) error {
	for range n {
		if c.rnd.IntN(2) == 0 {
			c.abort()
		}
		var err error
		for range 1 << c.rnd.IntN(4) {
			if err = c.mutate(); err != nil {
				break
			}
		}
		if err == nil {
			err = c.end()
		}
		switch {
		case err == nil:
			c.done.commits++
		case errors.Is(err, errConflict):
			c.done.conflicts++
			c.abort()
		default:
			return err
		}
		if c.rnd.IntN(10) == 0 {
			c.pack()
		}
	}
	return nil
}

// Three clients of two servers change a tree and collect its garbage. It is whole all the time, for each
// of them, and at the end there is nothing else.
func TestStress(t *testing.T) {
	w := serve(t, t.TempDir(), Options{}, nil)
	servers := []*world{w, serve(t, w.dir, Options{}, nil)}
	connect := func(i int) *connection {
		return &connection{
			client: servers[i%2].dial("unix"), rnd: rand.New(rand.NewPCG(rand.Uint64(), 0)),
			cache: map[record.ID]record.Record{}, used: map[record.ID]bool{}, dirty: map[record.ID]bool{},
		}
	}
	first := connect(0)
	require.Zero(t, first.build(0, 4))
	require.NoError(t, first.end())
	var all sync.WaitGroup
	errs := make(chan error, 3)
	clients := []*connection{first, connect(1), connect(2)}
	for _, c := range clients {
		c.abort()
		all.Go(func() { reports(errs, func() error { return c.work(testdir.Scale(150, 5000)) }) })
	}
	all.Wait()
	commits := 0
	for _, c := range clients {
		require.NoError(t, <-errs)
		commits += c.done.commits
		require.Positive(t, c.done.commits)
	}
	for _, c := range clients {
		c.abort()
		require.NoError(t, c.nc.Close())
	}
	last := connect(0)
	n, err := last.verify(0, 0)
	require.NoError(t, err)
	require.Eventually(t, func() bool { // the sessions of the closed connections have ended
		_, err := w.st.Pack(t.Context())
		require.NoError(t, err)
		return w.st.Len() == n
	}, time.Minute, 10*time.Millisecond, "%d records, expected %d", w.st.Len(), n)
	require.NoError(t, w.st.Check(t.Context()))
	t.Logf("%d commits, %d records", commits, n)
}
