package shm_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/shm"
)

// crowd runs the story with several handles on one store: on the heap, where
// the race detector sees everything, and in files.
func crowd(t *testing.T, handles int, story func(t *testing.T, all []*shm.Store)) {
	t.Run("heap", func(t *testing.T) {
		all := heapStores(t, 64<<20, handles)
		story(t, all)
		sound(t, all[0])
	})
	t.Run("files", func(t *testing.T) {
		all := []*shm.Store{fileStore(t, nil)}
		for len(all) < handles {
			s, err := shm.Open(all[0].Path(), nil)
			require.NoError(t, err)
			defer func() { require.NoError(t, s.Close()) }()
			all = append(all, s)
		}
		story(t, all)
		sound(t, all[0])
	})
}

// scaled is n, or less where everything is slow.
func scaled(n int) int {
	if raced || testing.Short() {
		return n / 5
	}
	return n
}

func number(n uint64) []byte { return binary.LittleEndian.AppendUint64(nil, n) }

func value(b []byte) uint64 {
	if len(b) != 8 {
		return 0
	}
	return binary.LittleEndian.Uint64(b)
}

// Counters that many raise, each in its own way, lose nothing.
func TestCountersSumUp(t *testing.T) {
	crowd(t, 3, func(t *testing.T, all []*shm.Store) {
		const counters = 4
		n := scaled(300)
		key := func(i int) []byte { return []byte{'c', byte(i % counters)} }
		ways := []func(s *shm.Store, key []byte) error{
			func(s *shm.Store, key []byte) error {
				return s.Modify(key, func(old []byte, _ bool) ([]byte, bool) { return number(value(old) + 1), true })
			},
			func(s *shm.Store, key []byte) error {
				for {
					old, err := s.Get(key)
					if err != nil && !errors.Is(err, shm.ErrNotFound) {
						return err
					}
					if ok, err := s.CompareAndSwap(key, old, number(value(old)+1)); ok || err != nil {
						return err
					}
				}
			},
			func(s *shm.Store, key []byte) error {
				return s.Update(func(tx *shm.Tx) error {
					old, err := tx.Get(key)
					if err != nil && !errors.Is(err, shm.ErrNotFound) {
						return err
					}
					return tx.Set(key, number(value(old)+1))
				})
			},
		}
		var wg sync.WaitGroup
		const goroutines = 12
		for g := range goroutines {
			wg.Go(func() {
				for i := range n {
					if err := ways[g%len(ways)](all[g/len(ways)%len(all)], key(i)); err != nil {
						t.Errorf("%v", err)
						return
					}
				}
			})
		}
		wg.Wait()
		sum := uint64(0)
		for i := range counters {
			got, err := all[0].Get(key(i))
			require.NoError(t, err)
			sum += value(got)
		}
		require.Equal(t, uint64(goroutines*n), sum)
		require.LessOrEqual(t, all[0].Version(), uint64(goroutines*n)+1, "at most one commit each")
		require.Equal(t, uint64(goroutines*n), all[0].Stats().Changes, "each is counted")
	})
}

// Two keys always change together. Whoever reads both in one version finds
// them equal, and money that moves between accounts is never lost or made.
func TestReadersSeeWholeTransactions(t *testing.T) {
	crowd(t, 2, func(t *testing.T, all []*shm.Store) {
		const accounts, money = 20, 1000
		account := func(i int) []byte { return fmt.Append(nil, "account ", i) }
		left, right := []byte("left"), []byte("right")
		require.NoError(t, all[0].Update(func(tx *shm.Tx) error {
			for i := range accounts {
				if err := tx.Set(account(i), number(money)); err != nil {
					return err
				}
			}
			return errors.Join(tx.Set(left, nil), tx.Set(right, nil))
		}))
		var writers, readers sync.WaitGroup
		var stop atomic.Bool
		for g := range 4 {
			writers.Go(func() {
				rng := rand.New(rand.NewPCG(uint64(g), 1))
				for i := range scaled(500) {
					s := all[g%2]
					err := s.Update(func(tx *shm.Tx) error {
						v := bytes.Repeat([]byte{byte(g)}, i%200)
						if err := errors.Join(tx.Set(left, v), tx.Set(right, v)); err != nil {
							return err
						}
						from, to := account(rng.IntN(accounts)), account(rng.IntN(accounts))
						a, err := tx.Get(from)
						if err != nil {
							return err
						}
						if err := tx.Set(from, number(value(a)-1)); err != nil {
							return err
						}
						b, err := tx.Get(to)
						if err != nil {
							return err
						}
						return tx.Set(to, number(value(b)+1))
					})
					if err != nil {
						t.Errorf("%v", err)
					}
				}
			})
		}
		for g := range 4 {
			readers.Go(func() {
				s := all[g%2]
				var older *shm.Snapshot
				for i := 0; !stop.Load() || i < 3; i++ {
					sn, err := s.Snapshot()
					if err != nil {
						t.Errorf("%v", err)
						return
					}
					a, err1 := sn.Get(left)
					b, err2 := sn.Get(right)
					if err1 != nil || err2 != nil || !bytes.Equal(a, b) {
						t.Errorf("%x and %x, %v, %v", a, b, err1, err2)
					}
					sum := uint64(0)
					for key, v := range sn.All() {
						if bytes.HasPrefix(key, []byte("account")) {
							sum += value(v)
						}
					}
					if sum != accounts*money {
						t.Errorf("All sums up to %d in version %d", sum, sn.Version())
					}
					if sn.Len() != accounts+2 {
						t.Errorf("%d entries", sn.Len())
					}
					if older != nil {
						change := uint64(0) // of all accounts: none
						for key, c := range sn.Diff(older) {
							if bytes.HasPrefix(key, []byte("account")) {
								change += value(c.New) - value(c.Old)
							}
						}
						if change != 0 {
							t.Errorf("Diff sums up to %d", change)
						}
						_ = older.Close()
					}
					older = sn
					many := [][]byte{left, right}
					var seen [2][]byte
					err = s.GetMany(many, func(i int, v []byte, _ bool) { seen[i] = bytes.Clone(v) })
					if err != nil || !bytes.Equal(seen[0], seen[1]) {
						t.Errorf("GetMany: %x and %x, %v", seen[0], seen[1], err)
					}
					if n := s.Len(); n != accounts+2 {
						t.Errorf("Len is %d", n)
					}
				}
				_ = older.Close()
			})
		}
		writers.Wait()
		stop.Store(true)
		readers.Wait()
	})
}

// Optimistic reads beside writers that reuse space as fast as they can: a value
// is always whole and one that was set.
func TestReadsBesideReuse(t *testing.T) {
	crowd(t, 2, func(t *testing.T, all []*shm.Store) {
		const keys = 8
		key := func(i int) []byte { return []byte{byte(i)} }
		put := func(s *shm.Store, i, size int) error {
			return s.Set(key(i), bytes.Repeat([]byte{byte(i), byte(size)}, size))
		}
		for i := range keys {
			require.NoError(t, put(all[0], i, 1))
		}
		var writers, readers sync.WaitGroup
		var stop atomic.Bool
		for g := range 3 {
			writers.Go(func() {
				rng := rand.New(rand.NewPCG(uint64(g), 2))
				for range scaled(4000) {
					size := 1 + rng.IntN(200)
					if rng.IntN(50) == 0 {
						size = 20000 + rng.IntN(20000)
					}
					if err := put(all[g%2], rng.IntN(keys), size); err != nil {
						t.Errorf("%v", err)
					}
				}
			})
		}
		for g := range 3 {
			readers.Go(func() {
				rng := rand.New(rand.NewPCG(uint64(g), 3))
				s := all[g%2]
				var buf []byte
				for n := 0; !stop.Load() || n < 10; n++ {
					i := rng.IntN(keys)
					got, err := s.Append(buf[:0], key(i))
					if err != nil || len(got) < 2 || len(got)%2 != 0 || !bytes.Equal(got, bytes.Repeat(got[:2], len(got)/2)) ||
						got[0] != byte(i) || got[1] != byte(len(got)/2) {
						t.Errorf("key %d: a value of %d bytes, %v", i, len(got), err)
						return
					}
					buf = got
					if has, err := s.Has(key(i)); !has || err != nil {
						t.Errorf("key %d is absent: %v", i, err)
					}
					if has, err := s.Has([]byte("absent")); has || err != nil {
						t.Errorf("an absent key is there: %v", err)
					}
				}
			})
		}
		writers.Wait()
		stop.Store(true)
		readers.Wait()
	})
}

// Each of a chain of goroutines waits for the commit of the one before.
func TestWaitWakesAll(t *testing.T) {
	crowd(t, 2, func(t *testing.T, all []*shm.Store) {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		const waiters = 20
		start := all[0].Version()
		n := uint64(scaled(100))
		var wg sync.WaitGroup
		for g := range waiters {
			wg.Go(func() {
				for v := start; v < start+n; {
					next, err := all[g%2].Wait(ctx, v)
					if err != nil || next <= v {
						t.Errorf("after %d: %d, %v", v, next, err)
						return
					}
					v = next
				}
			})
		}
		for i := range n {
			set(t, all[i%2], "k", fmt.Sprint(i))
			if i%10 == 0 {
				time.Sleep(time.Millisecond)
			}
		}
		wg.Wait()
	})
}

// Ping and pong over the store: every turn is a wake-up.
func TestWaitPingPong(t *testing.T) {
	crowd(t, 2, func(t *testing.T, all []*shm.Store) {
		ctx := context.Background()
		turns := scaled(500)
		start := time.Now()
		var wg sync.WaitGroup
		for side := range 2 {
			wg.Go(func() {
				s, key := all[side], []byte("turn")
				for turn := side; turn < turns; {
					v := s.Version()
					got, err := s.Get(key)
					if err != nil && !errors.Is(err, shm.ErrNotFound) {
						t.Errorf("%v", err)
						return
					}
					if value(got) != uint64(turn) {
						if _, err := s.Wait(ctx, v); err != nil {
							t.Errorf("%v", err)
							return
						}
						continue
					}
					if err := s.Set(key, number(uint64(turn+1))); err != nil {
						t.Errorf("%v", err)
						return
					}
					turn += 2
				}
			})
		}
		wg.Wait()
		t.Logf("%v a turn", time.Since(start)/time.Duration(turns))
		require.Less(t, time.Since(start), time.Duration(turns)*20*time.Millisecond)
	})
}

// A large batch gets through while small commits hammer the store: they let it
// pass.
func TestLargeUpdateAmongSmallSets(t *testing.T) {
	if raced {
		t.Skip("too slow for the time that others hold back for")
	}
	crowd(t, 2, func(t *testing.T, all []*shm.Store) {
		const n = 10000
		const most = 10 * time.Second
		var stop atomic.Bool
		var wg sync.WaitGroup
		var sets atomic.Int64
		for g := range 4 {
			wg.Go(func() {
				for i := 0; !stop.Load(); i++ {
					if err := all[g%2].Set([]byte{byte(g), byte(i)}, number(uint64(i))); err != nil {
						t.Errorf("%v", err)
						return
					}
					sets.Add(1)
				}
			})
		}
		start := time.Now()
		timer := time.AfterFunc(most, func() { stop.Store(true) }) // or a starved Update would run for ever
		defer timer.Stop()
		runs := 0
		err := all[0].Update(func(tx *shm.Tx) error {
			runs++
			for i := range n {
				if err := tx.Set(numbered(i), number(uint64(i))); err != nil {
					return err
				}
			}
			return nil
		})
		took := time.Since(start)
		stop.Store(true)
		wg.Wait()
		require.NoError(t, err)
		t.Logf("%d keys in %d runs and %v beside %d sets", n, runs, took, sets.Load())
		require.Less(t, took, most)
		require.NoError(t, all[1].View(func(sn *shm.Snapshot) error {
			for i := range n {
				got, err := sn.Get(numbered(i))
				require.NoError(t, err)
				require.Equal(t, uint64(i), value(got))
			}
			return nil
		}))
	})
}

// More goroutines than a handle has slots, and than it keeps.
func TestHundredsOfGoroutines(t *testing.T) {
	crowd(t, 2, func(t *testing.T, all []*shm.Store) {
		const goroutines = 300
		n := scaled(10)
		var wg sync.WaitGroup
		begin := make(chan struct{})
		for g := range goroutines {
			wg.Go(func() {
				<-begin
				s := all[g%2]
				for i := range n {
					key := fmt.Append(nil, g, "/", i)
					if err := s.Set(key, number(uint64(g))); err != nil {
						t.Errorf("Set: %v", err)
					}
					got, err := s.Get(key)
					if err != nil || value(got) != uint64(g) {
						t.Errorf("Get: %x, %v", got, err)
					}
					err = s.Modify([]byte("count"), func(old []byte, _ bool) ([]byte, bool) { return number(value(old) + 1), true })
					if err != nil {
						t.Errorf("Modify: %v", err)
					}
				}
			})
		}
		close(begin)
		wg.Wait()
		require.Equal(t, goroutines*n+1, all[0].Len())
		got, err := all[1].Get([]byte("count"))
		require.NoError(t, err)
		require.Equal(t, uint64(goroutines*n), value(got))
	})
}

// Transactions of many goroutines that all are under way at one time: none
// waits for another, whatever they do within.
func TestManyTransactionsUnderWay(t *testing.T) {
	crowd(t, 2, func(t *testing.T, all []*shm.Store) {
		const goroutines = 100
		var inside sync.WaitGroup
		inside.Add(goroutines)
		done := make(chan error, goroutines)
		for g := range goroutines {
			s, other, first := all[g%2], all[1-g%2], true
			go func() {
				done <- s.Update(func(tx *shm.Tx) error {
					if first {
						first = false
						inside.Done()
						inside.Wait() // for all to be within
						if err := other.Set(fmt.Append(nil, "within ", g), nil); err != nil {
							return err
						}
					}
					return tx.Set(fmt.Append(nil, "tx ", g), nil)
				})
			}()
		}
		late := time.After(3 * time.Second)
		for range goroutines {
			select {
			case err := <-done:
				require.NoError(t, err)
			case <-late:
				t.Fatal("goroutines that are in an Update and call Set of another handle wait for each other for ever")
			}
		}
		require.Equal(t, 2*goroutines, all[0].Len())
	})
}

// Everything at once, with a checker beside it.
func TestEverythingAtOnce(t *testing.T) {
	crowd(t, 3, func(t *testing.T, all []*shm.Store) {
		var wg, checker sync.WaitGroup
		var stop atomic.Bool
		checker.Go(func() {
			defer func() {
				if e := recover(); e != nil {
					t.Errorf("Check beside writers panicked: %v", e)
				}
			}()
			for !stop.Load() {
				rep, err := all[2].Check(context.Background(), nil)
				if err != nil {
					t.Errorf("%v: %v", err, rep)
					return
				}
			}
		})
		for g := range 6 {
			wg.Go(func() {
				rng := rand.New(rand.NewPCG(uint64(g), 5))
				s := all[g%len(all)]
				report := func(err error) {
					if err != nil && !errors.Is(err, shm.ErrNotFound) {
						t.Errorf("%v", err)
					}
				}
				for range scaled(1500) {
					key := numbered(rng.IntN(200))
					v := make([]byte, rng.IntN(3000))
					var err error
					switch rng.IntN(11) {
					case 0, 1:
						err = s.Set(key, v)
					case 2:
						_, err = s.Delete(key)
					case 3:
						_, _, err = s.Swap(key, v)
					case 4:
						_, err = s.CompareAndSwap(key, nil, v)
					case 5:
						err = s.Update(func(tx *shm.Tx) error {
							for range 20 {
								if err := tx.Set(numbered(rng.IntN(200)), v); err != nil {
									return err
								}
								if _, err := tx.Delete(numbered(rng.IntN(200))); err != nil {
									return err
								}
							}
							if rng.IntN(3) == 0 {
								return shm.ErrNotFound // give up
							}
							return nil
						})
					case 6:
						err = s.View(func(sn *shm.Snapshot) error {
							n := 0
							for range sn.All() {
								n++
							}
							if n != sn.Len() {
								t.Errorf("%d entries, Len is %d", n, sn.Len())
							}
							return nil
						})
					case 7:
						_, err = s.Get(key)
					case 8:
						err = s.GetMany([][]byte{key, key}, func(int, []byte, bool) {})
					case 9:
						st := s.Stats()
						if st.Entries < 0 || st.Entries > 200 || st.Version == 0 {
							t.Errorf("%+v", st)
						}
					case 10:
						_, err = s.Inspect().Adopt()
					}
					report(err)
				}
			})
		}
		wg.Wait()
		stop.Store(true)
		checker.Wait()
	})
}
