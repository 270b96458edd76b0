//go:build shmhook

package shm

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/alloc"
	"github.com/seed-869cc763/shmkv/alloc/layout"
)

// diskScenes are those of checkpoints: actors take them beside writers, and the system
// crashes.
func diskScenes() []scene {
	writes := []op{actSet("key001", "1"), actSet("key001", "2"), actSet("key001", "3"), actSet("key001", "4")}
	return []scene{
		{name: "checkpoint beside a writer", prepare: onDisk(filled(3, 8)), focus: checkpoints, actors: [][]op{{actCheckpoint(), actCheckpoint()}, writes}},
		{name: "checkpoint, writer and crash", prepare: onDisk(filled(3, 8)), focus: checkpoints, actors: [][]op{
			{actCheckpoint(), actCheckpoint()}, writes, {actCrash(), actCrash()}}},
		{name: "two checkpoints and a writer", prepare: onDisk(filled(3, 8)), focus: checkpoints, actors: [][]op{
			{actCheckpoint(), actCrash()}, {actCheckpoint()}, writes}},
	}
}

// onDisk puts a prepared store on a disk.
func onDisk(prepare func(t testing.TB, h *alloc.Heap, s *Store)) func(t testing.TB, h *alloc.Heap, s *Store) {
	return func(t testing.TB, h *alloc.Heap, s *Store) {
		prepare(t, h, s)
		h.UseDisk()
		h.SetTrace(tracer(nil))
		again, _ := attachPlain(t, h)
		require.NoError(t, again.Close())
	}
}

// checkpoints is what decides which checkpoint is there, and what it holds.
func checkpoints(_ *scene, _ int, off uint64) bool {
	return off == layout.OffRoot || off == layout.OffHorizon || off == layout.OffKept || off == layout.OffKeeping ||
		off >= layout.OffCkpts && off < layout.OffTable
}

// actCheckpoint takes a checkpoint. Its result is what a crash of the system would leave
// then, if nothing that is not flushed came to the disk.
func actCheckpoint() op {
	return op{"checkpoint",
		func(a *actor) string {
			switch err := a.store.a.Checkpoint(0); {
			case errors.Is(err, ErrInUse):
				return "busy"
			case err != nil:
				return err.Error()
			}
			return a.crash(func(uint64, int) int { return 0 })
		},
		func(c contents, got string) string {
			if got == "busy" {
				return got
			}
			return fmt.Sprint(c.without(closedMark))
		}}
}

// actCrash finds out what a crash of the system would leave, if everything but the records
// of checkpoints came to the disk.
func actCrash() op {
	return op{"crash",
		func(a *actor) string {
			found := a.crash(func(off uint64, versions int) int {
				if off >= layout.OffCkpts && off < layout.OffTable {
					return 0
				}
				return versions - 1
			})
			if len(found) > 3 && found[:4] == "map[" {
				return "whole"
			}
			return found
		},
		func(contents, string) string { return "whole" }}
}

// crash returns what the next boot finds, as text.
func (a *actor) crash(pick func(off uint64, versions int) int) string {
	arena, _, err := a.st.heap.Crash(pick).Attach(nil)
	if err != nil {
		return "recovering: " + err.Error()
	}
	s := newStore(arena, "heap")
	if rep, err := s.Check(a.st.t.Context(), nil); err != nil || rep.LeakedBytes != 0 {
		return fmt.Sprintf("checking: %v %+v", err, rep)
	}
	found, err := readAll(s)
	if err != nil {
		return "reading: " + err.Error()
	}
	return fmt.Sprint(found)
}
