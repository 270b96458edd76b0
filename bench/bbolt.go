package main

import (
	"bytes"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/bbolt"
)

// A boltTable is a bbolt database, without flushes unless its task asks for them. Only one process at a time can have it
// open.
type boltTable struct {
	db *bbolt.DB
	// commit is db.Update, or db.Batch, which commits the functions of several goroutines together.
	commit func(func(*bbolt.Tx) error) error
}

var bucketName = []byte("bench")

func openBolt(t task) (table, error) {
	if t.work == "load" {
		if err := os.Mkdir(t.path, 0o700); err != nil {
			return nil, err
		}
	}
	lax := t.sync != syncEach && t.sync != syncBatched
	db, err := bbolt.Open(filepath.Join(t.path, "bolt"), 0o600, &bbolt.Options{
		Timeout: time.Second, NoSync: lax, NoFreelistSync: true, NoGrowSync: lax, FreelistType: bbolt.FreelistMapType,
	})
	if err != nil {
		return nil, err
	}
	b := boltTable{db, db.Update}
	if t.sync == syncBatched {
		b.commit = db.Batch
	}
	if t.work != "load" {
		return b, nil
	}
	return b, db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucket(bucketName)
		return err
	})
}

func (b boltTable) read(dst, key []byte) ([]byte, error) {
	tx, err := b.db.Begin(false)
	if err != nil {
		return dst, err
	}
	value := tx.Bucket(bucketName).Get(key)
	dst, err = copyOut(dst, value, value != nil)
	tx.Rollback()
	return dst, err
}

func (b boltTable) write(key, value []byte) error {
	return b.commit(func(tx *bbolt.Tx) error { return tx.Bucket(bucketName).Put(key, value) })
}

func (b boltTable) sync() error { return b.db.Sync() }

func (b boltTable) remove(key []byte) error {
	return b.db.Update(func(tx *bbolt.Tx) error {
		bucket := tx.Bucket(bucketName)
		if bucket.Get(key) == nil {
			return errAbsent
		}
		return bucket.Delete(key)
	})
}

func (b boltTable) readMany(keys [][]byte, each func(j int, value []byte) error) error {
	return b.db.View(func(tx *bbolt.Tx) error {
		bucket := tx.Bucket(bucketName)
		for j, key := range keys {
			if err := each(j, bucket.Get(key)); err != nil {
				return err
			}
		}
		return nil
	})
}

// writeMany copies each entry, because bbolt refers to the keys and values until the commit.
func (b boltTable) writeMany(n int, entry func(j int) (key, value []byte)) error {
	return b.db.Update(func(tx *bbolt.Tx) error {
		bucket := tx.Bucket(bucketName)
		for j := range n {
			key, value := entry(j)
			both := append(append(make([]byte, 0, len(key)+len(value)), key...), value...)
			if err := bucket.Put(both[:len(key)], both[len(key):]); err != nil {
				return err
			}
		}
		return nil
	})
}

func (b boltTable) view() (find func(key []byte) ([]byte, error), end func() error, err error) {
	tx, err := b.db.Begin(false)
	if err != nil {
		return nil, nil, err
	}
	bucket := tx.Bucket(bucketName)
	find = func(key []byte) ([]byte, error) {
		value := bucket.Get(key)
		if value == nil {
			return nil, errAbsent
		}
		return value, nil
	}
	return find, tx.Rollback, nil
}

func (b boltTable) scan(each func(key, value []byte) error) error {
	return b.db.View(func(tx *bbolt.Tx) error { return tx.Bucket(bucketName).ForEach(each) })
}

func (b boltTable) ascend(from []byte, n int, each func(key, value []byte) error) error {
	return b.db.View(func(tx *bbolt.Tx) error {
		cursor := tx.Bucket(bucketName).Cursor()
		key, value := cursor.Seek(from)
		for range n {
			if key == nil {
				return nil
			}
			if err := each(key, value); err != nil {
				return err
			}
			key, value = cursor.Next()
		}
		return nil
	})
}

func (b boltTable) near(rel relation, dst, limit []byte) (key, value []byte, err error) {
	err = b.db.View(func(tx *bbolt.Tx) error {
		cursor := tx.Bucket(bucketName).Cursor()
		switch rel {
		case minimum:
			key, value = cursor.First()
		case higher:
			if key, value = cursor.Seek(limit); bytes.Equal(key, limit) {
				key, value = cursor.Next()
			}
		case floor:
			switch key, value = cursor.Seek(limit); {
			case key == nil:
				key, value = cursor.Last()
			case !bytes.Equal(key, limit):
				key, value = cursor.Prev()
			}
		}
		if key == nil {
			return errAbsent
		}
		key, value = copyEntry(dst, key, value)
		return nil
	})
	return key, value, err
}

func (b boltTable) close() error { return b.db.Close() }
