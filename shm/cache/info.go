package cache

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seed-869cc763/shmkv/shm"
)

// Info is what a store tells of one of its regions.
type Info struct {
	Items     int64 `json:"items"`      // of the region, expired ones included
	DataBytes int64 `json:"data_bytes"` // of their keys and values, with Overhead
	// Claims is the number of creations that are under way, or have failed or found nothing
	// lately.
	Claims int64 `json:"claims"`
	// Invalidations is how often the region was invalidated softly.
	Invalidations uint64 `json:"invalidations"`
	// FlushAt is when the region is to be flushed; zero means never.
	FlushAt time.Time `json:"flush_at,omitzero"`
	// All are the counts of all handles on regions of the store, as in Stats. Counted is
	// false if the store has no file with them, or one that cannot be read.
	All     Counts `json:"all"`
	Counted bool   `json:"counted"`
}

// Inspect returns what an open store tells of a region. In contrast to New it opens no handle:
// it writes nothing, makes no file, and does no work in the background. A region without items
// need not have a map.
func Inspect(s *shm.Store, name string) (i Info, err error) {
	err = s.View(func(sn *shm.Snapshot) error {
		m := sn.Map(name)
		if _, err := m.Has(nil); err != nil { // it may be an ordered map
			return err
		}
		i.Items, i.DataBytes = int64(m.Len()), m.Bytes()
		i.Claims = int64(sn.Map(ClaimsPrefix + name).Len())
		b, err := sn.Map(RegionsMap).Get([]byte(name))
		if err == shm.ErrNotFound {
			return nil
		}
		if err != nil {
			return err
		}
		r, err := readRecord(b)
		i.Invalidations, i.FlushAt = r.generation, timeOf(r.flushAt)
		return err
	})
	if err != nil {
		return Info{}, fmt.Errorf("cache: inspecting region %.40q: %w", name, err)
	}
	i.All, i.Counted = readCounts(s.Path())
	return i, nil
}

// readCounts reads the sums from the sketch in a directory.
func readCounts(dir string) (Counts, bool) {
	f, err := os.OpenFile(filepath.Join(dir, sketchFile), os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return Counts{}, false
	}
	defer func() { _ = f.Close() }()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() || !sketchSize(st.Size()) {
		return Counts{}, false
	}
	var b [8 * counted]byte
	if _, err := f.ReadAt(b[:], offSums); err != nil {
		return Counts{}, false
	}
	var sums [counted]uint64
	for i := range sums {
		sums[i] = binary.NativeEndian.Uint64(b[8*i:])
	}
	return countsOf(sums), true
}
