/*
 * What the peers in C share: a child that carries out one task of the bench (see task.go) and prints what it
 * measured as a line of JSON. Keys, values and the order of draws are those of keys.go; `sum` proves it.
 *
 *	lmdb -work load -n 1000000 -value 100 -seed 1 -path DIR -ops 1000000
 *
 * It prints {"ready":true} once everything untimed is done, waits for a line (or the end) of stdin, and only
 * then starts the clock, so that the bench can start several children together. If the peer cannot do the work,
 * it prints {"unsupported":true} instead.
 *
 * A peer includes this file, defines `store`, and needs no main.
 */
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>

/* What the operations of a store return. Whatever else goes wrong ends the program: see die. */
enum { OK, ABSENT, FULL };

/* What entry of an ordered store is wanted: the least of all; that of the least key greater than a given one, or of
 * the greatest key not greater. */
enum relation { MIN, HIGHER, FLOOR };

/* Instead of an index: the beginning of an ordered store. */
#define BEGINNING (~(uint64_t)0)

/* The operations of a store; what it cannot do is NULL. */
static const struct store {
	const char *name;
	void (*open)(void);
	void (*close)(void);
	int (*set)(uint64_t index, uint64_t stamp);
	int (*delete)(uint64_t index);
	int (*sync)(void); /* makes all earlier commits durable */
	int (*get)(uint64_t index); /* a read by itself, of what is newest: the value copied with copyOut */
	/* many works on `indices`, as many as a batch has, in one version or commit. */
	int (*getMany)(void);
	int (*setMany)(int count, uint64_t stamp);
	int (*view)(void); /* shows one version until viewEnd */
	void (*viewEnd)(void);
	int (*viewGet)(uint64_t index);   /* copies out */
	int (*viewCheck)(uint64_t index); /* looks in place, with checkValue */
	int (*scan)(void);                /* calls scanned for each entry */
	/* of stores that keep their entries in the order of the keys: */
	int (*ascend)(uint64_t index, uint64_t count); /* calls visited for so many entries, from the first key not less on */
	int (*near)(enum relation, uint64_t index);    /* copies an entry out, with foundEntry */
	int threads;                      /* several may work on it at once */
	int fleeting;                    /* it is gone when the process ends, so that every child fills its own */
	int serves;                       /* it needs a process that keeps it open */
} store;

/* A task, as the flags say it. */
static const char *work = "", *path = "", *order = "";
static const char *durable = ""; /* when commits become so: -sync */
static uint64_t n, valueBytes, seed, batch, workers, ops, warm, capacity, writers;
static double seconds, zipf;

enum { KEY = 16, MANY = 16384 };

/* What each thread has for itself. */
static __thread unsigned char key[KEY];
static __thread unsigned char *value, *copy; /* written, read */
static __thread uint64_t copied;             /* bytes in copy */
static __thread unsigned char foundKey[KEY];
static __thread volatile uint64_t words; /* of a value visited; volatile, so that the words are read */
static uint64_t *inOrder;       /* indices in the order of their keys, for load */
static __thread uint64_t indices[MANY];
static __thread uint64_t ownSeed, sum; /* of the sequence of draws; of the indices drawn */

static void die(const char *what, const char *why) {
	fprintf(stderr, "%s: %s: %s\n", store.name, what, why);
	exit(1);
}

/* --- keys and values, as in keys.go --- */

static uint64_t splitmix64(uint64_t x) {
	x += 0x9e3779b97f4a7c15;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
	x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
	return x ^ (x >> 31);
}

static uint64_t permute(uint64_t i) { return i * 2654435761 % n; }

static uint64_t zipfRank(uint64_t x) {
	const double bottom = 0.99309249543703593;
	double u = (double)(x >> 11) / 9007199254740992.0;
	double y = bottom + u * (zipf - bottom);
	double y2 = y * y, y4 = y2 * y2, y8 = y4 * y4, y16 = y8 * y8, y32 = y16 * y16, y64 = y32 * y32;
	uint64_t rank = (uint64_t)(y64 * y32 * y4 + 0.5);
	return (rank < 1 ? 1 : rank > n ? n : rank) - 1;
}

/* draw returns the index of the i-th key of a random sequence. */
static uint64_t draw(uint64_t i) {
	uint64_t x = splitmix64(ownSeed + i);
	uint64_t k = zipf == 0 ? (uint64_t)((unsigned __int128)x * n >> 64) : permute(zipfRank(x));
	sum += k;
	return k;
}

static int compareKeys(const void *a, const void *b) {
	uint64_t x = splitmix64(*(const uint64_t *)a), y = splitmix64(*(const uint64_t *)b);
	return x < y ? -1 : x > y;
}

static void sortIndices(void) {
	inOrder = malloc(n * sizeof *inOrder);
	if (!inOrder)
		die("memory", strerror(errno));
	for (uint64_t i = 0; i < n; i++)
		inOrder[i] = i;
	qsort(inOrder, n, sizeof *inOrder, compareKeys);
}

static void putKey(uint64_t i) {
	uint64_t hash = __builtin_bswap64(splitmix64(i)), index = __builtin_bswap64(i);
	memcpy(key, &hash, 8);
	memcpy(key + 8, &index, 8);
}

/*
 * hashKey multiplies the halves of a key with each other and folds the product: for peers that come without a hash
 * function, one that is fast, and good enough for keys that nobody chose to collide.
 */
static inline uint64_t hashKey(const unsigned char *k) {
	uint64_t a, b;
	memcpy(&a, k, 8);
	memcpy(&b, k + 8, 8);
	unsigned __int128 product = (unsigned __int128)(a ^ 0xa0761d6478bd642f) * (b ^ 0xe7037ed1a0b428db);
	return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static void putValue(uint64_t i, uint64_t stamp) {
	memcpy(value, &i, 8);
	if (valueBytes >= 16)
		memcpy(value + 8, &stamp, 8);
}

/* checkValue ends the program unless a value is one of the key with that index. */
static void checkValue(const void *data, uint64_t bytes, uint64_t index) {
	uint64_t found;
	memcpy(&found, data, 8);
	if (bytes != valueBytes || found != index)
		die(work, "wrong value");
}

static void copyOut(const void *data, uint64_t bytes) {
	if (bytes > valueBytes)
		die(work, "value too long");
	memcpy(copy, data, bytes);
	copied = bytes;
}

/* --- operations: each is one call of the loop, and returns what the store did --- */

/* take is a get that finds its key. */
static int take(uint64_t index) {
	int rc = store.get(index);
	if (rc == OK)
		checkValue(copy, copied, index);
	return rc;
}

static void drawMany(uint64_t i) {
	for (uint64_t j = 0; j < batch; j++)
		indices[j] = draw(i * batch + j);
}

static uint64_t inserted(uint64_t i) { return inOrder ? inOrder[i] : i; }

static int opLoad(uint64_t i) {
	uint64_t k = inserted(i);
	sum += k;
	return store.set(k, 0);
}

static int opLoadMany(uint64_t i) {
	uint64_t count = n - i * batch < batch ? n - i * batch : batch;
	for (uint64_t j = 0; j < count; j++)
		sum += indices[j] = inserted(i * batch + j);
	return store.setMany(count, 0);
}

static int opSet(uint64_t i) { return store.set(draw(i), i); }
static int opSetMany(uint64_t i) { drawMany(i); return store.setMany(batch, i); }
static int opGet(uint64_t i) { return take(draw(i)); }

/* The last byte of the value read before is always 0, which the CPU cannot know. */
static int opGetDependent(uint64_t i) { return take(draw(i + copy[valueBytes - 1])); }

static int opGetAbsent(uint64_t i) {
	int rc = store.get(n + draw(i));
	if (rc == OK)
		die(work, "an absent key was found");
	return rc == ABSENT ? OK : rc;
}

static int opGetMany(uint64_t i) { drawMany(i); return store.getMany(); }

static int opGetManyAlone(uint64_t i) {
	drawMany(i);
	for (uint64_t j = 0; j < batch; j++) {
		int rc = take(indices[j]);
		if (rc)
			return rc;
	}
	return OK;
}

static int opViewGet(uint64_t i) {
	uint64_t k = draw(i);
	int rc = store.viewGet(k);
	if (rc == OK)
		checkValue(copy, copied, k);
	return rc;
}

static int opViewCheck(uint64_t i) { return store.viewCheck(draw(i)); }

static int opMixed(uint64_t i) { return splitmix64(~(ownSeed + i)) % 20 == 0 ? opSet(i) : opGet(i); }

static int opDelete(uint64_t i) {
	uint64_t k = permute(i);
	sum += k;
	return store.delete(k);
}

/* scanned takes an entry of a scan, and touches each page of its value. */
static void scanned(const unsigned char *k, const unsigned char *data, uint64_t bytes) {
	unsigned char touched = 0;
	uint64_t index;
	memcpy(&index, k + 8, 8);
	index = __builtin_bswap64(index);
	for (uint64_t at = 0; at < bytes; at += 4096)
		touched |= data[at];
	*(volatile unsigned char *)copy = touched;
	checkValue(data, bytes, index);
	sum += index;
}

static int opScan(uint64_t i) { (void)i; return store.scan(); }

/* --- operations of ordered stores --- */

static uint64_t indexOf(const unsigned char *k) {
	uint64_t index;
	memcpy(&index, k + 8, 8);
	return __builtin_bswap64(index);
}

/* visited reads a word of each cache line of a value, and the last word. */
static void visited(const unsigned char *k, const unsigned char *data, uint64_t bytes) {
	uint64_t word, all = 0, index = indexOf(k);
	checkValue(data, bytes, index);
	sum += index;
	for (uint64_t at = 64; at + 8 < bytes; at += 64) {
		memcpy(&word, data + at, 8);
		all += word;
	}
	memcpy(&word, data + bytes - 8, 8);
	words = all + word;
}

static void foundEntry(const void *k, const void *data, uint64_t bytes) {
	memcpy(foundKey, k, KEY);
	copyOut(data, bytes);
}

static int opRange(uint64_t i) { return store.ascend(draw(i), batch); }

static int opScanOrdered(uint64_t i) { (void)i; return store.ascend(BEGINNING, n); }

/* nearest finds an entry, unless there is none. */
static int nearest(enum relation relation, uint64_t limit) {
	int rc = store.near(relation, limit);
	if (rc == OK) {
		uint64_t index = indexOf(foundKey);
		sum += index;
		checkValue(copy, copied, index);
	}
	return rc == ABSENT ? OK : rc;
}

static int opMin(uint64_t i) { return nearest(MIN, draw(i)); }

static int opHigher(uint64_t i) { return nearest(HIGHER, draw(i)); }

/* The keys from n on do not exist. */
static int opFloor(uint64_t i) { return nearest(FLOOR, n + draw(i)); }

/* --- latencies: counted to within a hundredth, a hundred and twenty-eight steps for each doubling --- */

static __thread uint64_t *latencies;

static uint64_t nanosNow(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int shiftOf(uint64_t nanos) { return nanos < 256 ? 0 : 63 - __builtin_clzll(nanos) - 7; }

static int timed(int (*op)(uint64_t), uint64_t i) {
	uint64_t start = nanosNow();
	int rc = op(i);
	uint64_t nanos = nanosNow() - start;
	int shift = shiftOf(nanos);
	latencies[(shift << 8) + (nanos >> shift)]++;
	return rc;
}

static int opLatency(uint64_t i) { return timed(opGet, i); }

static int opLatencySet(uint64_t i) { return timed(opSet, i); }

static int opSync(uint64_t i) { (void)i; return store.sync(); }

static int opLatencySync(uint64_t i) {
	for (uint64_t j = 0; j < batch; j++) {
		int rc = opSet(i * batch + j);
		if (rc)
			return rc;
	}
	return timed(opSync, i);
}

/* --- the run --- */

/* gate says that the untimed part is done and waits to be let through. */
static void gate(void) {
	puts("{\"ready\":true}");
	fflush(stdout);
	for (int c = getchar(); c != '\n' && c != EOF;)
		c = getchar();
}

static void unsupported(void) {
	puts("{\"unsupported\":true}");
	exit(0);
}

/* A run is what one thread has done. */
struct run {
	int (*op)(uint64_t);
	uint64_t opsPerCall, number; /* of the thread */
	uint64_t ops, nanos, sum;
	uint64_t *latencies;
	int rc;
};

static void startThread(uint64_t number) {
	ownSeed = number ? splitmix64(seed + number) : seed;
	value = calloc(1, valueBytes);
	copy = calloc(1, valueBytes);
	latencies = calloc(64 << 8, sizeof *latencies);
	if (!value || !copy || !latencies)
		die("memory", strerror(errno));
}

/* loop calls the operation with 0, 1, 2 ... until the task's operations or seconds are used up, or the store is full. */
static void loop(struct run *r, uint64_t ops) {
	uint64_t calls = (ops + r->opsPerCall - 1) / r->opsPerCall;
	uint64_t step = r->opsPerCall < 256 && strcmp(durable, "each") ? 256 / r->opsPerCall : 1;
	uint64_t i = 0, start = nanosNow(), limit = seconds * 1e9;
	for (r->nanos = 0; !r->rc && (!calls || i < calls) && (!limit || r->nanos < limit);) {
		uint64_t end = i + step;
		if (calls && end > calls)
			end = calls;
		for (; i < end; i++)
			if ((r->rc = r->op(i)))
				break;
		r->nanos = nanosNow() - start;
	}
	r->ops = i * r->opsPerCall;
	r->sum = sum;
	r->latencies = latencies;
	if (r->rc == ABSENT)
		die(work, "key not found");
}

static void *runThread(void *r) {
	startThread(((struct run *)r)->number);
	loop(r, ops);
	return NULL;
}

/* processTime returns the CPU time that this process has taken so far, in nanoseconds. */
static uint64_t processTime(void) {
	struct rusage u;
	getrusage(RUSAGE_SELF, &u);
	return (u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000000000ull + (u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1000ull;
}

static uint64_t cpuNanos; /* of the work */

static void printResult(const struct run *runs, uint64_t count) {
	uint64_t done = 0, nanos = 0, total = 0;
	int full = 0;
	for (uint64_t i = 0; i < count; i++) {
		done += runs[i].ops;
		total += runs[i].sum;
		full |= runs[i].rc == FULL;
		if (runs[i].nanos > nanos)
			nanos = runs[i].nanos;
	}
	printf("{\"peer\":\"%s\",\"ops\":%llu,\"nanos\":%llu,\"sum\":%llu,\"full\":%s", store.name, (unsigned long long)done,
	       (unsigned long long)nanos, (unsigned long long)total, full ? "true" : "false");
	if (cpuNanos)
		printf(",\"cpuNanos\":%llu", (unsigned long long)cpuNanos);
	if (!strncmp(work, "latency", 7)) {
		const char *separator = ",\"latencies\":[";
		for (uint64_t i = 0; i < 64 << 8; i++) {
			uint64_t times = 0, shift = i >> 8, nanos = (i & 255) << shift;
			for (uint64_t j = 0; j < count; j++)
				times += runs[j].latencies[i];
			if (times) {
				printf("%s[%llu,%llu]", separator, (unsigned long long)nanos, (unsigned long long)times);
				separator = ",";
			}
		}
		printf("]");
	}
	puts("}");
}

/* late tells, now and then, that the task's seconds are over. */
static int late(uint64_t i, uint64_t start) {
	return i % 256 == 255 && seconds > 0 && nanosNow() - start > seconds * 1e9;
}

/* prepare brings the store into this process, by a scan and then reads, and makes the first sets; none of it timed. */
static void prepare(void) {
	if (store.fleeting)
		for (uint64_t i = 0; i < n; i++)
			if (store.set(i, 0))
				die(work, "cannot be filled");
	if (store.scan && store.scan())
		die(work, "cannot be scanned");
	uint64_t start = nanosNow();
	for (uint64_t i = 0; i < n && i < 100000 && !late(i, start); i++)
		if (opGet(~i))
			die(work, "key not found");
	start = nanosNow();
	for (uint64_t i = 0; i * batch < warm && !late(batch > 1 ? 255 : i, start); i++)
		if (batch > 1 ? opSetMany(~i) : store.set(draw(~i), i))
			die(work, "cannot be written to");
}

/* perform does the work in as many threads as the task has workers. */
static void perform(int (*op)(uint64_t), uint64_t opsPerCall) {
	struct run runs[64] = {{0}};
	pthread_t threads[64];
	if (workers > 64 || (workers > 1 && !store.threads) || writers)
		unsupported();
	for (uint64_t i = 0; i < workers; i++)
		runs[i] = (struct run){.op = op, .opsPerCall = opsPerCall, .number = i};
	gate();
	sum = 0;
	cpuNanos = processTime();
	for (uint64_t i = 1; i < workers; i++)
		if (pthread_create(&threads[i], NULL, runThread, &runs[i]))
			die("thread", strerror(errno));
	loop(&runs[0], ops);
	for (uint64_t i = 1; i < workers; i++)
		pthread_join(threads[i], NULL);
	cpuNanos = processTime() - cpuNanos;
	printResult(runs, workers);
}

static void openToFirstGet(void) {
	struct run r = {.ops = 1};
	if (store.fleeting)
		unsupported();
	gate();
	uint64_t start = nanosNow();
	store.open();
	if (opGet(0))
		die(work, "key not found");
	r.nanos = nanosNow() - start;
	r.sum = sum;
	printResult(&r, 1);
}

/* keep opens the store, or a version of it, for as long as the gate is shut. */
static void keep(int (*view)(void)) {
	struct run none = {0};
	store.open();
	if (view && view())
		die(work, "no view");
	gate();
	if (view)
		store.viewEnd();
	printResult(&none, 1);
}

static void parse(int argc, char **argv) {
	for (int i = 1; i + 1 < argc; i += 2) {
		const char *name = argv[i], *arg = argv[i + 1];
		if (!strcmp(name, "-work")) work = arg;
		else if (!strcmp(name, "-path")) path = arg;
		else if (!strcmp(name, "-order")) order = arg;
		else if (!strcmp(name, "-sync")) durable = arg;
		else if (!strcmp(name, "-n")) n = strtoull(arg, NULL, 10);
		else if (!strcmp(name, "-value")) valueBytes = strtoull(arg, NULL, 10);
		else if (!strcmp(name, "-seed")) seed = strtoull(arg, NULL, 10);
		else if (!strcmp(name, "-zipf")) zipf = strtod(arg, NULL);
		else if (!strcmp(name, "-batch")) batch = strtoull(arg, NULL, 10);
		else if (!strcmp(name, "-workers")) workers = strtoull(arg, NULL, 10);
		else if (!strcmp(name, "-writers")) writers = strtoull(arg, NULL, 10);
		else if (!strcmp(name, "-ops")) ops = strtoull(arg, NULL, 10);
		else if (!strcmp(name, "-warm")) warm = strtoull(arg, NULL, 10);
		else if (!strcmp(name, "-seconds")) seconds = strtod(arg, NULL);
		else if (!strcmp(name, "-capacity")) capacity = strtoull(arg, NULL, 10);
		else die(name, "no such flag");
	}
	if (!batch)
		batch = 1;
	if (!workers)
		workers = 1;
	if (batch > MANY)
		die("-batch", "too many");
	if (!strcmp(order, "ascending"))
		sortIndices();
}

/* A job is a work that is a loop over one operation. */
struct job {
	const char *work;
	int (*op)(uint64_t);
	int possible;
	uint64_t opsPerCall;
};

int main(int argc, char **argv) {
	parse(argc, argv);
	startThread(0);
	if (!strcmp(work, "open")) {
		openToFirstGet();
	} else if (!strcmp(work, "hold") || !strcmp(work, "serve")) {
		int serve = !strcmp(work, "serve");
		if (serve ? !store.serves : !store.view)
			unsupported();
		keep(serve ? NULL : store.view);
	} else {
		const struct job jobs[] = {
			{"load", batch > 1 ? opLoadMany : opLoad, batch == 1 || store.setMany, batch},
			{"set", batch > 1 ? opSetMany : opSet, batch == 1 || store.setMany, batch},
			{"get", opGet, 1, 1},
			{"get-dependent", opGetDependent, 1, 1},
			{"get-absent", opGetAbsent, 1, 1},
			{"get-many", store.getMany ? opGetMany : opGetManyAlone, 1, batch},
			{"get-snapshot", opViewGet, store.viewGet != NULL, 1},
			{"get-in-place", opViewCheck, store.viewCheck != NULL, 1},
			{"mixed", opMixed, 1, 1},
			{"delete", opDelete, 1, 1},
			{"scan", opScan, store.scan != NULL, n},
			{"range", opRange, store.ascend != NULL, 1},
			{"scan-ordered", opScanOrdered, store.ascend != NULL, n},
			{"min", opMin, store.near != NULL, 1},
			{"higher", opHigher, store.near != NULL, 1},
			{"floor", opFloor, store.near != NULL, 1},
			{"latency", opLatency, 1, 1},
			{"latency-set", opLatencySet, 1, 1},
			{"latency-sync", opLatencySync, store.sync != NULL, batch},
			{NULL},
		};
		const struct job *j = jobs;
		while (j->work && strcmp(j->work, work))
			j++;
		if (!j->work || !j->possible)
			unsupported();
		if (!ops && seconds <= 0)
			die(work, "neither -ops nor -seconds is given");
		store.open();
		if (strcmp(work, "load"))
			prepare();
		int viewing = (!strcmp(work, "get-snapshot") || !strcmp(work, "get-in-place")) && store.view;
		if (viewing && store.view())
			die(work, "no view");
		perform(j->op, j->opsPerCall);
		if (viewing)
			store.viewEnd();
	}
	store.close();
	return 0;
}
