// The race detector sees nothing of a mapping, and slows processes down.

//go:build !race

package shm

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/internal/testdir"
)

var checksFlag = flag.Int("checks", 0, "how many checks of each kind are made beside writers; 0: 20, or 60 with SHMKV_LONG=1")

// busyKeys is few keys: their blocks move all the time.
const busyKeys = 300

func init() {
	// busy writes, deletes, gives up and takes snapshots, until it is killed.
	children["busy"] = func() {
		s := mustOpen(setting("PATH"), &Options{MustExist: true})
		seed := uint64(settingInt("SEED"))
		goAll(2, func(g int) {
			rng := rand.New(rand.NewPCG(seed, uint64(g)))
			giveUp := errors.New("no")
			for n := 0; ; n++ {
				key := fmt.Appendf(nil, "busy%d", rng.IntN(busyKeys))
				var err error
				plain := 0 // one process in two only sets
				if seed%2 == 0 {
					plain = 16
				}
				switch value := testValue(uint64(n), rng.IntN(400)); rng.IntN(16) + plain {
				default:
					err = s.Set(key, value)
				case 0, 1:
					_, err = s.Delete(key)
				case 2:
					err = s.Update(func(tx *Tx) error {
						for i := range 5 {
							if err := tx.Set(fmt.Appendf(nil, "busy%d", (n+i)%busyKeys), value); err != nil {
								return err
							}
						}
						if n%2 == 0 {
							return giveUp
						}
						return nil
					})
					if errors.Is(err, giveUp) {
						err = nil
					}
				case 3:
					if n%20 == 0 {
						value = make([]byte, 40_000)
					}
					err = s.View(func(*Snapshot) error { return s.Set(key, value) })
				}
				if err != nil {
					failChild("writing: %v", err)
				}
			}
		})
	}
}

// A store that several processes write to as fast as they can, which stop in the
// middle of anything, is sound whenever Check looks at it.
func TestCheckBesideWriters(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("needs several processes for a while")
	}
	openPinned := func(path string) (*Store, error) { return Open(path, &Options{ReadOnly: true}) }
	openWriter := func(path string) (*Store, error) { return Open(path, nil) }
	checks := cmp.Or(*checksFlag, testdir.Scale(20, 60))
	for _, kind := range []struct {
		name string
		open func(path string) (*Store, error)
	}{{"writer", openWriter}, {"reader", openPinned}, {"unpinned reader", openUnpinned}} {
		t.Run(kind.name, func(t *testing.T) {
			rng := newRand(t)
			dir := testdir.Memory(t)
			require.NoError(t, os.Chmod(dir, 0o755))
			path := dir + "/store"
			first, err := Open(path, nil)
			require.NoError(t, err)
			var writers []*child
			for i := range 2 {
				writers = append(writers, startChild(t, "busy", settings{"PATH": path, "SEED": fmt.Sprint(i)}))
			}
			for first.Version() < 10_000 { // all of them are at it
				runtime.Gosched()
			}
			require.NoError(t, first.Close())
			s, err := kind.open(path)
			require.NoError(t, err)
			stopped, tooFast, quiet, wrong := false, 0, 0, 0
			passes, most := 0, 0
			for n := range checks {
				if c := writers[0]; !stopped && rng.IntN(4) == 0 {
					c.signal(syscall.SIGSTOP)
					stopped = true
				} else if stopped && rng.IntN(4) == 0 {
					c.signal(syscall.SIGCONT)
					stopped = false
				}
				before := passes
				rep, err := s.Check(t.Context(), &CheckOptions{Progress: func(done, total int64) {
					if done == total {
						passes++
					}
				}})
				most = max(most, passes-before)
				switch {
				case errors.Is(err, ErrCannotPin) && !s.a.CanPin():
					tooFast++
				case err != nil:
					wrong++
					t.Errorf("check %d, a writer stopped: %v: %v\n  %s", n, stopped, err, strings.Join(rep.Problems[:min(len(rep.Problems), 5)], "\n  "))
				case rep.Quiet:
					quiet++
				}
			}
			t.Logf("%d checks of %d passes, %d at most: %d said that the store is damaged, in %d writers were too fast, %d were quiet; %d commits",
				checks, passes, most, wrong, tooFast, quiet, s.Version())
			require.NoError(t, s.Close())
			for _, c := range writers {
				c.kill(t)
			}
			require.NoError(t, os.Chmod(path+"/procs", 0o600))
			openSound(t, path)
		})
	}
}
