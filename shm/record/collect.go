package record

import (
	"cmp"
	"errors"
	"maps"
	"slices"

	"github.com/seed-869cc763/shmkv/shm"
)

// collect deletes up to n unreferred records that are not in keep, and returns their ids. References
// that they had may make others unreferred, which are among the next.
func (m tables) collect(h *head, n int, keep map[ID][]byte) ([]ID, error) {
	var gone []ID
	from := book(tagUnreferred)
	for len(gone) < n {
		key, _, err := m.books.Ceil(from)
		if errors.Is(err, shm.ErrNotFound) || err == nil && key[0] != tagUnreferred {
			return gone, nil
		}
		if err != nil {
			return nil, err
		}
		number, err := numbersOf(key, 1)
		if err != nil {
			return nil, err
		}
		id := ID(number[0])
		if _, is := keep[id]; is {
			from = append(id.book(tagUnreferred), 0) // the next key
			continue
		}
		if err := m.remove(h, id); err != nil {
			return nil, err
		}
		gone = append(gone, id)
	}
	return gone, nil
}

// remove deletes a record that is there. Its id waits for the stamp behind that of the head.
func (m tables) remove(h *head, id ID) error {
	value, err := m.records.Get(id.key())
	if err != nil {
		return err
	}
	refs, err := refsOf(id, value)
	if err != nil {
		return err
	}
	for _, tag := range []byte{tagUnreferred, tagFresh} {
		if _, err := m.books.Delete(id.book(tag)); err != nil {
			return err
		}
	}
	if _, err := m.records.Delete(id.key()); err != nil {
		return err
	}
	b := balance{m, map[ID]int{}}
	for _, ref := range refs {
		if ref != id {
			b.by[ref] = -1
		}
	}
	if err := b.settle(); err != nil {
		return err
	}
	return m.books.Set(book(tagWaiting, h.stamp+1, uint64(id)), nil)
}

// adopt takes the fresh records of dead handles for unreferred, and deletes their client entries.
func (st *Storage) adopt(m tables) error {
	dead := map[string]bool{}
	var keys [][]byte
	for key := range m.books.Prefix(book(tagClient)) {
		number, err := numbersOf(key, 2)
		if err != nil {
			return err
		}
		alive, err := st.store.Alive(shm.Owner(number[0]))
		if err != nil {
			return err
		}
		if !alive {
			dead[string(key[1:])] = true
			keys = append(keys, key)
		}
	}
	var fresh []ID
	for key, value := range m.books.Prefix(book(tagFresh)) {
		number, err := numbersOf(key, 1)
		if err != nil {
			return err
		}
		there := true
		if !dead[string(value)] {
			if there, err = m.books.Has(append([]byte{tagClient}, value...)); err != nil {
				return err
			}
		}
		if dead[string(value)] || !there {
			fresh = append(fresh, ID(number[0]))
		}
	}
	for _, key := range keys {
		if _, err := m.books.Delete(key); err != nil {
			return err
		}
	}
	for _, id := range fresh {
		if err := m.endFresh(id); err != nil {
			return err
		}
	}
	return nil
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
