package cache

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math/bits"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/seed-869cc763/shmkv/alloc/region"
	"github.com/seed-869cc763/shmkv/shm"
)

// The sketch is about how often keys were read lately, and when last, also keys that are not in
// the cache. Each key has two counts in one cache line, which it shares with other keys. A read
// raises the lower of them, and the lower one is what is known of the key: a count-min sketch
// with conservative update (Cormode and Muthukrishnan; Estan and Varghese).
//
// A count has 16 bits. The lower four count the reads, up to topCount, and the others are the
// time of the last one. Time is measured in reads: a tick is over when there was about one read
// for ticksPerRead items of the largest region. A count is worth half as much after halfLife ticks.
// The next read writes that down, so what is not read any more is forgotten by itself.
//
// The sketch is the file "hints" beside data, which all processes map:
//
//	0     the slack of the bound, see room
//	8     until when a handle sweeps, see sweeper
//	16    the time, in units of 1/65536 of a tick
//	24    about how many items the region of the store has that has the most
//	64    sums over all handles, in the order of Counts
//	256   what is learned of the reads, see hazards
//	4096  the counts
//
// All of it is hints. Processes write the counts without atomics, and lose some. Whatever is
// in the file, the cache only evicts other items, earlier or later. Without the file, because
// it cannot be made or written, a handle evicts at random.
const (
	sketchFile   = "hints"
	sketchHeader = 4096
	offSlack     = 0
	offSweep     = 8
	offTime      = 16
	offMost      = 24
	offSums      = 64
	topCount     = 15
	timeShift    = 4 // of a count
	timeMask     = 1<<12 - 1
	tickShift    = 16
	lineSize     = 64
	lineCounts   = lineSize / 2
	minCounts    = 4096 // in bytes, as maxCounts
	maxCounts    = 1 << 26
	// A byte of counts for each countEvery bytes of the bound, at least.
	countEvery   = 48
	ticksPerRead = 16
	// With a shorter one the counts of the items that are read least, which matter for
	// evictions, are all 0 or 1.
	halfLife = 16 * ticksPerRead
	// A handle adds to the time once in timeEvery reads of a lane. Until then it may not have seen
	// the time of a count that another handle has written, up to aheadMost ticks later.
	timeEvery = 256
	aheadMost = 4 * ticksPerRead
	// Each time it makes the word of the most items less by a mostFade'th.
	mostFade = 256
)

// sketchBytes returns the size of a new sketch for a cache with this bound. It has what the file
// data leaves, whose size is in whole dataUnits.
func sketchBytes(bytes int64) int64 {
	n := sketchHeader + min(max(bytes/countEvery, minCounts), maxCounts)
	return (n + max(bytes-sideBytes-n, 0)%dataUnit) &^ (lineSize - 1)
}

type sketch struct {
	mem   region.Mem // not valid: there is none
	lines uint64
	seed  uint64        // of the region
	time  atomic.Uint32 // in ticks, as the handle has last seen it
}

// open maps the sketch of a store. If it is missing, open makes one of the size for a bound,
// if it may.
func (k *sketch) open(s *shm.Store, bytes int64, name []byte, mayMake bool) {
	size := int64(0)
	if mayMake {
		size = sketchBytes(bytes)
	}
	mem, err := mapSketch(s.Path(), size)
	if err != nil {
		return
	}
	k.mem, k.lines = mem, (mem.Size()-sketchHeader)/lineSize
	k.seed = mix(hashOf(name, 0), 1)
	k.addTime(0, 1)
	// Readers may be inside until the handle is garbage.
	runtime.AddCleanup(k, func(m *region.Mem) { _ = m.Unmap() }, &mem)
}

// mapSketch maps the sketch in a directory. If there is none of a size that a sketch can
// have, it makes one of this size, unless that is 0.
func mapSketch(dir string, size int64) (mem region.Mem, err error) {
	path := filepath.Join(dir, sketchFile)
	for range 3 {
		f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
		if err == nil {
			mem, err = mapFile(f)
			_ = f.Close()
			if err == nil {
				return mem, nil
			}
			if !errors.Is(err, errNoSketch) || size == 0 {
				return mem, err
			}
			_ = os.Remove(path)
		} else if !errors.Is(err, fs.ErrNotExist) || size == 0 {
			return mem, err
		}
		if err := makeSketch(dir, path, size); err != nil {
			return mem, err
		}
	}
	return mem, errNoSketch
}

var errNoSketch = errors.New("no sketch")

// mapFile maps a file that a sketch can be.
func mapFile(f *os.File) (region.Mem, error) {
	st, err := f.Stat()
	if err != nil {
		return region.Mem{}, err
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !ok || !st.Mode().IsRegular() || !sketchSize(st.Size()) {
		return region.Mem{}, errNoSketch
	}
	if sys.Blocks*512 < st.Size() { // else a write would fault in a full file system
		if err := unix.Fallocate(int(f.Fd()), 0, 0, st.Size()); err != nil {
			return region.Mem{}, err
		}
	}
	return region.Map(f, uint64(st.Size()), true)
}

// sketchSize reports whether a sketch can have this size.
func sketchSize(size int64) bool {
	n := size - sketchHeader
	return n >= minCounts && n <= maxCounts+dataUnit && n%lineSize == 0
}

// makeSketch makes an empty sketch, with the permission bits of the file data. Until it has
// its name it has a temporary one, which the next handle removes if the maker dies.
func makeSketch(dir, path string, size int64) error {
	like, err := os.Stat(filepath.Join(dir, "data"))
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, "tmp-hints-")
	if err != nil {
		return err
	}
	defer func() {
		_ = f.Close()
		_ = os.Remove(f.Name())
	}()
	if err := unix.Fallocate(int(f.Fd()), 0, 0, size); err != nil {
		return fmt.Errorf("making %s: %w", path, err)
	}
	if err := f.Chmod(like.Mode().Perm()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// A spot is where the two counts of a key are.
type spot struct{ a, b uint64 }

// at returns the spot of a key. It does not load the counts: a load before the lookup of the
// key would make the lookup wait.
func (k *sketch) at(key []byte) spot {
	if !k.mem.Valid() {
		return spot{}
	}
	h := hashOf(key, k.seed)
	line, _ := bits.Mul64(h, k.lines)
	a := sketchHeader + line*lineSize + h%lineCounts*2
	return spot{a, a ^ (h/lineCounts%lineCounts|1)*2}
}

// A count is what the sketch knows of a key.
type count struct {
	reads uint16 // up to topCount, less those that are forgotten
	age   uint16 // ticks since the last one
}

// load returns the count at off.
func (k *sketch) load(off uint64) count {
	v := k.mem.Half(off)
	if v&topCount == 0 {
		return count{0, timeMask}
	}
	age := (uint16(k.time.Load()) - v>>timeShift) & timeMask
	if age > timeMask-aheadMost {
		age = 0
	}
	return count{v & topCount >> (age / halfLife), age}
}

// count returns what is known of the keys of a spot.
func (k *sketch) count(s spot) count {
	if !k.mem.Valid() {
		return count{}
	}
	a, b := k.load(s.a), k.load(s.b)
	if b.reads < a.reads || b.reads == a.reads && b.age > a.age {
		return b
	}
	return a
}

// read counts a read. It writes nothing if both counts are at the top and of this tick.
func (k *sketch) read(s spot) {
	now := uint16(k.time.Load()) << timeShift
	if top := now | topCount; k.mem.Half(s.a) == top && k.mem.Half(s.b) == top {
		return
	}
	a, b := k.load(s.a).reads, k.load(s.b).reads
	n := min(min(a, b)+1, topCount)
	if a <= n {
		k.mem.SetHalf(s.a, now|n)
	}
	if b <= n {
		k.mem.SetHalf(s.b, now|n)
	}
}

// addTime adds reads to the time, in a region with so many items. In a store with a small region
// beside a large one, the time must not pass as the reads of the small one tell: then all counts of
// the large one would soon be old. What the most items are is forgotten unless it is said again.
func (k *sketch) addTime(reads uint64, items int) {
	if !k.mem.Valid() {
		return
	}
	most := max(min(k.mem.Word(offMost), k.mem.Size()), uint64(items), 1)
	if reads > 0 {
		k.mem.SetWord(offMost, most-most/mostFade-1)
	}
	k.time.Store(uint32(k.mem.Add(offTime, reads*ticksPerRead<<tickShift/most) >> tickShift))
}

// slack returns the word of the slack.
func (k *sketch) slack() (s int64, ok bool) {
	if !k.mem.Valid() {
		return 0, false
	}
	return int64(k.mem.Load(offSlack)), true
}

func (k *sketch) setSlack(s int64) {
	if k.mem.Valid() {
		k.mem.Store(offSlack, uint64(s))
	}
}

// note counts a read of the key whose counts are at seen, as a hit or a miss of the handle.
func (c *Cache) note(seen spot, kind uint64) {
	at := uint64(region.Lane()%lanes)*laneSize + kind
	n := c.lanes.Word(at) + 1
	c.lanes.Release(at, n)
	if k := &c.sketch; k.mem.Valid() {
		if n%learnEvery == 0 {
			k.learnRead(seen, kind == laneHits)
			if n%timeEvery == 0 {
				k.addTime(timeEvery, c.items.Len())
			}
		}
		k.read(seen)
	}
}

// hashOf is a fast hash for the sketch. Who chooses keys that collide in it spoils the hit
// ratio, and nothing else.
func hashOf(key []byte, seed uint64) uint64 {
	h := seed ^ uint64(len(key))
	for len(key) >= 8 {
		h = mix(h^binary.LittleEndian.Uint64(key), 0x9e3779b97f4a7c15)
		key = key[8:]
	}
	var rest uint64
	for i, b := range key {
		rest |= uint64(b) << (8 * uint(i))
	}
	return mix(h^rest, 0xd6e8feb86659fd93)
}

func mix(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}
