// The race detector sees nothing of a mapping, and slows processes down.

//go:build !race

package shm

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/internal/testdir"
)

// Words of the boards of the children here: what they have done.
const (
	compactMoved = iota // by a compactor
	compactAcked        // sets or additions of a writer
	compactWords
)

const compactCounters = 40

func counterKey(writer int64, i uint64) []byte { return fmt.Appendf(nil, "counter %d/%d", writer, i) }

func init() {
	children["compactor"] = func() {
		b, err := openBoard(setting("BOARD"))
		must(err)
		s := mustOpen(setting("PATH"), nil)
		for {
			done, err := s.Compact(context.Background(), nil)
			must(err)
			b.set(compactMoved, b.get(compactMoved)+uint64(done.Moved))
		}
	}
	children["counting"] = func() {
		b, err := openBoard(setting("BOARD"))
		must(err)
		s := mustOpen(setting("PATH"), nil)
		writer, n := settingInt("WRITER"), b.get(compactAcked)
		for {
			n++
			must(s.Modify(counterKey(writer, n%compactCounters), func(old []byte, exists bool) ([]byte, bool) {
				sum := uint64(0)
				if exists {
					sum = binary.LittleEndian.Uint64(old)
				}
				// Of changing lengths, so that they move about.
				return append(binary.LittleEndian.AppendUint64(nil, sum+1), make([]byte, n%2*200)...), true
			}))
			b.set(compactAcked, n)
		}
	}
}

// Processes compact a store while others write; all are killed at random, or
// stopped for a while. No write is lost, nor done twice; what nobody writes stays;
// and in the end the space is given back.
func TestCompactIsKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("left out with the race detector, which sees nothing here")
	}
	const rounds, entries, stay = 6, 8000, 800
	rnd := newRand(t)
	dir := testdir.Memory(t)
	path := dir + "/store"
	s, err := Open(path, nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	key := func(i int) []byte { return fmt.Appendf(nil, "key%06d", i) }
	sparse := func() {
		for _, set := range []bool{true, false} {
			for base := 0; base < entries; base += 1000 {
				require.NoError(t, s.Update(func(tx *Tx) error {
					for i := base; i < base+1000; i++ {
						var err error
						if set {
							err = tx.Set(key(i), testValue(uint64(i), 150+i%40))
						} else if i%(entries/stay) != 0 {
							_, err = tx.Delete(key(i))
						}
						if err != nil {
							return err
						}
					}
					return nil
				}))
			}
		}
	}

	var acked, killed [2]uint64 // of each writer: acknowledged; killed in one more
	moved := uint64(0)
	for round := range rounds {
		sparse()
		var all []*child
		var boards []*board
		for i := range 4 {
			b := newBoard(t, dir, compactWords)
			name := "compactor"
			if i < 2 {
				b.set(compactAcked, acked[i])
				name = "counting"
			}
			set := settings{"PATH": path, "BOARD": b.path, "WRITER": fmt.Sprint(i)}
			all, boards = append(all, startChild(t, name, set)), append(boards, b)
		}
		boards[0].await(t, all[0], compactAcked, acked[0]+1)
		boards[1].await(t, all[1], compactAcked, acked[1]+1)
		boards[2].await(t, all[2], compactMoved, 1)
		// A compactor that is stopped holds nobody up.
		all[3].signal(syscall.SIGSTOP)
		boards[0].await(t, all[0], compactAcked, boards[0].get(compactAcked)+100)
		if round%2 == 0 {
			all[3].signal(syscall.SIGCONT)
		}
		order := rnd.Perm(len(all))
		for _, i := range order {
			time.Sleep(time.Duration(rnd.IntN(20000)) * time.Microsecond)
			all[i].kill(t)
		}
		for i := range acked {
			acked[i] = boards[i].get(compactAcked)
			killed[i]++
		}
		moved += boards[2].get(compactMoved) + boards[3].get(compactMoved)

		checkSound(t, s)
		for i := range acked {
			sum := uint64(0)
			for n := range uint64(compactCounters) {
				v, err := s.Get(counterKey(int64(i), n))
				if err == nil {
					sum += binary.LittleEndian.Uint64(v)
				} else {
					require.ErrorIs(t, err, ErrNotFound)
				}
			}
			require.GreaterOrEqual(t, sum, acked[i], "acknowledged additions are lost")
			require.LessOrEqual(t, sum, acked[i]+killed[i], "additions were made twice")
		}
		for i := 0; i < entries; i += entries / stay {
			v, err := s.Get(key(i))
			require.NoError(t, err)
			id, ok := valueID(v)
			require.True(t, ok && id == uint64(i) && len(v) == 150+i%40, "key %d has %x", i, v)
		}
	}
	require.Positive(t, moved)

	sparse()
	done, err := s.Compact(t.Context(), nil)
	require.NoError(t, err)
	st := s.Stats()
	t.Logf("%d entries moved by who was killed; in the end %+v, %+v", moved, done, st)
	require.Equal(t, stay+2*compactCounters, s.Len())
	require.LessOrEqual(t, done.After, st.LiveBytes*13/10+st.FileBytes/64+512<<10)
	rep := checkSound(t, s)
	require.Zero(t, rep.HeldBytes)
	checkFresh(t, path)
}

// Words of the keeper that mean nothing, and counts that are wrong, are what a damaged
// store has: searches end, and nothing is lost.
func TestDamagedKeeping(t *testing.T) {
	if testing.Short() {
		t.Skip("left out with the race detector, which sees nothing here")
	}
	const imgFreePages, imgKeeper, imgLive = 0x1200, 0x1380, 32
	rnd := rand.New(rand.NewPCG(8, 8))
	values := []uint64{1, 4095, 4096, imgDescs, 1<<20 - 4096, 1 << 20, 1<<20 + 4096, 1 << 40, 1 << 44, 1 << 46, 1 << 63, ^uint64(0), ^uint64(4095)}
	for range 4 {
		values = append(values, rnd.Uint64N(1<<20), rnd.Uint64N(1<<21))
	}
	for base := range images() {
		for _, v := range values {
			for i, free := range []uint64{0, 1 << 40, ^uint64(100)} {
				if stride := testdir.Scale(6, 3); (base > 0 || !testdir.Long()) && (base+int(v%7)+i)%stride != 0 {
					continue // each takes a while
				}
				t.Run(fmt.Sprintf("keeper %#x, %#x free pages, image %d", v, free, base), func(t *testing.T) {
					data, slots := images()[base].clone()
					m := &image{data: data, slots: slots}
					for i := range uint64(3) {
						m.setWord(imgKeeper+i*8, v)
					}
					m.setWord(imgFreePages, free)
					path := (&damaged{m: m, data: m.data, slots: m.slots}).write(t)
					visit(t, path, func(g *guest) {
						require.True(t, g.open(path, nil))
						g.use()
						g.keep()
						g.compact()
						g.fill()
						g.check()
						g.close()
					})
					if base == 0 { // all else of it is in order
						s := openSound(t, path)
						require.Positive(t, s.Len())
					}
				})
			}
		}
	}
}
