// The race detector sees nothing of a mapping, and slows processes down.

//go:build !race

package shm

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/seed-869cc763/shmkv/alloc/region"
	"github.com/seed-869cc763/shmkv/internal/testdir"
)

// A vandal is a process that has a file of a store mapped and writes to it what
// it likes, while other processes use the store. Whoever reads may get wrong
// values and errors; nobody may crash, panic or hang.

// Words of a vandal's board: how often the visitors read something, and how often
// what they met was wrong.
const (
	boardReads = iota
	boardWrong
	boardWrites
	boardOpen     // residents that have the store open
	boardNoVandal // not 0: the vandal ends
	boardEnd      // not 0: the others end
	boardWords
)

func init() {
	children["vandal"] = func() {
		b, err := openBoard(setting("BOARD"))
		must(err)
		rnd := rand.New(rand.NewPCG(uint64(settingInt("SEED")), 0))
		f, err := os.OpenFile(setting("FILE"), os.O_RDWR, 0)
		must(err)
		st, err := f.Stat()
		must(err)
		raw, err := unix.Mmap(int(f.Fd()), 0, int(st.Size()), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		must(err)
		vandalize(region.FromBytes(raw), rnd, b, setting("RESTORE") != "")
	}
	children["visitor"] = func() {
		b, err := openBoard(setting("BOARD"))
		must(err)
		v := &visitor{
			path: setting("PATH"), unpinned: setting("UNPINNED") != "", board: b,
			rnd: rand.New(rand.NewPCG(uint64(settingInt("SEED")), 1)),
		}
		for b.get(boardEnd) == 0 {
			v.visit()
		}
	}
	children["resident"] = func() { reside(settingInt("ID")) }
}

// vandalize overwrites words with what is most likely to lead astray. With
// restore it puts back all that it has overwritten now and then, so that
// visitors get far enough to be led astray again.
func vandalize(m region.Mem, rnd *rand.Rand, b *board, restore bool) {
	words := m.Size() / 8
	sound := make([]uint64, words)
	var used []uint64 // words that are not 0
	for i := range words {
		if sound[i] = m.Load(8 * i); sound[i] != 0 {
			used = append(used, i)
		}
	}
	for b.get(boardNoVandal) == 0 {
		var hit []uint64
		for range 1 + rnd.IntN(200) {
			i, j := used[rnd.IntN(len(used))], used[rnd.IntN(len(used))]
			if rnd.IntN(8) == 0 {
				i = rnd.Uint64N(words)
			}
			old := m.Load(8 * i)
			m.Store(8*i, [...]uint64{
				0, 1, ^uint64(0), old ^ 1<<rnd.IntN(64), old + 8, sound[j], 8*j | old&7, old &^ 0xffff,
				m.Size() - 8 | old&7, rnd.Uint64(), old&^0xffff_ffff | rnd.Uint64()&0xffff_ffff,
			}[rnd.IntN(11)])
			hit = append(hit, i)
		}
		if restore {
			time.Sleep(time.Duration(rnd.IntN(100)) * time.Microsecond)
			for _, i := range hit {
				m.Store(8*i, sound[i])
			}
		}
	}
}

// visitor reads a store beside a vandal.
type visitor struct {
	path     string
	unpinned bool
	board    *board
	rnd      *rand.Rand
}

// met counts what a read has led to, and fails for what it must not lead to.
func (v *visitor) met(what string, err error, right bool) {
	if err != nil && !(v.unpinned && errors.Is(err, ErrCannotPin)) && !errors.Is(err, context.DeadlineExceeded) &&
		!slices.ContainsFunc(clearErrors, func(e error) bool { return errors.Is(err, e) }) {
		failChild("%s: %v", what, err)
	}
	v.board.Add(boardReads*8, 1)
	if err != nil || !right {
		v.board.Add(boardWrong*8, 1)
	}
}

// visit opens the store and reads for a while.
func (v *visitor) visit() {
	var s *Store
	var err error
	if v.unpinned {
		s, err = openUnpinned(v.path)
	} else {
		s, err = Open(v.path, &Options{ReadOnly: true})
	}
	if v.met("opening", err, true); err != nil {
		return
	}
	var held *Snapshot
	for range 1000 {
		if v.board.get(boardEnd) != 0 {
			break
		}
		v.read(s, &held)
	}
	if held != nil {
		_ = held.Close()
	}
	v.met("closing", s.Close(), true)
}

func (v *visitor) read(s *Store, held **Snapshot) {
	i := v.rnd.IntN(vandalKeys)
	right := func(key int, value []byte) bool {
		_, ok := valueID(value)
		return ok && len(value) == len(imageValue(key))
	}
	all := func(sn *Snapshot) error {
		n := 0
		for key, value := range sn.All() {
			n += len(key) + len(value)
		}
		_ = sn.Len()
		_, err := sn.Get(imageKey(i))
		return err
	}
	switch v.rnd.IntN(10) {
	case 0, 1, 2:
		value, err := s.Get(imageKey(i))
		v.met("getting", err, right(i, value))
	case 3:
		has, err := s.Has(imageKey(i))
		v.met("asking", err, has)
	case 4:
		var keys [][]byte
		for j := range 40 {
			keys = append(keys, imageKey((i+j)%vandalKeys))
		}
		ok := true
		err := s.GetMany(keys, func(j int, value []byte, there bool) {
			ok = ok && there && right((i+j)%vandalKeys, value)
		})
		v.met("getting many", err, ok)
	case 5:
		v.met("viewing", s.View(all), true)
	case 6:
		if *held == nil {
			sn, err := s.Snapshot()
			if v.met("holding a snapshot", err, true); err == nil {
				*held = sn
			}
			return
		}
		v.met("looking at a snapshot", all(*held), true)
		v.met("comparing", s.View(func(sn *Snapshot) error {
			for range sn.Diff(*held) {
				_ = sn.Len()
			}
			return nil
		}), true)
		if v.rnd.IntN(4) == 0 {
			_ = (*held).Close()
			*held = nil
		}
	case 7:
		_, _, _ = s.Len(), s.Stats(), s.Version()
		_, err := s.Inspect().Processes()
		v.met("listing processes", err, true)
		v.met("mapping", extentsOf(context.Background(), s), true)
	case 8:
		if v.rnd.IntN(20) == 0 {
			ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
			_, err := s.Check(ctx, nil)
			cancel()
			v.met("checking", err, true)
		}
	case 9:
		ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
		_, err := s.Wait(ctx, s.Version())
		cancel()
		v.met("waiting", err, true)
	}
}

// reside writes beside a vandal of procs: keys of its own, whose values it knows.
func reside(id int64) {
	b, err := openBoard(setting("BOARD"))
	must(err)
	s := mustOpen(setting("PATH"), nil)
	b.Add(boardOpen*8, 1)
	for n := uint64(1); b.get(boardEnd) == 0; n++ {
		i := int(n % 50)
		err := s.Set(fmt.Appendf(nil, "resident %d/%d", id, i), testValue(n, int(n%900)))
		if errors.Is(err, ErrFull) { // pins that nobody took hold all of it
			time.Sleep(time.Millisecond)
			continue
		}
		if err != nil && !slices.ContainsFunc(clearErrors, func(e error) bool { return errors.Is(err, e) }) {
			failChild("writing: %v", err)
		}
		b.Add(boardWrites*8, 1)
	}
	_ = s.Close()
}

const vandalKeys = 300

// vandalised runs visitors, residents and a vandal beside each other, until they have done
// enough, and returns their board and the store's path.
func vandalised(t *testing.T, file string, set settings, residents int, enough func(b *board) bool) (*board, string) {
	rnd := newRand(t)
	length := 1200 * time.Millisecond
	if *soakFlag > defaultSoak {
		length = *soakFlag
	}
	dir := testdir.Memory(t)
	require.NoError(t, os.Chmod(dir, 0o755))
	path := filepath.Join(dir, "store")
	s, err := Open(path, &Options{MaxSize: 4 << 20})
	require.NoError(t, err)
	for i := range vandalKeys {
		require.NoError(t, s.Set(imageKey(i), imageValue(i)))
	}
	require.NoError(t, s.Close())
	sound, err := os.ReadFile(filepath.Join(path, file))
	require.NoError(t, err)
	b := newBoard(t, dir, boardWords)
	set["PATH"], set["BOARD"], set["FILE"] = path, b.path, filepath.Join(path, file)
	start := func(name string, id int) *child {
		set["ID"], set["SEED"] = strconv.Itoa(id), strconv.FormatInt(rnd.Int64(), 10)
		return startChild(t, name, set)
	}
	var all []*child
	for i := range residents {
		all = append(all, start("resident", i))
		b.await(t, all[i], boardOpen, uint64(i)+1)
	}
	all = append(all, start("visitor", 0), start("visitor", 1))
	vandal := start("vandal", 0)
	time.Sleep(length * 9 / 10)
	// As long as it takes: others may use the processors.
	for end := time.Now().Add(time.Minute); !(b.get(boardReads) > 1000 && enough(b)) && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
	}
	b.set(boardNoVandal, 1)
	vandal.wait(t)
	time.Sleep(length / 10)
	b.set(boardEnd, 1)
	for _, c := range all {
		c.wait(t)
	}
	require.NoError(t, os.WriteFile(filepath.Join(path, file), sound, 0o600))
	t.Logf("%d reads, %d of them wrong or refused, %d writes", b.get(boardReads), b.get(boardWrong), b.get(boardWrites))
	require.Greater(t, b.get(boardReads), uint64(1000))
	return b, path
}

// harmed reports whether the visitors have met enough that was wrong.
func harmed(b *board) bool { return b.get(boardWrong) > 10 }

func TestVandalOfData(t *testing.T) {
	b, _ := vandalised(t, "data", settings{"RESTORE": "yes"}, 0, harmed)
	require.Greater(t, b.get(boardWrong), uint64(10), "the vandal did no harm")
	require.Less(t, b.get(boardWrong), b.get(boardReads)*9/10, "nothing could be read")
}

func TestVandalBesideUnpinned(t *testing.T) {
	b, _ := vandalised(t, "data", settings{"RESTORE": "yes", "UNPINNED": "yes"}, 0, harmed)
	require.Greater(t, b.get(boardWrong), uint64(10), "the vandal did no harm")
}

// A vandal of procs can do no more than make others read what is being reused:
// what was committed stays, whoever writes beside it.
func TestVandalOfProcs(t *testing.T) {
	b, path := vandalised(t, "procs", settings{}, 2, func(b *board) bool { return b.get(boardWrites) > 100 })
	require.Greater(t, b.get(boardWrites), uint64(100))
	s := openSound(t, path)
	for i := range vandalKeys {
		value, err := s.Get(imageKey(i))
		require.NoError(t, err)
		require.Equal(t, imageValue(i), value)
	}
}
