package main

import (
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-869cc763/shmkv/shm"
)

// The maps of a copy's store. Readers need the values only.
const (
	valuesMap  = "values"  // key → value, as in the bucket
	deletedMap = "deleted" // keys that the bucket has a deletion of
	stateMap   = "state"   // the entries "bucket" (a state) and "follower"
)

// A Copy is a host's copy of a bucket, in a store. One process of the host keeps it fresh, by
// Follow. All processes of the host read the store.
type Copy struct {
	store  *shm.Store
	bucket string
	log    *slog.Logger
}

// A state says how far a copy is. It is written in the transactions that write the changes.
type state struct {
	Created  time.Time // when the bucket was made, which tells it from a later one of its name
	Revision uint64    // the copy has all changes up to this one; 0: it must be compared in full
}

// OpenCopy opens the copy of a bucket in the directory dir, and makes it if it is missing. It
// fails if a live process has the copy open in this way.
func OpenCopy(dir, bucket string, log *slog.Logger) (*Copy, error) {
	store, err := shm.Open(dir, nil)
	if err != nil {
		return nil, err
	}
	c := &Copy{store, bucket, log}
	if err := c.claim(); err != nil {
		return nil, errors.Join(err, store.Close())
	}
	return c, nil
}

// Close closes the store, which stays as it is.
func (c *Copy) Close() error { return c.store.Close() }

// claim makes this handle the follower. The claim ends with the process, however it ends.
func (c *Copy) claim() error {
	me, err := c.store.Owner()
	if err != nil {
		return err
	}
	return c.store.Map(stateMap).Compute([]byte("follower"), func(old []byte, exists bool) ([]byte, shm.Action, error) {
		if exists && len(old) == 8 {
			alive, err := c.store.Alive(shm.Owner(binary.LittleEndian.Uint64(old)))
			if err != nil {
				return nil, shm.ActionKeep, err
			}
			if alive {
				return nil, shm.ActionKeep, fmt.Errorf("a process follows the bucket into %s already", c.store.Path())
			}
		}
		return binary.LittleEndian.AppendUint64(nil, uint64(me)), shm.ActionSet, nil
	})
}

const (
	retryAfter  = 250 * time.Millisecond // after a session that has failed
	verifyAfter = 30 * time.Second       // between two looks whether the copy is whole
	batchMost   = 256                    // changes of one transaction
)

// Follow keeps the copy fresh until ctx ends. While the server cannot be reached the copy stays
// as it is, and Follow goes on to try. An error of the store ends it, and so does a bucket that cannot be
// copied.
func (c *Copy) Follow(ctx context.Context, url string) error {
	for {
		err := c.session(ctx, url)
		var failed fatalError
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.As(err, &failed):
			return err
		}
		c.log.Info("no connection", "error", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(retryAfter):
		}
	}
}

// A fatalError is one that another connection does not mend: of the store, or of the kind of bucket.
type fatalError struct{ error }

func (e fatalError) Unwrap() error { return e.error }

// session follows the bucket through one connection, until that is cut. The client does not
// connect again by itself: a cut connection and a new process are the same case, and each
// begins with what the store knows.
func (c *Copy) session(ctx context.Context, url string) error {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	nc, err := nats.Connect(url, nats.NoReconnect(), nats.Timeout(2*time.Second),
		nats.PingInterval(2*time.Second), nats.MaxPingsOutstanding(2), // a dead connection is seen after 6 s
		nats.ClosedHandler(func(nc *nats.Conn) { end(cmp.Or(nc.LastError(), nats.ErrConnectionClosed)) }))
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	kv, err := js.KeyValue(ctx, c.bucket)
	if err != nil {
		return err
	}
	stream, err := js.Stream(ctx, "KV_"+c.bucket)
	if err != nil {
		return err
	}
	if cfg := stream.CachedInfo().Config; cfg.MaxAge != 0 && cfg.SubjectDeleteMarkerTTL == 0 {
		return fatalError{fmt.Errorf("found a bucket %s with a TTL of %v and no markers of the ends, of which a watch does not tell; expected one without a TTL, or with LimitMarkerTTL", c.bucket, cfg.MaxAge)}
	}
	for {
		err := c.watch(ctx, kv, stream)
		if errors.Is(err, errIncomplete) { // the state says so too
			continue
		}
		return cmp.Or(context.Cause(ctx), err)
	}
}

// errIncomplete: the copy is not what the changes since its revision make of it, because the
// bucket does not have all of them any more.
var errIncomplete = errors.New("the copy must be compared in full")

// watch applies what the bucket has beyond the revision of the copy, and then each change as it
// comes. If there is no such revision it compares all.
func (c *Copy) watch(ctx context.Context, kv jetstream.KeyValue, stream jetstream.Stream) error {
	info, err := stream.Info(ctx)
	if err != nil {
		return err
	}
	st, err := c.state()
	if err != nil {
		return err
	}
	var seen map[string]bool // the keys that the bucket has, while all are compared
	var opts []jetstream.WatchOpt
	if !st.Created.Equal(info.Created) || st.Revision == 0 || st.Revision > info.State.LastSeq {
		c.log.Info("compares in full")
		st = state{Created: info.Created}
		seen = map[string]bool{}
	} else {
		c.log.Info("resumes", "revision", st.Revision)
		opts = append(opts, jetstream.ResumeFromRevision(st.Revision+1))
	}
	w, err := kv.WatchAll(ctx, opts...)
	if err != nil {
		return err
	}
	defer func() { _ = w.Stop() }()

	reached := st.Revision // the revision that the copy will have; st.Revision stays 0 while all are compared
	resumed := seen == nil
	verify := time.NewTimer(verifyAfter)
	defer verify.Stop()
	tries := 0
	for {
		batch, caughtUp, err := next(ctx, w, verify.C)
		if err != nil {
			return err
		}
		for _, e := range batch {
			reached = e.Revision()
			if seen != nil {
				seen[e.Key()] = true
			}
		}
		if seen == nil {
			st.Revision = reached
		}
		if len(batch) > 0 {
			if err := c.apply(batch, st); err != nil {
				return err
			}
		}
		switch {
		case caughtUp && seen != nil:
			// Changes up to info were in the bucket when the watch began, or were replaced.
			st.Revision = max(reached, info.State.LastSeq)
			if err := c.forgetOthers(ctx, kv, seen, st); err != nil {
				return err
			}
			reached, seen = st.Revision, nil
			c.log.Info("is up to date", "revision", st.Revision)
		case caughtUp:
			verify.Reset(0)
		case batch == nil: // the timer
			now, err := stream.Info(ctx)
			if err != nil {
				return err
			}
			same, quiet, err := c.verify(now, st)
			switch {
			case err != nil:
				return err
			case quiet && same:
				if resumed {
					c.log.Info("is up to date", "revision", st.Revision)
				}
				resumed, tries = false, 0
				verify.Reset(verifyAfter)
			case quiet && !same, resumed && tries == 10:
				if err := c.apply(nil, state{}); err != nil {
					return err
				}
				return errIncomplete
			case resumed:
				tries++ // changes are on the way
				verify.Reset(100 * time.Millisecond)
			default:
				verify.Reset(verifyAfter)
			}
		}
	}
}

// next returns changes as soon as there are some, and whether they are the last of those that
// were there when the watch began. It returns none when the timer fires.
func next(ctx context.Context, w jetstream.KeyWatcher, timer <-chan time.Time) (batch []jetstream.KeyValueEntry, caughtUp bool, err error) {
	select {
	case <-ctx.Done():
		return nil, false, context.Cause(ctx)
	case <-timer:
		return nil, false, nil
	case e, ok := <-w.Updates():
		for ; ok; e, ok = <-w.Updates() {
			if e == nil { // what came before it was there when the watch began
				return batch, true, nil
			}
			if batch = append(batch, e); len(batch) == batchMost || len(w.Updates()) == 0 {
				return batch, false, nil
			}
		}
		return nil, false, errors.New("the watch has ended")
	}
}

// apply writes changes and the state in one transaction.
func (c *Copy) apply(batch []jetstream.KeyValueEntry, st state) error {
	return c.update(st, func(values, deleted *shm.TxMap) error {
		for _, e := range batch {
			key := []byte(e.Key())
			var err error
			if e.Operation() == jetstream.KeyValuePut {
				if _, err = deleted.Delete(key); err == nil {
					err = values.Set(key, e.Value())
				}
			} else if _, err = values.Delete(key); err == nil {
				err = deleted.Set(key, nil)
			}
			if err != nil {
				return fmt.Errorf("key %q: %w", e.Key(), err)
			}
		}
		return nil
	})
}

func (c *Copy) update(st state, fn func(values, deleted *shm.TxMap) error) error {
	text, err := json.Marshal(st)
	if err != nil {
		return err
	}
	err = c.store.Update(func(tx *shm.Tx) error {
		if err := fn(tx.Map(valuesMap), tx.Map(deletedMap)); err != nil {
			return err
		}
		return tx.Map(stateMap).Set([]byte("bucket"), text)
	})
	if err != nil {
		return fatalError{err}
	}
	return nil
}

// state returns the state of the copy, which is the zero state for a new one.
func (c *Copy) state() (st state, err error) {
	text, err := c.store.Map(stateMap).Get([]byte("bucket"))
	switch {
	case errors.Is(err, shm.ErrNotFound):
		return st, nil
	case err != nil:
		return st, fatalError{err}
	}
	if err := json.Unmarshal(text, &st); err != nil {
		return st, fatalError{fmt.Errorf("the state of the copy: %w", err)}
	}
	return st, nil
}

// forgetOthers ends a full comparison: it deletes the keys that the bucket does not have.
func (c *Copy) forgetOthers(ctx context.Context, kv jetstream.KeyValue, seen map[string]bool, st state) error {
	var values, deleted []string
	err := c.store.View(func(sn *shm.Snapshot) error {
		for key := range sn.Map(valuesMap).All() {
			if !seen[string(key)] {
				values = append(values, string(key))
			}
		}
		for key := range sn.Map(deletedMap).All() {
			if !seen[string(key)] {
				deleted = append(deleted, string(key))
			}
		}
		return sn.Err()
	})
	if err != nil {
		return fatalError{err}
	}
	var gone []string
	for _, key := range values {
		// A key that was written since the watch began is not seen yet, but it is there.
		switch _, err := kv.Get(ctx, key); {
		case errors.Is(err, jetstream.ErrKeyNotFound):
			gone = append(gone, key)
		case err != nil:
			return err
		}
	}
	return c.update(st, func(v, d *shm.TxMap) error {
		for _, key := range gone {
			if _, err := v.Delete([]byte(key)); err != nil {
				return err
			}
		}
		for _, key := range deleted {
			if _, err := d.Delete([]byte(key)); err != nil {
				return err
			}
		}
		return nil
	})
}

// verify reports whether the copy has the keys of the bucket. The copy has them all if it has got
// each change since its revision, and the bucket is at that revision (quiet). What it may have
// beyond that are keys whose deletion was itself removed from the bucket before the copy got it.
// Then it has more keys, deleted ones counted, than the bucket.
func (c *Copy) verify(now *jetstream.StreamInfo, st state) (same, quiet bool, err error) {
	if !now.Created.Equal(st.Created) {
		return false, true, nil
	}
	n := uint64(c.store.Map(valuesMap).Len() + c.store.Map(deletedMap).Len())
	return n == now.State.NumSubjects, st.Revision == now.State.LastSeq, nil
}
