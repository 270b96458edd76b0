// The race detector sees nothing of a mapping, and slows processes down.

//go:build !race

package shm

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/internal/testdir"
)

// Power cuts of real file systems. Processes (see cutprocess_test.go) work on a store in a
// volume, and write ranges of its pages back in any order. Then the volume is shut down,
// the processes are killed, and the volume is mounted again: the device has some of the
// pages, and the journal. The test opens the store under another boot id. It must be one
// whole version that has all that was synced before the cut.

// A cutTest is a volume with a store, and the processes that work on it.
type cutTest struct {
	testing.TB
	rng   *rand.Rand
	v     *testdir.Volume
	b     *board
	path  string
	boot  int // number of the boot
	life  int // number of the group of processes that is at work, or was last
	group []*child
	seen  []uint64 // the board, just before the cut

	known  [cutWriters][]uint64 // steps of each life, of the store that was verified last
	acked  [cutWriters][]uint64 // at least that many, of later lives
	synced uint64               // the version is at least that one
	marks  uint64               // commits of the test itself

	cuts, recoveries, copies int
	records                  int // of journals, that recoveries have found
}

// start starts a process of the group.
func (c *cutTest) start(role, policy string) {
	c.group = append(c.group, startChild(c, "cut", settings{"ROLE": role, "POLICY": policy, "PATH": c.path, "BOARD": c.b.path,
		"BOOT": fmt.Sprint("boot", c.boot), "LIFE": fmt.Sprint(c.life), "ID": fmt.Sprint(len(c.group)), "SEED": fmt.Sprint(c.rng.Uint64())}))
}

// begin starts a group of processes.
func (c *cutTest) begin(policy string, roles ...string) {
	for i := range cutWords {
		c.b.set(i, 0)
	}
	c.life++
	c.group = nil
	for _, role := range roles {
		c.start(role, policy)
	}
}

// await waits until a word of the board is at least n.
func (c *cutTest) await(word int, n int) {
	c.Helper()
	for end := time.Now().Add(30 * time.Second); c.b.get(word) < uint64(n); time.Sleep(100 * time.Microsecond) {
		c.checkGroup()
		if time.Now().After(end) {
			c.Fatalf("word %d of the board is %d after 30 s, expected %d", word, c.b.get(word), n)
		}
	}
}

// checkGroup fails the test if a process has ended badly.
func (c *cutTest) checkGroup() {
	c.Helper()
	for _, p := range c.group {
		select {
		case <-p.done:
			if p.err != nil && !p.killed {
				c.Fatalf("a process ended: %v: %s", p.err, p.tail())
			}
		default:
		}
	}
}

// pause lets the group work for up to d.
func (c *cutTest) pause(d time.Duration) { time.Sleep(upTo(c.rng, d)) }

// cut cuts the power, and boots again.
func (c *cutTest) cut() {
	c.Helper()
	c.checkGroup()
	c.seen = c.seen[:0]
	for i := range cutWords {
		c.seen = append(c.seen, c.b.get(i))
	}
	c.b.set(wordCut, 1) // errors of processes mean nothing from now on
	c.v.Cut()
	for _, p := range c.group {
		_ = p.cmd.Process.Kill()
		<-p.done
	}
	c.v.Remount()
	c.boot++
	c.cuts++
	if c.seen[wordClosed] == 2 { // by all writers
		copy(c.seen[wordAcked:], c.seen[wordDone:wordDone+cutWriters])
	}
	for w := range cutWriters {
		for len(c.acked[w]) < c.life {
			c.acked[w] = append(c.acked[w], 0)
		}
		for id := range cutProcesses {
			c.acked[w][c.life-1] = max(c.acked[w][c.life-1], c.seen[wordAcked+id*cutWriters+w])
		}
	}
	for id := range cutProcesses {
		c.synced = max(c.synced, c.seen[wordVersion+id])
	}
}

// verify opens the store, checks that it is what it must be, writes to it and closes it.
func (c *cutTest) verify() *Recovery {
	c.Helper()
	s := c.open(Options{Checkpoint: OnSync(), MaxSize: cutMaxSize})
	r := s.Recovery()
	require.GreaterOrEqual(c, s.Version(), c.synced)
	checkSound(c, s)
	found := allMaps(c, s)
	lives := c.whole(found)
	for w := range cutWriters {
		at := min(len(c.known[w]), len(lives[w]))
		require.True(c, slices.Equal(c.known[w], lives[w][:at]), "steps of writer %d in each life: %v, expected to begin with %v", w, lives[w], c.known[w])
		for l, n := range c.acked[w] {
			if n > 0 {
				require.Greater(c, len(lives[w]), l, "lives of writer %d: %v, and %v were synced", w, lives[w], c.acked[w])
				require.GreaterOrEqual(c, lives[w][l], n, "steps of writer %d in life %d", w, l+1)
			}
		}
		c.known[w], c.acked[w] = lives[w], nil
	}
	if r != nil {
		c.recoveries++
		c.records += r.Records
		require.Equal(c, r.Version, s.Version())
		require.Less(c, r.Age, time.Minute)
	}

	for range 5 {
		c.marks++
		require.NoError(c, s.Set([]byte("marks"), cutNumber(c.marks)))
		require.NoError(c, s.Ordered("sorted").Set([]byte("marks"), testValue(c.marks, c.rng.IntN(9000))))
		if c.rng.IntN(3) == 0 {
			require.NoError(c, s.Sync())
		}
	}
	version := s.Version()
	require.NoError(c, s.Close())
	c.synced = version
	s = c.open(Options{MustExist: true})
	require.Nil(c, s.Recovery(), "it was closed")
	require.Equal(c, version, s.Version())
	c.whole(allMaps(c, s))
	require.NoError(c, s.Close())
	return r
}

func (c *cutTest) open(o Options) *Store {
	c.Helper()
	s, err := openUnder(fmt.Sprint("boot", c.boot), c.path, o)
	require.NoError(c, err)
	return s
}

// whole checks that what was found is one version: that after some number of steps of each
// writer in each life. It returns these numbers.
func (c *cutTest) whole(found contents) (lives [cutWriters][]uint64) {
	c.Helper()
	want := contents{}
	sum := uint64(0)
	for w := range cutLinked {
		lives[w] = cutNumbers([]byte(found["/"+livesKey(w)]))
		model := map[string]cutChange{}
		for l, n := range lives[w] {
			for step := range n {
				for _, ch := range cutStep(w, l+1, step+1) {
					model[ch.name+"/"+string(ch.key)] = ch
				}
				sum++
			}
		}
		for k, ch := range model {
			if !ch.deleted {
				want[k] = string(ch.value())
			}
		}
		if len(lives[w]) > 0 {
			want["/"+livesKey(w)] = found["/"+livesKey(w)]
		}
	}
	if sum > 0 {
		want["/total"] = string(cutNumber(sum))
	}
	for w := cutLinked; w < cutWriters; w++ {
		a, b := found["/a"+livesKey(w)], found["/b"+livesKey(w)]
		lives[w] = cutNumbers([]byte(a))
		if before, done := trimmed(lives[w]), trimmed(cutNumbers([]byte(b))); !slices.Equal(before, done) { // in between the two
			before[len(before)-1]--
			require.Equal(c, trimmed(before), done, "steps of writer %d that are written: %v", w, lives[w])
		}
		for k, v := range map[string]string{"/a": a, "/b": b} {
			if v != "" {
				want[k+livesKey(w)] = v
			}
		}
	}
	if c.marks > 0 {
		want["/marks"] = string(cutNumber(c.marks))
	}
	for k, v := range found {
		switch {
		case strings.HasPrefix(k, "noise/"), k == "sorted/marks":
			if _, ok := valueID([]byte(v)); !ok && k != "noise/" {
				c.Errorf("%s has a value that nobody wrote", k)
			}
			want[k] = v
		case k == "sorted/":
			want[k] = v
		}
	}
	for k := range want {
		if _, ok := found[k]; !ok {
			c.Errorf("%s is missing", k)
		} else if found[k] != want[k] {
			c.Errorf("%s has a value of %d bytes, expected another one of %d", k, len(found[k]), len(want[k]))
		}
	}
	for k := range found {
		if _, ok := want[k]; !ok {
			c.Errorf("%s is there, expected no such entry", k)
		}
	}
	if c.Failed() {
		c.Fatalf("it is no version of the store, after %v steps", lives)
	}
	return lives
}

// trimmed returns all without zeros at the end.
func trimmed(all []uint64) []uint64 {
	for len(all) > 0 && all[len(all)-1] == 0 {
		all = all[:len(all)-1]
	}
	return append([]uint64{}, all...)
}

// crowd is a group of processes that do all kinds of things.
var crowd = []string{"linked", "plain", "noise"}

// A cutRound is what happens before and after a cut.
type cutRound struct {
	name string
	run  func(c *cutTest)
}

// cutRounds are the rounds. The first one comes first, then the others in any order.
var cutRounds = []cutRound{
	{"a new store", func(c *cutTest) {
		require.NoError(c, os.RemoveAll(c.path))
		c.v.Sync()
		c.known, c.acked, c.synced, c.marks, c.life = [cutWriters][]uint64{}, [cutWriters][]uint64{}, 0, 0, 0
		c.begin("commit", "linked", "plain")
		c.await(wordBegun, 1)
		c.pause(25 * time.Millisecond)
		c.cut()
		if c.synced > 0 {
			require.NoError(c, c.open(Options{ReadOnly: false, MustExist: true}).Close(), "something was synced")
		}
		c.verify()
	}},
	{"sync", func(c *cutTest) { c.crowdRound("sync") }},
	{"interval", func(c *cutTest) { c.crowdRound("interval") }},
	{"commit", func(c *cutTest) { c.crowdRound("commit") }},
	{"recovery", func(c *cutTest) {
		c.begin("sync", crowd...)
		c.await(wordOpen, len(crowd))
		c.pause(100 * time.Millisecond)
		for range 1 + c.rng.IntN(3) {
			c.cut()
			c.begin("sync", crowd...)
			c.await(wordBegun, 1)
			c.pause(30 * time.Millisecond)
		}
		c.cut()
		require.NotNil(c, c.verify())
	}},
	{"recovery of commits", func(c *cutTest) {
		for range 2 + c.rng.IntN(2) {
			c.begin("commit", crowd...)
			c.await(wordDone, 2)
			c.pause(100 * time.Millisecond)
			c.cut()
		}
		require.NotNil(c, c.verify())
	}},
	{"opening", func(c *cutTest) {
		c.begin("commit", crowd...)
		c.await(wordBegun, 1)
		c.pause(20 * time.Millisecond)
		c.cut()
		c.verify()
	}},
	{"closed", func(c *cutTest) {
		c.finish()
		c.cut()
		require.Nil(c, c.verify())
	}},
	{"closing", func(c *cutTest) {
		c.begin("sync", "finisher", "finisher")
		c.await(wordClosing, 1+c.rng.IntN(2))
		c.pause(10 * time.Millisecond)
		c.cut()
		if r := c.verify(); r != nil {
			require.Less(c, c.seen[wordClosed], uint64(2), "they have closed it")
		}
	}},
	{"closed, with a reader", func(c *cutTest) {
		c.finish()
		c.start("reader", "sync")
		c.await(wordOpen, 3)
		c.pause(20 * time.Millisecond)
		c.cut()
		require.Nil(c, c.verify())
	}},
	{"killed, with a reader", func(c *cutTest) {
		c.begin("sync", crowd...)
		c.await(wordOpen, len(crowd))
		c.start("reader", "sync")
		c.await(wordOpen, len(crowd)+1)
		c.pause(50 * time.Millisecond)
		for _, p := range c.group[:len(crowd)] {
			c.checkGroup()
			p.kill(c)
		}
		c.pause(20 * time.Millisecond)
		c.cut()
		require.NotNil(c, c.verify())
	}},
	{"copies", func(c *cutTest) {
		c.begin("sync", "linked", "plain", "copier")
		c.await(wordOpen, 3)
		c.await(wordCopies, c.rng.IntN(4))
		c.pause(100 * time.Millisecond)
		c.cut()
		c.checkCopies()
		require.NotNil(c, c.verify())
	}},
	{"rewritten", func(c *cutTest) {
		old, err := os.Stat(c.path)
		require.NoError(c, err)
		c.begin("sync", "rewriter")
		c.await(wordBegun, 1)
		if c.rng.IntN(4) == 0 {
			c.pause(100 * time.Millisecond)
		} else { // just after the new store has taken the place of the old one
			for now := old; os.SameFile(now, old); {
				c.checkGroup()
				now, err = os.Stat(c.path)
				require.NoError(c, err)
			}
			c.pause(300 * time.Microsecond)
		}
		c.cut()
		require.Nil(c, c.verify())
		require.NoError(c, Rewrite(c.Context(), c.path, nil))
		drafts, err := filepath.Glob(filepath.Join(filepath.Dir(c.path), ".store.*"))
		require.NoError(c, err)
		require.Empty(c, drafts)
		c.synced = 0 // the version rises by what the copy takes
	}},
}

// crowdRound cuts the power while a crowd works.
func (c *cutTest) crowdRound(policy string) {
	c.begin(policy, crowd...)
	c.await(wordOpen, len(crowd))
	c.pause(200 * time.Millisecond)
	c.cut()
	require.NotNil(c, c.verify())
}

// finish lets two processes do some steps and close the store. They may lose none.
func (c *cutTest) finish() {
	c.begin("sync", "finisher", "finisher")
	c.await(wordClosed, 2)
}

// checkCopies checks that the copies that were finished are there, and that others are
// there as a whole or not at all.
func (c *cutTest) checkCopies() {
	boot := fmt.Sprint("boot", c.boot)
	for i := range int(c.seen[wordCopies]) + 3 {
		path := copyPath(c.path, c.life, i)
		s, err := openUnder(boot, path, Options{MustExist: true, ReadOnly: copyKind(i) == "backup"})
		if uint64(i) >= c.seen[wordCopies] && errors.Is(err, fs.ErrNotExist) {
			continue
		}
		require.NoError(c, err, "%s %d", copyKind(i), i)
		require.Nil(c, s.Recovery())
		if copyKind(i) == "created" {
			require.Equal(c, 100, s.Len())
		} else {
			c.whole(allMaps(c, s))
		}
		rep, err := s.Check(c.Context(), nil)
		require.NoError(c, err)
		require.Zero(c, rep.LeakedBytes)
		require.NoError(c, s.Close())
		c.copies++
	}
	all, err := filepath.Glob(copyPath(c.path, c.life, -1))
	require.NoError(c, err)
	for _, path := range all {
		require.NoError(c, os.RemoveAll(path))
	}
}

func TestPowerCutsOfFileSystems(t *testing.T) {
	t.Parallel()
	for _, f := range []struct{ fs, options string }{{"ext4", ""}, {"ext4", "data=writeback"}, {"xfs", ""}} {
		t.Run(strings.TrimSuffix(f.fs+","+f.options, ","), func(t *testing.T) {
			t.Parallel()
			v := testdir.NewVolume(t, f.fs, f.options)
			c := &cutTest{TB: t, rng: newRand(t), v: v, b: newBoard(t, testdir.Memory(t), cutWords), path: filepath.Join(v.Dir, "store")}
			order := slices.Clone(cutRounds)
			began, rounds := time.Now(), map[string]int{}
			for len(rounds) == 0 || *soakFlag != defaultSoak && time.Since(began) < *soakFlag {
				c.rng.Shuffle(len(cutRounds)-1, func(i, j int) { order[1+i], order[1+j] = order[1+j], order[1+i] })
				for _, r := range order {
					rounds[r.name]++
					if r.run(c); t.Failed() {
						t.Fatalf("after a round of %q", r.name)
					}
				}
			}
			t.Logf("%d power cuts, %d recoveries with %d records, %d copies, in %v: %v", c.cuts, c.recoveries, c.records, c.copies, time.Since(began).Round(time.Millisecond), rounds)
		})
	}
}
