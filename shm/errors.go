package shm

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/seed-869cc763/shmkv/alloc"
	"github.com/seed-869cc763/shmkv/alloc/layout"
	"github.com/seed-869cc763/shmkv/alloc/region"
	"github.com/seed-869cc763/shmkv/node"
)

// The errors of this package. Test for them with errors.Is. A returned error wraps one of
// them and names the operation, the store, what was found and what was expected.
var (
	// ErrNotFound: the key is not in the store. Get and its like return it
	// bare, so that a miss costs no allocation.
	ErrNotFound = errors.New("key not found")
	// ErrClosed: the store, snapshot or transaction was closed; or the store was
	// rewritten, which a handle without write permission on procs does not prevent.
	ErrClosed = alloc.ErrClosed
	// ErrReadOnly: a write through a store opened with ReadOnly, or a backup opened
	// without ReadOnly.
	ErrReadOnly = alloc.ErrReadOnly
	// ErrCannotPin: Snapshot, View, GetMany, Wait, or another call that pins a version,
	// without write permission on the file procs. Owner, Alive and the calls of a Bell
	// need that too.
	ErrCannotPin = alloc.ErrCannotPin
	// ErrExist: Options.Exclusive, and the store is there. It matches
	// fs.ErrExist.
	ErrExist error = existError{}
	// ErrFull: no space is left, because MaxSize was reached or the file
	// system is full. Nothing was changed; reads go on, and writes do once
	// space was freed.
	ErrFull = alloc.ErrFull
	// ErrTooLarge: a key above MaxKey, a value above MaxValue, a map's name above MaxName, a value that a store of
	// its MaxSize can never hold, or a MaxSize above MaxStore.
	ErrTooLarge = node.ErrTooLarge
	// ErrCorrupt: the files are damaged, or are not a store. An error for a path
	// where there is something other than a store matches fs.ErrNotExist too.
	ErrCorrupt = region.ErrCorrupt
	// ErrVersion: the files are a store of another format version or geometry.
	ErrVersion = layout.ErrVersion
	// ErrTooManyProcesses: MaxProcesses handles are open, or closed with snapshots that are
	// open.
	ErrTooManyProcesses = alloc.ErrTooManyProcesses
	// ErrTooManyWriters: MaxWriters transactions are under way.
	ErrTooManyWriters = alloc.ErrTooManyWriters
	// ErrInUse: Rewrite while others are attached, or Open while a process rewrites
	// the store.
	ErrInUse = alloc.ErrInUse
	// ErrRecover: the system has crashed while the store was open for writing, and this
	// opening cannot recover it: it is read-only, or there is no checkpoint.
	ErrRecover = alloc.ErrRecover
	// ErrFlush: the system could not write the store to the disk. See [Store.Sync].
	ErrFlush = alloc.ErrFlush
	// ErrMoved: a write to a store whose files were removed, by rm or by
	// systemd-logind, while this handle had them open. A process that opens the
	// path later finds no store there, or another one, so the write would be lost. Writes that begin within a second of the removal may still succeed.
	// Reads go on. To go on writing, close the handle and open the path again.
	ErrMoved = alloc.ErrMoved
	// ErrUnrelated: BackupSince with a base that is not a backup of the store,
	// Restore with a difference whose base is not the one before it, or Diff of
	// snapshots of two stores.
	ErrUnrelated = errors.New("do not belong together")
	// ErrNested: a write to the store by a goroutine that is in a function of
	// Update, Compute or Modify of the same handle, by other means than the transaction.
	// The transaction could never commit.
	ErrNested = errors.New("a write inside of Update or Compute")
	// ErrKind: Map for the name of an ordered map, or Ordered for that of a hash map.
	ErrKind = errors.New("a map of another kind")
	// ErrConflict: another commit came first MaxRuns times in a row. The function of
	// Update, Compute or Modify waits for another write to the store, as a rule. Other
	// writes do not return it.
	ErrConflict = errors.New("overtaken by other commits")
	// ErrTooManySnapshots: all processes together use MaxSnapshots pins. Snapshots of one
	// handle on one version share a pin. A View or GetMany has one of its own while it
	// runs; when all are taken it shares one with other readers of the version through the
	// handle.
	ErrTooManySnapshots = alloc.ErrTooManyPins
)

// Limits.
const (
	MaxKey       = node.MaxKeyLen     // bytes of a key
	MaxValue     = node.MaxValueLen   // bytes of a value
	MaxName      = 255                // bytes of a map's name
	MaxStore     = layout.MaxSize     // bytes that Options.MaxSize can be: 16 TiB
	MaxProcesses = layout.MaxProcs    // open handles on a store
	MaxWriters   = layout.MaxSlots    // transactions under way at one time
	MaxSnapshots = layout.MaxSnapPins // pins of snapshots, Views and GetManys at one time
	MaxRuns      = 1000               // runs of a function of Update or Compute
)

func errConflict() error {
	return fmt.Errorf("%w %d times in a row; does a function wait for another write to this store?", ErrConflict, MaxRuns)
}

type existError struct{}

func (existError) Error() string        { return "store exists already" }
func (existError) Is(target error) bool { return target == fs.ErrExist }

// fail wraps an error with the operation and the path of the store. In a closed handle the
// error is ErrClosed, whatever was found.
func (s *Store) fail(op string, err error) error {
	if s.a.Closed() {
		err = ErrClosed
	}
	return s.failAt(op, err)
}

// failAt is fail for the reading of a pinned version, which a Close does not disturb.
func (s *Store) failAt(op string, err error) error {
	return fmt.Errorf("shm: %s %s: %w", op, s.path, err)
}
