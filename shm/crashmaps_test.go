//go:build shmhook

package shm

import (
	"errors"
	"fmt"
	"maps"
	"strings"
)

// Crash points of named maps. The contents are those of readAll: see mapscenes_test.go.

// steadily adds steps, each with the contents that it leaves.
type steadily struct {
	now   contents
	steps []step
}

func (s *steadily) add(change func(c contents), do func(s *Store) error) {
	s.now = maps.Clone(s.now)
	change(s.now)
	s.steps = append(s.steps, step{do, s.now})
}

func (s *steadily) put(p place, key, value string) {
	s.add(func(c contents) { p.put(c, key, value) }, func(s *Store) error { return p.in(s).Set([]byte(key), []byte(value)) })
}

func (s *steadily) take(p place, key string) {
	s.add(func(c contents) { delete(c, p.name+"/"+key) }, func(s *Store) error {
		_, err := p.in(s).Delete([]byte(key))
		return err
	})
}

func (s *steadily) drop(name string) {
	s.add(func(c contents) {
		maps.DeleteFunc(c, func(k, _ string) bool { return strings.HasPrefix(k, name+"/") })
	}, func(s *Store) error {
		_, err := s.DropMap(name)
		return err
	})
}

// same adds a step that changes no contents.
func (s *steadily) same(do func(s *Store) error) { s.add(func(contents) {}, do) }

func steps(make func(s *steadily)) func(contents) []step {
	return func(before contents) []step {
		s := &steadily{now: before}
		make(s)
		return s.steps
	}
}

func mapStories() []story {
	o, h := orderedAt("o"), hashAt("h")
	return []story{
		{name: "maps are made", size: 1 << 20, prepare: filled(3, 8), steps: steps(func(s *steadily) {
			s.put(o, "a", "1")
			s.put(h, "b", "2")
			s.put(hashAt(""), "", "3")
		})},
		{name: "a node of an ordered map is parted", size: 1 << 20, prepare: withMap(o, 32), steps: steps(func(s *steadily) {
			s.put(o, "k05+", "x")
		})},
		{name: "two nodes of an ordered map are joined", size: 1 << 20, prepare: aboutToJoin(o), steps: steps(func(s *steadily) {
			s.take(o, "k01")
		})},
		{name: "a map is dropped", size: 1 << 20, prepare: withMap(o, 20), steps: steps(func(s *steadily) {
			s.drop("o")
			s.put(hashAt("o"), "a", "1")
			s.drop("o")
		})},
		{name: "a dropped map is taken apart", size: 1 << 20, prepare: withDropped(o, dropStep*7/4), steps: steps(func(s *steadily) {
			s.same(takeApart)
			s.same(func(s *Store) error {
				if !isDropped(s) {
					return errors.New("the map was taken apart in one step")
				}
				return takeApart(s)
			})
			s.same(func(s *Store) error {
				if isDropped(s) {
					return errors.New("the map was not taken apart in two steps")
				}
				return nil
			})
		})},
		{name: "nodes and records of named maps are moved", size: 1 << 20, prepare: withMap(o, 33), steps: steps(func(s *steadily) {
			s.same(func(s *Store) error { return moveNodes(s, o) })
			s.same(func(s *Store) error { return moveRecord(s, "o") })
		})},
		{name: "a transaction over several maps", size: 1 << 20, prepare: withMap(o, 33), steps: steps(func(s *steadily) {
			s.add(func(c contents) {
				for i := range 20 {
					key := fmt.Sprintf("k%02d", i)
					h.put(c, key, c["o/"+key])
					c["copy"+key] = ""
					delete(c, "o/"+key)
				}
			}, func(s *Store) error {
				return s.Update(func(tx *Tx) error {
					from, to := o.inTx(tx), h.inTx(tx)
					for i := range 20 {
						key := fmt.Appendf(nil, "k%02d", i)
						v, err := from.Get(key)
						if err != nil {
							return err
						}
						if err = errors.Join(to.Set(key, v), tx.Set(append([]byte("copy"), key...), nil)); err != nil {
							return err
						}
						if _, err = from.Delete(key); err != nil {
							return err
						}
					}
					return nil
				})
			})
		})},
		{name: "a group of named edits", size: 1 << 20, prepare: withMap(o, 33), steps: steps(func(s *steadily) {
			s.add(func(c contents) {
				o.put(c, "k05+", "1")
				h.put(c, "k05", "2")
				delete(c, "o/k06")
			}, func(s *Store) error {
				version := s.Version()
				inO, inH := o.in(s).to, h.in(s).to
				edits := []*edit{
					{verb: set, to: inO, key: []byte("k05+"), value: []byte("1")},
					{verb: set, to: inH, key: []byte("k05"), value: []byte("2")},
					{verb: remove, to: inO, key: []byte("k06")},
				}
				together(s, edits...)
				if s.Version() != version+1 {
					return errors.New("the group is several commits")
				}
				return errors.Join(edits[0].err, edits[1].err, edits[2].err)
			})
		})},
	}
}
