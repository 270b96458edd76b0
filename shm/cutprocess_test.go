// The race detector sees nothing of a mapping, and slows processes down.

//go:build !race

package shm

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// The processes of a cutTest. Writers do steps. A group of processes is a life of them,
// and the steps of each life are different ones.
//
// A step of a linked writer is a transaction. It changes keys of the writer's own as
// cutStep says, counts the step, and adds one to the number of all steps. A step of a plain
// writer counts the step in two keys, one after the other.

const (
	cutLinked    = 4 // writers
	cutWriters   = 8 // the others are plain
	cutProcesses = 4 // that write, in a group
	cutMaxSize   = 64 << 20
)

// The words of the board.
const (
	wordCut     = iota // not 0: the power fails
	wordBegun          // processes that open the store
	wordOpen           // that have it open
	wordClosing        // that have begun to close it
	wordClosed         // that have closed it
	wordCopies         // stores that were copied
	wordDone           // steps of each writer
	wordVersion = wordDone + cutWriters
	wordAcked   = wordVersion + cutProcesses // for each process, the steps of each writer that are on disk
	cutWords    = wordAcked + cutProcesses*cutWriters
)

// A cutChange is what a step does to a key.
type cutChange struct {
	name    string // of the map
	key     []byte
	deleted bool
	id      uint64
	size    int
}

func (ch cutChange) value() []byte { return testValue(ch.id, ch.size) }

// cutStep returns what a step of a linked writer changes.
func cutStep(w, life int, n uint64) []cutChange {
	rng := rand.New(rand.NewPCG(uint64(life)<<8|uint64(w), n))
	all := make([]cutChange, 1+rng.IntN(4))
	for i := range all {
		ch := cutChange{key: fmt.Appendf(nil, "w%d.%d", w, rng.IntN(40)), deleted: rng.IntN(5) == 0, id: rng.Uint64(), size: rng.IntN(300)}
		if rng.IntN(2) == 0 {
			ch.name = "sorted"
		}
		if rng.IntN(10) == 0 {
			ch.size = rng.IntN(5000)
		}
		if rng.IntN(100) == 0 {
			ch.size = 30_000 + rng.IntN(60_000)
		}
		all[i] = ch
	}
	return all
}

func livesKey(w int) string { return fmt.Sprint("lives", w) }

func cutNumber(n ...uint64) (b []byte) {
	for _, v := range n {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	return b
}

func cutNumbers(b []byte) (all []uint64) {
	for ; len(b) >= 8; b = b[8:] {
		all = append(all, binary.LittleEndian.Uint64(b))
	}
	return all
}

// copyPath is the path of a copy of the store; of all if i is -1, also of drafts.
func copyPath(store string, life, i int) string {
	if i < 0 {
		return filepath.Join(filepath.Dir(store), "*copy*")
	}
	return filepath.Join(filepath.Dir(store), fmt.Sprintf("copy-%d-%d", life, i))
}

func copyKind(i int) string { return []string{"backup", "restored", "created"}[i%3] }

func upTo(rng *rand.Rand, d time.Duration) time.Duration { return time.Duration(rng.Int64N(int64(d))) }

// A cutProcess is the process.
type cutProcess struct {
	b      *board
	s      *Store
	path   string
	policy string
	life   int
	id     int
	seed   uint64
}

// must ends the process after an error, unless the power fails.
func (p *cutProcess) must(err error) {
	if err == nil {
		return
	}
	for p.b.get(wordCut) != 0 {
		time.Sleep(time.Hour)
	}
	failChild("%v", err)
}

func (p *cutProcess) add(word int) { p.b.Add(uint64(word)*8, 1) }

func init() {
	children["cut"] = func() {
		b, err := openBoard(setting("BOARD"))
		must(err)
		p := &cutProcess{b: b, path: setting("PATH"), policy: setting("POLICY"), life: int(settingInt("LIFE")), id: int(settingInt("ID"))}
		_, err = fmt.Sscan(setting("SEED"), &p.seed)
		must(err)
		role := setting("ROLE")
		p.add(wordBegun)
		if role == "rewriter" {
			p.rewrite()
		}
		o := Options{MaxSize: cutMaxSize, ReadOnly: role == "reader"}
		switch p.policy {
		case "sync":
			o.Checkpoint = OnSync()
		case "interval":
			o.Checkpoint = Every(20 * time.Millisecond)
		case "commit":
			o.Checkpoint = EveryCommit()
		}
		p.s, err = openUnder(setting("BOOT"), p.path, o)
		p.must(err)
		p.add(wordOpen)
		switch role {
		case "linked":
			goAll(cutLinked+2, func(i int) {
				switch i {
				case cutLinked:
					p.writeBack()
				case cutLinked + 1:
					p.sync()
				default:
					p.link(i, 1<<40)
				}
			})
		case "plain":
			goAll(cutWriters-cutLinked+1, func(i int) {
				if i == cutWriters-cutLinked {
					p.sync()
				} else {
					p.plain(cutLinked + i)
				}
			})
		case "noise":
			goAll(3, func(i int) { []func(){p.noise, p.snapshots, p.sync}[i]() })
		case "finisher":
			goAll(2, func(i int) { p.link(2*p.id+i, 20+p.seed%100) })
			go p.writeBack()
			p.add(wordClosing)
			p.must(p.s.Close())
			p.add(wordClosed)
			time.Sleep(time.Hour)
		case "reader":
			p.snapshots()
		case "copier":
			p.copy()
		}
	}
}

// lives returns the steps of a writer in all lives, up to this one.
func (p *cutProcess) lives(key string) []uint64 {
	v, err := p.s.Get([]byte(key))
	if !errors.Is(err, ErrNotFound) {
		p.must(err)
	}
	return append(cutNumbers(v), make([]uint64, p.life)...)[:p.life]
}

// done counts a step on the board.
func (p *cutProcess) done(w int, n uint64) {
	p.b.set(wordDone+w, n)
	if p.policy == "commit" {
		p.b.set(wordAcked+p.id*cutWriters+w, n)
	}
}

func (p *cutProcess) link(w int, steps uint64) {
	lives := p.lives(livesKey(w))
	for n := uint64(1); n <= steps; n++ {
		lives[p.life-1] = n
		p.must(p.s.Update(func(tx *Tx) error {
			for _, ch := range cutStep(w, p.life, n) {
				var err error
				switch {
				case ch.name == "" && ch.deleted:
					_, err = tx.Delete(ch.key)
				case ch.name == "":
					err = tx.Set(ch.key, ch.value())
				case ch.deleted:
					_, err = tx.Ordered(ch.name).Delete(ch.key)
				default:
					err = tx.Ordered(ch.name).Set(ch.key, ch.value())
				}
				if err != nil && !errors.Is(err, ErrNotFound) {
					return err
				}
			}
			total, err := tx.Get([]byte("total"))
			if errors.Is(err, ErrNotFound) {
				total = make([]byte, 8)
			} else if err != nil {
				return err
			}
			if err := tx.Set([]byte("total"), cutNumber(cutNumbers(total)[0]+1)); err != nil {
				return err
			}
			return tx.Set([]byte(livesKey(w)), cutNumber(lives...))
		}))
		p.done(w, n)
	}
}

func (p *cutProcess) plain(w int) {
	lives := p.lives("a" + livesKey(w))
	p.must(p.s.Set([]byte("b"+livesKey(w)), cutNumber(lives...))) // the life before may not have done so
	for n := uint64(1); ; n++ {
		lives[p.life-1] = n
		p.must(p.s.Set([]byte("a"+livesKey(w)), cutNumber(lives...)))
		p.done(w, n)
		p.must(p.s.Set([]byte("b"+livesKey(w)), cutNumber(lives...)))
	}
}

// sync syncs now and then, if the policy is to sync.
func (p *cutProcess) sync() {
	rng := rand.New(rand.NewPCG(p.seed, 1))
	for p.policy == "sync" {
		time.Sleep(upTo(rng, 30*time.Millisecond))
		var done [cutWriters]uint64
		for w := range done {
			done[w] = p.b.get(wordDone + w)
		}
		version := p.s.Version()
		p.must(p.s.Sync())
		for w, n := range done {
			p.b.set(wordAcked+p.id*cutWriters+w, n)
		}
		p.b.set(wordVersion+p.id, version)
	}
}

// noise makes the file grow and shrink.
func (p *cutProcess) noise() {
	rng := rand.New(rand.NewPCG(p.seed, 2))
	m := p.s.Map("noise")
	for {
		n := 1 + rng.IntN(150)
		for i := range n {
			p.must(m.Set(fmt.Append(nil, i), testValue(rng.Uint64(), rng.IntN(40_000))))
		}
		switch rng.IntN(3) {
		case 0:
			_, err := p.s.DropMap("noise")
			p.must(err)
		default:
			for i := range n {
				_, err := m.Delete(fmt.Append(nil, i))
				p.must(err)
			}
		}
		_, err := p.s.Compact(context.Background(), nil)
		p.must(err)
	}
}

func (p *cutProcess) snapshots() {
	for {
		p.must(p.s.View(func(sn *Snapshot) error {
			time.Sleep(10 * time.Millisecond)
			for range sn.All() {
			}
			return sn.Err()
		}))
	}
}

// writeBack writes ranges of data back.
func (p *cutProcess) writeBack() {
	rng := rand.New(rand.NewPCG(p.seed, 3))
	f, err := os.Open(filepath.Join(p.path, "data"))
	p.must(err)
	for {
		st, err := f.Stat()
		p.must(err)
		off := rng.Int64N(st.Size()) &^ 4095
		n := int64(4096) << rng.IntN(10)
		if rng.IntN(4) == 0 {
			off = rng.Int64N(8) * 4096 // the header
		}
		p.must(writeRange(f, off, n))
		time.Sleep(upTo(rng, 2*time.Millisecond))
	}
}

func writeRange(f *os.File, off, n int64) error {
	return unix.SyncFileRange(int(f.Fd()), off, n, unix.SYNC_FILE_RANGE_WAIT_BEFORE|unix.SYNC_FILE_RANGE_WRITE|unix.SYNC_FILE_RANGE_WAIT_AFTER)
}

// copy makes copies of all kinds of the store.
func (p *cutProcess) copy() {
	ctx := context.Background()
	for i := 0; ; i++ {
		to := copyPath(p.path, p.life, i)
		switch copyKind(i) {
		case "backup":
			p.must(p.s.Backup(ctx, to))
		case "restored":
			p.must(Restore(ctx, copyPath(p.path, p.life, i-1), to, nil, nil))
		case "created":
			p.must(Create(to, &Options{MaxSize: 4 << 20}, func(s *Store) error {
				for i := range 100 {
					if err := s.Set(fmt.Append(nil, i), testValue(uint64(i), 100)); err != nil {
						return err
					}
				}
				return nil
			}))
		}
		p.add(wordCopies)
	}
}

// rewrite rewrites the store again and again, and writes pages of the old one back as soon
// as there is a new one.
func (p *cutProcess) rewrite() {
	for {
		f, err := os.Open(filepath.Join(p.path, "data"))
		p.must(err)
		done := make(chan struct{})
		go func() {
			for {
				select {
				case <-done:
					_ = f.Close()
					return
				default:
					p.must(writeRange(f, 0, 16<<10))
				}
			}
		}()
		p.must(Rewrite(context.Background(), p.path, nil))
		close(done)
	}
}
