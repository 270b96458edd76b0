// The race detector sees nothing of a mapping, and slows processes down.

//go:build !race

package shm

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"hash/crc64"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/internal/testdir"
)

// backup makes a backup of a store that may be damaged, and compares it with a
// sound one, both ways. What was made is sound.
func (g *guest) backup(t testing.TB, base *Snapshot) {
	dir := testdir.Memory(t)
	g.doing = "making a backup"
	err := g.s.Backup(context.Background(), dir+"/backup")
	g.clear("making a backup", err)
	if err == nil {
		b, err := Open(dir+"/backup", &Options{ReadOnly: true})
		require.NoError(t, err)
		checkSound(t, b)
		require.NoError(t, b.Close())
	}
	g.doing = "comparing backups"
	err = g.s.View(func(sn *Snapshot) error {
		_, there := sn.BackupSince(context.Background(), base, io.Discard, nil)
		_, back := base.BackupSince(context.Background(), sn, io.Discard, nil)
		return errors.Join(there, back)
	})
	if !errors.Is(err, ErrUnrelated) {
		g.clear("comparing backups", err)
	}
}

// FuzzBackupDamaged makes backups of damaged stores, and differences since them
// and from them.
func FuzzBackupDamaged(f *testing.F) {
	someMutations(f, mutNodes)
	f.Fuzz(func(t *testing.T, base uint8, mutations []byte) {
		m := images()[int(base)%len(images())]
		sound, err := Open(m.damage(nil).write(t), nil)
		require.NoError(t, err)
		defer func() { require.NoError(t, sound.Close()) }()
		require.NoError(t, sound.View(func(sn *Snapshot) error {
			path := m.damage(mutations).write(t)
			visit(t, path, func(g *guest) {
				if g.open(path, &Options{ReadOnly: true}) {
					g.backup(t, sn)
					g.close()
				}
			})
			return nil
		}))
	})
}

// Whatever stands in a difference whose checksum is right, what comes of it is a
// sound store or a clear error.
func TestHostileDifference(t *testing.T) {
	rng := newRand(t)
	dir := testdir.Memory(t)
	s := mustOpen(dir+"/store", nil)
	defer func() { require.NoError(t, s.Close()) }()
	for i := range 30 {
		require.NoError(t, s.Set(imageKey(i), imageValue(i)))
	}
	base, err := s.Snapshot()
	require.NoError(t, err)
	defer func() { require.NoError(t, base.Close()) }()
	for i := range 5 {
		require.NoError(t, s.Set(imageKey(i*10), imageValue(i)))
		_, err := s.Delete(imageKey(i + 20))
		require.NoError(t, err)
	}
	var d bytes.Buffer
	require.NoError(t, s.View(func(sn *Snapshot) error {
		_, err := sn.BackupSince(context.Background(), base, &d, nil)
		return err
	}))
	good := 0
	for range 300 {
		bad := bytes.Clone(d.Bytes())
		for range rng.IntN(3) {
			switch at := rng.IntN(len(bad) - 8); rng.IntN(3) {
			case 0:
				bad[at] ^= 1 << rng.IntN(8)
			case 1:
				binary.LittleEndian.PutUint64(bad[at&^7:], 1<<rng.IntN(64))
			default:
				copy(bad[at:], bad[rng.IntN(len(bad)):])
			}
		}
		sum := crc64.Checksum(bad[:len(bad)-8], crc64.MakeTable(crc64.ECMA))
		binary.LittleEndian.PutUint64(bad[len(bad)-8:], sum)
		path := testdir.Memory(t) + "/restored"
		if err := base.Restore(context.Background(), path, []io.Reader{bytes.NewReader(bad)}, nil); err == nil {
			good++
			require.NoError(t, openSound(t, path).Close())
		}
	}
	t.Logf("%d of 300 were still good", good)
	require.Positive(t, good)
}

// Without write permission on procs nothing can be pinned, and so no backup made.
func TestBackupWithoutPins(t *testing.T) {
	path, dir := testdir.Memory(t), t.TempDir()
	require.NoError(t, mustOpen(path, nil).Close())
	s, err := openUnpinned(path)
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	require.ErrorIs(t, s.Backup(context.Background(), dir+"/backup"), ErrCannotPin)
	require.NoDirExists(t, dir+"/backup")
}
