package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/seed-869cc763/shmkv/internal/testdir"
	"github.com/seed-869cc763/shmkv/shm"
)

func filesIn(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		if e.IsDir() {
			all[e.Name()] = "a directory"
			continue
		}
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		require.NoError(t, err)
		all[e.Name()] = string(b)
	}
	return all
}

// On a full disk no verb leaves a new or partial file, and existing files stay unchanged.
func TestFilesOnFullDisk(t *testing.T) {
	s := newStore(t)
	for i := range 3000 {
		require.NoError(t, s.Set(fmt.Append(nil, "key", i), bytes.Repeat([]byte("value"), 20)))
	}
	base := filepath.Join(t.TempDir(), "base")
	require.NoError(t, s.Backup(t.Context(), base))
	for i := range 3000 {
		require.NoError(t, s.Set(fmt.Append(nil, "key", i), bytes.Repeat([]byte("other"), 20)))
	}
	disk := testdir.Tmpfs(t, "size=16k")
	for _, c := range []struct {
		name string
		args []string
		over bool // replaces a file
	}{
		{"dump", []string{"dump", s.Path(), disk + "/dump"}, true},
		{"map.svg", []string{"map", s.Path(), "--output", disk + "/map.svg"}, true},
		{"map.png", []string{"map", s.Path(), "--output", disk + "/map.png"}, true},
		{"diff", []string{"backup", s.Path(), disk + "/diff", "--since", base}, false},
		{"shmctl-backup.1", []string{"man", disk}, true},
	} {
		for _, there := range []bool{false, true} {
			if there && !c.over {
				continue
			}
			before := map[string]string{"filler": strings.Repeat("f", 12<<10)}
			if c.name == "map.png" {
				before["filler"] = strings.Repeat("f", 16<<10)
			}
			if there {
				before[c.name] = ""
			}
			for name, content := range before {
				require.NoError(t, os.WriteFile(filepath.Join(disk, name), []byte(content), 0o600))
			}
			code, out, stderr := runs("", c.args...)
			require.Equal(t, exitFull, code, "%s: %s", c.name, stderr)
			require.Empty(t, out)
			require.Contains(t, stderr, "no space left on device")
			require.Contains(t, stderr, disk+"/")
			require.NotContains(t, stderr, ".tmp-")
			require.NotContains(t, stderr, "store is full", "it is not the store")
			after := filesIn(t, disk)
			if c.args[0] == "man" { // each page is complete or missing
				for name, page := range after {
					if strings.HasSuffix(name, ".1") && page != "" {
						require.Contains(t, page, "SEE ALSO")
						delete(after, name)
						delete(before, name)
					}
				}
			}
			require.Equal(t, before, after, c.name)
			for name := range filesIn(t, disk) {
				require.NoError(t, os.Remove(filepath.Join(disk, name)))
			}
		}
	}
	code, _, stderr := runs("", "dump", s.Path(), t.TempDir()+"/dump")
	require.Equal(t, exitOK, code, stderr)
}

// writeFile replaces a file as a whole, keeps its permissions, and keeps a link to it. It
// writes directly to a file that is not regular.
func TestWriteFile(t *testing.T) {
	defer unix.Umask(unix.Umask(0o027))
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	whole := func(w io.Writer) error {
		_, err := io.WriteString(w, "whole")
		return err
	}
	mode := func() fs.FileMode {
		st, err := os.Stat(path)
		require.NoError(t, err)
		return st.Mode().Perm()
	}
	require.NoError(t, writeFile(t.Context(), path, whole))
	require.Equal(t, fs.FileMode(0o640), mode())
	require.NoError(t, os.Chmod(path, 0o604))
	require.NoError(t, os.Symlink("file", filepath.Join(dir, "link")))
	require.NoError(t, writeFile(t.Context(), filepath.Join(dir, "link"), func(w io.Writer) error {
		require.NoError(t, whole(w))
		require.Equal(t, "whole", filesIn(t, dir)["file"], "the old one is there until the new one is complete")
		return whole(w)
	}))
	require.Equal(t, map[string]string{"file": "wholewhole", "link": "wholewhole"}, filesIn(t, dir))
	require.Equal(t, fs.FileMode(0o604), mode())
	target, err := os.Readlink(filepath.Join(dir, "link"))
	require.NoError(t, err)
	require.Equal(t, "file", target)
	if os.Getuid() == 0 {
		require.NoError(t, os.Chown(path, 65533, 65534))
		require.NoError(t, writeFile(t.Context(), path, whole))
		st, err := os.Stat(path)
		require.NoError(t, err)
		owner := st.Sys().(*syscall.Stat_t)
		require.Equal(t, [2]uint32{65533, 65534}, [2]uint32{owner.Uid, owner.Gid})
	}

	// An error, an interrupt or a panic leaves no file.
	before := filesIn(t, dir)
	for _, path := range []string{path, filepath.Join(dir, "new")} {
		err := writeFile(t.Context(), path, func(w io.Writer) error {
			require.NoError(t, whole(w))
			return syscall.ENOSPC
		})
		require.ErrorIs(t, err, shm.ErrFull)
		ctx, cancel := context.WithCancel(t.Context())
		require.ErrorIs(t, writeFile(ctx, path, func(w io.Writer) error {
			require.NoError(t, whole(w))
			cancel()
			return whole(w)
		}), context.Canceled)
		ctx, cancel = context.WithCancel(t.Context())
		require.ErrorIs(t, writeFile(ctx, path, func(w io.Writer) error {
			defer cancel()
			return whole(w)
		}), context.Canceled)
		require.Panics(t, func() { _ = writeFile(t.Context(), path, func(io.Writer) error { panic("half of it") }) })
		require.Equal(t, before, filesIn(t, dir))
	}
	require.ErrorIs(t, writeFile(t.Context(), dir+"/missing/file", whole), fs.ErrNotExist)
	require.ErrorIs(t, writeFile(t.Context(), dir, whole), syscall.EISDIR)

	pipe := filepath.Join(dir, "pipe")
	require.NoError(t, syscall.Mkfifo(pipe, 0o600))
	r, err := os.OpenFile(pipe, os.O_RDWR, 0)
	require.NoError(t, err)
	defer func() { _ = r.Close() }()
	require.NoError(t, writeFile(t.Context(), pipe, whole))
	b := make([]byte, 5)
	_, err = io.ReadFull(r, b)
	require.NoError(t, err)
	require.Equal(t, "whole", string(b))
}

// writeNew leaves no file if it cannot write or name it, and overwrites no file.
func TestWriteNew(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	_, err := writeNew(t.Context(), path, func(w io.Writer) error {
		_, err := w.Write([]byte("half"))
		require.NoError(t, err)
		return syscall.ENOSPC
	})
	require.ErrorIs(t, err, shm.ErrFull)
	_, err = writeNew(t.Context(), path, func(io.Writer) error { return os.WriteFile(path, []byte("another's"), 0o600) })
	require.ErrorIs(t, err, os.ErrExist)
	n, err := writeNew(t.Context(), filepath.Join(dir, "other"), func(w io.Writer) error {
		_, err := w.Write([]byte("whole"))
		return err
	})
	require.NoError(t, err)
	require.EqualValues(t, 5, n)
	for name, want := range map[string]string{"file": "another's", "other": "whole"} {
		got, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		require.Equal(t, want, string(got))
	}
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 2)
}

// If the path refers to an open file, such as /dev/stdout, writeFile writes to that file at
// its current offset.
func TestDumpToStandardOutput(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out")
	f, err := os.Create(out)
	require.NoError(t, err)
	defer func() { _ = f.Close() }()
	require.NoError(t, writeFile(t.Context(), fmt.Sprint("/dev/fd/", f.Fd()), func(w io.Writer) error {
		_, err := io.WriteString(w, "dumped")
		return err
	}))
	st, err := f.Stat()
	require.NoError(t, err)
	require.EqualValues(t, 6, st.Size(), "the file that is open was written to")
	require.Equal(t, map[string]string{"out": "dumped"}, filesIn(t, filepath.Dir(out)))
}

// An interrupted verb keeps the existing file.
func TestFilesAreInterrupted(t *testing.T) {
	s := newStore(t)
	require.NoError(t, s.Set([]byte("key"), []byte("value")))
	base := filepath.Join(t.TempDir(), "base")
	require.NoError(t, s.Backup(t.Context(), base))
	dir := t.TempDir()
	for _, name := range []string{"dump", "map.svg", "shmctl.1"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte("old"), 0o600))
	}
	before := filesIn(t, dir)
	for _, args := range [][]string{
		{"dump", s.Path(), dir + "/dump"},
		{"map", s.Path(), "--output", dir + "/map.svg"},
		{"backup", s.Path(), dir + "/diff", "--since", base},
		{"man", dir},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		root := newRoot()
		root.SetArgs(args)
		require.ErrorIs(t, root.ExecuteContext(ctx), errInterrupted, "%v", args)
		require.Equal(t, before, filesIn(t, dir))
	}
	cmd := newDump()
	cmd.SetContext(t.Context())
	require.ErrorIs(t, interruptible(cmd, func(ctx context.Context) error {
		return writeFile(ctx, dir+"/dump", func(w io.Writer) error {
			require.NoError(t, syscall.Kill(os.Getpid(), syscall.SIGTERM))
			<-ctx.Done()
			_, err := io.WriteString(w, "new")
			return err
		})
	}), errInterrupted)
	require.Equal(t, before, filesIn(t, dir))
}
