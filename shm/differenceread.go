package shm

import (
	"bufio"
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
	"github.com/seed-869cc763/shmkv/node"
)

// apply makes the changes of a difference. The base of the difference must be the version
// that the store shows. apply returns the version that it shows afterwards.
func (s *Store) apply(ctx context.Context, shows layout.Origin, r io.Reader) (layout.Origin, error) {
	d := &differenceReader{s: s, r: bufio.NewReaderSize(r, 256<<10), crc: crc64.New(crcTable)}
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
			in := &tx.txKeyed
			for _, c := range changes {
				var err error
				if in, err = c.apply(tx, in); err != nil {
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
	s       *Store
	to      *target // the map of the changes
	r       *bufio.Reader
	crc     hash.Hash64
	at      uint64 // bytes read
	changes int64
	err     error
}

// A differenceChange is a change of an entry, or the beginning or the drop of a map.
type differenceChange struct {
	at         uint64
	kind       uint64
	to         *target
	key, value []byte
}

// apply makes the change part of a transaction. in is the map of the change before.
func (c differenceChange) apply(tx *Tx, in *txKeyed) (*txKeyed, error) {
	if c.kind == kindDrop {
		there, err := tx.drop(c.to)
		if err == nil && !there {
			err = region.Corrupt(c.at, "change", "the drop of a map that is not there", "one of a map that is")
		}
		return in, err
	}
	if in.to != c.to {
		in = &txKeyed{tx: tx, to: c.to}
	}
	switch c.kind {
	case kindMap:
		return in, in.create()
	case kindSet:
		tx.w.setSums(0)
		return in, in.Set(c.key, c.value)
	case kindSetSum:
		tx.w.setSums(node.HasSum)
		return in, in.Set(c.key, c.value)
	}
	existed, err := in.Delete(c.key)
	if err == nil && !existed {
		err = region.Corrupt(c.at, "change", "the removal of a key that is not there", "one of a key that is")
	}
	return in, err
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
		case !validHead(kind, keyLen, valueLen):
			d.err = region.Corrupt(at, "change", fmt.Sprintf("%#x", head), "a kind and lengths")
			return changes, false
		}
		c := differenceChange{at: at, kind: kind, to: d.to, key: d.bytes(keyLen)}
		switch kind {
		case kindSet, kindSetSum:
			c.value = d.bytes(valueLen)
			d.changes++
		case kindDelete:
			d.changes++
		default:
			to := d.s.target(string(c.key), Kind(valueLen))
			if c.to = &to; kind == kindMap {
				d.to = &to
			}
		}
		changes = append(changes, c)
	}
	return changes, true
}

// validHead reports whether the head of a change is one.
func validHead(kind, keyLen, valueLen uint64) bool {
	switch kind {
	case kindSet, kindSetSum:
		return keyLen <= MaxKey
	case kindDelete:
		return keyLen <= MaxKey && valueLen == 0
	case kindMap:
		return keyLen <= MaxName && (valueLen == uint64(KindHash) || valueLen == uint64(KindOrdered))
	case kindDrop:
		return keyLen <= MaxName && valueLen == 0
	}
	return false
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
