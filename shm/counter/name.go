package counter

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/seed-869cc763/shmkv/shm"
)

// The names of the maps of a keyspace begin with these. A keyspace of a name that is too long
// for the name of a map has the SHA-256 of its name there, and the whole name in its summary.
const (
	countsPrefix     = "counter.counts:"
	orderPrefix      = "counter.order:"
	longCountsPrefix = "counter.counts#"
	longOrderPrefix  = "counter.order#"
)

const (
	// MaxKeyspace is how long the name of a keyspace can be, in bytes.
	MaxKeyspace = 4096
	// MaxKey is how long the key of a counter can be, in bytes: the order has it behind up to
	// nine bytes of the count.
	MaxKey = shm.MaxKey - mostOfPlace

	// shortName is how long a name can be that the names of both maps have.
	shortName = shm.MaxName - len(countsPrefix)
)

// mapNames returns the names of the two maps of a keyspace.
func mapNames(keyspace string) (counts, order string) {
	if len(keyspace) <= shortName {
		return countsPrefix + keyspace, orderPrefix + keyspace
	}
	sum := sha256.Sum256([]byte(keyspace))
	digits := hex.EncodeToString(sum[:])
	return longCountsPrefix + digits, longOrderPrefix + digits
}

// checkKeyspace refuses a name that is too long.
func checkKeyspace(keyspace string) error {
	if len(keyspace) > MaxKeyspace {
		return fmt.Errorf("%w: found a keyspace's name of %d bytes, expected at most %d", shm.ErrTooLarge, len(keyspace), MaxKeyspace)
	}
	return nil
}

// checkKey refuses a key that is too long.
func checkKey(key []byte) error {
	if len(key) > MaxKey {
		return fmt.Errorf("%w: found a key of %d bytes, expected at most %d", shm.ErrTooLarge, len(key), MaxKey)
	}
	return nil
}
