/*
 * The LMDB peer: carries out one task of the bench (see task.go) on an LMDB environment and prints what it
 * measured as a line of JSON. Keys, values and the order of draws are those of keys.go; `sum` proves it.
 *
 *	lmdb -work load -n 1000000 -seed 1 -path DIR -ops 1000000
 *
 * It prints {"ready":true} once everything untimed is done, waits for a line (or the end) of stdin, and only
 * then starts the clock, so that the bench can start several children together.
 *
 * The environment is opened with MDB_NOSYNC|MDB_WRITEMAP, LMDB's fastest setting: nothing is flushed, as
 * nothing is in the store it stands beside.
 */
#include <errno.h>
#include <lmdb.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

enum { KEY = 16, VALUE = 100, BATCH = 256 };

/* A task, as the flags say it. */
static const char *work = "", *path = "";
static uint64_t n, seed, ops, warm, capacity = 1 << 30;
static double seconds;

static MDB_env *env;
static MDB_dbi dbi;
static MDB_txn *reading; /* the one read transaction: reset and renewed, or held */

static unsigned char key[KEY], value[VALUE];
static uint64_t sum;   /* of the indices drawn */
static uint64_t carry; /* the last byte of the value last read: always 0, which the CPU cannot know */

static void die(const char *what, const char *why) {
	fprintf(stderr, "lmdb: %s: %s\n", what, why);
	exit(1);
}

static void must(int rc, const char *what) {
	if (rc)
		die(what, mdb_strerror(rc));
}

/* --- keys and values, as in keys.go --- */

static uint64_t splitmix64(uint64_t x) {
	x += 0x9e3779b97f4a7c15;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
	x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
	return x ^ (x >> 31);
}

/* draw returns the index of the i-th key of a random sequence. */
static uint64_t draw(uint64_t i) {
	uint64_t k = (unsigned __int128)splitmix64(seed + i) * n >> 64;
	sum += k;
	return k;
}

static MDB_val keyOf(uint64_t i) {
	uint64_t hash = __builtin_bswap64(splitmix64(i)), index = __builtin_bswap64(i);
	memcpy(key, &hash, 8);
	memcpy(key + 8, &index, 8);
	return (MDB_val){KEY, key};
}

/* --- operations: each is one whole commit, or one whole read --- */

static int set(uint64_t index, uint64_t stamp) {
	MDB_txn *txn;
	MDB_val k = keyOf(index), v = {VALUE, value};
	memcpy(value, &index, 8);
	memcpy(value + 8, &stamp, 8);
	int rc = mdb_txn_begin(env, NULL, 0, &txn);
	if (rc)
		return rc;
	if ((rc = mdb_put(txn, dbi, &k, &v, 0))) {
		mdb_txn_abort(txn);
		return rc;
	}
	return mdb_txn_commit(txn);
}

/* lookup finds a key in the transaction open now and copies its value out. */
static int lookup(uint64_t index) {
	static unsigned char copy[VALUE];
	uint64_t found;
	MDB_val k = keyOf(index), v;
	int rc = mdb_get(reading, dbi, &k, &v);
	if (rc)
		return rc;
	if (v.mv_size != VALUE)
		return MDB_CORRUPTED;
	memcpy(copy, v.mv_data, VALUE);
	memcpy(&found, copy, 8);
	carry = copy[VALUE - 1];
	return found == index ? 0 : MDB_CORRUPTED;
}

/* get is a read by itself: it sees what is newest when it starts. */
static int get(uint64_t index) {
	int rc = mdb_txn_renew(reading);
	if (rc)
		return rc;
	rc = lookup(index);
	mdb_txn_reset(reading);
	return rc;
}

static int opLoad(uint64_t i) { sum += i; return set(i, 0); }
static int opSet(uint64_t i) { return set(draw(i), i); }
static int opGet(uint64_t i) { return get(draw(i)); }
static int opGetDependent(uint64_t i) { return get(draw(i + carry)); }
static int opGetSnapshot(uint64_t i) { return lookup(draw(i)); }

/* --- the run --- */

static uint64_t nanosNow(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* gate says that the untimed part is done and waits to be let through. */
static void gate(void) {
	puts("{\"ready\":true}");
	fflush(stdout);
	for (int c = getchar(); c != '\n' && c != EOF;)
		c = getchar();
}

static void result(uint64_t done, uint64_t nanos, int full) {
	printf("{\"peer\":\"LMDB %d.%d.%d from C\",\"ops\":%llu,\"nanos\":%llu,\"sum\":%llu,\"full\":%s}\n",
	       MDB_VERSION_MAJOR, MDB_VERSION_MINOR, MDB_VERSION_PATCH, (unsigned long long)done,
	       (unsigned long long)nanos, (unsigned long long)sum, full ? "true" : "false");
}

/* loop calls op with 0, 1, 2 ... until the task's operations or seconds are used up, or the map is full. */
static void loop(int (*op)(uint64_t)) {
	gate();
	sum = 0;
	uint64_t i = 0, start = nanosNow(), nanos = 0;
	for (int rc = 0; !rc && (!ops || i < ops) && (seconds <= 0 || nanos < seconds * 1e9);) {
		uint64_t end = i + BATCH;
		if (ops && end > ops)
			end = ops;
		for (; i < end; i++)
			if ((rc = op(i)))
				break;
		nanos = nanosNow() - start;
		if (rc == MDB_MAP_FULL) {
			result(i, nanos, 1);
			return;
		}
		must(rc, work);
	}
	result(i, nanos, 0);
}

static void openEnv(void) {
	MDB_txn *txn;
	int loads = !strcmp(work, "load");
	if (loads && mkdir(path, 0700))
		die(path, strerror(errno));
	must(mdb_env_create(&env), "create");
	must(mdb_env_set_mapsize(env, capacity), "map size");
	must(mdb_env_open(env, path, MDB_NOSYNC | MDB_WRITEMAP, 0600), path);
	must(mdb_txn_begin(env, NULL, loads ? 0 : MDB_RDONLY, &txn), "begin");
	must(mdb_dbi_open(txn, NULL, 0, &dbi), "open");
	must(mdb_txn_commit(txn), "commit");
}

/* prepare brings the store into this process: every key is read once, and the first `warm` sets are not timed. */
static void prepare(void) {
	must(mdb_txn_begin(env, NULL, MDB_RDONLY, &reading), "begin");
	for (uint64_t i = 0; i < n; i++)
		must(lookup(i), "warming up");
	mdb_txn_reset(reading);
	for (uint64_t i = 0; i < warm; i++)
		must(set(draw(~i), i), "warming up");
}

static void parse(int argc, char **argv) {
	for (int i = 1; i + 1 < argc; i += 2) {
		const char *name = argv[i], *arg = argv[i + 1];
		if (!strcmp(name, "-work")) work = arg;
		else if (!strcmp(name, "-path")) path = arg;
		else if (!strcmp(name, "-n")) n = strtoull(arg, NULL, 10);
		else if (!strcmp(name, "-seed")) seed = strtoull(arg, NULL, 10);
		else if (!strcmp(name, "-ops")) ops = strtoull(arg, NULL, 10);
		else if (!strcmp(name, "-warm")) warm = strtoull(arg, NULL, 10);
		else if (!strcmp(name, "-seconds")) seconds = strtod(arg, NULL);
		else if (!strcmp(name, "-capacity")) capacity = strtoull(arg, NULL, 10);
		else die(name, "no such flag");
	}
	if (!ops && seconds <= 0 && strcmp(work, "hold"))
		die(work, "neither -ops nor -seconds is given");
}

int main(int argc, char **argv) {
	parse(argc, argv);
	openEnv();
	if (!strcmp(work, "load")) {
		loop(opLoad);
	} else if (!strcmp(work, "set")) {
		prepare();
		loop(opSet);
	} else if (!strcmp(work, "get")) {
		prepare();
		loop(opGet);
	} else if (!strcmp(work, "get-dependent")) {
		prepare();
		loop(opGetDependent);
	} else if (!strcmp(work, "get-snapshot")) {
		prepare();
		must(mdb_txn_renew(reading), "renew");
		loop(opGetSnapshot);
	} else if (!strcmp(work, "hold")) {
		must(mdb_txn_begin(env, NULL, MDB_RDONLY, &reading), "begin");
		must(lookup(0), "hold");
		gate();
		result(0, 0, 0);
	} else {
		die(work, "no such workload");
	}
	if (reading)
		mdb_txn_abort(reading);
	mdb_env_close(env);
	return 0;
}
