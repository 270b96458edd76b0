package shm

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"hash"
	"hash/crc64"
	"io"

	"github.com/seed-869cc763/shmkv/btree"
	"github.com/seed-869cc763/shmkv/hamt"
	"github.com/seed-869cc763/shmkv/node"
)

// The format of a difference. All words are 64 bits, little-endian.
//
//	header   magic, format version, the id (2) and version of what it was written
//	         since, the id (2) and version of what it leads to
//	changes  a word, length of the value | length of the key << 32 | kind << 56,
//	         then the key, then the value. Kind 1 sets, 2 deletes, and 6 sets an
//	         entry that has a checksum in the store. The first changes are those of
//	         the unnamed map. After kind 4, whose key is a name and whose length of
//	         the value is a Kind, they are those of that named map, which is made if it
//	         is not there. Kind 5, whose key is a name, drops that map.
//	end      a word, kind 3; the number of changes; the entries and the bytes of
//	         keys and values in what it leads to; the CRC-64/ECMA of all before
const (
	magicDifference  = 0x0a1a666964766b68 // "hkvdif\x1a\n"
	differenceFormat = 2

	kindSet    = 1
	kindDelete = 2
	kindEnd    = 3
	kindMap    = 4
	kindDrop   = 5
	kindSetSum = 6

	keyLenShift = 32
	kindShift   = 56
)

var crcTable = crc64.MakeTable(crc64.ECMA)

// BackupSince writes the difference between base and the snapshot to w, for Restore, and
// returns the number of entries that differ. base is a snapshot of an earlier backup of the
// store, of a store that Restore made of such a backup and that was not written to since,
// or an earlier snapshot of the same handle. Another base is refused with ErrUnrelated. A
// backup is compared entry by entry, in time that is proportional to its size. A snapshot
// of the same handle is compared as by Diff, in time that is proportional to the number of
// changes. An entry of the snapshot that is compared and whose checksum is wrong ends
// BackupSince with ErrCorrupt. A difference has a checksum and an end, so Restore refuses
// one that an error has cut short. BackupSince writes to w in large pieces.
func (sn *Snapshot) BackupSince(ctx context.Context, base *Snapshot, w io.Writer, opts *CopyOptions) (changes int64, err error) {
	d := &differenceWriter{crc: crc64.New(crcTable)}
	d.w = bufio.NewWriterSize(io.MultiWriter(w, d.crc), 256<<10)
	err = sn.hold(func() error {
		return base.hold(func() error { return sn.writeDifference(ctx, base, d, opts) })
	})
	if err != nil {
		return d.changes, sn.fail(fmt.Sprintf("writing what changed since %s in", base.s.path), err)
	}
	return d.changes, nil
}

func (sn *Snapshot) writeDifference(ctx context.Context, base *Snapshot, d *differenceWriter, opts *CopyOptions) error {
	if opts == nil {
		opts = &CopyOptions{}
	}
	if base.s.k0 != sn.s.k0 || base.s.k1 != sn.s.k1 {
		return fmt.Errorf("%w: found another store, expected a backup of this one", ErrUnrelated)
	}
	sn.s.keepVersion(sn.Version())
	from, to := base.shows(), sn.shows()
	d.words(magicDifference, differenceFormat, from.Store[0], from.Store[1], from.Version, to.Store[0], to.Store[1], to.Version)
	c := comparison{sn: sn, base: base, d: d, step: func(done int64) error {
		opts.progress(min(done, sn.root().all().entries), sn.root().all().entries)
		return cmp.Or(ctx.Err(), sn.check(), base.check(), d.err)
	}}
	err := c.entries(&base.mapView, &sn.mapView, nil)
	if err == nil {
		err = c.maps()
	}
	if err = cmp.Or(err, ctx.Err(), sn.check(), base.check()); err != nil {
		return err
	}
	all := sn.root().all()
	opts.progress(all.entries, all.entries)
	d.words(kindEnd<<kindShift, uint64(d.changes), uint64(all.entries), uint64(all.dataBytes))
	if d.err == nil {
		d.err = d.w.Flush() // so that the sum is of all before
	}
	d.words(d.crc.Sum64())
	if d.err == nil {
		d.err = d.w.Flush()
	}
	return d.err
}

// A comparison compares two snapshots for a difference. In the same handle it looks at what
// differs, otherwise at everything.
type comparison struct {
	sn, base *Snapshot
	d        *differenceWriter
	seen     int64
	step     func(done int64) error // called now and then
}

// entries writes the differences between two views of a map. older may be nil.
// Before the first one it calls begin, if that is not nil.
func (c *comparison) entries(older, newer *mapView, begin func()) error {
	r, before := c.sn.s.reader(), c.base.s.reader()
	if older == nil {
		older = &mapView{sn: c.base, to: newer.to, named: &namedView{}}
	}
	var failed error
	var olds, news int64
	write := func(kind uint64, key, value []byte) {
		if begin != nil {
			begin()
			begin = nil
		}
		c.d.change(kind, key, value)
	}
	visit := func(old, new node.Leaf) bool {
		if c.seen++; c.seen%fillEntries == 0 {
			if failed = c.step(c.seen); failed != nil {
				return false
			}
		}
		if old != (node.Leaf{}) {
			olds++
		}
		if new == (node.Leaf{}) {
			write(kindDelete, before.Key(old), nil)
			return c.d.err == nil
		}
		news++
		if failed = r.CheckSum(new); failed != nil {
			return false
		}
		if value := r.Value(new); old == (node.Leaf{}) || !bytes.Equal(before.Value(old), value) {
			kind := uint64(kindSet)
			if new.Flags()&node.HasSum != 0 {
				kind = kindSetSum
			}
			write(kind, r.Key(new), value)
		}
		return c.d.err == nil
	}
	var err error
	switch {
	case c.base.s == c.sn.s:
		err = newer.visitChanges(older, visit)
		return cmp.Or(err, failed, c.d.err)
	case newer.to.ordered():
		err = btree.Join(btree.Reader{Reader: before.Reader}, older.top, btree.Reader{Reader: r.Reader}, newer.top, visit)
	default:
		err = hamt.Join(before, older.top, r, newer.top, c.sn.s.hash, visit)
	}
	if err = cmp.Or(err, failed, c.d.err); err != nil {
		return err
	}
	return cmp.Or(older.holds(olds), newer.holds(news))
}

// holds compares the number of entries that a reading of the whole map has found with
// the one that the snapshot states.
func (m *mapView) holds(entries int64) error {
	if err := m.sn.check(); err != nil {
		return err
	}
	return checkTotal(m.sn.pin.Off, "entries stated of a map", m.size().Entries, entries)
}

// maps writes the differences between the named maps.
func (c *comparison) maps() error {
	r, before := c.sn.s.reader(), c.base.s.reader()
	var failed error
	visit := func(old, new node.Leaf) bool {
		failed = cmp.Or(c.sn.check(), c.base.check())
		var past, now mapRecord
		var name []byte
		if failed == nil && old != (node.Leaf{}) {
			name = before.Key(old)
			past, failed = readRecord(before.Reader, old)
		}
		if failed == nil && new != (node.Leaf{}) {
			name = r.Key(new)
			now, failed = readRecord(r.Reader, new)
		}
		if failed == nil {
			failed = c.namedMap(name, past, now)
		}
		return failed == nil
	}
	olds, news := mapView{sn: c.base}, mapView{sn: c.sn}
	olds.top, news.top = c.base.root().directory, c.sn.root().directory
	var err error
	if c.base.s == c.sn.s {
		err = news.visitChanges(&olds, visit)
	} else {
		err = hamt.Join(before, olds.top, r, news.top, c.sn.s.hash, visit)
	}
	return cmp.Or(err, failed)
}

// namedMap writes the differences between two records of a map. A record of no kind means
// that the map is not there.
func (c *comparison) namedMap(name []byte, past, now mapRecord) error {
	if past.kind != now.kind && past.kind != 0 {
		c.d.dropMap(name)
		past = mapRecord{}
	}
	if now.kind == 0 {
		return c.d.err
	}
	to := &target{name: name, kind: now.kind}
	begin := func() { c.d.beginMap(name, now.kind) }
	var older *mapView
	if past.kind != 0 {
		was := c.base.viewIn(to, past.Tree)
		older = &was
	} else {
		begin() // also for a map without entries
		begin = nil
	}
	is := c.sn.viewIn(to, now.Tree)
	return c.entries(older, &is, begin)
}

type differenceWriter struct {
	w       *bufio.Writer
	crc     hash.Hash64
	changes int64
	err     error // the first one
	word    [8]byte
}

func (d *differenceWriter) words(words ...uint64) {
	for _, w := range words {
		binary.LittleEndian.PutUint64(d.word[:], w)
		d.write(d.word[:])
	}
}

func (d *differenceWriter) write(b []byte) {
	if d.err == nil {
		_, d.err = d.w.Write(b)
	}
}

func (d *differenceWriter) change(kind uint64, key, value []byte) {
	d.words(kind<<kindShift | uint64(len(key))<<keyLenShift | uint64(len(value)))
	d.write(key)
	d.write(value)
	d.changes++
}

// beginMap begins the changes of a named map.
func (d *differenceWriter) beginMap(name []byte, kind Kind) { d.mark(kindMap, name, kind) }

// dropMap drops a named map.
func (d *differenceWriter) dropMap(name []byte) { d.mark(kindDrop, name, 0) }

func (d *differenceWriter) mark(kind uint64, name []byte, of Kind) {
	d.words(kind<<kindShift | uint64(len(name))<<keyLenShift | uint64(of))
	d.write(name)
}
