package main

import (
	"encoding/binary"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/internal/testdir"
	"github.com/seed-869cc763/shmkv/shm/record"
	"github.com/seed-869cc763/shmkv/shm/record/filestorage"
)

func TestDurusFlags(t *testing.T) {
	server := func(args ...string) *durusServer {
		cmd := newServeDurus()
		fl := cmd.Flags()
		require.NoError(t, fl.Parse(args))
		value := func(name string) string { return fl.Lookup(name).Value.String() }
		f := durusFlags{
			port: durusPort, file: value("file"), store: value("store"), host: value("host"), address: value("address"), mode: value("mode"),
			garbage: value("garbage"), owner: value("owner"), group: value("group"), umask: value("umask"),
		}
		var err error
		f.gcbytes, err = fl.GetInt64("gcbytes")
		require.NoError(t, err)
		d, err := f.server(fl.Changed)
		require.NoError(t, err)
		return d
	}
	d := server()
	require.True(t, d.tcp && d.socket == "" && d.dir == "")
	d = server("--address", "/x")
	require.True(t, !d.tcp && d.socket == "/x")
	d = server("--address", "/x", "--port", "7", "--store", "s")
	require.True(t, d.tcp && d.socket == "/x" && d.dir == "s")
	require.Equal(t, record.Manual(), d.options.Garbage)
	require.Equal(t, record.Manual(), server("--gcbytes", "0").options.Garbage)
	require.Equal(t, record.PastBytes(7), server("--gcbytes", "7").options.Garbage)
	d = server("--address", "/x", "--umask", "63", "--owner", "0")
	require.True(t, d.mode == 0o700 && d.uid == 0 && d.gid == -1)
	for _, s := range []string{"never", "commit", "commits=3", "bytes=7", "every=1s", "quiet=1ms"} {
		_, err := parseCheckpoint(s)
		require.NoError(t, err)
	}
	for _, s := range []string{"manual", "off", "idle=1s", "commit=1", "share=0.5", "bytes=7"} {
		_, err := parseGarbage(s)
		require.NoError(t, err)
	}
}

// load returns the status of a load, and the data.
func (c *durusClient) load(id record.ID) (status, data string) {
	c.send(append([]byte{'L'}, binary.BigEndian.AppendUint64(nil, uint64(id))...)...)
	if status = string(c.read(1)); status != "O" {
		return status, ""
	}
	r, err := record.Parse(c.read(int(binary.BigEndian.Uint32(c.read(4)))))
	if err != nil {
		return err.Error(), ""
	}
	return status, string(r.Data)
}

// --stop ends a server at either kind of address, and returns when nobody listens there.
func TestServeDurusStop(t *testing.T) {
	dir := t.TempDir()
	for _, network := range []string{"unix", "tcp"} {
		v := launchedDurus(t, dir, "--file", filepath.Join(dir, "store"), "--port", "0")
		v.awaitDurus(t)
		at := v.says(t, `address=(127\.0\.0\.1:\d+)`)[0][1]
		args := []string{"serve", "durus", "--file", "ignored", "--stop", "--address", v.socket}
		if network == "tcp" {
			args = []string{"serve", "durus", "--stop", "--port", at[strings.LastIndex(at, ":")+1:]}
		}
		out, err := exec.Command("shmctl", args...).CombinedOutput()
		require.NoError(t, err, "%s", out)
		require.Empty(t, out)
		_, err = net.Dial("tcp", at)
		require.ErrorIs(t, err, syscall.ECONNREFUSED)
		require.Zero(t, v.ends(t), "%s", v.errors)
	}
}

// An empty file is a new storage, and --logfile, --umask, --owner and --group do what they say.
func TestServeDurusFiles(t *testing.T) {
	dir := t.TempDir()
	store, log := filepath.Join(dir, "store"), filepath.Join(dir, "log")
	require.NoError(t, os.WriteFile(store, nil, 0o600))
	require.NoError(t, os.WriteFile(log, []byte("a line from before\n"), 0o600))
	args := []string{"--file", store, "--logfile", log, "--umask", "56"}
	root := os.Geteuid() == 0
	if root {
		args = append(args, "--owner", "12345", "--group", "12346")
	}
	v := launchedDurus(t, dir, args...)
	c := v.awaitDurus(t)
	require.Zero(t, c.newID())
	require.True(t, c.commit(record.Record{Data: []byte("root")}))
	st, err := os.Stat(v.socket)
	require.NoError(t, err)
	require.Equal(t, os.ModeSocket|0o707, st.Mode())
	if sys := st.Sys().(*syscall.Stat_t); root {
		require.Equal(t, [2]uint32{12345, 12346}, [2]uint32{sys.Uid, sys.Gid})
	}
	c.send('Q')
	require.Zero(t, v.ends(t))
	require.Empty(t, v.errors.String())
	require.DirExists(t, store)
	b, err := os.ReadFile(log)
	require.NoError(t, err)
	require.Regexp(t, `(?s)^a line from before\n.*msg=listening.*msg="a client has ended the server"`, string(b))
}

// A file that another process has locked, as Durus does, is no new storage.
func TestServeDurusLockedFile(t *testing.T) {
	dir := t.TempDir()
	store := filepath.Join(dir, "store")
	file, err := os.Create(store)
	require.NoError(t, err)
	defer file.Close()
	require.NoError(t, syscall.Flock(int(file.Fd()), syscall.LOCK_EX))
	v := launchedDurus(t, dir, "--file", store)
	require.Equal(t, exitFailure, v.ends(t))
	require.Contains(t, v.errors.String(), "another process has locked it")
	require.FileExists(t, store)
}

// A server of a store that it only reads answers loads, and tells what others change.
func TestServeDurusReadonly(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	store := filepath.Join(dir, "store")
	v := launchedDurus(t, dir, "--file", store)
	c := v.awaitDurus(t)
	require.Zero(t, c.newID())
	require.True(t, c.commit(record.Record{Data: []byte("one")}))
	reading := launchedDurus(t, other, "--file", store, "--readonly")
	r := reading.awaitDurus(t)
	status, data := r.load(0)
	require.Equal(t, []string{"O", "one"}, []string{status, data})
	require.True(t, c.commit(record.Record{Data: []byte("two")}))
	r.send('S')
	require.Equal(t, make([]byte, 8), r.read(int(8*binary.BigEndian.Uint32(r.read(4)))))
	status, data = r.load(0)
	require.Equal(t, []string{"O", "two"}, []string{status, data})
	r.send('P')
	require.Equal(t, "O", string(r.read(1)))
	require.NoError(t, r.err)
	require.False(t, r.commit(record.Record{Data: []byte("three")}))
	require.Error(t, r.err)
	r = reading.awaitDurus(t)
	r.newID()
	require.Error(t, r.err)
	status, data = c.load(0)
	require.Equal(t, []string{"O", "two"}, []string{status, data})
	r = reading.awaitDurus(t)
	r.send('Q')
	require.Zero(t, reading.ends(t), "%s", reading.errors)
	require.NotContains(t, reading.errors.String(), "collect")
}

// With --gcbytes a server collects by itself.
func TestServeDurusGCBytes(t *testing.T) {
	dir := t.TempDir()
	v := launchedDurus(t, dir, "--file", filepath.Join(dir, "store"), "--gcbytes", "1000")
	c := v.awaitDurus(t)
	require.Zero(t, c.newID())
	first := c.newID()
	require.True(t, c.commit(record.Record{Refs: []record.ID{first}}, record.Record{ID: first}))
	require.True(t, c.commit(record.Record{Data: make([]byte, 2000)}))
	require.Eventually(t, func() bool {
		c.send('S')
		return binary.BigEndian.Uint32(c.read(4)) == 1 && string(c.read(8)) == "\x00\x00\x00\x00\x00\x00\x00\x01"
	}, 30*time.Second, 5*time.Millisecond, "the collected record is reported")
}

// With --repair, a transaction that a crash has torn is left out of a migration.
func TestServeDurusRepairs(t *testing.T) {
	dir := testdir.Memory(t)
	file, store := filepath.Join(dir, "in.durus"), filepath.Join(dir, "store")
	_, err := filestorage.Write(file, func(yield func(record.Record, error) bool) {
		yield(record.Record{Data: []byte("root")}, nil)
	}, nil)
	require.NoError(t, err)
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_APPEND, 0)
	require.NoError(t, err)
	_, err = f.Write(append(binary.BigEndian.AppendUint64(nil, 100), 1, 2, 3))
	require.NoError(t, err)
	require.NoError(t, f.Close())
	before, err := os.ReadFile(file)
	require.NoError(t, err)
	args := []string{"--file", file, "--migrate", "--store", store}
	v := launchedDurus(t, dir, args...)
	require.Equal(t, exitFailure, v.ends(t))
	require.Contains(t, v.errors.String(), "it ends within a transaction")
	v = launchedDurus(t, dir, append(args, "--repair")...)
	status, data := v.awaitDurus(t).load(0)
	require.Equal(t, []string{"O", "root"}, []string{status, data})
	after, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, before, after)
}
