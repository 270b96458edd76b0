package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The line of a step gives the number of remaining steps and, as far as it is known, their time.
func TestMeter(t *testing.T) {
	var out bytes.Buffer
	m := newMeter(&out, 3)
	get, set, size := step{"shm", "get", 10, 100}, step{"lmdb", "set", 10, 1 << 16}, step{"shm", "size, loaded", 10, 100}
	m.expect(get, 3)
	m.expect(set, 3)
	m.expect(size, 1)
	last := func() string {
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		return lines[len(lines)-1]
	}
	for _, c := range []struct {
		step
		round int
		takes time.Duration
		want  string
	}{
		{get, 0, 50 * time.Second, "round 1 of 3: shm: get: 10 entries, values of 100 B (7 steps left)"},
		{set, 0, 90 * time.Second, "round 1 of 3: lmdb: set: 10 entries, values of 64 KiB (6 steps left, more than 2m)"},
		{set, 1, 110 * time.Second, "round 2 of 3: lmdb: set: 10 entries, values of 64 KiB (5 steps left, more than 5m)"},
		{get, 1, 20 * time.Second, "round 2 of 3: shm: get: 10 entries, values of 100 B (4 steps left, more than 3m)"},
		{get, 2, 0, "round 3 of 3: shm: get: 10 entries, values of 100 B (3 steps left, more than 2m)"},
		{size, outsideRounds, time.Second, "after the rounds: shm: size, loaded: 10 entries, values of 100 B (1 step left)"},
	} {
		if c.step == size {
			m.skip(set) // like after an error
		}
		m.begin(t.Context(), c.step, c.round)()
		m.took[c.step] += c.takes
		if last() != c.want {
			t.Errorf("wrote %q, want %q", last(), c.want)
		}
	}
	m.expect(get, 2)
	m.begin(t.Context(), get, 2)()
	if want := "(2 steps left, about 47s)"; !strings.HasSuffix(last(), want) {
		t.Errorf("wrote %q, want the end %q", last(), want)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	before := out.Len()
	m.begin(ended, get, 2)()
	if out.Len() != before {
		t.Errorf("wrote %q after an interrupt", last())
	}
}

func TestRoughly(t *testing.T) {
	for d, want := range map[time.Duration]string{
		1500 * time.Millisecond: "2s", 89 * time.Second: "89s", 100 * time.Second: "2m", 80 * time.Minute: "80m", 100 * time.Minute: "1.7h",
	} {
		if got := roughly(d); got != want {
			t.Errorf("roughly(%v) = %q, want %q", d, got, want)
		}
	}
}

// A run expects exactly the steps that it makes. The lines of all steps differ.
func TestProgress(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	cfg := config{
		works: []string{"load", "get", "set", "delete", "crowd-writers", "crowd-batch", "values", "size"},
		ns:    []int{300}, crowdNs: []int{300}, values: []int{64}, sizes: []int{200}, overwrites: 100,
		rounds: 2, seconds: 0.001, crowdSeconds: 0.001, processes: []int{1, 2}, goroutines: []int{2}, seed: 1,
		peers: []string{"tdb"}, dir: t.TempDir(), progress: &out,
	}
	r, err := runBench(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Failed) > 0 || r.Incomplete != "" {
		t.Fatal(r.Failed, r.Incomplete)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	first, last := lines[0], lines[len(lines)-1]
	if len(r.Skipped) > 0 {
		t.Skip("a peer that is not installed:", r.Skipped)
	}
	const skipped = 2 // steps of file sizes, because tdb has no snapshots
	if want := fmt.Sprintf("(%d steps left)", len(lines)+skipped); !strings.HasSuffix(first, want) {
		t.Errorf("the first of %d steps is %q", len(lines), first)
	}
	if want := fmt.Sprintf("(%d steps left)", 1+skipped); !strings.HasSuffix(last, want) {
		t.Errorf("the last step is %q", last)
	}
	seen := map[string]bool{}
	for _, line := range lines {
		name := line[:strings.LastIndex(line, " (")]
		if seen[name] {
			t.Errorf("two steps are %q", name)
		}
		seen[name] = true
	}
}

// An interrupted bench ends its children, prints an incomplete report, and fails.
func TestInterrupt(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		signal  syscall.Signal
		args    []string
		at      string // the line of progress at which the test sends the signal
		reports string
	}{
		{"between", syscall.SIGINT, []string{"-seconds", "0.001", "-rounds", "1000"}, "round 3 of 1000: shm: get, copied", "get, dependent chain"},
		{"in a child", syscall.SIGTERM, []string{"-seconds", "3600"}, "round 1 of 3: shm: get, copied", "NOT COMPLETE: interrupted in round 1 of 3"},
		{"as JSON", syscall.SIGINT, []string{"-seconds", "0.001", "-rounds", "1000", "-json"}, "round 2 of 1000: shm: get", `"incomplete": "interrupted in round `},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			cmd := exec.Command(os.Args[0], append(c.args, "-work", "get", "-n", "100", "-peers", "", "-dir", dir)...)
			cmd.Env = append(os.Environ(), asBench+"=1")
			cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
			var out bytes.Buffer
			cmd.Stdout = &out
			progress, err := cmd.StderrPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			var lines []string
			for in := bufio.NewScanner(progress); in.Scan(); {
				lines = append(lines, in.Text())
				if strings.HasPrefix(in.Text(), c.at) {
					c.at = "\x00"
					// To all processes of the group, as a terminal does.
					if err := syscall.Kill(-cmd.Process.Pid, c.signal); err != nil {
						t.Fatal(err)
					}
				}
			}
			err = cmd.Wait()
			if cmd.ProcessState.ExitCode() != 1 || !strings.Contains(lines[len(lines)-1], "not complete") {
				t.Errorf("ended with %v after %q", err, lines[max(0, len(lines)-3):])
			}
			if !strings.Contains(out.String(), c.reports) || strings.Contains(out.String(), "FAILED") || strings.Contains(out.String(), `"failed"`) {
				t.Errorf("reported\n%s", &out)
			}
			if left, _ := os.ReadDir(dir); len(left) > 0 {
				t.Errorf("files left behind: %v", left)
			}
			if i := slices.IndexFunc(lines, func(line string) bool { return strings.Contains(line, "killed") }); i >= 0 {
				t.Errorf("told of a child that was killed: %q", lines[i])
			}
		})
	}
}

// A child that a signal ends before the bench gets the signal is not a failure.
func TestFailWhileInterrupted(t *testing.T) {
	for signal, fails := range map[syscall.Signal]int{syscall.SIGINT: 0, syscall.SIGTERM: 0, syscall.SIGSEGV: 1} {
		cmd := exec.Command("cat")
		if _, err := cmd.StdinPipe(); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
		err := cmd.Wait()
		ctx, interrupt := context.WithCancel(t.Context())
		if fails == 0 {
			time.AfterFunc(10*time.Millisecond, interrupt)
		}
		b := &bench{}
		b.fail(ctx, peer{}, task{}, errors.Join(err))
		if len(b.report.Failed) != fails {
			t.Errorf("%v: noted %q", signal, b.report.Failed)
		}
		interrupt()
	}
}
