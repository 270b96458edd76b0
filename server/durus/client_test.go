package durus

import (
	"encoding/binary"
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/shm/record"
)

// A client speaks the protocol, as a client of Durus does.
type client struct {
	t  testing.TB
	nc net.Conn
}

func (c *client) send(parts ...[]byte) {
	c.t.Helper()
	for _, p := range parts {
		_, err := c.nc.Write(p)
		require.NoError(c.t, err)
	}
}

func (c *client) read(n int) []byte {
	c.t.Helper()
	b := make([]byte, n)
	require.NoError(c.t, c.nc.SetReadDeadline(time.Now().Add(time.Minute)))
	_, err := io.ReadFull(c.nc, b)
	require.NoError(c.t, err)
	return b
}

func (c *client) number() int { return int(binary.BigEndian.Uint32(c.read(4))) }

func be4(n int) []byte { return binary.BigEndian.AppendUint32(nil, uint32(n)) }

func be8(ids ...record.ID) (b []byte) {
	for _, id := range ids {
		b = binary.BigEndian.AppendUint64(b, uint64(id))
	}
	return b
}

func (c *client) ids(n int) (ids []record.ID) {
	for b := c.read(8 * n); len(b) > 0; b = b[8:] {
		ids = append(ids, record.ID(binary.BigEndian.Uint64(b)))
	}
	return ids
}

func (c *client) newIDs(n int) []record.ID {
	c.t.Helper()
	c.send([]byte{'M', byte(n)})
	return c.ids(n)
}

func (c *client) answer() (status byte, r record.Record) {
	c.t.Helper()
	if status = c.read(1)[0]; status == 'O' {
		var err error
		r, err = record.Parse(c.read(c.number()))
		require.NoError(c.t, err)
	}
	return status, r
}

func (c *client) load(id record.ID) (byte, record.Record) {
	c.t.Helper()
	c.send([]byte{'L'}, be8(id))
	return c.answer()
}

func (c *client) loads(want record.Record) {
	c.t.Helper()
	status, got := c.load(want.ID)
	require.Equal(c.t, "O", string(status))
	require.Equal(c.t, want, got)
}

func (c *client) fails(id record.ID, want byte) {
	c.t.Helper()
	status, _ := c.load(id)
	require.Equal(c.t, string(want), string(status))
}

func (c *client) sync() []record.ID {
	c.t.Helper()
	c.send([]byte{'S'})
	return c.ids(c.number())
}

func entry(r record.Record) []byte {
	packed := r.Append(nil)
	return append(append(be4(8+len(packed)), be8(r.ID)...), packed...)
}

func entries(records ...record.Record) (b []byte) {
	for _, r := range records {
		b = append(b, entry(r)...)
	}
	return b
}

// commit commits, and returns what was invalid and the status.
func (c *client) commit(records ...record.Record) ([]record.ID, byte) {
	c.t.Helper()
	c.send([]byte{'C'})
	invalid := c.ids(c.number())
	b := entries(records...)
	c.send(be4(len(b)), b)
	if len(b) == 0 {
		return invalid, 0
	}
	return invalid, c.read(1)[0]
}

func (c *client) commits(records ...record.Record) {
	c.t.Helper()
	_, status := c.commit(records...)
	require.Equal(c.t, "O", string(status))
}

func (c *client) pack() {
	c.t.Helper()
	c.send([]byte{'P'})
	require.Equal(c.t, "O", string(c.read(1)))
}

// isClosed waits until the server has closed the connection, without an answer.
func (c *client) isClosed() {
	c.t.Helper()
	require.NoError(c.t, c.nc.SetReadDeadline(time.Now().Add(time.Minute)))
	n, err := c.nc.Read(make([]byte, 1))
	require.Zero(c.t, n)
	require.Error(c.t, err)
	require.NotErrorIs(c.t, err, errDeadline)
}

func rec(id record.ID, data string, refs ...record.ID) record.Record {
	return record.Record{ID: id, Data: []byte(data), Refs: refs}
}
