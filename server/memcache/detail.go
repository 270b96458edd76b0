package memcache

import (
	"bytes"
	"strconv"
	"sync"
	"sync/atomic"
)

// A detail counts requests by the prefixes of keys, for stats detail.
type detail struct {
	on     atomic.Bool
	prefix byte // ends a prefix

	mu       sync.Mutex
	prefixes map[string]*prefixCounts
	room     int // bytes that a dump may still grow by
}

type prefixCounts struct{ gets, hits, sets, deletes uint64 }

const (
	// maxDetail is how many bytes a dump has at most: requests with further prefixes are not
	// counted. A dump is one answer, which each client that does not read it keeps in memory.
	maxDetail = 1 << 20
	// detailRoom is how many bytes the line of a prefix has at most, without the prefix.
	detailRoom = len("PREFIX  get  hit  set  del \r\n") + 4*maxDigits
)

// of returns the counts of the prefix of a key, or nil if it has none.
func (d *detail) of(key []byte) *prefixCounts {
	n := bytes.IndexByte(key, d.prefix)
	if n < 0 {
		return nil
	}
	p := d.prefixes[string(key[:n])]
	if size := n + detailRoom; p == nil && size <= d.room {
		d.room -= size
		p = &prefixCounts{}
		d.prefixes[string(key[:n])] = p
	}
	return p
}

func (d *detail) get(key []byte, hit bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if p := d.of(key); p != nil {
		p.gets++
		if hit {
			p.hits++
		}
	}
}

func (d *detail) set(key []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if p := d.of(key); p != nil {
		p.sets++
	}
}

func (d *detail) delete(key []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if p := d.of(key); p != nil {
		p.deletes++
	}
}

// reset forgets all counts.
func (d *detail) reset() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.prefixes = map[string]*prefixCounts{}
	d.room = maxDetail - len("END\r\n")
}

// appendTo appends the lines of stats detail dump.
func (d *detail) appendTo(out []byte) []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	for prefix, p := range d.prefixes {
		out = append(append(out, "PREFIX "...), prefix...)
		out = strconv.AppendUint(append(out, " get "...), p.gets, 10)
		out = strconv.AppendUint(append(out, " hit "...), p.hits, 10)
		out = strconv.AppendUint(append(out, " set "...), p.sets, 10)
		out = strconv.AppendUint(append(out, " del "...), p.deletes, 10)
		out = append(out, "\r\n"...)
	}
	return append(out, "END\r\n"...)
}
