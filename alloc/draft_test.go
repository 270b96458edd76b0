package alloc

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func namesIn(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// fillDraft makes an empty store in a draft.
func fillDraft(t *testing.T, d *Draft) {
	t.Helper()
	a, err := Open(d.Path(), Options{MaxSize: MinSize, Seed: &[2]uint64{8, 9}})
	require.NoError(t, err)
	require.NoError(t, a.Close())
}

// Of two drafts for one place the first that is published wins, and nothing is
// left of the other.
func TestDraftsOfTheLiving(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "store")
	one, err := NewDraft(path, 0o600)
	require.NoError(t, err)
	two, err := NewDraft(path, 0o600)
	require.NoError(t, err)
	require.Len(t, namesIn(t, dir), 2, "the second has left the first alone")
	fillDraft(t, one)
	fillDraft(t, two)
	origin := Origin{Store: [2]uint64{1, 2}, Version: 3, At: 4}
	require.NoError(t, one.Publish(origin))
	require.ErrorIs(t, two.Publish(Origin{}), fs.ErrExist)
	require.Equal(t, []string{"store"}, namesIn(t, dir))

	a, err := Open(path, Options{MustExist: true})
	require.NoError(t, err)
	require.Equal(t, origin, a.Origin())
	k0, k1 := a.Seed()
	require.Equal(t, [2]uint64{8, 9}, [2]uint64{k0, k1})
	require.NoError(t, a.Close())

	_, err = NewDraft(path, 0o600)
	require.ErrorIs(t, err, fs.ErrExist)
}

// What a dead maker has left is removed, at any stage; what only looks like it,
// or is of another place, is not.
func TestDraftsOfTheDead(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "store")
	for _, filled := range []bool{false, true} {
		d, err := NewDraft(path, 0o600)
		require.NoError(t, err)
		if filled {
			fillDraft(t, d)
		}
		require.NoError(t, d.lock.Close()) // as the kernel does
	}
	other, err := NewDraft(filepath.Join(dir, "other"), 0o600)
	require.NoError(t, err)
	require.NoError(t, other.lock.Close())
	file := filepath.Join(dir, ".store.tmp-file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	link := filepath.Join(dir, ".store.tmp-link")
	require.NoError(t, os.Symlink(other.Path(), link))

	d, err := NewDraft(path, 0o600)
	require.NoError(t, err)
	want := []string{d.Path(), other.Path(), file, link}
	for i := range want {
		want[i] = filepath.Base(want[i])
	}
	require.ElementsMatch(t, want, namesIn(t, dir))
	d.Discard()
	require.NoDirExists(t, d.Path())
}

// A sweeper that has opened a draft just before it was published finds another
// name on it, and leaves it alone.
func TestPublishedIsNotSwept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	d, err := NewDraft(path, 0o600)
	require.NoError(t, err)
	fillDraft(t, d)
	require.NoError(t, d.Publish(Origin{}))
	_, err = lockDraft(d.Path())
	require.ErrorIs(t, err, errNotDraft)
	require.NoError(t, os.Mkdir(d.Path(), 0o700)) // another draft that has got the name
	f, err := lockDraft(d.Path())
	require.NoError(t, err)
	_, err = lockDraft(d.Path())
	require.ErrorIs(t, err, errNotDraft)
	require.NoError(t, f.Close())
}

// Who has opened a store's directory finds out that another was put in its place,
// also if the process that did it died at once; then the next one sweeps.
func TestReplacedWhileItIsOpened(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "store")
	a, err := Open(path, Options{})
	require.NoError(t, err)
	require.NoError(t, a.Close())
	early, err := openDir(path, Options{})
	require.NoError(t, err)
	late, err := openDir(path, Options{})
	require.NoError(t, err)

	old, err := Open(path, Options{ReadOnly: true})
	require.NoError(t, err)
	require.NoError(t, old.Alone())
	d, err := NewReplacement(path, 0o600)
	require.NoError(t, err)
	next, err := Open(d.Path(), Options{Successor: old})
	require.NoError(t, err)
	require.NoError(t, next.Close())
	_, err = openIn(early, path, Options{})
	require.ErrorIs(t, err, ErrInUse)
	require.ErrorContains(t, err, "being rewritten")
	gone, err := d.exchange(old.b.(*files), Origin{})
	require.NoError(t, err)
	require.NoError(t, gone.Unmap())
	require.NoError(t, d.lock.Close()) // as the kernel does
	require.NoError(t, old.Close())

	_, err = openIn(late, path, Options{})
	require.ErrorIs(t, err, ErrInUse)
	require.ErrorContains(t, err, "rewritten meanwhile")
	a, err = Open(path, Options{})
	require.NoError(t, err)
	require.Equal(t, old.ID(), a.ID())
	require.NoError(t, a.Close())
	require.Len(t, namesIn(t, dir), 2, "the old one is there still")
	d, err = NewReplacement(path, 0o600)
	require.NoError(t, err)
	require.ElementsMatch(t, []string{"store", filepath.Base(d.Path())}, namesIn(t, dir))
	d.Discard()
}

// A store that was moved while its successor was made, and another one put there,
// is left alone, and so is that.
func TestReplacedByItsOwner(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "store")
	a, err := Open(path, Options{})
	require.NoError(t, err)
	require.NoError(t, a.Close())
	old, err := Open(path, Options{ReadOnly: true})
	require.NoError(t, err)
	require.NoError(t, old.Alone())
	d, err := NewReplacement(path, 0o600)
	require.NoError(t, err)
	fillDraft(t, d)
	require.NoError(t, os.Rename(path, path+"-old"))
	require.NoError(t, os.Mkdir(path, 0o700))
	require.ErrorIs(t, d.Replace(old, Origin{}), ErrInUse)
	require.NoError(t, old.Close())
	require.Equal(t, []string{"store", "store-old"}, namesIn(t, dir))
	require.Empty(t, namesIn(t, path))
	a, err = Open(path+"-old", Options{})
	require.NoError(t, err)
	require.NoError(t, a.Close())
}
