package alloc

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/alloc/layout"
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
	a, err := Open(d.Path(), Options{MaxSize: layout.MinSize, Seed: &[2]uint64{8, 9}})
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
	origin := layout.Origin{Store: [2]uint64{1, 2}, Version: 3, At: 4}
	require.NoError(t, one.Publish(origin))
	require.ErrorIs(t, two.Publish(layout.Origin{}), fs.ErrExist)
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

// die leaves a draft as the death of its maker does.
func (d *Draft) die() { d.close() }

// What a dead maker has left is removed, at any stage; what only looks like it,
// or is of another place, is not.
func TestDraftsOfTheDead(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "store")
	for _, stage := range []func(d *Draft){
		func(d *Draft) { d.unmark() }, // before the mark was made, or at the end of a removal
		func(d *Draft) {},
		func(d *Draft) { fillDraft(t, d) },
		func(d *Draft) { // in a removal
			fillDraft(t, d)
			require.NoError(t, d.dir.Remove(nameData))
		},
	} {
		d, err := NewDraft(path, 0o600)
		require.NoError(t, err)
		stage(d)
		require.DirExists(t, d.Path())
		d.die()
	}
	other, err := NewDraft(filepath.Join(dir, "other"), 0o600)
	require.NoError(t, err)
	other.die()
	file := filepath.Join(dir, ".store.tmp-0123456789abcdef")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	link := filepath.Join(dir, ".store.tmp-"+other.digits())
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

// A directory that has the name of a draft, or nearly so, stays if it does not
// hold the mark of one: a store that its owner has put there.
func TestNoDraft(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "store")
	others := map[string]string{ // what lies in a directory, by its name
		".store.tmp-":                   "",
		".store.tmp-backup":             "",
		".store.tmp-0123456789abcde":    "",
		".store.tmp-0123456789abcdef0":  "",
		".store.tmp-0123456789ABCDEF":   "",
		".store.tmp-0123456789abcdef":   "",
		".store.tmp-000000000000000a":   "tmp-draft-000000000000000b",
		".store.tmp-000000000000000b":   "tmp-draft-",
		".store.tmp-backup.tmp-":        "tmp-draft-000000000000000b",
		".other.tmp-000000000000000c":   "tmp-draft-000000000000000c",
		".store.tmp-x-000000000000000d": "tmp-draft-000000000000000d",
	}
	for name, mark := range others {
		a, err := Open(filepath.Join(dir, name), Options{MaxSize: layout.MinSize})
		require.NoError(t, err)
		require.NoError(t, a.Close())
		if mark != "" {
			require.NoError(t, os.WriteFile(filepath.Join(dir, name, mark), nil, 0o600))
		}
	}
	for _, make := range []func(string, fs.FileMode) (*Draft, error){NewDraft, NewReplacement} {
		d, err := make(path, 0o600)
		require.NoError(t, err)
		d.Discard()
	}
	for name := range others {
		a, err := Open(filepath.Join(dir, name), Options{MustExist: true})
		require.NoError(t, err, name)
		require.NoError(t, a.Close())
	}
}

// A sweeper that has opened the mark of a draft just before it was published finds
// it removed, and leaves the store alone, and whatever has got the draft's name.
func TestPublishedIsNotSwept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	d, err := NewDraft(path, 0o600)
	require.NoError(t, err)
	fillDraft(t, d)
	early, err := os.OpenFile(filepath.Join(d.Path(), draftMark+d.digits()), os.O_RDWR, 0)
	require.NoError(t, err)
	_, err = lockMark(early)
	require.ErrorIs(t, err, errLocked)
	require.NoError(t, d.Publish(layout.Origin{}))
	require.ElementsMatch(t, []string{nameData, nameProcs}, namesIn(t, path))
	require.NoDirExists(t, d.Path())
}

// A maker that died just after it has published a store left the mark of the draft
// in it. That says nothing there, and goes when a writable handle is closed.
func TestPublishedWithItsMark(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "store")
	d, err := NewDraft(path, 0o600)
	require.NoError(t, err)
	fillDraft(t, d)
	require.NoError(t, os.Rename(d.Path(), path))
	d.die()
	next, err := NewReplacement(path, 0o600)
	require.NoError(t, err)
	next.Discard()
	require.Len(t, namesIn(t, path), 3)
	a, err := Open(path, Options{MustExist: true})
	require.NoError(t, err)
	require.NoError(t, a.Close())
	require.ElementsMatch(t, []string{nameData, nameProcs}, namesIn(t, path))
}

// Who has opened a store's directory finds out that another was put in its place,
// also if the process that did it died at once; then the next one sweeps.
func TestReplacedWhileItIsOpened(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "store")
	a, err := Open(path, Options{})
	require.NoError(t, err)
	require.NoError(t, a.Close())
	early, _, err := openDir(path, Options{})
	require.NoError(t, err)
	late, _, err := openDir(path, Options{})
	require.NoError(t, err)

	old, err := Open(path, Options{ReadOnly: true})
	require.NoError(t, err)
	require.NoError(t, old.LockExclusive())
	d, err := NewReplacement(path, 0o600)
	require.NoError(t, err)
	next, err := Open(d.Path(), Options{Successor: old})
	require.NoError(t, err)
	require.NoError(t, next.Close())
	_, err = openIn(early, path, Options{})
	require.ErrorIs(t, err, ErrInUse)
	require.ErrorContains(t, err, "being rewritten")
	gone, mark, err := d.exchange(old.b.(*files), layout.Origin{})
	require.NoError(t, err)
	require.NoError(t, gone.Unmap())
	require.NoError(t, mark.Close())
	d.die()
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

// Wherever the maker of a replacement dies, there is a whole store at the place,
// and the next draft removes the rest.
func TestReplaceKilled(t *testing.T) {
	for name, dies := range map[string]func(d *Draft, old *files){
		"old one marked": func(d *Draft, old *files) {
			mark, err := makeMark(old.dir, d.digits())
			require.NoError(t, err)
			require.NoError(t, mark.Close())
		},
		"exchanged": func(d *Draft, old *files) {
			gone, mark, err := d.exchange(old, layout.Origin{})
			require.NoError(t, err)
			require.NoError(t, gone.Unmap())
			require.NoError(t, mark.Close())
		},
		"old one removed in part": func(d *Draft, old *files) {
			gone, mark, err := d.exchange(old, layout.Origin{})
			require.NoError(t, err)
			require.NoError(t, gone.Unmap())
			require.NoError(t, mark.Close())
			d.unmark()
			require.NoError(t, old.dir.Remove(nameProcs))
		},
		"old one empty": func(d *Draft, old *files) {
			gone, mark, err := d.exchange(old, layout.Origin{})
			require.NoError(t, err)
			require.NoError(t, gone.Unmap())
			require.NoError(t, mark.Close())
			d.unmark()
			for _, n := range namesIn(t, d.Path()) {
				require.NoError(t, old.dir.Remove(n))
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "store")
			a, err := Open(path, Options{})
			require.NoError(t, err)
			require.NoError(t, a.Close())
			old, err := Open(path, Options{ReadOnly: true})
			require.NoError(t, err)
			require.NoError(t, old.LockExclusive())
			d, err := NewReplacement(path, 0o600)
			require.NoError(t, err)
			next, err := Open(d.Path(), Options{Successor: old})
			require.NoError(t, err)
			require.NoError(t, next.Close())
			dies(d, old.b.(*files))
			d.die()
			require.NoError(t, old.Close())
			require.Len(t, namesIn(t, dir), 2)

			d, err = NewReplacement(path, 0o600)
			require.NoError(t, err)
			d.Discard()
			require.Equal(t, []string{"store"}, namesIn(t, dir))
			a, err = Open(path, Options{MustExist: true})
			require.NoError(t, err)
			require.Equal(t, old.ID(), a.ID())
			require.NoError(t, a.Close())
			require.ElementsMatch(t, []string{nameData, nameProcs}, namesIn(t, path))
		})
	}
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
	require.NoError(t, old.LockExclusive())
	d, err := NewReplacement(path, 0o600)
	require.NoError(t, err)
	fillDraft(t, d)
	require.NoError(t, os.Rename(path, path+"-old"))
	require.NoError(t, os.Mkdir(path, 0o700))
	require.ErrorIs(t, d.Replace(old, layout.Origin{}), ErrInUse)
	require.NoError(t, old.Close())
	require.Equal(t, []string{"store", "store-old"}, namesIn(t, dir))
	require.Empty(t, namesIn(t, path))
	require.ElementsMatch(t, []string{nameData, nameProcs}, namesIn(t, path+"-old"))
	a, err = Open(path+"-old", Options{})
	require.NoError(t, err)
	require.NoError(t, a.Close())
}
