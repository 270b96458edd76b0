package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/shm"
)

func TestDemo(t *testing.T) {
	for _, rounds := range []int{1, 3} {
		dir := filepath.Join(t.TempDir(), "store")
		code, out, stderr := runs("", "demo", "--json", "--dir", dir, "--records", "900", "--rounds", fmt.Sprint(rounds), "--seconds", "5", "--keep")
		require.Equal(t, exitOK, code, stderr)
		require.Empty(t, stderr)
		var r demoReport
		require.NoError(t, json.Unmarshal([]byte(out), &r))
		require.True(t, r.Sound)
		require.Equal(t, 900, r.Records)
		require.Equal(t, 900, r.Verified)
		require.Equal(t, "writer 2", r.Killed.Process)
		require.Positive(t, r.Killed.Written)
		require.True(t, r.Killed.Adopted == 1 || r.Killed.ByAnother)
		require.Equal(t, 300, r.Killed.Verified)
		require.Equal(t, min(2, rounds), r.Killed.Committed.Round)
		require.Len(t, r.Processes, 6)
		require.Zero(t, r.Ledger.LeakedBytes)
		require.Empty(t, r.Problems)
		require.Empty(t, running(t, dir))

		code, _, stderr = runs("", "check", dir)
		require.Equal(t, exitOK, code, stderr)
		code, out, _ = runs("", "keys", dir)
		require.Equal(t, exitOK, code)
		require.Equal(t, 900, strings.Count(out, "\n"))
	}
}

// running returns the process ids of the demo's processes on a store.
func running(t *testing.T, dir string) (pids []string) {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	require.NoError(t, err)
	for _, name := range all {
		line, err := os.ReadFile(name)
		if err == nil && strings.HasPrefix(string(line), "shmctl\x00demo-") && strings.Contains(string(line), dir) {
			pids = append(pids, filepath.Base(filepath.Dir(name)))
		}
	}
	return pids
}

// startDemo starts a demo that goes on for long, and returns when its
// processes are at work.
func startDemo(t *testing.T, dir string) (cmd *exec.Cmd, stderr *strings.Builder) {
	t.Helper()
	stderr = &strings.Builder{}
	cmd = exec.Command("shmctl", "demo", "--dir", dir, "--records", "600", "--seconds", "60")
	cmd.Stderr = stderr
	start(t, cmd)
	require.Eventually(t, func() bool {
		s, err := openToRead(dir)
		if err != nil {
			return false
		}
		defer func() { _ = s.Close() }()
		return s.Len() > 0
	}, 20*time.Second, 10*time.Millisecond)
	require.NotEmpty(t, running(t, dir))
	return cmd, stderr
}

func TestDemoInterrupted(t *testing.T) {
	for _, sig := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		dir := filepath.Join(t.TempDir(), "store")
		cmd, stderr := startDemo(t, dir)
		require.NoError(t, cmd.Process.Signal(sig))
		var exit *exec.ExitError
		require.ErrorAs(t, cmd.Wait(), &exit)
		require.Equal(t, exitInterrupted, exit.ExitCode())
		require.Equal(t, "shmctl: demo: interrupted\n", stderr.String())
		require.NoDirExists(t, dir)
		require.Empty(t, running(t, dir))
	}
}

// When the demo is killed, so are all its processes; and what they leave is
// sound.
func TestDemoKilled(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	cmd, _ := startDemo(t, dir)
	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait()
	require.Eventually(t, func() bool { return len(running(t, dir)) == 0 }, 10*time.Second, 10*time.Millisecond)
	code, out, stderr := runs("", "check", dir)
	require.Equal(t, exitOK, code, stderr)
	require.Regexp(t, `(?m)^leaked +0 B `, out)
}

// A demo that was killed leaves a store in a place that it has chosen itself; the
// next demo removes it, but not one that is in use.
func TestDemoAfterKilledOne(t *testing.T) {
	demo := func(args ...string) (cmd *exec.Cmd, dir string) {
		cmd = exec.Command("shmctl", append([]string{"demo", "--records", "60", "--writers", "1", "--readers", "0"}, args...)...)
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		start(t, cmd)
		lines := bufio.NewScanner(out)
		for dir == "" && lines.Scan() {
			if fields := strings.Fields(lines.Text()); len(fields) == 2 && fields[0] == "store" {
				dir = fields[1]
			}
		}
		require.DirExists(t, dir)
		go func() { _, _ = io.Copy(io.Discard, out) }()
		return cmd, dir
	}
	killed, left := demo("--seconds", "60")
	using, used := demo("--seconds", "60")
	require.NoError(t, killed.Process.Kill())
	_ = killed.Wait()
	require.DirExists(t, left)
	last, dir := demo("--rounds", "1")
	require.NoError(t, last.Wait())
	require.NoDirExists(t, left)
	require.NoDirExists(t, dir)
	require.DirExists(t, used)
	require.NoError(t, using.Process.Signal(os.Interrupt))
	require.Error(t, using.Wait())
	require.NoDirExists(t, used)
}

// The rest of these tests are about the demo's own judgement: it must notice
// what must not be.

// planned returns a store that is as two writers with progress p leave it.
func planned(t *testing.T, records []dataRecord, p progress) (*shm.Store, []share) {
	t.Helper()
	s := newStore(t)
	shares := []share{{0, 2, len(records)}, {1, 2, len(records)}}
	for _, sh := range shares {
		for pos := range sh.len() {
			setRevision(t, s, records[sh.record(pos)], p.revision(pos))
		}
	}
	return s, shares
}

func setRevision(t *testing.T, s *shm.Store, r dataRecord, revision int) {
	t.Helper()
	if revision == 0 {
		_, err := s.Delete(r.key)
		require.NoError(t, err)
		return
	}
	require.NoError(t, s.Set(r.key, appendRevision(nil, r.value, revision)))
}

func someRecords(n int) (all []dataRecord) {
	for i := range n {
		all = append(all, dataRecord{fmt.Appendf(nil, "key %d", i), fmt.Appendf(nil, "value %d", i)})
	}
	return all
}

func TestVerifyShare(t *testing.T) {
	records := someRecords(601)
	for _, p := range []progress{{1, 0}, {1, cycleRecords}, {2, batchRecords + 7}, {3, 0}} {
		s, shares := planned(t, records, p)
		verify := func() (right int, wrong error) {
			require.NoError(t, s.View(func(sn *shm.Snapshot) error {
				right, wrong = verifyShare(sn, records, shares[1], p)
				return nil
			}))
			return right, wrong
		}
		right, wrong := verify()
		require.NoError(t, wrong)
		require.Equal(t, 300, right)
		for _, pos := range []int{0, p.At, 299} {
			r := records[shares[1].record(pos)]
			setRevision(t, s, r, p.revision(pos)+1)
			right, wrong = verify()
			require.ErrorContains(t, wrong, string(r.key))
			require.Equal(t, 299, right)
			setRevision(t, s, r, p.revision(pos))
		}
	}
}

func TestReaderNotices(t *testing.T) {
	records := someRecords(2 * cycleRecords)
	p := progress{3, batchRecords + 5}
	read := func(s *shm.Store, rounds int, prepare func(r *demoReader)) error {
		r := demoReader{s: s, records: records, shares: 2, newest: make([]int, len(records)), rng: newRNG(1)}
		prepare(&r)
		for range rounds {
			if err := r.round(); err != nil {
				return err
			}
		}
		return nil
	}
	nothing := func(*demoReader) {}
	s, shares := planned(t, records, p)
	require.NoError(t, read(s, 20, nothing))

	at := func(pos int) dataRecord { return records[shares[0].record(pos)] }
	for name, c := range map[string]struct {
		pos, revision int
	}{
		"half a transaction":      {10, 2},
		"a lost write":            {batchRecords + 2, 2},
		"a write before its turn": {batchRecords + 10, 3},
		"a lost record":           {batchRecords + 10, 0},
	} {
		setRevision(t, s, at(c.pos), c.revision)
		require.ErrorContains(t, read(s, 20, nothing), "found revision", name)
		setRevision(t, s, at(c.pos), p.revision(c.pos))
	}
	require.ErrorContains(t, read(s, 20, func(r *demoReader) { r.newest[7] = 9 }), "after revision 9")
	for _, wrong := range []string{"", "value 1", "value 0", "value 0" + revisionMark + "3", "value 0" + revisionMark + "x\n", "value 0" + revisionMark + "0\n"} {
		require.NoError(t, s.Set(at(0).key, []byte(wrong)))
		require.ErrorContains(t, read(s, 20, nothing), "not its record", "%q", wrong)
	}
}

func TestShare(t *testing.T) {
	for _, n := range []int{1, 2, 99, 100, 101, 119, 120, 121, 1000} {
		seen := map[int]bool{}
		for first := range min(n, 3) {
			s := share{first, min(n, 3), n}
			for at := 0; at < s.len(); {
				end, batch := s.step(at)
				require.True(t, batch || end == at+1)
				for ; at < end; at++ {
					require.False(t, seen[s.record(at)])
					seen[s.record(at)] = true
				}
			}
			end, batch := s.step(s.middleBatch())
			require.True(t, batch)
			require.Greater(t, end, s.middleBatch())
		}
		require.Len(t, seen, n)
	}
}
