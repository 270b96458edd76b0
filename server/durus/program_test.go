package durus

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/seed-869cc763/shmkv/shm/record"
)

// A clientStorage does what the class ClientStorage of Durus does: it sends the same bytes at the same times, and
// keeps the same ids for later.
type clientStorage struct {
	*client
	pool     []record.ID
	poolSize int
	stored   []record.Record
	newOnes  []record.ID // ids that the transaction has taken
}

func (w *world) clientStorage(network string) *clientStorage {
	return &clientStorage{client: w.dial(network), poolSize: 32}
}

func (s *clientStorage) newOID() record.ID {
	if len(s.pool) == 0 {
		s.pool = s.newIDs(s.poolSize)
		slices.Reverse(s.pool)
	}
	id := s.pool[len(s.pool)-1]
	s.pool = s.pool[:len(s.pool)-1]
	s.newOnes = append(s.newOnes, id)
	return id
}

func (s *clientStorage) begin() { s.stored, s.newOnes = nil, nil }

func (s *clientStorage) store(r record.Record) { s.stored = append(s.stored, r) }

// end is ClientStorage.end. invalidate is told the ids that others have changed.
func (s *clientStorage) end(invalidate func([]record.ID) error) error {
	s.send([]byte{'C'})
	if n := s.number(); n > 0 {
		if err := invalidate(s.ids(n)); err != nil {
			slices.Reverse(s.newOnes)
			s.pool = append(s.pool, s.newOnes...)
			s.begin()
			s.send(be4(0))
			return err
		}
	}
	all := entries(s.stored...)
	s.send(be4(len(all)))
	s.send(all)
	s.stored = nil
	if len(all) == 0 {
		return nil
	}
	switch status := s.read(1)[0]; status {
	case 'O':
		return nil
	case 'I':
		return errWriteConflict
	default:
		return fmt.Errorf("status %q", status)
	}
}

// crawl is gen_oid_record from an id on, with bulk loads of 100.
func (s *clientStorage) crawl(from record.ID) (all []record.Record) {
	todo, seen := []record.ID{from}, map[record.ID]bool{}
	for len(todo) > 0 {
		var batch []record.ID
		for len(todo) > 0 && len(batch) < 100 {
			slices.Sort(todo)
			if !seen[todo[0]] {
				batch = append(batch, todo[0])
				seen[todo[0]] = true
			}
			todo = todo[1:]
		}
		for _, answer := range s.bulkLoad(batch...) {
			if answer.status != "O" {
				s.t.Fatalf("status %q", answer.status)
			}
			all = append(all, answer.r)
			todo = append(todo, answer.r.Refs...)
		}
	}
	return all
}

type answer struct {
	status string
	r      record.Record
}

func (s *clientStorage) bulkLoad(ids ...record.ID) (all []answer) {
	s.send([]byte{'B'}, be4(len(ids)), be8(ids...))
	for range ids {
		status, r := s.answer()
		all = append(all, answer{string(status), r})
	}
	return all
}

func (s *clientStorage) close() {
	s.send([]byte{'.'})
	_ = s.nc.Close()
}

var (
	errReadConflict  = errors.New("read conflict")
	errWriteConflict = errors.New("write conflict")
)

// A persistent is an object of a program of Durus. A ghost has no state.
type persistent struct {
	id     record.ID
	serial int // of the transaction that has used it last
	ghost  bool
	isNew  bool
	state  state
}

// A state is what is pickled of an object.
type state struct {
	Class string
	Attrs map[string]int
	Items map[string]record.ID
}

// A program does what the class Connection of Durus does. Its cache keeps all objects.
type program struct {
	*clientStorage
	cache   map[record.ID]*persistent
	changed map[record.ID]*persistent
	invalid map[record.ID]bool
	serial  int
}

// connect makes a Connection, which stores the root if there is none.
func (s *clientStorage) connect() *program {
	s.t.Helper()
	p := &program{clientStorage: s, cache: map[record.ID]*persistent{}, changed: map[record.ID]*persistent{}, invalid: map[record.ID]bool{}}
	if p.get(0) != nil {
		return p
	}
	if id := s.newOID(); id != 0 {
		s.t.Fatalf("found the id %d for the root, expected 0", id)
	}
	root := &persistent{state: state{Class: "PersistentDict"}}
	p.cache[0], p.changed[0] = root, root
	p.commits()
	return p
}

// get returns the object of an id, or nil.
func (p *program) get(id record.ID) *persistent {
	if o := p.cache[id]; o != nil {
		return o
	}
	o := &persistent{id: id, ghost: true}
	if err := p.load(o); err != nil {
		return nil
	}
	p.cache[id] = o
	return o
}

// load is Connection.load_state.
func (p *program) load(o *persistent) error {
	if p.invalid[o.id] {
		p.t.Fatalf("%d is still in conflict: an abort is missing", o.id)
	}
	status, r := p.clientStorage.load(o.id)
	if status == 'I' {
		if err := p.invalidate(p.sync(), errReadConflict); err != nil {
			return err
		}
		status, r = p.clientStorage.load(o.id)
	}
	if status != 'O' {
		return errReadConflict
	}
	o.state, o.ghost = state{}, false
	return json.Unmarshal(r.Data, &o.state)
}

// use is an access to an attribute of an object.
func (p *program) use(o *persistent) *persistent {
	p.t.Helper()
	if o.ghost {
		if err := p.load(o); err != nil {
			p.t.Fatalf("loading %d: %v", o.id, err)
		}
	}
	o.serial = p.serial
	return o
}

func (p *program) root() *persistent { return p.cache[0] }

// item returns an object that another one refers to, or nil. Its state is not loaded.
func (p *program) item(of *persistent, name string) *persistent {
	p.t.Helper()
	id, is := p.use(of).state.Items[name]
	if !is {
		return nil
	}
	if p.cache[id] == nil {
		p.cache[id] = &persistent{id: id, ghost: true}
	}
	return p.cache[id]
}

// sets lets one object refer to a new one, which it returns.
func (p *program) sets(of *persistent, name, class string) *persistent {
	p.t.Helper()
	o := &persistent{id: p.newOID(), isNew: true, serial: p.serial, state: state{Class: class}}
	p.cache[o.id] = o
	p.change(of, func(s *state) {
		s.Items = maps.Clone(s.Items)
		if s.Items == nil {
			s.Items = map[string]record.ID{}
		}
		s.Items[name] = o.id
	})
	p.changed[o.id] = o
	return o
}

func (p *program) change(o *persistent, f func(*state)) {
	p.t.Helper()
	f(&p.use(o).state)
	p.changed[o.id] = o
}

func (p *program) attr(o *persistent, name string, n int) {
	p.t.Helper()
	p.change(o, func(s *state) { s.Attrs = map[string]int{name: n} })
}

// invalidate is Connection._handle_invalidations.
func (p *program) invalidate(ids []record.ID, conflict error) error {
	found := false
	for _, id := range ids {
		switch o := p.cache[id]; {
		case o == nil:
		case o.serial == p.serial && !o.ghost:
			p.invalid[id], found = true, true
		default:
			o.ghost = true
		}
	}
	if found {
		return conflict
	}
	return nil
}

// abort is Connection.abort.
func (p *program) abort() {
	for _, o := range p.changed {
		o.ghost = true
	}
	clear(p.changed)
	p.takeIn()
}

func (p *program) takeIn() {
	for _, id := range p.sync() {
		p.invalid[id] = true
	}
	for id := range p.invalid {
		if o := p.cache[id]; o != nil {
			o.ghost = true
		}
	}
	clear(p.invalid)
	p.serial++
}

// commit is Connection.commit.
func (p *program) commit() error {
	if len(p.changed) == 0 {
		p.takeIn()
		return nil
	}
	p.begin()
	for _, o := range p.changed {
		data, err := json.Marshal(o.state)
		if err != nil {
			return err
		}
		p.store(record.Record{ID: o.id, Data: data, Refs: slices.Collect(maps.Values(o.state.Items))})
	}
	if err := p.end(func(ids []record.ID) error { return p.invalidate(ids, errWriteConflict) }); err != nil {
		for id, o := range p.changed {
			if o.isNew {
				delete(p.cache, id)
				delete(p.changed, id)
			}
		}
		return err
	}
	for _, o := range p.changed {
		o.isNew = false
	}
	clear(p.changed)
	p.serial++
	return nil
}

func (p *program) commits() {
	p.t.Helper()
	if err := p.commit(); err != nil {
		p.t.Fatal(err)
	}
}

func (p *program) packs() {
	p.abort()
	p.pack()
}
