/*
 * LMDB. Unless the task asks for durable commits, the environment is opened with MDB_NOSYNC|MDB_WRITEMAP, its fastest
 * setting: nothing is flushed, as nothing is in the store it stands beside. Durable commits take its default flags.
 */
#include "child.h"
#include <lmdb.h>

static MDB_env *env;
static MDB_dbi dbi;
static __thread MDB_txn *reading; /* the thread's read transaction: reset and renewed, or held */

/* status ends the program at whatever is no answer. */
static int status(int rc) {
	switch (rc) {
	case 0: return OK;
	case MDB_NOTFOUND: return ABSENT;
	case MDB_MAP_FULL: return FULL;
	}
	die(work, mdb_strerror(rc));
	return rc;
}

static MDB_val keyOf(uint64_t index) {
	putKey(index);
	return (MDB_val){KEY, key};
}

/* --- writing --- */

static int put(MDB_txn *txn, uint64_t index, uint64_t stamp) {
	MDB_val k = keyOf(index), v = {valueBytes, value};
	putValue(index, stamp);
	return mdb_put(txn, dbi, &k, &v, 0);
}

static int end(MDB_txn *txn, int rc) {
	if (rc) {
		mdb_txn_abort(txn);
		return status(rc);
	}
	return status(mdb_txn_commit(txn));
}

static MDB_txn *begin(void) {
	MDB_txn *txn;
	status(mdb_txn_begin(env, NULL, 0, &txn));
	return txn;
}

static int set(uint64_t index, uint64_t stamp) {
	MDB_txn *txn = begin();
	return end(txn, put(txn, index, stamp));
}

static int setMany(int count, uint64_t stamp) {
	MDB_txn *txn = begin();
	int rc = 0;
	for (int j = 0; j < count && !rc; j++)
		rc = put(txn, indices[j], stamp);
	return end(txn, rc);
}

static int syncEnv(void) { return status(mdb_env_sync(env, 1)); }

static int delete(uint64_t index) {
	MDB_txn *txn = begin();
	MDB_val k = keyOf(index);
	return end(txn, mdb_del(txn, dbi, &k, NULL));
}

/* --- reading --- */

/* lookup finds a key in the transaction open now and copies its value out. */
static int lookup(uint64_t index) {
	MDB_val k = keyOf(index), v;
	int rc = mdb_get(reading, dbi, &k, &v);
	if (rc)
		return status(rc);
	copyOut(v.mv_data, v.mv_size);
	return OK;
}

static int check(uint64_t index) {
	MDB_val k = keyOf(index), v;
	int rc = mdb_get(reading, dbi, &k, &v);
	if (rc)
		return status(rc);
	checkValue(v.mv_data, v.mv_size, index);
	return OK;
}

/* renew opens the thread's transaction on what is newest. */
static int renew(void) {
	if (reading)
		return status(mdb_txn_renew(reading));
	return status(mdb_txn_begin(env, NULL, MDB_RDONLY, &reading));
}

static void reset(void) { mdb_txn_reset(reading); }

static int get(uint64_t index) {
	renew();
	int rc = lookup(index);
	reset();
	return rc;
}

static int getMany(void) {
	int rc = renew();
	for (uint64_t j = 0; j < batch && !rc; j++) {
		if ((rc = lookup(indices[j])) == OK)
			checkValue(copy, copied, indices[j]);
	}
	reset();
	return rc;
}

static int scan(void) {
	MDB_cursor *cursor;
	MDB_val k, v;
	int rc;
	renew();
	status(mdb_cursor_open(reading, dbi, &cursor));
	while (!(rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT)))
		scanned(k.mv_data, v.mv_data, v.mv_size);
	mdb_cursor_close(cursor);
	reset();
	return rc == MDB_NOTFOUND ? OK : status(rc);
}

/* --- in the order of the keys --- */

static __thread MDB_cursor *cursor; /* the thread's, renewed with its transaction */

static void renewCursor(void) {
	renew();
	status(cursor ? mdb_cursor_renew(reading, cursor) : mdb_cursor_open(reading, dbi, &cursor));
}

static int ascend(uint64_t index, uint64_t count) {
	MDB_val k = keyOf(index), v;
	renewCursor();
	int rc = mdb_cursor_get(cursor, &k, &v, index == BEGINNING ? MDB_FIRST : MDB_SET_RANGE);
	while (!rc) {
		visited(k.mv_data, v.mv_data, v.mv_size);
		if (!--count)
			break;
		rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT);
	}
	reset();
	return rc == MDB_NOTFOUND ? OK : status(rc);
}

static int isLimit(const MDB_val *k) { return !memcmp(k->mv_data, key, KEY); }

static int near(enum relation relation, uint64_t index) {
	MDB_val k = keyOf(index), v;
	renewCursor();
	int rc = mdb_cursor_get(cursor, &k, &v, relation == MIN ? MDB_FIRST : MDB_SET_RANGE);
	if (relation == HIGHER && !rc && isLimit(&k))
		rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT);
	else if (relation == FLOOR && rc == MDB_NOTFOUND)
		rc = mdb_cursor_get(cursor, &k, &v, MDB_LAST);
	else if (relation == FLOOR && !rc && !isLimit(&k))
		rc = mdb_cursor_get(cursor, &k, &v, MDB_PREV);
	if (!rc)
		foundEntry(k.mv_data, v.mv_data, v.mv_size);
	reset();
	return status(rc);
}

/* --- the environment --- */

static void openEnv(void) {
	MDB_txn *txn;
	int loads = !strcmp(work, "load");
	unsigned flags = !strcmp(durable, "each") ? 0 : !strcmp(durable, "call") ? MDB_NOSYNC : MDB_NOSYNC | MDB_WRITEMAP;
	if (loads && mkdir(path, 0700))
		die(path, strerror(errno));
	status(mdb_env_create(&env));
	status(mdb_env_set_mapsize(env, capacity));
	status(mdb_env_open(env, path, flags, 0600));
	status(mdb_txn_begin(env, NULL, loads ? 0 : MDB_RDONLY, &txn));
	status(mdb_dbi_open(txn, NULL, 0, &dbi));
	status(mdb_txn_commit(txn));
}

static void closeEnv(void) {
	if (cursor)
		mdb_cursor_close(cursor);
	if (reading)
		mdb_txn_abort(reading);
	mdb_env_close(env);
}

#define TEXT(x) #x
#define VERSION(a, b, c) TEXT(a) "." TEXT(b) "." TEXT(c)

static const struct store store = {
	.name = "LMDB " VERSION(MDB_VERSION_MAJOR, MDB_VERSION_MINOR, MDB_VERSION_PATCH) " from C",
	.open = openEnv, .close = closeEnv,
	.set = set, .setMany = setMany, .delete = delete, .sync = syncEnv,
	.get = get, .getMany = getMany, .scan = scan,
	.ascend = ascend, .near = near,
	.view = renew, .viewEnd = reset, .viewGet = lookup, .viewCheck = check,
	.threads = 1,
};
