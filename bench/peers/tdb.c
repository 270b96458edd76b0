/*
 * tdb, as its fastest: robust mutexes in the mapping instead of file locks, which it allows only with
 * TDB_CLEAR_IF_FIRST. Whoever is the first to open it empties it then, so a process that serves keeps it open. It
 * changes values in place: it has no snapshots, and with mutexes no transactions either.
 */
#include "child.h"
#include <fcntl.h>
#include <sys/types.h>
#include <tdb.h>

static struct tdb_context *tdb;

static TDB_DATA keyOf(uint64_t index) {
	putKey(index);
	return (TDB_DATA){key, KEY};
}

/* status ends the program at whatever is no answer. */
static int status(int rc) {
	if (rc == 0)
		return OK;
	if (tdb_error(tdb) == TDB_ERR_NOEXIST)
		return ABSENT;
	if (tdb_error(tdb) == TDB_ERR_OOM)
		return FULL;
	die(work, tdb_errorstr(tdb));
	return rc;
}

static int set(uint64_t index, uint64_t stamp) {
	putValue(index, stamp);
	return status(tdb_store(tdb, keyOf(index), (TDB_DATA){value, valueBytes}, TDB_REPLACE));
}

static int delete(uint64_t index) { return status(tdb_delete(tdb, keyOf(index))); }

static int copyRecord(TDB_DATA k, TDB_DATA data, void *unused) {
	(void)k, (void)unused;
	copyOut(data.dptr, data.dsize);
	return 0;
}

/* get copies under the lock of the key's chain, without the allocation that tdb_fetch makes. */
static int get(uint64_t index) { return status(tdb_parse_record(tdb, keyOf(index), copyRecord, NULL)); }

static int checkRecord(TDB_DATA k, TDB_DATA data, void *index) {
	(void)k;
	checkValue(data.dptr, data.dsize, *(uint64_t *)index);
	return 0;
}

static int check(uint64_t index) { return status(tdb_parse_record(tdb, keyOf(index), checkRecord, &index)); }

static int scanRecord(struct tdb_context *t, TDB_DATA k, TDB_DATA data, void *unused) {
	(void)t, (void)unused;
	scanned(k.dptr, data.dptr, data.dsize);
	return 0;
}

static int scan(void) { return tdb_traverse_read(tdb, scanRecord, NULL) < 0 ? status(-1) : OK; }

/* hash is for keys of the bench, and of others for what tdb hashes to recognise its function. Jenkins's takes longer. */
static unsigned int hash(TDB_DATA *k) { return k->dsize == KEY ? hashKey(k->dptr) : tdb_jenkins_hash(k); }

static void openTdb(void) {
	char file[4096];
	snprintf(file, sizeof file, "%s/tdb", path);
	if (!strcmp(work, "serve") && mkdir(path, 0700))
		die(path, strerror(errno));
	if (!tdb_runtime_check_for_robust_mutexes())
		die(path, "no robust mutexes here");
	/* As many chains as entries: the default of 131 would make long ones. */
	tdb = tdb_open_ex(file, n < 1000 ? 1000 : n, TDB_MUTEX_LOCKING | TDB_CLEAR_IF_FIRST | TDB_NOSYNC | TDB_INCOMPATIBLE_HASH,
	                  O_RDWR | O_CREAT, 0600, NULL, hash);
	if (!tdb)
		die(path, strerror(errno));
}

static void closeTdb(void) { tdb_close(tdb); }

static const struct store store = {
	.name = "tdb from C, with mutexes",
	.open = openTdb, .close = closeTdb,
	.set = set, .delete = delete, .get = get, .scan = scan, .viewCheck = check,
	.serves = 1,
};
