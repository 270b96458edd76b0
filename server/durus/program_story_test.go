package durus

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/shm/record"
)

// stories runs what Durus's tests of ClientStorage and Connection do with a server, on both kinds of sockets.
func stories(t *testing.T, tell func(t *testing.T, storage func() *clientStorage)) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			w := serve(t, t.TempDir(), Options{}, nil)
			tell(t, func() *clientStorage { return w.clientStorage(network) })
			require.NoError(t, w.st.Check(t.Context()))
		})
	}
}

func TestDurusClientStorage(t *testing.T) {
	stories(t, func(t *testing.T, storage func() *clientStorage) {
		b, c := storage(), storage()
		for i := range 3 {
			require.Equal(t, record.ID(i), b.newOID())
		}
		b.fails(0, 'K')
		b.begin()
		b.store(rec(0, "ok"))
		require.NoError(t, b.end(nil))
		b.loads(rec(0, "ok"))
		require.Empty(t, b.sync())
		b.begin()
		b.store(rec(1, "no"))
		require.NoError(t, b.end(nil))
		require.Len(t, b.crawl(0), 1)
		require.Equal(t, []answer{{"O", rec(0, "ok")}, {"O", rec(1, "no")}}, b.bulkLoad(0, 1))
		require.Equal(t, answer{status: "K"}, b.bulkLoad(0, 1, 2)[2])
		b.pack()
		require.Len(t, b.crawl(0), 1)
		c.fails(0, 'I')
		c.fails(0, 'I')
		require.ElementsMatch(t, []record.ID{0, 1}, c.sync())
		c.loads(rec(0, "ok"))
		b.close()
		c.close()
	})
}

// An id that a pack has collected is given again as soon as both clients know, and the client that still has the
// old object gets the new one.
func TestDurusIDReuse(t *testing.T) {
	stories(t, func(t *testing.T, storage func() *clientStorage) {
		s1, s2 := storage(), storage()
		s1.poolSize, s2.poolSize = 1, 1
		c1 := s1.connect()
		c2 := s2.connect()
		a := c1.sets(c1.root(), "a", "PersistentDict").id
		c1.sets(c1.root(), "b", "PersistentDict")
		c1.commits()
		c2.abort()
		require.Equal(t, "PersistentDict", c2.use(c2.item(c2.root(), "b")).state.Class)
		c2.change(c2.root(), func(s *state) { delete(s.Items, "a") })
		delete(c2.cache, a)
		c2.commits()
		c2.packs()
		c2.abort()
		require.Nil(t, c2.get(a))
		c1.abort()
		require.True(t, c1.get(a).ghost)
		n := c2.sets(c2.item(c2.root(), "b"), "new", "Persistent")
		require.Equal(t, a, n.id)
		c2.attr(n, "bogus", 1)
		c2.commits()
		c1.abort()
		got := c1.use(c1.item(c1.item(c1.root(), "b"), "new"))
		require.Equal(t, state{Class: "Persistent", Attrs: map[string]int{"bogus": 1}}, got.state)
		s1.close()
	})
}

// Ids that are in the set of what an idle client has yet to be told do not keep others from new ones.
func TestDurusIDReuseWithInvalidation(t *testing.T) {
	stories(t, func(t *testing.T, storage func() *clientStorage) {
		for i := range 3 {
			c := storage().connect()
			c.sets(c.root(), "x", "Persistent")
			c.commits()
			if i == 1 {
				c.packs()
			}
		}
	})
}

func TestDurusConflict(t *testing.T) {
	stories(t, func(t *testing.T, storage func() *clientStorage) {
		b, c := storage().connect(), storage().connect()
		b.sets(b.root(), "b", "Persistent")
		c.sets(c.root(), "c", "Persistent")
		c.commits()
		require.ErrorIs(t, b.commit(), errWriteConflict)
		require.NotContains(t, b.root().state.Items, "c")
		b.abort()
		require.True(t, b.root().ghost)
		c.sets(c.root(), "d", "Persistent")
		c.commits()
		require.NotNil(t, b.item(b.root(), "d"), "its load was answered with I, so it has asked for changes")
		b.sets(b.root(), "b", "Persistent")
		b.commits()
		c.abort()
		require.Len(t, c.use(c.root()).state.Items, 3)
	})
}

// What a client has not used in the transaction is no conflict, although it has loaded it before.
func TestDurusFineConflict(t *testing.T) {
	stories(t, func(t *testing.T, storage func() *clientStorage) {
		c1, c2 := storage().connect(), storage().connect()
		c1.attr(c1.sets(c1.root(), "A", "Persistent"), "a", 1)
		c1.sets(c1.root(), "B", "Persistent")
		c1.commits()
		c2.abort()
		a := c1.cache[c1.root().state.Items["A"]]
		require.False(t, a.ghost)
		c1.attr(c1.item(c1.root(), "B"), "b", 1)
		c2.attr(c2.item(c2.root(), "A"), "a", 2)
		c2.commits()
		c1.commits()
		require.True(t, a.ghost)
		require.Equal(t, 2, c1.use(a).state.Attrs["a"])
		c1.attr(c1.item(c1.root(), "B"), "b", 1)
		c2.attr(c2.item(c2.root(), "A"), "a", 2)
		c2.commits()
		require.ErrorIs(t, c1.commit(), errWriteConflict)
	})
}

// The tools of a storage: who refers to an object, and how many there are.
func TestDurusTools(t *testing.T) {
	stories(t, func(t *testing.T, storage func() *clientStorage) {
		c := storage().connect()
		c.sets(c.root(), "a", "Persistent")
		c.sets(c.root(), "b", "Persistent")
		c.commits()
		all := c.crawl(0)
		require.Len(t, all, 3)
		for _, r := range all[1:] {
			require.Empty(t, r.Refs)
		}
		require.ElementsMatch(t, []record.ID{1, 2}, all[0].Refs)
		other := storage().connect()
		require.Equal(t, "PersistentDict", other.root().state.Class)
		require.Equal(t, record.ID(32), other.newOID(), "the first 32 are those of the other client")
	})
}

// wait_for_server and stop_durus: connections that send nothing, and Q without V.
func TestDurusStop(t *testing.T) {
	w := serve(t, t.TempDir(), Options{}, nil)
	for range 3 {
		require.NoError(t, w.dial("unix").nc.Close())
	}
	c := w.clientStorage("unix").connect()
	q := w.dial("unix")
	q.send([]byte{'Q'})
	require.NoError(t, q.nc.Close())
	select {
	case <-w.stopped:
	case <-time.After(30 * time.Second):
		t.Fatal("Q has not stopped the server")
	}
	require.NoError(t, c.nc.Close())
}
