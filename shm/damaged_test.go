// The race detector sees nothing of a mapping, and slows processes down.

//go:build !race

package shm

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/seed-869cc763/shmkv/internal/testdir"
)

// clearErrors are what a damaged store may say.
var clearErrors = []error{ErrCorrupt, ErrKind, ErrVersion, ErrFull, ErrNotFound, ErrTooManyProcesses, ErrTooManySnapshots,
	ErrClosed} // an end of 0 looks like that of a store that was rewritten

// A guest uses a store that may be damaged in any way. What it reads may be
// wrong; what it must not meet is a panic, a fault, an error that is not a clear
// one, or work without end.
type guest struct {
	s      *Store
	most   int // entries that the file has room for
	doing  string
	failed error
	buf    []byte
}

// clear notes the first error that is not a clear one.
func (g *guest) clear(what string, err error) {
	g.doing = what
	if g.failed == nil && err != nil && !slices.ContainsFunc(clearErrors, func(e error) bool { return errors.Is(err, e) }) {
		g.failed = fmt.Errorf("%s: %w", what, err)
	}
}

// open reports whether the store could be opened.
func (g *guest) open(path string, o *Options) bool {
	g.doing = "opening"
	s, err := Open(path, o)
	g.clear("opening", err)
	if err == nil {
		g.s = s
	}
	return err == nil
}

func (g *guest) close() {
	g.doing = "closing"
	g.clear("closing", g.s.Close())
}

func (g *guest) touch(parts ...[]byte) (n byte) {
	for _, b := range parts {
		if len(b) > 0 {
			n += b[0] + b[len(b)-1]
		}
	}
	return n
}

// get looks keys up, in every way that needs no pin.
func (g *guest) get() {
	g.doing = "looking"
	_, _, _ = g.s.Len(), g.s.Stats(), g.s.Version()
	for i := range 70 {
		var err error
		g.doing = "appending"
		g.buf, err = g.s.Append(g.buf[:0], imageKey(i))
		g.clear("appending", err)
		g.doing = "asking"
		_, err = g.s.Has(imageKey(i + 1))
		g.clear("asking", err)
	}
	g.doing = "getting"
	for _, key := range [][]byte{{}, []byte("big"), imageKey(1)} {
		v, err := g.s.Get(key)
		g.touch(v)
		g.clear("getting", err)
	}
}

// look reads all of a snapshot.
func (g *guest) look(sn *Snapshot) error {
	g.doing = "iterating"
	n := 0
	for key, value := range sn.All() {
		g.touch(key, value)
		if n++; n > g.most {
			return fmt.Errorf("an iteration yields more than %d entries", g.most)
		}
	}
	v, err := sn.Get([]byte("big"))
	g.touch(v)
	if err == nil {
		_, err = sn.Has(imageKey(5))
	}
	return errors.Join(err, g.lookAtMaps(sn))
}

// lookAtMaps reads all of a snapshot's named maps.
func (g *guest) lookAtMaps(sn *Snapshot) error {
	g.doing = "iterating over maps"
	_, err := sn.Maps()
	m, o := sn.Map("hash kept"), sn.Ordered("ordered kept")
	for _, all := range []iter.Seq2[[]byte, []byte]{m.All(), o.All(), o.Backward(imageKey(3), imageKey(70)), o.Prefix([]byte("key"))} {
		n := 0
		for key, value := range all {
			g.touch(key, value)
			if n++; n > g.most {
				return fmt.Errorf("an iteration over a map yields more than %d entries", g.most)
			}
		}
	}
	_, err2 := m.Get(imageKey(7))
	_, _, err3 := o.Floor(imageKey(9))
	_, _, err4 := o.At(50)
	return errors.Join(err, notFound(err2), notFound(err3), notFound(err4))
}

// notFound returns err if it is not ErrNotFound.
func notFound(err error) error {
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

// maps reads and changes named maps.
func (g *guest) maps() {
	m, o := g.s.Map("hash kept"), g.s.Ordered("ordered kept")
	for i := range 100 {
		g.doing = "asking maps"
		_, err := m.Get(imageKey(i))
		g.clear(g.doing, err)
		_, err = o.Append(nil, imageKey(i))
		g.clear(g.doing, err)
		_, _, err = o.Higher(imageKey(i))
		g.clear(g.doing, err)
		_, _, err = o.Rank(imageKey(i))
		g.clear(g.doing, err)
		if i%10 == 0 {
			g.doing = "changing maps"
			g.clear(g.doing, m.Set(imageKey(i), imageValue(i+1)))
			g.clear(g.doing, o.Set(imageKey(i), imageValue(i+1)))
			_, err = o.Delete(imageKey(i + 1))
			g.clear(g.doing, err)
		}
	}
	_, _ = m.Len(), o.Len()
	_, err := o.Count(imageKey(3), nil)
	g.clear(g.doing, err)
	g.doing = "updating maps"
	g.clear(g.doing, g.s.Update(func(tx *Tx) error {
		for i := range 40 {
			if err := tx.Ordered("ordered kept").Set(imageKey(i), imageValue(i)); err != nil {
				return err
			}
			if _, err := tx.Map("hash kept").Delete(imageKey(i)); err != nil {
				return err
			}
		}
		return tx.Map("new").Set(imageKey(1), nil)
	}))
	g.doing = "deleting a range"
	_, err = o.DeleteRange(imageKey(10), imageKey(30))
	g.clear(g.doing, err)
	g.doing = "dropping a map"
	_, err = g.s.DropMap("ordered kept")
	g.clear(g.doing, err)
}

// compare goes through the differences of two snapshots, both ways.
func (g *guest) compare(a, b *Snapshot) {
	g.doing = "comparing snapshots"
	for range 2 {
		n := 0
		for key, c := range a.Diff(b) {
			g.touch(key, c.Old, c.New)
			if n++; n > 2*g.most {
				g.clear(g.doing, fmt.Errorf("a comparison yields more than %d entries", 2*g.most))
				return
			}
		}
		a, b = b, a
	}
}

func (g *guest) getMany() {
	g.doing = "getting many"
	var keys [][]byte
	for i := range 150 {
		keys = append(keys, imageKey(i))
	}
	g.clear("getting many", g.s.GetMany(keys, func(_ int, value []byte, _ bool) { g.touch(value) }))
}

func (g *guest) check() {
	g.doing = "checking"
	_, err := g.s.Check(context.Background(), nil)
	g.clear("checking", err)
	g.doing = "mapping"
	end := int64(0)
	x := g.s.Inspect().Extents(context.Background())
	for e := range x.All() {
		if e.Offset != end || e.Bytes <= 0 || e.Free+e.Retired > e.Blocks {
			g.clear("mapping", fmt.Errorf("found %+v, expected one at %d", e, end))
		}
		end += e.Bytes
	}
	g.clear("mapping", x.Err())
	g.doing = "listing processes"
	_, err = g.s.Inspect().Processes()
	g.clear("listing processes", err)
}

// write changes some keys in every way.
func (g *guest) write() {
	var err error
	for i, refused := 0, 0; i < 70 && refused < 3; i++ {
		g.doing = "setting"
		g.clear("setting", g.s.Set(imageKey(i), imageValue(i+2000)))
		g.doing = "deleting"
		_, err = g.s.Delete(imageKey(i * 2))
		g.clear("deleting", err)
		if errors.Is(err, ErrFull) {
			refused++ // after a wait, each time
		}
	}
	g.doing = "setting a large value"
	g.clear("setting a large value", g.s.Set([]byte("big"), bigImageValue(9)))
	g.doing = "swapping"
	_, _, err = g.s.Swap(imageKey(3), []byte("x"))
	g.clear("swapping", err)
	g.doing = "updating"
	g.clear("updating", g.s.Update(func(tx *Tx) error {
		for i := range 30 {
			if err := tx.Set(imageKey(i), imageValue(i+3000)); err != nil {
				return err
			}
			if _, err := tx.Delete(imageKey(i + 5)); err != nil {
				return err
			}
		}
		n := 0
		for key, value := range tx.All() {
			g.touch(key, value)
			if n++; n > g.most {
				return fmt.Errorf("an iteration of a transaction yields more than %d entries", g.most)
			}
		}
		_ = tx.Len()
		return nil
	}))
}

// fill writes until the store is full, so that everything that can be reclaimed
// is, and then makes some room.
func (g *guest) fill() {
	var err error
	for i := 0; i < 400 && err == nil; i++ {
		g.doing = "filling"
		err = g.s.Set(fmt.Appendf(nil, "fill %d", i), bigImageValue(0)[:3000+i])
		g.clear("filling", err)
	}
	for i := range 3 {
		g.doing = "deleting in a full store"
		_, err = g.s.Delete(fmt.Appendf(nil, "fill %d", i))
		g.clear("deleting in a full store", err)
	}
}

// compact moves what it can, and entries that nothing is gained by.
func (g *guest) keep() {
	g.doing = "keeping house"
	for range 3 {
		_, err := g.s.keep(func() error { return nil })
		g.clear(g.doing, err)
	}
}

func (g *guest) compact() {
	g.doing = "compacting"
	_, err := g.s.Compact(context.Background(), nil)
	g.clear(g.doing, err)
	for i := range 3 {
		g.clear(g.doing, moveEntry(g.s, fmt.Sprintf("key%03d", i)))
	}
}

// use does a bit of everything, through a handle that may write.
func (g *guest) use() {
	g.get()
	g.getMany()
	g.clear("viewing", g.s.View(g.look))
	g.doing = "holding a snapshot"
	held, err := g.s.Snapshot()
	g.clear("holding a snapshot", err)
	g.check()
	g.maps()
	g.write()
	if held != nil {
		g.clear("viewing what was written", g.s.View(func(sn *Snapshot) error {
			g.compare(sn, held)
			return g.look(sn)
		}))
		g.clear("looking at a snapshot again", g.look(held))
		g.clear("closing a snapshot", held.Close())
	}
	g.doing = "adopting"
	_, err = g.s.Inspect().Adopt()
	g.clear("adopting", err)
	g.check()
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

// visit runs a guest's visit to the store at path, and fails if that takes too
// long, or too much memory for the file that it is, or ends in a panic or fault.
func visit(t testing.TB, path string, fn func(g *guest)) {
	t.Helper()
	size := uint64(0)
	if st, err := os.Stat(filepath.Join(path, "data")); err == nil {
		size = uint64(st.Size())
	}
	within(t, hangLimit, func() (failed error) {
		defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
		g := &guest{most: int(size/24) + 1}
		defer func() {
			if e := recover(); e != nil {
				failed = fmt.Errorf("%s: panic: %v\n%s", g.doing, e, debug.Stack())
			}
		}()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		fn(g)
		runtime.ReadMemStats(&after)
		if took, most := after.TotalAlloc-before.TotalAlloc, 32<<20+64*size; g.failed == nil && took > most {
			return fmt.Errorf("took %d bytes of memory, expected at most %d", took, most)
		}
		return g.failed
	})
}

// useDamaged opens a store that may be damaged in any way, does a bit of
// everything, and perhaps fills it; then it opens it again to read.
func useDamaged(t testing.TB, path string, fill bool) {
	t.Helper()
	visit(t, path, func(g *guest) {
		if !g.open(path, nil) {
			return
		}
		g.use()
		if fill {
			g.compact()
			g.fill()
		}
		g.close()
		if !g.open(path, &Options{ReadOnly: true}) {
			return
		}
		g.clear("viewing again", g.s.View(g.look))
		g.close()
	})
}

// someMutations adds some of every kind to a fuzz target's corpus.
func someMutations(f *testing.F, aim byte) {
	for i := range images() {
		f.Add(uint8(i), []byte{})
		f.Add(uint8(i), []byte{0, 0, 8, mutCut, 0})
	}
	for kind := range byte(mutKinds) {
		for _, aim := range [...]byte{0, aim} {
			var m []byte
			for n := range byte(6) {
				m = append(m, n*37+kind, n*5, 0, kind|aim, n*11+3)
			}
			f.Add(kind+aim>>5, m)
		}
	}
}

// FuzzOpenDamaged damages the files of a store, one of images, opens it, and
// reads, writes and checks.
func FuzzOpenDamaged(f *testing.F) {
	someMutations(f, 0)
	f.Fuzz(func(t *testing.T, base uint8, mutations []byte) {
		useDamaged(t, images()[int(base)%len(images())].damage(mutations).write(t), true)
	})
}

// FuzzReadDamaged reads a damaged store through a handle that may only read, and
// through one that may not even pin. Half of the damage is done while they are
// open, with a snapshot held that is compared with what is there afterwards.
func FuzzReadDamaged(f *testing.F) {
	someMutations(f, mutNodes)
	f.Fuzz(func(t *testing.T, base uint8, mutations []byte) {
		m := images()[int(base)%len(images())]
		half := len(mutations) / mutationSize / 2 * mutationSize
		first, all := m.damage(mutations[:half]), m.damage(mutations)
		path := first.write(t)
		later := func() {
			// The file keeps its length: cutting it would be a fault.
			data := slices.Clone(all.data[:min(len(all.data), len(first.data))])
			patch(t, filepath.Join(path, "data"), 0, data)
		}
		visit(t, path, func(g *guest) {
			unpinned, err := openUnpinned(path)
			g.clear("opening without procs", errors.Join(err, os.Chmod(filepath.Join(path, "procs"), 0o600)))
			if g.open(path, &Options{ReadOnly: true}) {
				g.get()
				held, err := g.s.Snapshot()
				g.clear("holding a snapshot", err)
				later()
				g.get()
				g.getMany()
				g.clear("viewing", g.s.View(func(sn *Snapshot) error {
					if held != nil {
						g.compare(sn, held)
					}
					return g.look(sn)
				}))
				if held != nil {
					g.clear("looking at a snapshot again", g.look(held))
				}
				g.check()
				g.close()
			} else {
				later()
			}
			if unpinned != nil {
				g.s = unpinned
				g.get()
				g.doing = "checking without slots"
				_, err := g.s.Check(context.Background(), nil)
				g.clear(g.doing, err)
				g.close()
			}
		})
	})
}

// FuzzAdoptDamaged has the writer of a damaged image die, and be adopted, while
// another handle is open; then writes until the store is full.
func FuzzAdoptDamaged(f *testing.F) {
	someMutations(f, mutLists)
	f.Fuzz(func(t *testing.T, base uint8, mutations []byte) {
		m := images()[1+int(base)%(len(images())-1)]
		d := m.damage(mutations)
		if len(d.slots) > imgProcsBoot { // else Open refuses procs that another boot holds
			copy(d.slots[imgProcsBoot:], m.slots[imgProcsBoot:imgProcsBoot+8])
		}
		path := d.write(t)
		die := holdEntry(t, path)
		visit(t, path, func(g *guest) {
			if !g.open(path, nil) {
				return
			}
			g.write()
			die()
			g.doing = "adopting"
			_, err := g.s.Inspect().Adopt()
			g.clear("adopting", err)
			g.use()
			g.fill()
			g.close()
		})
	})
}

// openUnpinned opens a store without any permission on procs. The superuser
// has it always, and is somebody else for the moment.
func openUnpinned(path string) (*Store, error) {
	slots := filepath.Join(path, "procs")
	if err := os.Chmod(slots, 0); err != nil {
		return nil, err
	}
	if os.Getuid() == 0 {
		if err := errors.Join(os.Chmod(path, 0o755), os.Chmod(filepath.Join(path, "data"), 0o644)); err != nil {
			return nil, err
		}
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		was, err := unix.SetfsuidRetUid(65534)
		if err != nil {
			return nil, err
		}
		defer func() { _, _ = unix.SetfsuidRetUid(was) }()
	}
	s, err := Open(path, &Options{ReadOnly: true})
	if err == nil && s.a.CanPin() {
		_ = s.Close()
		return nil, errors.New("slots could be written to")
	}
	return s, err
}

// holdEntry holds the lock of the first entry, as the process of an image would
// if it lived, until die is called.
func holdEntry(t testing.TB, path string) (die func()) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(path, "procs"), os.O_RDWR, 0)
	require.NoError(t, err)
	require.NoError(t, unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK, Len: 1}))
	die = func() { _ = f.Close() }
	t.Cleanup(die)
	return die
}

// Damage to what a dead process's slot says of its lists, each of which was
// found by fuzzing or could have been.
func TestDamagedLists(t *testing.T) {
	if testing.Short() {
		t.Skip("left out with the race detector, which sees nothing here")
	}
	var garbage = []uint64{1, 8, 4096, 1 << 20, 1<<20 - 8, 1 << 40, 1<<44 - 4096, 1 << 44, 1<<46 - 4096, 1 << 46, 1<<62 + 4096, 1<<63 + 4096, ^uint64(0), ^uint64(7), ^uint64(4095)}
	fill := false
	try := func(name string, base int, edit func(m *image, page uint64) bool) {
		t.Run(fmt.Sprintf("%s, image %d", name, base), func(t *testing.T) {
			data, slots := images()[base].clone()
			m := &image{data: data, slots: slots}
			if !edit(m, m.slotPage(0)) {
				return
			}
			useDamaged(t, (&damaged{m: m, data: m.data, slots: m.slots}).write(t), fill)
		})
	}
	for base := range images() {
		for _, v := range garbage {
			for word := uint64(1); word < 32; word++ {
				if !testdir.Long() && (word+v/8+uint64(base))%3 != 0 {
					continue
				}
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
			try(fmt.Sprintf("deferred pages have %#x entries", v), base, func(m *image, page uint64) (any bool) {
				for i := range uint64(8) {
					if p := m.word(page + imgDeferred + 8*i); p != 0 {
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
		for _, v := range []uint64{0, 7, 1000, 1 << 40} {
			try(fmt.Sprintf("nodes are block %d of a writer's own", v), base, func(m *image, _ uint64) bool {
				for _, off := range images()[base].births {
					m.setWord(off, 1<<63|v)
				}
				return true
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
			head := m.word(page+imgHead) &^ 4095
			if head != 0 {
				m.setWord(head, head)
			}
			return head != 0
		})
		for _, stamped := range []bool{false, true} {
			try(fmt.Sprintf("a committed tail makes a ring of the queue count, stamped %v", stamped), base, func(m *image, page uint64) bool {
				head := m.word(page + imgHead)
				if head == 0 {
					return false
				}
				queue := head &^ 4095
				block, retired := m.word(queue+32), m.word(queue+40)
				for e := queue + 32; e < queue+4096; e += 16 {
					m.setWord(e, block)
					m.setWord(e+8, retired)
				}
				if off := block & imgOffset; stamped && off < uint64(len(m.data)) {
					m.setWord(off, 1<<62|1)
				}
				m.setWord(queue, queue)
				m.setWord(page+imgIntent, m.word(imgRoot)&imgOffset)
				m.setWord(page+imgIntentTail, page)
				return true
			})
		}
		fill = true // so that everything is looked through
		try("deferred pages name what is retired later", base, func(m *image, page uint64) (any bool) {
			for i := range uint64(8) {
				if p := m.word(page + imgDeferred + 8*i); p != 0 {
					for e := p + 32; e < p+32+16*m.word(p+16); e += 16 {
						m.setWord(e+8, 1<<40)
						any = true
					}
				}
			}
			return any
		})
		fill = false
		try("a deferred page is being looked through and is not one", base, func(m *image, page uint64) bool {
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
