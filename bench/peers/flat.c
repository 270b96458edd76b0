/*
 * A flat hash table: open addressing with linear probing, keys and values in the slots, in the memory of one
 * process, for one thread. It shares nothing, survives nothing and never grows, and so is a lower bound: nothing
 * that finds an entry by its key can do with much less than one access to memory.
 */
#include "child.h"

struct slot {
	unsigned char key[KEY];
	uint64_t bytes; /* of the value, and 1; 0: the slot is free */
	unsigned char value[];
};

static unsigned char *slots;
static uint64_t stride, mask;

static struct slot *slotAt(uint64_t i) { return (struct slot *)(slots + (i & mask) * stride); }

/* find returns the slot of the key, or the free one where it belongs. */
static struct slot *find(uint64_t index) {
	putKey(index);
	for (uint64_t i = hashKey(key);; i++) {
		struct slot *s = slotAt(i);
		if (!s->bytes || !memcmp(s->key, key, KEY))
			return s;
	}
}

static int set(uint64_t index, uint64_t stamp) {
	struct slot *s = find(index);
	putValue(index, stamp);
	memcpy(s->key, key, KEY);
	memcpy(s->value, value, valueBytes);
	s->bytes = valueBytes + 1;
	return OK;
}

static int get(uint64_t index) {
	struct slot *s = find(index);
	if (!s->bytes)
		return ABSENT;
	copyOut(s->value, s->bytes - 1);
	return OK;
}

static int check(uint64_t index) {
	struct slot *s = find(index);
	if (!s->bytes)
		return ABSENT;
	checkValue(s->value, s->bytes - 1, index);
	return OK;
}

/* delete moves later entries of the run up, so that no probe ends at a hole before what it looks for. */
static int delete(uint64_t index) {
	struct slot *s = find(index);
	if (!s->bytes)
		return ABSENT;
	uint64_t hole = ((unsigned char *)s - slots) / stride;
	for (uint64_t i = hole + 1; slotAt(i)->bytes; i++) {
		struct slot *later = slotAt(i);
		uint64_t home = hashKey(later->key);
		if (((i - home) & mask) >= ((i - hole) & mask)) {
			memcpy(slotAt(hole), later, stride);
			hole = i;
		}
	}
	slotAt(hole)->bytes = 0;
	return OK;
}

static int scan(void) {
	for (uint64_t i = 0; i <= mask; i++) {
		struct slot *s = slotAt(i);
		if (s->bytes)
			scanned(s->key, s->value, s->bytes - 1);
	}
	return OK;
}

/* openTable makes an empty table, filled to two thirds at most when all entries are in it. */
static void openTable(void) {
	uint64_t count = 16;
	while (count * 2 < n * 3)
		count *= 2;
	mask = count - 1;
	stride = (sizeof(struct slot) + valueBytes + 7) / 8 * 8;
	slots = calloc(count, stride);
	if (!slots)
		die("table", strerror(errno));
}

static void closeTable(void) { free(slots); }

static const struct store store = {
	.name = "flat hash table in C",
	.open = openTable, .close = closeTable,
	.set = set, .delete = delete, .get = get, .scan = scan, .viewCheck = check,
	.fleeting = 1,
};
