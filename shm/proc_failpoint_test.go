//go:build shmhook && !race

package shm

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/alloc/region"
	"github.com/seed-869cc763/shmkv/internal/testdir"
)

// Real processes that are killed, or stop, inside a named function: before one
// of its accesses to the mapping, whichever comes up. Another process works on
// beside them, and adopts; the parent checks.

// failpoints are the functions of package alloc that change what others see.
var failpoints = []string{
	"Begin", "Commit", "enqueue", "dropLog", "Rewind", "undo", "Alloc", "allocRun", "growLog",
	"refill", "linkRefill", "finishRefill", "takeSlab", "takeShared", "shareSlab", "giveBack", "freePages", "redoFree",
	"extend", "claimAt", "become", "hint", "searchFrom", "reclaim", "takeScan", "settle", "deferBlock", "deferredPage",
	"shareChunkUnder", "drain", "thinMags", "Keep", "punch", "Pin", "pinAt", "claimPin", "emptyPin", "claimFreeSlot",
	"retake", "Release", "flush", "recover", "recoverRecord",
}

func init() {
	// A failer works until one of its accesses in the named function, and then
	// kills or stops itself.
	children["failpoint"] = func() {
		name, sig := setting("POINT"), syscall.Signal(settingInt("SIGNAL"))
		b, err := openBoard(setting("BOARD"))
		must(err)
		var left atomic.Int64
		left.Store(settingInt("AT"))
		s := mustOpen(setting("PATH"), nil)
		s.a.SetHook(func(region.Op, uint64) {
			if !calledBy(name) || left.Add(-1) != 0 {
				return
			}
			b.set(0, 1)
			must(syscall.Kill(os.Getpid(), sig))
			for sig == syscall.SIGKILL {
				time.Sleep(time.Hour)
			}
		})
		busy(s, uint64(settingInt("SEED")), time.Duration(settingInt("NANOS")))
		must(s.Close())
	}
}

// calledBy reports whether a hook runs inside a function of package alloc.
func calledBy(name string) bool {
	var pcs [24]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(4, pcs[:])])
	for {
		f, more := frames.Next()
		if strings.HasSuffix(f.Function, "."+name) && strings.Contains(f.Function, "/alloc.") {
			return true
		}
		if !more {
			return false
		}
	}
}

// busy does a bit of everything, in several goroutines.
func busy(s *Store, seed uint64, d time.Duration) {
	until := clock() + int64(d)
	goAll(3, func(g int) {
		rnd := rand.New(rand.NewPCG(seed, uint64(g)))
		for clock() < until {
			key := fmt.Appendf(nil, "key%d", rnd.IntN(60))
			switch rnd.IntN(12) {
			case 0, 1:
				_, err := s.Delete(key)
				must(err)
			case 2:
				must(s.Set(key, testValue(rnd.Uint64(), 40_000+rnd.IntN(60_000))))
			case 3:
				n := 20
				if rnd.IntN(6) == 0 {
					n = 400 // the log needs another page
				}
				must(s.Update(func(tx *Tx) error {
					for i := range n {
						if err := tx.Set(fmt.Appendf(nil, "many%d", i), testValue(1, 20)); err != nil {
							return err
						}
					}
					return nil
				}))
			case 4:
				must(s.Update(func(tx *Tx) error {
					for i := range 20 {
						if _, err := tx.Delete(fmt.Appendf(nil, "many%d", i+rnd.IntN(400))); err != nil {
							return err
						}
					}
					return nil
				}))
			case 5:
				must(s.View(func(sn *Snapshot) error {
					for i := range 40 {
						if err := s.Set(fmt.Appendf(nil, "held%d", i), testValue(2, 200)); err != nil {
							return err
						}
					}
					for _, v := range sn.All() {
						if _, ok := valueID(v); !ok {
							failChild("a snapshot has a value that nobody wrote")
						}
					}
					return nil
				}))
			case 6:
				_, err := s.Inspect().Adopt()
				must(err)
			case 7:
				if rnd.IntN(10) == 0 { // the store shrinks
					for i := range 60 {
						_, err := s.Delete(fmt.Appendf(nil, "key%d", i))
						must(err)
					}
				}
			default:
				must(s.Set(key, testValue(rnd.Uint64(), rnd.IntN(3000))))
			}
		}
	})
}

func TestFailpoints(t *testing.T) {
	t.Parallel()
	rnd := newRand(t)
	points := slices.Clone(failpoints)
	end := time.Now()
	if *soakFlag != defaultSoak {
		end = end.Add(*soakFlag)
	} else {
		rnd.Shuffle(len(points), func(i, j int) { points[i], points[j] = points[j], points[i] })
		points = points[:testdir.Scale(2, 8)]
	}
	reached := map[string]int{}
	kills, stops := 0, 0
	var path string
	var s *Store
	renew := func() {
		if s != nil {
			require.NoError(t, s.Close())
			checkFresh(t, path)
		}
		var err error
		path = filepath.Join(testdir.Memory(t), "store")
		s, err = Open(path, &Options{MaxSize: 64 << 20})
		require.NoError(t, err)
	}
	renew()
	for {
		for _, point := range points {
			if point == "extend" { // only a young store grows
				renew()
			}
			sig := syscall.SIGKILL
			if rnd.IntN(4) == 0 {
				sig = syscall.SIGSTOP
			}
			// Several, so that what one leaves behind is adopted by the next,
			// which may die of it.
			var children []*child
			for range 3 {
				b := newBoard(t, filepath.Dir(path), 1)
				c := startChild(t, "failpoint", settings{"PATH": path, "BOARD": b.path, "POINT": point, "AT": fmt.Sprint(1 + rnd.IntN(40)*rnd.IntN(3)),
					"SIGNAL": fmt.Sprint(int(sig)), "SEED": fmt.Sprint(rnd.Uint32()), "NANOS": fmt.Sprint(int64(10 * time.Second))})
				children = append(children, c)
				for until := time.Now().Add(time.Second); time.Now().Before(until) && b.get(0) == 0; {
					time.Sleep(time.Millisecond)
				}
				if b.get(0) == 0 {
					continue
				}
				reached[point]++
				if sig == syscall.SIGKILL {
					kills++
					c.killed = true
					c.wait(t)
				} else {
					stops++
					awaitStop(t, c)
				}
				// Work goes on beside the dead and the stopped.
				for k := range 20 {
					require.NoError(t, s.Set(fmt.Appendf(nil, "key%d", k), testValue(uint64(k), 500*k)))
				}
				_, err := s.Check(t.Context(), nil)
				require.NoError(t, err, "beside a process in %s", point)
			}
			for _, c := range children {
				c.kill(t)
			}
			checkSound(t, s)
		}
		if time.Now().After(end) {
			break
		}
	}
	require.NoError(t, s.Close())
	checkFresh(t, path)
	missed := slices.DeleteFunc(slices.Clone(points), func(p string) bool { return reached[p] > 0 })
	t.Logf("%d processes killed and %d stopped inside %d of %d functions; missed %q", kills, stops, len(reached), len(points), missed)
}

// awaitStop waits until the process is stopped: it was sent the signal, its
// threads may not have noticed yet.
func awaitStop(t *testing.T, c *child) {
	t.Helper()
	for range 1000 {
		text, err := os.ReadFile("/proc/" + strconv.Itoa(c.cmd.Process.Pid) + "/stat")
		require.NoError(t, err)
		if fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:]); string(fields[0]) == "T" {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatal("a process does not stop")
}
