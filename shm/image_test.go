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
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/alloc"
	"github.com/seed-869cc763/shmkv/alloc/layout"
	"github.com/seed-869cc763/shmkv/alloc/region"
	"github.com/seed-869cc763/shmkv/hamt"
	"github.com/seed-869cc763/shmkv/internal/testdir"
	"github.com/seed-869cc763/shmkv/node"
)

// An image is the files of a store, for damaging. The stores are made on the Go
// heap, with a fixed seed, so that every run has the same bytes and a damage
// that was found once is found again.
type image struct {
	data, slots []byte
	words       []int64  // offsets of the words that are not 0: what damage meets
	nodes       []int64  // of these, the births, heads and references of the trees, and the root node
	lists       []int64  // of these, what a writer's slot, the header and the tables say
	births      []uint64 // offsets of the nodes of trees, and so of their births
}

// Of the files, as package alloc describes them.
const (
	imgRoot       = 0x1000
	imgEnd        = 0x1008
	imgHorizon    = 0x1040
	imgDir        = 0x3000
	imgOwners     = 0x2000
	imgIntent     = 8 * 1 // in a slot's page
	imgIntentTail = 8 * 2
	imgHead       = 8 * 3
	imgTail       = 8 * 4
	imgLogTop     = 8 * 5
	imgLog        = 8 * 192
	imgRootClass  = 9
	imgEntries    = 0x1000 // in procs
	imgSlotPins   = 0x5000
	imgSnapPins   = imgSlotPins + MaxWriters*64
	imgSnapPin    = 32
	imgPinHigh    = 0x140
	imgProcsBoot  = 0x180
	imgSlotsSize  = imgSnapPins + MaxSnapshots*imgSnapPin
	imgLook       = 8 * 12 // in a slot's page
	imgDeferred   = 8 * 16
	imgSlabs      = 8 * 32
	imgMags       = 8 * 112
	imgClasses    = 79
	imgDescs      = 0x4040 // of the first segment's pages
	imgCont       = 6      // state of a further page of a slab or run
	imgOffset     = 1<<48 - 1
	imgBranch     = 1  // kind of a reference
	imgTrie       = 40 // in a root node: the reference to the trie
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
	// The superblock of procs repeats what data says.
	for i, w := range []uint64{0x0a1a73636f727068, m.word(8), m.word(16), m.word(56), m.word(64)} {
		m.setShared(8*i, w)
	}
	m.setShared(40, crc64.Checksum(m.slots[:40], ecma))
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id") // procs of another boot are cleared
	if err != nil {
		panic(err)
	}
	m.setShared(imgProcsBoot, uint64(layout.BootOf(string(boot))))
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

// fillMaps makes two named maps of each kind, and drops one of each that is too large to be
// taken apart at once.
func fillMaps(s *Store, fail func(error)) {
	for i := range 6 * dropStep {
		for _, name := range []string{"kept", "dropped"} {
			fail(s.Map("hash "+name).Set(imageKey(i), imageValue(i)))
			fail(s.Ordered("ordered "+name).Set(imageKey(i), imageValue(i)))
		}
	}
	for _, name := range []string{"hash dropped", "ordered dropped"} {
		_, err := s.DropMap(name)
		fail(err)
	}
}

// images are: a clean store; one whose only process died within a transaction,
// with snapshots; the same, dead just after its commit, with the intent there;
// the same, dead before it, with an intent that was not committed; and one dead
// within a transaction whose log has pages of its own, with a queue of several
// pages, deferred pages that are full, and holes in the file.
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
	fillMaps(s, fail)
	s.sums = node.HasSum
	for i := range 10 {
		fail(s.Set(imageKey(i+50), imageValue(i+50)))
		fail(s.Map("hash kept").Set(imageKey(i+50), imageValue(i+50)))
		fail(s.Ordered("ordered kept").Set(imageKey(i+50), imageValue(i+50)))
	}
	// What Close does for the next opener; a handle on the heap needs its
	// memory to be copied first.
	all = append(all, newImage(s.a))

	s = open()
	fillMaps(s, fail)
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
		fail(tx.Set(make([]byte, 10), make([]byte, 54))) // a leaf of the size of a root node
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
	all = append(all, longImage(open()))
	for _, m := range all {
		m.aim()
	}
	return all
})

// longImage is the last one of images.
func longImage(s *Store) *image {
	fail := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	for i := range 150 {
		fail(s.Set(imageKey(i), imageValue(i/3)))
	}
	var held []*Snapshot
	var pins []uint64
	for round := range 3 {
		sn, err := s.Snapshot()
		fail(err)
		held, pins = append(held, sn), append(pins, sn.Version())
		for i := range 150 {
			fail(s.Set(imageKey(i), imageValue(i+round)))
		}
	}
	// What this one retires is more than a page of the queue.
	fail(s.Update(func(tx *Tx) error {
		for i := range 150 {
			if err := tx.Set(imageKey(i), imageValue(i/4)); err != nil {
				return err
			}
		}
		return nil
	}))
	var m *image
	_ = s.Update(func(tx *Tx) error {
		for i := range 400 {
			fail(tx.Set(imageKey(i+1000), imageValue(i%8)))
		}
		m = newImage(s.a, pins...)
		return errors.New("no")
	})
	runtime.KeepAlive(held)
	return m
}

// aim fills the lists of words that mutations choose from.
func (m *image) aim() {
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
	root := m.word(imgRoot) & imgOffset
	for i := range uint64(alloc.PayloadWords) {
		m.nodes = append(m.nodes, int64(root+16+8*i))
	}
	m.eachNode(func(n node.Node) {
		off := n.Ref.Off()
		m.births = append(m.births, off)
		words := n.Size / 8
		if n.Ref.Kind() == node.KindLeaf && n.Leaf != (node.Leaf{}) {
			words = 2 // keys and values are any bytes
		}
		for i := range words {
			m.nodes = append(m.nodes, int64(off+8*i))
		}
	})
	page := int64(m.slotPage(0))
	for _, off := range m.words {
		if off >= imgRoot && off < imgDescs+256*64 || page != 0 && off >= page && off < page+4096 {
			m.lists = append(m.lists, off)
		}
	}
}

// eachNode calls visit for each node that the current version reaches. In a record of a map
// Leaf is not set.
func (m *image) eachNode(visit func(node.Node)) {
	root := m.word(imgRoot) & imgOffset
	words := make([]uint64, len(m.data)/8)
	for i := range words {
		words[i] = m.word(uint64(8 * i))
	}
	mem := region.FromWords(words)
	s := &Store{k0: m.word(40), k1: m.word(48)}
	s.hash = s.hashOf
	p := prover{s: s, r: hamt.NewReader(mem, mem.Size()), at: alloc.Root{Off: root, Version: m.word(root)}, visit: func(_ *target, n node.Node) error {
		visit(n)
		return nil
	}}
	if _, err := p.run(); err != nil {
		panic(err)
	}
}

// A mutation is five bytes: an offset (3), a kind, a value. The offset chooses a
// word of one of the lists of an image, or with mutAnywhere any word of a file.
const mutationSize = 5

// maxMutations is how many mutations of one input count.
const maxMutations = 40

// Kinds of mutation, and what is added to a kind.
const (
	mutXor  = iota // a byte
	mutByte        // a byte
	mutWord        // a word becomes the value
	mutPage        // a word becomes the offset of a page
	mutCopy        // a word becomes what another word is
	mutAdd         // the value, signed, is added to a word
	mutTop         // a word becomes the value, in its top bits
	mutMax         // a word becomes -value
	mutFlip        // a bit
	mutRef         // a word refers to another place: what is there may lead back
	mutKind        // a reference becomes one to another kind of node
	mutHead        // a word becomes the head of a leaf with huge lengths
	mutPast        // a word refers to a place near the end of the file, or past it
	mutSwap        // two blocks change places
	mutCut         // a file is cut short
	mutLong        // the file and its maximum size grow, by a hole, and its end perhaps
	mutKinds

	mutLists    = 0x20 // the word is one of m.lists
	mutNodes    = 0x40 // the word is one of m.nodes
	mutAnywhere = 0x80
	mutAims     = mutLists | mutNodes | mutAnywhere
)

// damaged is a store's files after some mutations.
type damaged struct {
	m           *image
	data, slots []byte
	long        int64 // length of data, if it ends in a hole
}

func (m *image) damage(mutations []byte) *damaged {
	d := &damaged{m: m}
	d.data, d.slots = m.clone()
	for n := 0; len(mutations) >= mutationSize && n < maxMutations; n++ {
		d.mutate(int(mutations[0])|int(mutations[1])<<8|int(mutations[2])<<16, mutations[3], mutations[4])
		mutations = mutations[mutationSize:]
	}
	return d
}

// at is the word that an entry of a list means, which may have been cut off.
func (d *damaged) at(i int64) []byte {
	file := d.data
	if i < 0 {
		i, file = -i-1, d.slots
	}
	if i+8 > int64(len(file)) {
		return make([]byte, 8)
	}
	return file[i:]
}

func (d *damaged) mutate(off int, kind, v byte) {
	list := d.m.words
	switch {
	case kind&mutNodes != 0:
		list = d.m.nodes
	case kind&mutLists != 0:
		list = d.m.lists
	}
	i := list[off%len(list)]
	if whole := len(d.data) + len(d.slots); kind&mutAnywhere != 0 && whole > 0 {
		i = int64(off % whole &^ 7)
		if i >= int64(len(d.data)) {
			i = -(i - int64(len(d.data))) - 1
		}
	}
	b := d.at(i)
	old := binary.LittleEndian.Uint64(b)
	put := func(w uint64) { binary.LittleEndian.PutUint64(b, w) }
	other := d.m.words[(int(v)*257+off*31)%len(d.m.words)]
	switch kind &^ mutAims % mutKinds {
	case mutXor:
		b[off>>3%8] ^= v
	case mutByte:
		b[off>>3%8] = v
	case mutWord:
		put(uint64(v))
	case mutPage:
		put(uint64(v) << 12)
	case mutCopy:
		put(binary.LittleEndian.Uint64(d.at(d.m.words[int(v)*257%len(d.m.words)])))
	case mutAdd:
		put(old + uint64(int64(int8(v))))
	case mutTop:
		put(uint64(v) << 56)
	case mutMax:
		put(-uint64(v))
	case mutFlip:
		put(old ^ 1<<(v%64))
	case mutRef:
		to := d.m.births[(int(v)*257+off*31)%len(d.m.births)]
		put(old&^imgOffset | to | old&7)
	case mutKind:
		put(old&^7 | uint64(v&7))
	case mutHead:
		put(uint64(v&15)<<44 | uint64(1<<32-1)>>(v>>4*2))
	case mutPast:
		put(old&^imgOffset | uint64(int64(len(d.data))+8*int64(int8(v)))&imgOffset | old&7)
	case mutSwap:
		p, q := b, d.at(other)
		n := min(64<<(v%7), len(p), len(q))
		saved := slices.Clone(p[:n])
		copy(p[:n], q[:n])
		copy(q[:n], saved)
	case mutCut:
		if kind&mutLists != 0 {
			d.slots = d.slots[:off%(len(d.slots)+1)]
		} else {
			d.data = d.data[:off%(len(d.data)+1)]
		}
	case mutLong:
		if len(d.data) < superBytes {
			return
		}
		d.long = 1 << (20 + v%7)
		binary.LittleEndian.PutUint64(d.data[24:], uint64(d.long))
		binary.LittleEndian.PutUint64(d.data[superBytes-8:], crc64.Checksum(d.data[:superBytes-8], ecma))
		if v&128 != 0 {
			binary.LittleEndian.PutUint64(d.at(imgEnd), uint64(d.long))
		}
	}
}

// write makes the files of a store in a new directory, and returns its path.
func (d *damaged) write(t testing.TB) string {
	t.Helper()
	path := testdir.Memory(t)
	require.NoError(t, os.WriteFile(filepath.Join(path, "procs"), d.slots, 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(path, "data"), d.data, 0o600))
	if d.long > int64(len(d.data)) {
		require.NoError(t, os.Truncate(filepath.Join(path, "data"), d.long))
	}
	return path
}

// The images themselves are sound, so what the fuzzing finds is damage's doing.
func TestImages(t *testing.T) {
	for i, m := range images() {
		s, err := Open(m.damage(nil).write(t), nil)
		require.NoError(t, err, "image %d", i)
		rep, err := s.Check(context.Background(), nil)
		require.NoError(t, err, "image %d: %+v", i, rep)
		v, err := s.Get(imageKey(3))
		require.NoError(t, err)
		_, ok := valueID(v)
		require.True(t, ok)
		require.NoError(t, s.Close())
	}
	require.Greater(t, images()[4].word(images()[4].slotPage(0)+imgLogTop)&^4095, images()[4].slotPage(0), "the log has no page of its own")
}
