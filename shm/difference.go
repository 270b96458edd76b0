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

	"github.com/seed-869cc763/shmkv/alloc"
	"github.com/seed-869cc763/shmkv/alloc/layout"
	"github.com/seed-869cc763/shmkv/alloc/region"
	"github.com/seed-869cc763/shmkv/hamt"
	"github.com/seed-869cc763/shmkv/node"
)

// The format of a difference. All words are 64 bits, little-endian.
//
//	header   magic, format version, the id (2) and version of what it was written
//	         since, the id (2) and version of what it leads to
//	changes  a word, length of the value | length of the key << 32 | kind << 56,
//	         then the key, then the value
//	end      a word, kind 3; the number of changes; the entries and the bytes of
//	         keys and values in what it leads to; the CRC-64/ECMA of all before
const (
	magicDifference  = 0x0a1a666964766b68 // "hkvdif\x1a\n"
	differenceFormat = 1

	kindSet    = 1
	kindDelete = 2
	kindEnd    = 3

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
// changes. A difference has a checksum and an end, so Restore refuses one that an error has
// cut short. BackupSince writes to w in large pieces.
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
	from, to := base.shows(), sn.shows()
	d.words(magicDifference, differenceFormat, from.Store[0], from.Store[1], from.Version, to.Store[0], to.Store[1], to.Version)

	r, before := sn.s.reader(), base.s.reader()
	var failed error
	var older, newer, seen int64
	visit := func(old, new node.Leaf) bool {
		if seen++; seen%fillEntries == 0 {
			if failed = cmp.Or(ctx.Err(), sn.check(), base.check()); failed != nil {
				return false
			}
			opts.progress(newer, sn.root().entries)
		}
		if old != (node.Leaf{}) {
			older++
		}
		if new == (node.Leaf{}) {
			d.change(kindDelete, before.Key(old), nil)
			return d.err == nil
		}
		newer++
		if value := r.Value(new); old == (node.Leaf{}) || !bytes.Equal(before.Value(old), value) {
			d.change(kindSet, r.Key(new), value)
		}
		return d.err == nil
	}
	var err error
	if base.s == sn.s {
		err = sn.diff(base, visit)
		older, newer = base.root().entries, sn.root().entries
	} else {
		err = hamt.Join(before, base.trie, r, sn.trie, sn.s.hash, visit)
	}
	if err = cmp.Or(err, failed, d.err, ctx.Err()); err == nil {
		err = cmp.Or(base.holds(older), sn.holds(newer))
	}
	if err != nil {
		return err
	}
	opts.progress(sn.root().entries, sn.root().entries)
	d.words(kindEnd<<kindShift, uint64(d.changes), uint64(sn.root().entries), uint64(sn.root().dataBytes))
	if d.err == nil {
		d.err = d.w.Flush() // so that the sum is of all before
	}
	d.words(d.crc.Sum64())
	if d.err == nil {
		d.err = d.w.Flush()
	}
	return d.err
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

// apply makes the changes of a difference. The base of the difference must be the version
// that the store shows. apply returns the version that it shows afterwards.
func (s *Store) apply(ctx context.Context, shows layout.Origin, r io.Reader) (layout.Origin, error) {
	d := &differenceReader{r: bufio.NewReaderSize(r, 256<<10), crc: crc64.New(crcTable)}
	head := d.words(8)
	if d.err != nil {
		return shows, d.err
	}
	if head[0] != magicDifference {
		return shows, region.Corrupt(0, "magic (not a difference?)", fmt.Sprintf("%#x", head[0]), fmt.Sprintf("%#x", uint64(magicDifference)))
	}
	if head[1] != differenceFormat {
		return shows, fmt.Errorf("%w: found a difference of format %d, this build reads %d", ErrVersion, head[1], differenceFormat)
	}
	from, to := [2]uint64(head[2:4]), [2]uint64(head[5:7])
	if from != shows.Store || head[4] != shows.Version {
		return shows, fmt.Errorf("%w: found one since version %d of store %s, expected one since version %d of store %s",
			ErrUnrelated, head[4], alloc.FormatID(from), shows.Version, alloc.FormatID(shows.Store))
	}
	for more := true; more; {
		if err := ctx.Err(); err != nil {
			return shows, err
		}
		var changes []differenceChange
		if changes, more = d.batch(); d.err != nil {
			return shows, d.err
		}
		err := s.Update(func(tx *Tx) error {
			for _, c := range changes {
				if err := c.apply(tx); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return shows, err
		}
	}
	end, at := d.words(3), d.at
	sum := d.crc.Sum64()
	if got := d.words(1); d.err == nil && got[0] != sum {
		d.err = region.Corrupt(d.at-8, "checksum of a difference", fmt.Sprintf("%#x", got[0]), fmt.Sprintf("%#x", sum))
	}
	if d.err == nil {
		if _, err := d.r.ReadByte(); err != io.EOF {
			d.err = cmp.Or(err, region.Corrupt(d.at, "end of a difference", "more", "the end of the file"))
		}
	}
	if d.err != nil {
		return shows, d.err
	}
	st := s.Stats()
	for i, got := range []int64{d.changes, st.Entries, st.DataBytes} {
		if end[i] != uint64(got) {
			what := [...]string{"changes", "entries", "bytes of keys and values"}[i]
			return shows, alloc.Corrupt(at-24+8*uint64(i), what+" of a difference", int64(end[i]), got)
		}
	}
	return layout.Origin{Store: to, Version: head[7]}, nil
}

// A differenceReader reads a difference. All of it may be damaged, lengths too.
type differenceReader struct {
	r       *bufio.Reader
	crc     hash.Hash64
	at      uint64 // bytes read
	changes int64
	err     error
}

type differenceChange struct {
	at         uint64
	kind       uint64
	key, value []byte
}

func (c differenceChange) apply(tx *Tx) error {
	if c.kind == kindSet {
		return tx.Set(c.key, c.value)
	}
	existed, err := tx.Delete(c.key)
	if err == nil && !existed {
		err = region.Corrupt(c.at, "change", "the removal of a key that is not there", "one of a key that is")
	}
	return err
}

// batch reads changes for one transaction, and reports whether there are more.
func (d *differenceReader) batch() (changes []differenceChange, more bool) {
	for start := d.at; len(changes) < fillEntries && d.at-start < fillBytes; {
		at := d.at
		head := d.words(1)[0]
		kind := head >> kindShift
		keyLen, valueLen := head>>keyLenShift&(1<<(kindShift-keyLenShift)-1), head&(1<<keyLenShift-1)
		switch {
		case d.err != nil || head == kindEnd<<kindShift:
			return changes, false
		case kind != kindSet && kind != kindDelete || keyLen > MaxKey || kind == kindDelete && valueLen > 0:
			d.err = region.Corrupt(at, "change", fmt.Sprintf("%#x", head), "a kind and lengths")
			return changes, false
		}
		changes = append(changes, differenceChange{at, kind, d.bytes(keyLen), d.bytes(valueLen)})
		d.changes++
	}
	return changes, true
}

func (d *differenceReader) words(n int) []uint64 {
	words := make([]uint64, n)
	b := d.bytes(uint64(n) * 8)
	for i := 0; d.err == nil && i < n; i++ {
		words[i] = binary.LittleEndian.Uint64(b[8*i:])
	}
	return words
}

// bytes reads n bytes. A damaged length takes no more memory than the input is long.
func (d *differenceReader) bytes(n uint64) []byte {
	if d.err != nil {
		return nil
	}
	var b []byte
	for have := uint64(0); have < n && d.err == nil; have = uint64(len(b)) {
		b = append(b, make([]byte, min(n-have, max(have, fillBytes)))...)
		_, d.err = io.ReadFull(d.r, b[have:])
	}
	d.at += n
	if d.err == io.EOF || d.err == io.ErrUnexpectedEOF {
		d.err = region.Corrupt(d.at, "difference", "its end", "more: it is not complete")
	}
	_, _ = d.crc.Write(b)
	return b
}
