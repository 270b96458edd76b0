package shm

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync/atomic"

	"github.com/seed-869cc763/shmkv/alloc"
	"github.com/seed-869cc763/shmkv/alloc/layout"
	"github.com/seed-869cc763/shmkv/hamt"
	"github.com/seed-869cc763/shmkv/node"
)

// Options say how to open a store. The zero value of each field is its default.
type Options struct {
	// ReadOnly maps the data read-only. A missing store is an error then, unless Create
	// is set. A backup can only be opened with ReadOnly. Without write permission on the
	// file procs Get, GetVersion, Append, Has and Len work, and calls that pin a version
	// fail.
	ReadOnly bool
	// Create makes Open create a missing store, an empty one, also with ReadOnly. Without
	// ReadOnly it does so anyway.
	Create bool
	// MustExist makes a missing store an error that matches fs.ErrNotExist.
	MustExist bool
	// Exclusive makes an existing store an error, ErrExist. If there is something other
	// than a store, the error matches ErrExist and ErrCorrupt.
	Exclusive bool
	// Mode is the permission bits of a new store's files, before umask; 0
	// means 0600. The directory gets the same bits, and search permission for
	// users who may read. All processes that use a store need write permission on
	// the file procs, and writers on the file data.
	Mode fs.FileMode
	// MaxSize bounds a new store, in bytes of address space; 0 means 64 GiB.
	// A store that exists keeps its own: Open then logs a warning if another one
	// was asked for, and Stats tells which one is in force. Rewrite changes it.
	// It is rounded up to a multiple of 64 KiB, from 1 MiB on, and at most
	// MaxStore. A handle takes so much address space, and one that can write twice
	// as much; a process has 128 TiB on most machines. The file starts small and
	// grows as needed. A value needs a run of pages within one doubling of the
	// file, so MaxSize should be four times the largest one.
	MaxSize int64
	// HugePages says when this handle puts huge pages behind the store. The zero
	// value is HugePagesAuto.
	HugePages HugePages
	// Prefault maps the store's pages when the handle is opened. Open takes longer,
	// and the first access to each page later takes no page fault, which costs about
	// a microsecond. It needs Linux 5.14. Pages that the store gets later are not
	// prefaulted.
	Prefault bool
	// Checkpoint says when this handle takes checkpoints of a store on a disk; nil means
	// Every(10*time.Second). On a file system that is in memory there are none.
	Checkpoint CheckpointPolicy
	// Checksums makes this handle write a checksum with each entry, in 8 to 15 further
	// bytes. Check, Backup, BackupSince, Restore, Rewrite and the recovery after a crash of
	// the system verify the checksums that they meet. Reads do not, and so cost the same.
	// A store may have entries with a checksum and others without: an entry keeps the form
	// in which it was last written, and a Set of the value that it has already does not
	// write it. Copies of the store keep the checksums. Records of named maps have none,
	// because Check compares all in them with the maps.
	Checksums bool
	// Apart makes each write of one key a commit of its own. Otherwise goroutines that write
	// at the same time share commits, which gives more writes a second if they are many, and
	// lets some of them wait for others. Apart is for programs that write from no more
	// goroutines than there are processors, and for which the slowest writes count.
	Apart bool
	// Logger gets records about adoption, growth, recovery and checkpoints that failed, and
	// about a MaxSize that is not in force; nil means silence.
	Logger *slog.Logger
}

// Store is an open handle on a store. Its calls on keys, from Get to GetMany and Len, work
// on the store's unnamed hash map. Map and Ordered return the named ones. All its methods may be called by many
// goroutines at once. A process may have several handles on one store.
//
// After a fork without exec the child must not use the parent's handles; Go
// programs do not fork.
type Store struct {
	keyed // of the unnamed map
	path  string

	k0, k1  uint64
	hostile func(key []byte) uint64 // replaces the hash in tests
	hash    func(key []byte) uint64

	functions    functions
	kept         [layout.MaxSlots]atomic.Pointer[writer] // by the number of its slot
	writers      writers
	keeper       keeper
	checkpointer checkpointer
	rivals       rivals
	drops        dropPace
	views        atomic.Pointer[viewBlocks] // nil until the first View
	maxBlock     uint64                     // bytes of the largest block that the store can ever hold
	apart        bool                       // Options.Apart
	sums         uint64                     // a flag of the leaves that this handle writes: node.HasSum or 0

	repeated atomic.Uint64 // tries of reads: see Tally
}

// Open opens the store in the directory path, and creates it if it is missing. Nil
// options mean the defaults. Open completes a creation that another process has begun
// before it died, and adopts the slots of dead processes if it needs their place. While a
// process rewrites the store, Open waits for up to a second, then returns ErrInUse.
//
// A backup can only be opened with Options.ReadOnly. Otherwise the error matches
// ErrReadOnly. Restore makes a store of a backup that can be written to.
//
// Open refuses plain files, directories that hold something else, damaged files, other
// versions of the format, network file systems, and overlay. The error says what was found
// and what was expected. A store may be made in a directory that is empty or holds hidden
// files only, those whose names begin with a dot. In a container, put the store on a
// volume or a tmpfs.
func Open(path string, opts *Options) (*Store, error) {
	if opts == nil {
		opts = &Options{}
	}
	fail := func(err error) (*Store, error) { return nil, fmt.Errorf("shm: opening %s: %w", path, err) }
	if err := opts.check(); err != nil {
		return fail(err)
	}
	a, err := alloc.Open(path, opts.alloc())
	if opts.Exclusive && errors.Is(err, fs.ErrExist) && !errors.Is(err, ErrCorrupt) {
		return fail(ErrExist)
	}
	if err != nil {
		return fail(err)
	}
	s := newStore(a, path)
	s.sums, s.apart = opts.sums(), opts.Apart
	s.follow(opts.Checkpoint)
	return s, nil
}

func (o *Options) check() error {
	if err := checkPolicy(o.Checkpoint); err != nil {
		return err
	}
	if err := checkMaxSize("Options.MaxSize", o.MaxSize); err != nil {
		return err
	}
	switch {
	case o.Mode&^fs.ModePerm != 0:
		return fmt.Errorf("Options.Mode is %v, expected permission bits", o.Mode)
	case o.HugePages < HugePagesAuto || o.HugePages > HugePagesOff:
		return fmt.Errorf("Options.HugePages is %d, expected HugePagesAuto, HugePagesOn or HugePagesOff", o.HugePages)
	case o.MustExist && (o.Create || o.Exclusive):
		return errors.New("Options.MustExist contradicts Create and Exclusive")
	case o.Exclusive && o.ReadOnly && !o.Create:
		return errors.New("Options.Exclusive contradicts ReadOnly without Create")
	}
	return nil
}

// checkMaxSize refuses a maximum size that no store can have.
func checkMaxSize(name string, size int64) error {
	err := fmt.Errorf("%s is %d, expected 0 to %d", name, size, int64(MaxStore))
	switch {
	case size < 0:
		return err
	case size > MaxStore:
		return fmt.Errorf("%w: %w", ErrTooLarge, err)
	}
	return nil
}

func (o *Options) alloc() alloc.Options {
	opts := alloc.Options{
		ReadOnly:  o.ReadOnly,
		Create:    o.Create,
		MustExist: o.MustExist,
		Exclusive: o.Exclusive,
		Mode:      o.Mode,
		MaxSize:   uint64(o.MaxSize),
		HugePages: o.HugePages,
		Prefault:  o.Prefault,
		Logger:    o.Logger,
		Trace:     tracer(nil),
	}
	if o.Checkpoint != nil && o.Checkpoint.policy().commit {
		opts.Newer = newer
	}
	return opts
}

// sums returns the flag that Checksums gives to leaves.
func (o *Options) sums() uint64 {
	if o.Checksums {
		return node.HasSum
	}
	return 0
}

func newStore(a *alloc.Arena, path string) *Store {
	s := &Store{path: path, maxBlock: a.MaxBlock()}
	s.keyed = keyed{s: s, a: a}
	s.k0, s.k1 = a.Seed()
	s.hash = s.hashOf
	return s
}

func (s *Store) hashOf(key []byte) uint64 {
	if s.hostile != nil {
		return s.hostile(key)
	}
	return hamt.Hash(s.k0, s.k1, key)
}

// hashIn returns the hash of a key in a map. An ordered map needs none.
func (s *Store) hashIn(to *target, key []byte) uint64 {
	if to.ordered() {
		return 0
	}
	return s.hashOf(key)
}

// Closed reports whether the handle was closed, by Close or because the store was
// rewritten. It tells an empty store from a closed one where Len, Version and Stats
// return zeros.
func (s *Store) Closed() bool { return s.a.Closed() }

// Path returns the path that the store was opened with.
func (s *Store) Path() string { return s.path }

// Close closes the handle and does not wait for others. All later calls but Path, Info and
// Close return ErrClosed. A second Close waits for the first and returns the same.
//
// Calls that are under way in other goroutines go on: a transaction may still commit, and
// a View ends when its function returns. Snapshots that are open stay as they are until
// they are closed. The last of these calls and snapshots to end gives up what the handle
// has: its mappings, its files, its entry in the file procs and its writers' slots. If
// there are none, Close does so before it returns. So a Snapshot that is never closed keeps
// the store in use by this process, and Rewrite off, until the process ends.
//
// A Store that is not closed stays open until the process ends, even if the
// program has dropped it.
func (s *Store) Close() error {
	if s.keeper.end() {
		s.keepLast()
	}
	if err := s.a.Close(); err != nil {
		return fmt.Errorf("shm: closing %s: %w", s.path, err)
	}
	return nil
}

// Version returns the number of the latest commit, or 0 after Close. The versions
// of a store's commits follow each other without gaps. A new store has the version 1.
func (s *Store) Version() uint64 {
	v := s.a.Version()
	if s.a.Closed() {
		return 0
	}
	return v
}
