package shm

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/seed-869cc763/shmkv/alloc"
	"github.com/seed-869cc763/shmkv/alloc/layout"
)

// Create makes a new store, which fill fills. There must be nothing at path (ErrExist),
// before and after. The store appears there as a whole when fill has returned nil, and is
// on disk by then; after an error, of fill (returned as it is) or of Create itself (ErrFull
// among them), nothing is left. A process that dies during Create leaves a hidden directory
// beside path, which the next Create at path removes.
//
// The store that fill gets is closed when fill returns. Nobody else sees it before.
// Of opts, nil for the defaults, ReadOnly and MustExist must not be set; Create and
// Exclusive are implied.
func Create(path string, opts *Options, fill func(*Store) error) error {
	if opts == nil {
		opts = &Options{}
	}
	var failed error
	err := create(path, *opts, func(s *Store) error {
		failed = fill(s)
		return failed
	})
	switch {
	case err == nil:
		return nil
	case failed != nil:
		return failed
	case errors.Is(err, fs.ErrExist):
		err = ErrExist
	}
	return fmt.Errorf("shm: creating %s: %w", path, err)
}

func create(path string, opts Options, fill func(*Store) error) error {
	opts.Create, opts.Exclusive = false, true
	if opts.Mode == 0 {
		opts.Mode = 0o600
	}
	if err := opts.check(); err != nil {
		return err
	}
	draft, err := alloc.NewDraft(path, opts.Mode)
	if err != nil {
		return err
	}
	whole := false
	defer func() {
		if !whole { // also when fill panics
			draft.Discard()
		}
	}()
	a, err := alloc.Open(draft.Path(), opts.alloc())
	if err != nil {
		return err
	}
	s := newStore(a, path)
	s.sums, s.apart = opts.sums(), opts.Apart
	defer func() { _ = s.Close() }()
	if err := fill(s); err != nil {
		return err
	}
	if err := s.Close(); err != nil {
		return err
	}
	whole = true // or discarded by Publish
	return draft.Publish(layout.Origin{})
}
