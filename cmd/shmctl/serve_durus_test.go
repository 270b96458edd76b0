package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/internal/testproc"
	"github.com/seed-869cc763/shmkv/shm/record"
	"github.com/seed-869cc763/shmkv/shm/record/filestorage"
)

// launchedDurus starts a server of Durus's protocol on the socket "sock" in dir.
func launchedDurus(t *testing.T, dir string, args ...string) *served {
	t.Helper()
	v := &served{socket: filepath.Join(dir, "sock"), errors: &lockedBuffer{}}
	v.Cmd = exec.Command("shmctl", append([]string{"serve", "durus", "--address", v.socket}, args...)...)
	v.Stdout, v.Stderr = v.errors, v.errors
	testproc.Start(t, v.Cmd)
	return v
}

// A durusClient speaks Durus's storage protocol. After an error it has ended.
type durusClient struct {
	net.Conn
	err error
}

func (c *durusClient) send(b ...byte) {
	if c.err == nil {
		_, c.err = c.Write(b)
	}
}

func (c *durusClient) read(n int) []byte {
	b := make([]byte, n)
	if c.err == nil {
		_, c.err = io.ReadFull(c, b)
	}
	return b
}

func (c *durusClient) newID() record.ID {
	c.send('N')
	return record.ID(binary.BigEndian.Uint64(c.read(8)))
}

// commit reports whether the server has acknowledged a commit.
func (c *durusClient) commit(records ...record.Record) bool {
	c.send('C')
	c.read(8 * int(binary.BigEndian.Uint32(c.read(4))))
	var all []byte
	for _, r := range records {
		packed := r.Append(nil)
		all = binary.BigEndian.AppendUint32(all, uint32(8+len(packed)))
		all = binary.BigEndian.AppendUint64(all, uint64(r.ID))
		all = append(all, packed...)
	}
	c.send(append(binary.BigEndian.AppendUint32(nil, uint32(len(all))), all...)...)
	return c.read(1)[0] == 'O' && c.err == nil
}

func (v *served) awaitDurus(t *testing.T) *durusClient {
	t.Helper()
	var c *durusClient
	require.Eventually(t, func() bool {
		nc, err := net.Dial("unix", v.socket)
		if err != nil {
			return false
		}
		c = &durusClient{Conn: nc}
		c.send('V', 0, 0, 0, 1)
		return string(c.read(4)) == "\x00\x00\x00\x01"
	}, 30*time.Second, 5*time.Millisecond, "%s", v.errors)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// A server ends at each signal and at Q with status 0, and removes its socket. The store stays,
// unless it is temporary.
func TestServeDurusEnds(t *testing.T) {
	for name, end := range map[string]func(*testing.T, *served, *durusClient){
		"INT":  func(t *testing.T, v *served, _ *durusClient) { require.NoError(t, v.Process.Signal(syscall.SIGINT)) },
		"TERM": func(t *testing.T, v *served, _ *durusClient) { require.NoError(t, v.Process.Signal(syscall.SIGTERM)) },
		"Q":    func(_ *testing.T, _ *served, c *durusClient) { c.send('Q') },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			store := filepath.Join(dir, "store")
			v := launchedDurus(t, dir, "--file", store, "--port", "0", "--mode", "0750")
			c := v.awaitDurus(t)
			st, err := os.Stat(v.socket)
			require.NoError(t, err)
			require.Equal(t, os.ModeSocket|0o750, st.Mode())
			half := v.awaitDurus(t)
			half.send('C')
			require.Zero(t, c.newID())
			require.True(t, c.commit(record.Record{Data: []byte("root")}))
			tcp, err := net.Dial("tcp", v.says(t, `address=(127\.0\.0\.1:\d+)`)[0][1])
			require.NoError(t, err)
			defer tcp.Close()
			end(t, v, c)
			require.Zero(t, v.ends(t), "%s", v.errors)
			require.NoFileExists(t, v.socket)
			require.DirExists(t, store)
		})
	}
}

func TestServeDurusTemporary(t *testing.T) {
	dir := t.TempDir()
	v := launchedDurus(t, dir)
	c := v.awaitDurus(t)
	require.Zero(t, c.newID())
	store := v.says(t, `store=(\S+)`)[0][1]
	require.DirExists(t, store)
	require.NoError(t, v.Process.Signal(syscall.SIGTERM))
	require.Zero(t, v.ends(t), "%s", v.errors)
	require.NoDirExists(t, store)
}

// A store whose migration was interrupted is not served, as no client could use it.
func TestServeDurusRefusesHalfAMigration(t *testing.T) {
	dir := t.TempDir()
	store := filepath.Join(dir, "store")
	st, err := record.Open(store, nil)
	require.NoError(t, err)
	_, err = st.Import(t.Context(), func(yield func(record.Record, error) bool) { yield(record.Record{}, io.ErrUnexpectedEOF) }, nil)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	require.NoError(t, st.Close())
	v := launchedDurus(t, dir, "--file", store)
	require.NotZero(t, v.ends(t))
	require.Contains(t, v.errors.String(), "an import has not ended")
	require.NoFileExists(t, v.socket)
}

// A server migrates a file once, and serves what clients have made of it after that.
func TestServeDurusMigrates(t *testing.T) {
	dir := t.TempDir()
	file, store := filepath.Join(dir, "in.durus"), filepath.Join(dir, "store")
	_, err := filestorage.Write(file, func(yield func(record.Record, error) bool) {
		yield(record.Record{Data: []byte("root")}, nil)
	}, nil)
	require.NoError(t, err)
	for _, want := range []string{"root", "changed"} {
		v := launchedDurus(t, dir, "--file", file, "--migrate", "--store", store)
		c := v.awaitDurus(t)
		c.send(append([]byte{'L'}, make([]byte, 8)...)...)
		require.Equal(t, "O", string(c.read(1)))
		r, err := record.Parse(c.read(int(binary.BigEndian.Uint32(c.read(4)))))
		require.NoError(t, err)
		require.Equal(t, want, string(r.Data))
		require.True(t, c.commit(record.Record{Data: []byte("changed")}))
		require.NoError(t, v.Process.Signal(syscall.SIGTERM))
		require.Zero(t, v.ends(t), "%s", v.errors)
	}
}

// After a SIGKILL the next server on the same socket has each acknowledged commit as a whole, and
// gives no id again.
func TestServeDurusKilled(t *testing.T) {
	dir := t.TempDir()
	store := filepath.Join(dir, "store")
	given := map[record.ID]bool{}
	last := 0
	for round := range 4 {
		v := launchedDurus(t, dir, "--store", store)
		c := v.awaitDurus(t)
		if round == 0 {
			require.Zero(t, c.newID())
		} else {
			c.send(append([]byte{'L'}, make([]byte, 8)...)...)
			require.Equal(t, "O", string(c.read(1)))
			root, err := record.Parse(c.read(int(binary.BigEndian.Uint32(c.read(4)))))
			require.NoError(t, err)
			var at int
			_, err = fmt.Sscan(string(root.Data), &at)
			require.NoError(t, err)
			require.Contains(t, []int{last, last + 1}, at)
			last = at
			require.Len(t, root.Refs, 3)
			for _, id := range root.Refs {
				c.send(append([]byte{'L'}, binary.BigEndian.AppendUint64(nil, uint64(id))...)...)
				require.Equal(t, "O", string(c.read(1)))
				r, err := record.Parse(c.read(int(binary.BigEndian.Uint32(c.read(4)))))
				require.NoError(t, err)
				require.Equal(t, string(root.Data), string(r.Data), "a commit is there in part")
			}
		}
		kill := time.AfterFunc(100*time.Millisecond, func() { _ = v.Process.Kill() })
		defer kill.Stop()
		for c.err == nil {
			root := record.Record{Data: fmt.Append(nil, last+1)}
			all := []record.Record{}
			for range 3 {
				id := c.newID()
				if c.err != nil {
					break
				}
				require.False(t, given[id], "%d was given twice", id)
				given[id] = true
				root.Refs = append(root.Refs, id)
				all = append(all, record.Record{ID: id, Data: root.Data})
			}
			if c.err == nil && c.commit(append(all, root)...) {
				last++
			}
		}
		require.Equal(t, -1, v.ends(t))
	}
	require.Greater(t, last, 10)
}

// A socket that a server listens on stays as it is.
func TestServeDurusSocketInUse(t *testing.T) {
	dir := t.TempDir()
	v := launchedDurus(t, dir, "--file", filepath.Join(dir, "store"))
	c := v.awaitDurus(t)
	second := launchedDurus(t, dir, "--file", filepath.Join(dir, "store"))
	require.Equal(t, exitFailure, second.ends(t))
	require.Contains(t, second.errors.String(), "found a socket that another process listens on")
	require.Zero(t, c.newID())
	require.NoError(t, c.err)
}
