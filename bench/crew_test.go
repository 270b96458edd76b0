package main

import (
	"strings"
	"testing"

	"github.com/seed-869cc763/shmkv/shm"
)

// When a process fails, runTogether ends the other processes and returns the error of the failed one.
func TestRunTogetherFails(t *testing.T) {
	t.Parallel()
	b := &bench{dir: t.TempDir()}
	if err := b.gather(t.Context()); err != nil {
		t.Fatal(err)
	}
	p := b.peers[0]
	load := b.task(p, "load", 100)
	load.ops = load.n
	if _, err := runWhole(t.Context(), p, load); err != nil {
		t.Fatal(err)
	}
	endless, late, lost := load, load, load
	endless.work, endless.ops, endless.seconds = "get-in-place", 0, 3600 // in a snapshot, so that it never fails
	late.work, late.ops = "delete", load.n+1                             // the last delete finds no key
	lost.work, lost.path = "get", load.path+"-missing"
	for name, failing := range map[string]task{"after the start": late, "before the start": lost} {
		_, err := runTogether(t.Context(), p, []task{endless, endless, failing, endless}, nil, nil)
		if err == nil || !strings.HasPrefix(err.Error(), "exit status") {
			t.Errorf("one that fails %s: %v", name, err)
		}
	}
	store, err := shm.Open(load.path, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	processes, err := store.Inspect().Processes()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range processes {
		if p.Alive && !p.Self {
			t.Errorf("process %d is still at work", p.Pid)
		}
	}
}
