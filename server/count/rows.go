package count

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"time"

	"github.com/seed-869cc763/shmkv/server/count/wire"
	"github.com/seed-869cc763/shmkv/shm"
	"github.com/seed-869cc763/shmkv/shm/counter"
)

// A reader is a connection that asks for rows.
type reader struct{ c *conn }

// handle implements handler. A reader may keep its buffer while it waits: it has one more.
func (r *reader) handle(messages []byte, _ func()) error {
	layout := r.c.s.layout
	for m := messages; len(m) > 0; m = m[layout.RequestSize():] {
		r.c.s.counts.reads.Add(1)
		if err := r.answer(layout.Request(m)); err != nil {
			return err
		}
	}
	return nil
}

// end implements handler.
func (r *reader) end() {}

// answer answers a request.
func (r *reader) answer(keyspace []byte, offset, length uint64) error {
	s := r.c.s
	w := newWork(wire.NumberSize + s.layout.RowSize())
	defer w.giveBack()
	set := counter.Open(s.opts.Store, string(keyspace))
	most := min(length, math.MaxInt)
	from := min(offset, math.MaxInt)
	var answer []byte
	small := false
	err := set.View(func(v *counter.View) (err error) {
		rows := min(most, uint64(max(v.Len()-int(from), 0)))
		if small = rows <= uint64((len(w.b)-wire.NumberSize)/s.layout.RowSize()); small {
			answer, err = appendRows(w.b[:0], s.layout, v, int(from), int(rows))
		}
		return err
	})
	switch {
	case err != nil:
		return err
	case small:
		_, err = r.c.Write(answer)
		return err
	}
	s.streams <- struct{}{}
	defer func() { <-s.streams }()
	sn, err := s.opts.Store.Snapshot()
	if err != nil {
		return err
	}
	defer func() { _ = sn.Close() }()
	return r.stream(w.b[:0], set.In(sn), int(from), int(most))
}

// appendRows appends the answer that has these rows.
func appendRows(b []byte, layout wire.Layout, v *counter.View, from, rows int) ([]byte, error) {
	b = binary.LittleEndian.AppendUint64(b, uint64(rows))
	for key, n := range v.Range(from, rows) {
		var err error
		if b, err = layout.AppendRow(b, n, key); err != nil {
			return nil, fmt.Errorf("answering a request for rows: %w", err)
		}
		rows--
	}
	return b, cmp.Or(v.Err(), allRows(rows))
}

// allRows returns an error unless no row of an answer is missing.
func allRows(missing int) error {
	if missing == 0 {
		return nil
	}
	return fmt.Errorf("answering a request for rows: %w: found %d rows less than the keyspace has counters", shm.ErrCorrupt, missing)
}

// stream writes an answer in pieces.
func (r *reader) stream(b []byte, v *counter.View, from, most int) (err error) {
	layout := r.c.s.layout
	p := piecewise{c: r.c, began: time.Now()}
	rows := min(most, max(v.Len()-from, 0))
	b = binary.LittleEndian.AppendUint64(b, uint64(rows))
	for key, n := range v.Range(from, rows) {
		if cap(b)-len(b) < layout.RowSize() {
			if err := p.write(b); err != nil {
				return err
			}
			b = b[:0]
		}
		if b, err = layout.AppendRow(b, n, key); err != nil {
			return fmt.Errorf("answering a request for rows: %w", err)
		}
		rows--
	}
	if err := cmp.Or(v.Err(), allRows(rows)); err != nil {
		return err
	}
	if err := p.write(b); err != nil {
		return err
	}
	return r.c.SetWriteDeadline(time.Time{})
}

// A piecewise is an answer that is written in pieces. The client must take each of them within
// Options.Patience, so that one that has taken much does not keep the snapshot after that. And it must
// take Options.Rate over all, so that a client that takes a piece now and then does not either.
type piecewise struct {
	c       *conn
	began   time.Time
	written int
}

// write writes a piece.
func (p *piecewise) write(b []byte) error {
	o := &p.c.s.opts
	deadline := time.Now().Add(o.Patience)
	slowest := float64(p.written) / float64(o.Rate) * float64(time.Second)
	if d := p.began.Add(o.Patience + time.Duration(slowest)); d.Before(deadline) {
		deadline = d
	}
	if err := p.c.SetWriteDeadline(deadline); err != nil {
		return err
	}
	n, err := p.c.Write(b)
	p.written += n
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("found a client that took %d bytes of an answer in %v, expected %d within %v and %d a second",
			p.written, time.Since(p.began).Round(time.Millisecond), len(b), o.Patience, o.Rate)
	}
	return err
}
