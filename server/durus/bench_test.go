package durus

import (
	"testing"

	"github.com/seed-869cc763/shmkv/shm/record"
)

// BenchmarkLoad loads one record after the other, over a unix socket.
func BenchmarkLoad(b *testing.B) {
	c, ids := filled(b, 10_000)
	i := 0
	for b.Loop() {
		status, _ := c.load(ids[i%len(ids)])
		if status != 'O' {
			b.Fatalf("status %q", status)
		}
		i += 7919
	}
}

// BenchmarkBulkLoad loads 100 records at once.
func BenchmarkBulkLoad(b *testing.B) {
	c, ids := filled(b, 10_000)
	i := 0
	for b.Loop() {
		some := ids[i%9900:][:100]
		c.send([]byte{'B'}, be4(len(some)), be8(some...))
		for range some {
			c.answer()
		}
		i += 7919
	}
}

// BenchmarkCommit changes one record in each commit.
func BenchmarkCommit(b *testing.B) {
	c, ids := filled(b, 10_000)
	i := 0
	for b.Loop() {
		c.commits(rec(ids[i%len(ids)], string(rune(i))))
		i += 7919
	}
}

func filled(b *testing.B, n int) (*client, []record.ID) {
	c := serve(b, b.TempDir(), Options{}, nil).dial("unix")
	var ids []record.ID
	for len(ids) < n {
		some := c.newIDs(200)
		var all []record.Record
		for _, id := range some {
			all = append(all, rec(id, "some data of a record", 0))
		}
		c.commits(all...)
		ids = append(ids, some...)
	}
	c.sync()
	return c, ids
}
