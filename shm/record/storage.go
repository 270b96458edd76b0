package record

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-869cc763/shmkv/shm"
)

// Options say how to open a storage. The zero value of each field is its default.
type Options struct {
	// Name names the storage among those of a store; empty means "record". Its maps have this
	// name, and this name with ".counts" and ".books" behind it.
	Name string
	// Checkpoint says when this handle takes checkpoints of the store; nil means what the store
	// does by itself.
	Checkpoint CheckpointPolicy
	// Garbage says when this handle collects garbage; nil means Manual.
	Garbage GarbagePolicy
	// MaxChanges bounds the memory for what the sessions of this handle were not told yet, in
	// ids of about 100 bytes; 0 means 1,000,000. See ErrLagged.
	MaxChanges int
	// Store is for Open: how to open the store. Its Checkpoint must be nil if Checkpoint is not. With ReadOnly, or
	// with New in a store that is open so, sessions load and sync; what they commit, NewIDs and Pack return
	// shm.ErrReadOnly.
	Store shm.Options
}

const (
	defaultName       = "record"
	defaultMaxChanges = 1_000_000
)

// A Storage is a handle on the records of a store. It may be used by many goroutines.
type Storage struct {
	opts     Options
	log      *slog.Logger
	store    *shm.Store
	owned    bool
	maxSize  int64 // of the store, if it is owned
	owner    shm.Owner
	number   uint64 // tells this handle from others on the same open store
	recordsN string
	countsN  string
	booksN   string
	records  *shm.Map
	garbage  garbagePolicy
	keeping  keeping

	roomMu    sync.Mutex
	unbounded int // Packs under way; with roomMu

	packing chan struct{} // holds a token while no Pack of this handle runs
	used    atomic.Bool   // a session has loaded or committed since the last step of a collection

	// turn is held by whoever commits or takes a newer snapshot.
	turn      sync.Mutex
	sessions  map[*Session]struct{}
	published uint64 // the position in the client entry
	readOnly  bool   // the store is, as Open knows and after New the first session finds: there is no client entry
	closed    bool
	unfollow  func() // ends the goroutine that follows the store, while there are sessions

	// view guards known and changes. They are written with turn and view.
	view    sync.RWMutex
	known   known // without a snapshot while there is no session
	changes changes
}

// known is the newest version that a handle has looked at.
type known struct {
	head    head
	sn      *shm.Snapshot
	records *shm.MapView
	books   *shm.OrderedView
}

// handles counts the handles of this process.
var handles atomic.Uint64

// Open opens the storage in the store in the directory path, and creates both if they are
// missing. Nil options mean the defaults. Close closes the store too. A sixteenth of the store's MaxSize, and
// of its file system, but at least 512 KiB and at most 256 MiB, is kept for collections, of the file system no more than a
// quarter of the file's length or 512 KiB: commits return shm.ErrFull before.
func Open(path string, opts *Options) (*Storage, error) {
	var o Options
	if opts != nil {
		o = *opts
	}
	own, err := checkpointOf(o.Checkpoint)
	if err != nil {
		return nil, err
	}
	if own.store != nil {
		if o.Store.Checkpoint != nil {
			return nil, errors.New("record: Options.Checkpoint and Options.Store.Checkpoint are both given, expected one of them")
		}
		o.Store.Checkpoint = own.store
	}
	store, err := shm.Open(path, &o.Store)
	if err != nil {
		return nil, err
	}
	st, err := newStorage(store, o)
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	st.owned = true
	st.readOnly, st.maxSize = o.Store.ReadOnly, store.Stats().MaxSize
	st.keepRoom()
	st.keep(own.beside())
	return st, nil
}

// New opens the storage in a store, and creates it if it is missing. The store stays the
// caller's, who closes it after the Storage. Its own policy of checkpoints goes on beside
// Options.Checkpoint. Nothing is kept for collections, which fail in a full store: see Open, and
// shm.Store.SetBound.
func New(store *shm.Store, opts *Options) (*Storage, error) {
	var o Options
	if opts != nil {
		o = *opts
	}
	own, err := checkpointOf(o.Checkpoint)
	if err != nil {
		return nil, err
	}
	st, err := newStorage(store, o)
	if err != nil {
		return nil, err
	}
	st.keep(own)
	return st, nil
}

// newStorage returns a handle that does not follow its policies yet.
func newStorage(store *shm.Store, o Options) (*Storage, error) {
	garbage, err := garbageOf(o.Garbage)
	if err != nil {
		return nil, err
	}
	if o.MaxChanges < 0 {
		return nil, fmt.Errorf("record: Options.MaxChanges is %d, expected 0 or more", o.MaxChanges)
	}
	o.MaxChanges = cmp.Or(o.MaxChanges, defaultMaxChanges)
	name := cmp.Or(o.Name, defaultName)
	owner, err := store.Owner()
	if err != nil {
		return nil, err
	}
	st := &Storage{
		opts: o, store: store, owner: owner, number: handles.Add(1), garbage: garbage,
		recordsN: name, countsN: name + ".counts", booksN: name + ".books",
		log: o.Store.Logger, sessions: map[*Session]struct{}{}, packing: make(chan struct{}, 1),
	}
	if st.log == nil {
		st.log = slog.New(slog.DiscardHandler)
	}
	st.packing <- struct{}{}
	st.records = store.Map(st.recordsN)
	if err := store.View(func(sn *shm.Snapshot) error {
		_, err := readHead(sn.Ordered(st.booksN))
		return err
	}); err != nil {
		return nil, err
	}
	return st, nil
}

// Store returns the store that the records are in.
func (st *Storage) Store() *shm.Store { return st.store }

// Close closes the handle and its sessions. Calls of them that are under way in other
// goroutines end first. Later calls return shm.ErrClosed.
func (st *Storage) Close() error {
	st.turn.Lock()
	was := st.closed
	st.closed = true
	var open []*Session
	for s := range st.sessions {
		open = append(open, s)
	}
	st.turn.Unlock()
	var err error
	for _, s := range open {
		err = errors.Join(err, s.leave())
	}
	if was {
		return err
	}
	st.keeping.end()
	if st.owned {
		err = errors.Join(err, st.store.Close())
	}
	return err
}

// tables is the maps of a storage in a transaction.
type tables struct {
	records, counts *shm.TxMap
	books           *shm.TxOrdered
}

func (st *Storage) tables(tx *shm.Tx) tables {
	return tables{tx.Map(st.recordsN), tx.Map(st.countsN), tx.Ordered(st.booksN)}
}

func (m tables) setHead(h head) error { return m.books.Set(book(tagHead), h.encode()) }

// snapshot takes a snapshot of the records.
func (st *Storage) snapshot() (known, error) {
	sn, err := st.store.Snapshot()
	if err != nil {
		return known{}, err
	}
	k := known{sn: sn, records: sn.Map(st.recordsN), books: sn.Ordered(st.booksN)}
	if k.head, err = readHead(k.books); err != nil {
		return known{}, errors.Join(err, sn.Close())
	}
	return k, nil
}

// look takes a newer snapshot if there is one, and notes what changed. The caller has turn.
func (st *Storage) look() error {
	if st.store.Version() == st.known.sn.Version() {
		return nil
	}
	now, err := st.snapshot()
	if err != nil {
		return err
	}
	others, err := st.difference(now, nil)
	if err != nil {
		return errors.Join(err, now.sn.Close())
	}
	return st.know(now, func(c *changes) {
		for id, at := range others {
			c.add(id, at)
		}
	})
}

// difference returns what others have changed between the known version and a newer one. own is what
// a commit in between has written. The caller has turn.
func (st *Storage) difference(now known, own map[ID][]byte) (map[ID]change, error) {
	others := map[ID]change{}
	if now.head.stamp == st.known.head.stamp {
		return others, nil
	}
	for key, c := range now.records.Diff(st.known.records) {
		id, err := idOf(key)
		if err != nil {
			return nil, err
		}
		if value, is := own[id]; !is || c.New == nil || !bytes.Equal(value, c.New) {
			others[id] = change{stamp: now.head.stamp, collected: c.New == nil}
		}
	}
	return others, now.sn.Err()
}

// know makes a snapshot the known one. The caller has turn.
func (st *Storage) know(now known, note func(*changes)) error {
	st.view.Lock()
	old := st.known.sn
	st.known = now
	note(&st.changes)
	st.view.Unlock()
	st.giveUp()
	if old != nil {
		return old.Close()
	}
	return nil
}

// giveUp ends the sessions that are furthest behind while there are too many changes that they
// were not told of. The caller has turn.
func (st *Storage) giveUp() {
	if len(st.changes.newest) > st.opts.MaxChanges {
		st.forget()
	}
	for len(st.changes.newest) > st.opts.MaxChanges {
		least := st.least()
		if least >= st.known.head.stamp {
			return
		}
		for s := range st.sessions {
			if s.position == least && !s.lagged.Swap(true) && s.onLagged != nil {
				s.onLagged()
			}
		}
		st.forget()
	}
}

// least returns the least position of the sessions that go on. The caller has turn.
func (st *Storage) least() uint64 {
	least := st.known.head.stamp
	for s := range st.sessions {
		if !s.lagged.Load() {
			least = min(least, s.position)
		}
	}
	return least
}

// forget drops the changes that all sessions know. The caller has turn.
func (st *Storage) forget() {
	least := st.least()
	st.view.Lock()
	st.changes.forget(least)
	st.view.Unlock()
}

// clientKey is the key of the handle in the books.
func (st *Storage) clientKey() []byte { return book(tagClient, uint64(st.owner), st.number) }

// publish tells others the least position, if ids that were collected wait for it. The caller
// has turn.
func (st *Storage) publish() error {
	if st.readOnly || st.published >= st.known.head.lastGone {
		return nil
	}
	least := st.least()
	if least <= st.published {
		return nil
	}
	if err := st.store.Update(func(tx *shm.Tx) error {
		return st.tables(tx).books.Set(st.clientKey(), ID(least).key())
	}); err != nil {
		return err
	}
	st.published = least
	return nil
}

// followPause is the least time between two looks of a handle at what others have committed,
// when none of its sessions asks.
const followPause = 20 * time.Millisecond

// join begins to follow the store, for the first session. The caller has turn.
func (st *Storage) join() error {
	var at uint64
	err := st.update(func(tx *shm.Tx) error {
		m := st.tables(tx)
		h, err := readHead(m.books)
		if err != nil {
			return err
		}
		if at = h.stamp; h.importing != 0 {
			return errImporting
		}
		return m.books.Set(st.clientKey(), ID(at).key())
	})
	if errors.Is(err, shm.ErrReadOnly) {
		if err = nil; !st.owned { // or Open has set it, and keepRoom reads it without turn
			st.readOnly = true
		}
	}
	if err != nil {
		return err
	}
	st.published = at
	now, err := st.snapshot()
	switch {
	case err == nil && now.head.importing != 0: // as is found only here in a store that is open for reading
		err = errors.Join(errImporting, now.sn.Close())
	case err == nil:
		err = st.know(now, func(c *changes) { *c = changes{} })
	}
	if err != nil {
		return errors.Join(err, st.deleteClient())
	}
	ctx, cancel := context.WithCancel(context.Background())
	st.unfollow = cancel
	go st.follow(ctx, now.sn.Version())
	return nil
}

func (st *Storage) deleteClient() error {
	if st.readOnly {
		return nil
	}
	return st.store.Update(func(tx *shm.Tx) error {
		_, err := st.tables(tx).books.Delete(st.clientKey())
		return err
	})
}

// follow keeps the known snapshot from growing old, until ctx is done. It begins after a version.
func (st *Storage) follow(ctx context.Context, version uint64) {
	for {
		if _, err := st.store.Wait(ctx, version); err != nil {
			return
		}
		st.keepRoom()
		st.turn.Lock()
		if ctx.Err() != nil { // the last session has left
			st.turn.Unlock()
			return
		}
		err := st.look()
		if err == nil {
			st.forget()
			err = st.publish()
		}
		version = st.known.sn.Version()
		st.turn.Unlock()
		if err != nil {
			st.log.Warn("the changes of other processes could not be read", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(followPause):
		}
	}
}
