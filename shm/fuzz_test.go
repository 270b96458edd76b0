// The race detector sees nothing of a mapping, and slows processes down.

//go:build !race

package shm

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc64"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/alloc"
)

// An image is the files of a store, for damaging. The stores are made on the Go
// heap, with a fixed seed, so that every run has the same bytes and a damage
// that was found once is found again.
type image struct {
	data, slots []byte
	words       []int64 // offsets of the words that are not 0: what damage meets
}

// Of the files, as package alloc describes them.
const (
	imgRoot      = 0x1000
	imgEnd       = 0x1008
	imgDir       = 0x3000
	imgOwners    = 0x2000
	imgIntent    = 8 * 1 // in a slot's page
	imgTail      = 8 * 4
	imgLog       = 8 * 192
	imgRootClass = 6
	imgEntries   = 0x1000 // in slots
	imgSlotPins  = 0x5000
	imgSnapPins  = imgSlotPins + MaxWriters*64
	imgSnapPin   = 32
	imgPinHigh   = 0x140
	imgSlotsSize = imgSnapPins + MaxSnapshots*imgSnapPin
	imgLook      = 8 * 12 // in a slot's page
	imgAside     = 8 * 16
	imgSlabs     = 8 * 32
	imgMags      = 8 * 112
	imgClasses   = 79
	imgDescs     = 0x10040 // of the first segment's pages
	imgCont      = 6       // state of a further page of a slab or run
	imgOffset    = 1<<48 - 1
)

func (m *image) word(off uint64) uint64      { return binary.LittleEndian.Uint64(m.data[off:]) }
func (m *image) setWord(off, v uint64)       { binary.LittleEndian.PutUint64(m.data[off:], v) }
func (m *image) setShared(off int, v uint64) { binary.LittleEndian.PutUint64(m.slots[off:], v) }
func imageKey(i int) []byte                  { return fmt.Appendf(nil, "key %d", i) }
func imageValue(i int) []byte                { return testValue(uint64(i), i*i%700) }
func bigImageValue(i int) []byte             { return testValue(uint64(i), 33000+i*5000) }
func (m *image) slotPage(i uint64) uint64    { return m.word(imgDir + i*8) }
func (m *image) clone() (data, slots []byte) { return slices.Clone(m.data), slices.Clone(m.slots) }
func newImage(a *alloc.Arena, pins ...uint64) *image {
	end := a.FileBytes()
	m := &image{data: bytes.Clone(a.Mem().Bytes(0, end)), slots: make([]byte, imgSlotsSize)}
	// The superblock of slots repeats what data says.
	for i, w := range []uint64{0x0a1a73746f6c7368, m.word(8), m.word(16), m.word(56), m.word(64)} {
		m.setShared(8*i, w)
	}
	m.setShared(40, crc64.Checksum(m.slots[:40], ecma))
	if owner := m.word(imgOwners); owner != 0 {
		// The process of entry 0 is dead, in the middle of what it did.
		m.setShared(imgEntries, owner>>16<<8|1)
		m.setShared(imgSlotPins, m.word(imgRoot)>>48)
		m.setShared(imgPinHigh, uint64(len(pins)))
		for i, v := range pins {
			m.setShared(imgSnapPins+imgSnapPin*i, v)
			m.setShared(imgSnapPins+imgSnapPin*i+8, owner&^(1<<15)) // not idle
		}
	}
	return m
}

// images are: a clean store; one whose only process died within a transaction,
// with snapshots; the same, dead just after its commit, with the intent there;
// the same, dead before it, with an intent that was not committed.
var images = sync.OnceValue(func() []*image {
	var all []*image
	fail := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	open := func() *Store {
		h, err := alloc.NewHeap(1 << 20)
		fail(err)
		a, _, err := h.Attach(nil)
		fail(err)
		return newStore(a, "image")
	}

	s := open()
	for i := range 40 {
		fail(s.Set(imageKey(i), imageValue(i)))
	}
	fail(s.Set([]byte("big"), bigImageValue(1)))
	// What Close does for the next opener; a handle on the heap needs its
	// memory to be copied first.
	all = append(all, newImage(s.a))

	s = open()
	var held []*Snapshot
	var pins []uint64
	for i := range 400 {
		fail(s.Set(imageKey(i%60), imageValue(i)))
		if i%100 == 50 {
			sn, err := s.Snapshot()
			fail(err)
			held, pins = append(held, sn), append(pins, sn.Version())
			fail(s.Set([]byte("big"), bigImageValue(i/100)))
		}
	}
	quiet := newImage(s.a, pins...)
	_ = s.Update(func(tx *Tx) error {
		for i := range 50 {
			fail(tx.Set(imageKey(i*2), imageValue(i+1000)))
			_, err := tx.Delete(imageKey(i*3 + 1))
			fail(err)
		}
		fail(tx.Set([]byte("big"), bigImageValue(7)))
		all = append(all, newImage(s.a, pins...))
		return errors.New("no")
	})
	runtime.KeepAlive(held)

	for _, committed := range []bool{true, false} {
		from := all[1]
		if committed {
			from = quiet // its log is empty
		}
		data, slots := from.clone()
		m := &image{data: data, slots: slots}
		page := m.slotPage(0)
		m.setWord(page+imgIntent+8, m.word(page+imgTail))
		if committed {
			m.setWord(page+imgIntent, m.word(imgRoot)&imgOffset)
		} else {
			// A block of the log that has the size of a root node stands for the
			// root that was to be.
			for i := uint64(0); m.word(page+imgIntent) == 0; i++ {
				if entry := m.word(page + imgLog + 8*i); entry>>48 == imgRootClass {
					m.setWord(page+imgIntent, entry&imgOffset)
					m.setWord(entry&imgOffset+8, 0) // not superseded
				}
			}
		}
		all = append(all, m)
	}
	for _, m := range all {
		for off := int64(0); off+8 <= int64(len(m.data)); off += 8 {
			if m.word(uint64(off)) != 0 {
				m.words = append(m.words, off)
			}
		}
		for off := 0; off < len(m.slots); off += 8 {
			if binary.LittleEndian.Uint64(m.slots[off:]) != 0 {
				m.words = append(m.words, -int64(off)-1)
			}
		}
	}
	return all
})

// A mutation is five bytes: an offset (3), a kind, a value.
const mutationSize = 5

// Kinds of mutation; mutAnywhere is added when the offset is one of the file and
// not a number of a word that is not 0.
const (
	mutXor  = iota // a byte
	mutByte        // a byte
	mutWord        // a word becomes the value
	mutPage        // a word becomes the offset of a page
	mutCopy        // a word becomes what another word is
	mutAdd         // the value, signed, is added to a word
	mutTop         // a word becomes the value, in its top bits
	mutMax         // a word becomes -value
	mutKinds
	mutAnywhere = 0x80
)

func mutate(m *image, data, slots []byte, mutations []byte) {
	at := func(i int64) []byte {
		if i < 0 {
			return slots[-i-1:]
		}
		return data[i:]
	}
	for ; len(mutations) >= mutationSize; mutations = mutations[mutationSize:] {
		off := int(mutations[0]) | int(mutations[1])<<8 | int(mutations[2])<<16
		kind, v := mutations[3], mutations[4]
		i := m.words[off%len(m.words)]
		if kind&mutAnywhere != 0 {
			i = int64(off % (len(data) + len(slots)) &^ 7)
			if i >= int64(len(data)) {
				i = -(i - int64(len(data))) - 1
			}
		}
		b := at(i)
		old := binary.LittleEndian.Uint64(b)
		put := func(w uint64) { binary.LittleEndian.PutUint64(b, w) }
		switch kind &^ mutAnywhere % mutKinds {
		case mutXor:
			b[off>>3%8] ^= v
		case mutByte:
			b[off>>3%8] = v
		case mutWord:
			put(uint64(v))
		case mutPage:
			put(uint64(v) << 12)
		case mutCopy:
			put(binary.LittleEndian.Uint64(at(m.words[int(v)*257%len(m.words)])))
		case mutAdd:
			put(old + uint64(int64(int8(v))))
		case mutTop:
			put(uint64(v) << 56)
		case mutMax:
			put(-uint64(v))
		}
	}
}

// clearErrors are what a damaged store may say.
var clearErrors = []error{ErrCorrupt, ErrVersion, ErrFull, ErrNotFound, ErrTooManyProcesses, ErrTooManySnapshots}

// useDamaged opens a store that may be damaged in any way and does a bit of
// everything. It returns the first error that is not a clear one.
func useDamaged(path string) (failed error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	doing := "opening"
	defer func() {
		if e := recover(); e != nil {
			failed = fmt.Errorf("%s: panic: %v\n%s", doing, e, debug.Stack())
		}
	}()
	clear := func(what string, err error) {
		doing = what
		if failed == nil && err != nil && !slices.ContainsFunc(clearErrors, func(e error) bool { return errors.Is(err, e) }) {
			failed = fmt.Errorf("%s: %w", what, err)
		}
	}
	s, err := Open(path, nil)
	clear("opening", err)
	if err != nil {
		return failed
	}
	doing = "looking"
	_ = s.Len()
	_ = s.Stats()
	_ = s.Version()
	var keys [][]byte
	for i := range 70 {
		keys = append(keys, imageKey(i))
		doing = "getting"
		_, err := s.Get(keys[i])
		clear("getting", err)
		_, err = s.Has(keys[i])
		clear("asking", err)
	}
	doing = "getting many"
	clear("getting many", s.GetMany(keys, func(int, []byte, bool) {}))
	look := func(sn *Snapshot) error {
		doing = "iterating"
		n := 0
		for key, value := range sn.All() {
			for _, b := range [][]byte{key, value} {
				if len(b) > 0 {
					n += int(b[0]) + int(b[len(b)-1])
				}
			}
		}
		_, err := sn.Get([]byte("big"))
		return err
	}
	clear("viewing", s.View(look))
	doing = "holding a snapshot"
	held, err := s.Snapshot()
	clear("holding a snapshot", err)
	_, err = s.Check(context.Background(), nil)
	clear("checking", err)
	for i := range 70 {
		doing = "setting"
		clear("setting", s.Set(imageKey(i), imageValue(i+2000)))
		doing = "deleting"
		_, err = s.Delete(imageKey(i * 2))
		clear("deleting", err)
	}
	doing = "setting a large value"
	clear("setting a large value", s.Set([]byte("big"), bigImageValue(9)))
	doing = "swapping"
	_, _, err = s.Swap(imageKey(3), []byte("x"))
	clear("swapping", err)
	doing = "updating"
	clear("updating", s.Update(func(tx *Tx) error {
		for i := range 30 {
			if err := tx.Set(imageKey(i), imageValue(i+3000)); err != nil {
				return err
			}
			if _, err := tx.Delete(imageKey(i + 5)); err != nil {
				return err
			}
		}
		for range tx.All() {
			_ = tx.Len()
		}
		return nil
	}))
	if held != nil {
		doing = "comparing snapshots"
		clear("comparing snapshots", s.View(func(sn *Snapshot) error {
			for range sn.Diff(held) {
				_ = sn.Len()
			}
			return nil
		}))
		clear("looking at a snapshot again", look(held))
		clear("closing a snapshot", held.Close())
	}
	doing = "adopting"
	_, err = s.Adopt()
	clear("adopting", err)
	doing = "checking"
	_, err = s.Check(context.Background(), nil)
	clear("checking", err)
	_, err = s.Processes()
	clear("listing processes", err)
	doing = "closing"
	clear("closing", s.Close())

	doing = "opening again"
	s, err = Open(path, &Options{ReadOnly: true})
	clear("opening again", err)
	if err != nil {
		return failed
	}
	clear("viewing again", s.View(look))
	clear("closing again", s.Close())
	return failed
}

// hangLimit is less than the 10 s after which fuzzing gives an input up without
// saying why.
const hangLimit = 8 * time.Second

// within runs fn and fails with all stacks if it takes too long.
func within(t testing.TB, limit time.Duration, fn func() error) {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- fn() }()
	select {
	case err := <-done:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(limit):
		stacks := make([]byte, 1<<20)
		t.Fatalf("still at it after %v\n%s", limit, stacks[:runtime.Stack(stacks, true)])
	}
}

// FuzzOpenDamaged damages the files of a store, in base one of images, and cuts
// data to a part of its length, in 65536ths, unless cut is 0.
func FuzzOpenDamaged(f *testing.F) {
	for i := range images() {
		f.Add(uint8(i), uint16(0), []byte{})
		f.Add(uint8(i), uint16(0x8000), []byte{})
		for kind := range byte(mutKinds) {
			var m []byte
			for n := range byte(6) {
				m = append(m, n*37+kind, n*5, 0, kind, n*11+3)
			}
			f.Add(uint8(i), uint16(0), m)
		}
	}
	f.Fuzz(func(t *testing.T, base uint8, cut uint16, mutations []byte) {
		m := images()[int(base)%len(images())]
		data, slots := m.clone()
		mutate(m, data, slots, mutations[:min(len(mutations), 40*mutationSize)])
		if cut != 0 {
			data = data[:len(data)*int(cut)>>16]
		}
		path := memoryDir(t)
		require.NoError(t, os.WriteFile(filepath.Join(path, "slots"), slots, 0o600))
		require.NoError(t, os.WriteFile(filepath.Join(path, "data"), data, 0o600))
		within(t, hangLimit, func() error { return useDamaged(path) })
	})
}

// The images themselves are sound, so what the fuzzing finds is damage's doing.
func TestImages(t *testing.T) {
	for i, m := range images() {
		path := memoryDir(t)
		require.NoError(t, os.WriteFile(filepath.Join(path, "slots"), m.slots, 0o600))
		require.NoError(t, os.WriteFile(filepath.Join(path, "data"), m.data, 0o600))
		s, err := Open(path, nil)
		require.NoError(t, err, "image %d", i)
		rep, err := s.Check(context.Background(), nil)
		require.NoError(t, err, "image %d: %+v", i, rep)
		v, err := s.Get([]byte("big"))
		require.NoError(t, err)
		_, ok := valueID(v)
		require.True(t, ok)
		require.NoError(t, s.Close())
	}
}

// Damage to what a dead process's slot says of its lists, each of which was
// found by fuzzing or could have been.
func TestDamagedLists(t *testing.T) {
	var garbage = []uint64{1, 8, 4096, 1 << 20, 1<<20 - 8, 1 << 40, 1<<46 - 4096, 1 << 46, 1<<62 + 4096, 1<<63 + 4096, ^uint64(0), ^uint64(7), ^uint64(4095)}
	try := func(name string, base int, edit func(m *image, page uint64) bool) {
		t.Run(fmt.Sprintf("%s, image %d", name, base), func(t *testing.T) {
			data, slots := images()[base].clone()
			m := &image{data: data, slots: slots}
			if !edit(m, m.slotPage(0)) {
				return
			}
			path := memoryDir(t)
			require.NoError(t, os.WriteFile(filepath.Join(path, "slots"), m.slots, 0o600))
			require.NoError(t, os.WriteFile(filepath.Join(path, "data"), m.data, 0o600))
			within(t, hangLimit, func() error { return useDamaged(path) })
		})
	}
	for base := range images() {
		for _, v := range garbage {
			for word := uint64(1); word < 32; word++ {
				try(fmt.Sprintf("word %d is %#x", word, v), base, func(m *image, page uint64) bool {
					m.setWord(page+8*word, v)
					return true
				})
			}
			try(fmt.Sprintf("magazines are %#x", v), base, func(m *image, page uint64) bool {
				for c := range uint64(imgClasses) {
					m.setWord(page+imgMags+8*c, v)
				}
				return true
			})
			try(fmt.Sprintf("slabs are %#x", v), base, func(m *image, page uint64) bool {
				for c := range uint64(imgClasses) {
					m.setWord(page+imgSlabs+8*c, v)
				}
				return true
			})
			try(fmt.Sprintf("slabs' further pages are of %#x", v), base, func(m *image, _ uint64) (any bool) {
				for d := uint64(imgDescs); d < imgDescs+256*64; d += 64 {
					if m.word(d)&15 == imgCont {
						m.setWord(d+40, v)
						any = true
					}
				}
				return any
			})
			try(fmt.Sprintf("set-aside pages have %#x entries", v), base, func(m *image, page uint64) (any bool) {
				for i := range uint64(8) {
					if p := m.word(page + imgAside + 8*i); p != 0 {
						m.setWord(p+16, v)
						any = true
					}
				}
				return any
			})
			try(fmt.Sprintf("magazines lead to %#x", v), base, func(m *image, page uint64) bool {
				return eachMagazine(m, page, func(block uint64) { m.setWord(block+8, v) })
			})
		}
		try("magazines are rings of one", base, func(m *image, page uint64) bool {
			return eachMagazine(m, page, func(block uint64) { m.setWord(block+8, block) })
		})
		try("magazines are rings of two", base, func(m *image, page uint64) bool {
			return eachMagazine(m, page, func(block uint64) {
				if next := m.word(block + 8); next != 0 {
					m.setWord(next+8, block)
				}
			})
		})
		try("the queue's page leads to itself", base, func(m *image, page uint64) bool {
			head := m.word(page+8*3) &^ 4095
			if head != 0 {
				m.setWord(head, head)
			}
			return head != 0
		})
		try("a set-aside page is being looked through and is not one", base, func(m *image, page uint64) bool {
			m.setWord(page+imgLook, page)
			return true
		})
	}
}

func eachMagazine(m *image, page uint64, fn func(block uint64)) (any bool) {
	for c := range uint64(imgClasses) {
		if block := m.word(page + imgMags + 8*c); block != 0 {
			fn(block)
			any = true
		}
	}
	return any
}

// opsWorld is a store on the heap with its model, for FuzzOps.
type opsWorld struct {
	t     *testing.T
	heap  *alloc.Heap
	s     [2]*Store
	model map[string]uint64
	snaps []opsSnapshot
	next  uint64
}

type opsSnapshot struct {
	sn    *Snapshot
	model map[string]uint64
}

func (w *opsWorld) attach() {
	for i := range w.s {
		a, _, err := w.heap.Attach(nil)
		require.NoError(w.t, err)
		w.s[i] = newStore(a, "heap")
	}
}

// id returns the id of what was read, 0 for nothing.
func (w *opsWorld) id(v []byte, err error) uint64 {
	w.t.Helper()
	if errors.Is(err, ErrNotFound) {
		return 0
	}
	require.NoError(w.t, err)
	id, ok := valueID(v)
	require.True(w.t, ok, "a value of %d bytes that nobody wrote", len(v))
	return id
}

func (w *opsWorld) value(size byte) (uint64, []byte) {
	w.next++
	n := int(size)
	if n > 200 {
		n = (n - 200) * 1500
	}
	return w.next, testValue(w.next, n)
}

func (w *opsWorld) same(what string, sn *Snapshot, model map[string]uint64) {
	got := map[string]uint64{}
	for key, v := range sn.All() {
		got[string(key)] = w.id(v, nil)
	}
	require.Equal(w.t, model, got, what)
	require.Equal(w.t, len(model), sn.Len(), what)
}

// op does one operation, of three bytes.
func (w *opsWorld) op(code, k, size byte) {
	s := w.s[code>>6&1]
	key := string(bytes.Repeat([]byte{k % 32}, int(k%32)*int(k%32)))
	name := []byte(key)
	was, ok := w.model[key]
	full := func(err error) bool {
		if errors.Is(err, ErrFull) {
			return true
		}
		require.NoError(w.t, err)
		return false
	}
	switch code % 64 % 12 {
	case 0, 1, 2:
		id, v := w.value(size)
		if !full(s.Set(name, v)) {
			w.model[key] = id
		}
	case 3:
		existed, err := s.Delete(name)
		if !full(err) {
			require.Equal(w.t, ok, existed)
			delete(w.model, key)
		}
	case 4:
		require.Equal(w.t, was, w.id(s.Get(name)))
	case 5:
		id, v := w.value(size)
		old, existed, err := s.Swap(name, v)
		if !full(err) {
			require.Equal(w.t, ok, existed)
			if existed {
				require.Equal(w.t, was, w.id(old, nil))
			}
			w.model[key] = id
		}
	case 6:
		id, v := w.value(size)
		var old []byte
		if ok {
			var err error
			old, err = s.Get(name)
			require.NoError(w.t, err)
		}
		if size%3 == 0 {
			old = []byte("something else")
		}
		swapped, err := s.CompareAndSwap(name, old, v)
		if !full(err) {
			require.Equal(w.t, size%3 != 0, swapped)
			if swapped {
				w.model[key] = id
			}
		}
	case 7, 8:
		w.update(s, k, size, code%64%12 == 8)
	case 9:
		if len(w.snaps) < 4 {
			sn, err := s.Snapshot()
			require.NoError(w.t, err)
			w.snaps = append(w.snaps, opsSnapshot{sn, maps.Clone(w.model)})
		}
	case 10:
		if n := len(w.snaps); n > 0 {
			i := int(size) % n
			w.same("a snapshot", w.snaps[i].sn, w.snaps[i].model)
			require.NoError(w.t, w.snaps[i].sn.Close())
			w.snaps = slices.Delete(w.snaps, i, i+1)
		}
	case 11:
		require.NoError(w.t, s.View(func(sn *Snapshot) error { w.same("a view", sn, w.model); return nil }))
	}
}

var errNo = errors.New("no")

// update writes some keys in a transaction and commits it, or gives it up, or,
// with crash, loses both processes in the middle of it.
func (w *opsWorld) update(s *Store, k, size byte, crash bool) {
	next := maps.Clone(w.model)
	var copied *alloc.Heap
	err := s.Update(func(tx *Tx) error {
		for i := range k%8 + 1 {
			key := string(bytes.Repeat([]byte{(k + i) % 32}, int((k+i)%32)*int((k+i)%32)))
			_, had := next[key]
			if i%3 == 2 {
				existed, err := tx.Delete([]byte(key))
				if err != nil {
					return err
				}
				require.Equal(w.t, had, existed)
				delete(next, key)
				continue
			}
			id, v := w.value(size + i)
			if err := tx.Set([]byte(key), v); err != nil {
				return err
			}
			next[key] = id
			require.Equal(w.t, id, w.id(tx.Get([]byte(key))))
		}
		require.Equal(w.t, len(next), tx.Len())
		if crash {
			copied = w.heap.Clone()
		}
		if size%4 == 0 {
			return errNo
		}
		return nil
	})
	if errors.Is(err, ErrFull) {
		return
	}
	if size%4 == 0 {
		require.Equal(w.t, errNo, err)
	} else {
		require.NoError(w.t, err)
		if !crash {
			w.model = next
		}
	}
	if crash {
		w.heap, w.snaps = copied, nil
		w.attach()
	}
}

// FuzzOps does a stream of operations to a store and to a Go map.
func FuzzOps(f *testing.F) {
	f.Add([]byte{})
	var long []byte
	for i := range 600 {
		long = append(long, byte(i*7+i/64), byte(i*13), byte(i*29))
	}
	f.Add(long)
	for code := range byte(12) {
		var some []byte
		for i := range byte(40) {
			some = append(some, i%3, i, i*7, code+64*(i%2), i*3, i*11)
		}
		f.Add(some)
	}
	f.Fuzz(func(t *testing.T, ops []byte) {
		ops = ops[:min(len(ops), 3000)]
		within(t, hangLimit, func() (failed error) {
			defer func() {
				if e := recover(); e != nil {
					failed = fmt.Errorf("panic: %v\n%s", e, debug.Stack())
				}
			}()
			heap, err := alloc.NewHeap(2 << 20)
			if err != nil {
				return err
			}
			w := &opsWorld{t: t, heap: heap, model: map[string]uint64{}}
			w.attach()
			for ; len(ops) >= 3; ops = ops[3:] {
				w.op(ops[0], ops[1], ops[2])
			}
			for _, k := range w.snaps {
				w.same("a snapshot at the end", k.sn, k.model)
			}
			for _, s := range w.s {
				if err := s.View(func(sn *Snapshot) error { w.same("the end", sn, w.model); return nil }); err != nil {
					return err
				}
				rep, err := s.Check(context.Background(), nil)
				if err != nil || rep.LeakedBytes != 0 {
					return fmt.Errorf("Check: %w %+v", err, rep)
				}
			}
			for _, k := range w.snaps {
				if err := k.sn.Close(); err != nil {
					return err
				}
			}
			return errors.Join(w.s[0].Close(), w.s[1].Close())
		})
	})
}
