//go:build lmdb

package main

/*
#cgo LDFLAGS: -llmdb
#include <lmdb.h>
#include <string.h>

// Each operation makes one call from Go to C, which does all of its work. No binding can make fewer calls.

static int env_open(const char *path, size_t capacity, int create, unsigned flags, MDB_env **env, MDB_dbi *dbi) {
	MDB_txn *txn;
	int rc;
	if ((rc = mdb_env_create(env)) || (rc = mdb_env_set_mapsize(*env, capacity)) ||
	    (rc = mdb_env_open(*env, path, flags | MDB_NOTLS, 0600)) ||
	    (rc = mdb_txn_begin(*env, NULL, create ? 0 : MDB_RDONLY, &txn)))
		return rc;
	if ((rc = mdb_dbi_open(txn, NULL, 0, dbi))) {
		mdb_txn_abort(txn);
		return rc;
	}
	return mdb_txn_commit(txn);
}

static int begin_read(MDB_env *env, MDB_txn **txn) { return mdb_txn_begin(env, NULL, MDB_RDONLY, txn); }

// find returns the value in place.
static int find(MDB_txn *txn, MDB_dbi dbi, void *key, size_t klen, void **value, size_t *vlen) {
	MDB_val k = {klen, key}, v;
	int rc = mdb_get(txn, dbi, &k, &v);
	if (rc == 0) {
		*value = v.mv_data;
		*vlen = v.mv_size;
	}
	return rc;
}

// read_many copies the values of n keys of equal length into a buffer with equal space for each value.
static int read_many(MDB_txn *txn, MDB_dbi dbi, size_t n, char *keys, size_t klen, char *values, size_t room) {
	int rc = mdb_txn_renew(txn);
	for (size_t j = 0; j < n && !rc; j++) {
		void *value;
		size_t vlen;
		if ((rc = find(txn, dbi, keys + j * klen, klen, &value, &vlen)) == 0) {
			if (vlen != room)
				rc = MDB_BAD_VALSIZE;
			else
				memcpy(values + j * room, value, vlen);
		}
	}
	mdb_txn_reset(txn);
	return rc;
}

// write_many puts n entries of equal length in one commit.
static int write_many(MDB_env *env, MDB_dbi dbi, size_t n, char *keys, size_t klen, char *values, size_t vlen) {
	MDB_txn *txn;
	int rc = mdb_txn_begin(env, NULL, 0, &txn);
	if (rc)
		return rc;
	for (size_t j = 0; j < n && !rc; j++) {
		MDB_val k = {klen, keys + j * klen}, v = {vlen, values + j * vlen};
		rc = mdb_put(txn, dbi, &k, &v, 0);
	}
	if (rc) {
		mdb_txn_abort(txn);
		return rc;
	}
	return mdb_txn_commit(txn);
}

static int delete_one(MDB_env *env, MDB_dbi dbi, void *key, size_t klen) {
	MDB_txn *txn;
	MDB_val k = {klen, key};
	int rc = mdb_txn_begin(env, NULL, 0, &txn);
	if (rc)
		return rc;
	if ((rc = mdb_del(txn, dbi, &k, NULL))) {
		mdb_txn_abort(txn);
		return rc;
	}
	return mdb_txn_commit(txn);
}

// next_many takes up to n entries from a cursor and returns their number.
static int next_many(MDB_cursor *cursor, size_t n, MDB_val *keys, MDB_val *values, size_t *got) {
	int rc = 0;
	for (*got = 0; *got < n; ++*got)
		if ((rc = mdb_cursor_get(cursor, &keys[*got], &values[*got], MDB_NEXT)))
			break;
	return rc == MDB_NOTFOUND ? 0 : rc;
}
*/
import "C"

import (
	"errors"
	"os"
	"unsafe"
)

// An lmdbTable is LMDB through cgo, with the same settings as in C (peers/lmdb.c).
type lmdbTable struct {
	env       *C.MDB_env
	dbi       C.MDB_dbi
	reading   *C.MDB_txn // renewed and reset
	valueSize int
	keys      []byte // of a batch
	values    []byte
}

func init() { goPeers["lmdb-go"] = goPeer{open: openLMDB} }

func openLMDB(t task) (table, error) {
	if t.workers > 1 && t.work != "set" && t.work != "latency-set" {
		return nil, errUnsupported // there is one read transaction
	}
	create := C.int(0)
	if t.work == "load" {
		create = 1
		if err := os.Mkdir(t.path, 0o700); err != nil {
			return nil, err
		}
	}
	l := &lmdbTable{valueSize: t.value}
	flags := C.uint(C.MDB_NOSYNC | C.MDB_WRITEMAP)
	switch t.sync {
	case syncEach:
		flags = 0
	case syncCall:
		flags = C.MDB_NOSYNC
	}
	path := append([]byte(t.path), 0)
	if err := lmdbError(C.env_open((*C.char)(unsafe.Pointer(&path[0])), C.size_t(t.capacity), create, flags, &l.env, &l.dbi)); err != nil {
		return nil, err
	}
	err := lmdbError(C.begin_read(l.env, &l.reading))
	C.mdb_txn_reset(l.reading)
	return l, err
}

func lmdbError(rc C.int) error {
	switch rc {
	case 0:
		return nil
	case C.MDB_NOTFOUND:
		return errAbsent
	case C.MDB_MAP_FULL:
		return errFull
	}
	return errors.New("lmdb: " + C.GoString(C.mdb_strerror(rc)))
}

func startOf(b []byte) *C.char { return (*C.char)(unsafe.Pointer(unsafe.SliceData(b))) }

func (l *lmdbTable) read(dst, key []byte) ([]byte, error) {
	n := len(dst)
	if cap(dst) < n+l.valueSize {
		dst = append(dst, make([]byte, l.valueSize)...)
	}
	dst = dst[:n+l.valueSize]
	rc := C.read_many(l.reading, l.dbi, 1, startOf(key), C.size_t(len(key)), startOf(dst[n:]), C.size_t(l.valueSize))
	if rc != 0 {
		dst = dst[:n]
	}
	return dst, lmdbError(rc)
}

func (l *lmdbTable) write(key, value []byte) error {
	return lmdbError(C.write_many(l.env, l.dbi, 1, startOf(key), C.size_t(len(key)), startOf(value), C.size_t(len(value))))
}

func (l *lmdbTable) sync() error { return lmdbError(C.mdb_env_sync(l.env, 1)) }

func (l *lmdbTable) remove(key []byte) error {
	return lmdbError(C.delete_one(l.env, l.dbi, unsafe.Pointer(&key[0]), C.size_t(len(key))))
}

func (l *lmdbTable) readMany(keys [][]byte, each func(j int, value []byte) error) error {
	l.keys = l.keys[:0]
	for _, key := range keys {
		l.keys = append(l.keys, key...)
	}
	if size := len(keys) * l.valueSize; cap(l.values) < size {
		l.values = make([]byte, size)
	}
	rc := C.read_many(l.reading, l.dbi, C.size_t(len(keys)), startOf(l.keys), keyBytes, startOf(l.values), C.size_t(l.valueSize))
	if rc != 0 {
		return lmdbError(rc)
	}
	for j := range keys {
		if err := each(j, l.values[j*l.valueSize:(j+1)*l.valueSize]); err != nil {
			return err
		}
	}
	return nil
}

func (l *lmdbTable) writeMany(n int, entry func(j int) (key, value []byte)) error {
	l.keys, l.values = l.keys[:0], l.values[:0]
	for j := range n {
		key, value := entry(j)
		l.keys, l.values = append(l.keys, key...), append(l.values, value...)
	}
	return lmdbError(C.write_many(l.env, l.dbi, C.size_t(n), startOf(l.keys), keyBytes, startOf(l.values), C.size_t(l.valueSize)))
}

func (l *lmdbTable) view() (func(key []byte) ([]byte, error), func() error, error) {
	if err := lmdbError(C.mdb_txn_renew(l.reading)); err != nil {
		return nil, nil, err
	}
	var value unsafe.Pointer
	var size C.size_t
	find := func(key []byte) ([]byte, error) {
		if rc := C.find(l.reading, l.dbi, unsafe.Pointer(&key[0]), C.size_t(len(key)), &value, &size); rc != 0 {
			return nil, lmdbError(rc)
		}
		return unsafe.Slice((*byte)(value), size), nil
	}
	end := func() error {
		C.mdb_txn_reset(l.reading)
		return nil
	}
	return find, end, nil
}

func (l *lmdbTable) scan(each func(key, value []byte) error) error {
	if err := lmdbError(C.mdb_txn_renew(l.reading)); err != nil {
		return err
	}
	defer C.mdb_txn_reset(l.reading)
	var cursor *C.MDB_cursor
	if err := lmdbError(C.mdb_cursor_open(l.reading, l.dbi, &cursor)); err != nil {
		return err
	}
	defer C.mdb_cursor_close(cursor)
	const most = 256
	for {
		var keys, values [most]C.MDB_val
		var got C.size_t
		if err := lmdbError(C.next_many(cursor, most, &keys[0], &values[0], &got)); err != nil {
			return err
		}
		for j := range got {
			if err := each(valBytes(keys[j]), valBytes(values[j])); err != nil {
				return err
			}
		}
		if got < most {
			return nil
		}
	}
}

func valBytes(v C.MDB_val) []byte { return unsafe.Slice((*byte)(v.mv_data), v.mv_size) }

func (l *lmdbTable) close() error {
	C.mdb_txn_abort(l.reading)
	C.mdb_env_close(l.env)
	return nil
}
