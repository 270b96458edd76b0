package cache

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"time"

	"github.com/seed-869cc763/shmkv/shm"
)

// ClaimsPrefix and the name of a region make the name of the map that has the claims of the
// region's keys. An entry is there while somebody creates a value, and for a while after a
// creation that has failed, or has found that there is no value.
const ClaimsPrefix = "cache.claims."

// MaxRegion is the length in bytes of the longest name of a region.
const MaxRegion = shm.MaxName - len(ClaimsPrefix)

// A claim is what the map of claims has of a key, little-endian:
//
//	0   8  number of the claim, drawn at random, not 0
//	8   8  the handle that creates (shm.Owner), or 0
//	16  8  until when the claim counts, in nanoseconds since 1970
//	24  8  number of the last creation that gave no value, or 0
//	32  1  1 if that has found that there is none, and 2 more if until is for how long all
//	       others believe that; else 0
//	33     why that creation has failed
//
// The rules, which the code and the seeded faults cite:
//
//	G1  A claim is taken by one compare-and-swap, if nobody holds it. Then the taker looks at
//	    the item again, because another one may have stored it since the first look, and
//	    dropped its claim.
//	G2  The commit that stores the item drops the claim too. It stores only if the claim has
//	    the creator's number and the item the token that it had when the claim was taken.
//	G3  A claim is held while its owner is alive and its time has not passed. While create
//	    runs its process renews the time. So it passes only if the process is stopped.
//	G4  Each way out of create drops the claim and rings. A failure leaves its number and
//	    reason for those who wait for it.
type claim struct {
	number uint64
	owner  shm.Owner
	until  int64
	failed uint64
	absent bool // that creation has found that there is no value
	known  bool // which is known until then
	why    string
}

const claimBytes = 33

func readClaim(b []byte) (claim, error) {
	if len(b) < claimBytes || binary.LittleEndian.Uint64(b) == 0 || b[32] > 3 {
		return claim{}, fmt.Errorf("%w: found a claim of the bytes %.40x, expected at least %d with a number", shm.ErrCorrupt, b, claimBytes)
	}
	return claim{
		number: binary.LittleEndian.Uint64(b),
		owner:  shm.Owner(binary.LittleEndian.Uint64(b[8:])),
		until:  int64(binary.LittleEndian.Uint64(b[16:])),
		failed: binary.LittleEndian.Uint64(b[24:]),
		absent: b[32]&1 != 0,
		known:  b[32]&2 != 0,
		why:    string(b[claimBytes:]),
	}, nil
}

func (cl claim) bytes() []byte {
	b := make([]byte, claimBytes, claimBytes+len(cl.why))
	binary.LittleEndian.PutUint64(b, cl.number)
	binary.LittleEndian.PutUint64(b[8:], uint64(cl.owner))
	binary.LittleEndian.PutUint64(b[16:], uint64(cl.until))
	binary.LittleEndian.PutUint64(b[24:], cl.failed)
	if cl.absent {
		b[32] |= 1
	}
	if cl.known {
		b[32] |= 2
	}
	return append(b, cl.why...)
}

const (
	// failedFor is how long a claim tells those who wait that the creation has failed.
	failedFor = 10 * time.Second
	// longestWhy is how many bytes of the reason are kept.
	longestWhy = 200
	// claimNeed is about how many bytes a claim takes beside its key.
	claimNeed = 512
	// A claim in claimsPerSweep looks at claimSweep others, and so does one that fails.
	claimsPerSweep = 64
	claimSweep     = 16
)

// claims is the map of claims.
func (c *Cache) claims() *shm.Map { return c.store.Map(ClaimsPrefix + c.region) }

// bell is the bell on which those wait who want the value of key.
func (c *Cache) bell(key []byte) shm.Bell {
	h := fnv.New64a()
	_, _ = h.Write(c.name)
	_, _ = h.Write(key)
	return c.store.Bell(h.Sum64())
}

// changeClaim replaces the claim of key by what fn makes of it, if its number is still that.
// It reports whether it was.
func (c *Cache) changeClaim(key []byte, number uint64, fn func(cl *claim) shm.Action) (own bool, err error) {
	err = c.write("changing the claim of", key, bytesOf(len(key), claimNeed), func() error {
		return c.claims().Compute(key, func(old []byte, exists bool) ([]byte, shm.Action, error) {
			own = false
			if !exists {
				return nil, shm.ActionKeep, nil
			}
			cl, err := readClaim(old)
			if err != nil || cl.number != number {
				return nil, shm.ActionKeep, err
			}
			own = true
			action := fn(&cl)
			if action != shm.ActionSet {
				return nil, action, nil
			}
			return cl.bytes(), action, nil
		})
	})
	return own, err
}

// sweepClaims deletes some claims that do not count any more: those of dead creators for
// whose key nobody has asked since, and what failed creations have left.
func (c *Cache) sweepClaims() {
	now := c.clock.now()
	err := c.store.Update(func(tx *shm.Tx) error {
		m := tx.Map(ClaimsPrefix + c.region)
		var old [][]byte
		n := 0
		for _, from := range [...]uint64{rand.Uint64(), 0} { // it may begin near the end
			for key, b := range m.AllFrom(from) {
				if n == claimSweep {
					break
				}
				if cl, err := readClaim(b); err == nil && has(cl.until, now) {
					old = append(old, key)
				}
				n++
			}
		}
		for _, key := range old {
			if _, err := m.Delete(key); err != nil {
				return err
			}
		}
		return tx.Err()
	})
	if !errors.Is(err, shm.ErrClosed) {
		c.logFailed(err)
	}
}
