package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/shm"
)

// Each column sorts the rows as its help describes.
func TestTopColumns(t *testing.T) {
	now := time.Now()
	before := now.Add(-time.Minute)
	rows := []topProcess{
		{Pid: 1, Name: "c", Alive: true, Behind: 5},
		{Pid: 2, Name: "b", Alive: true, ReadOnly: true, PerSecond: topRates{Changes: 7}, Pins: 1, Since: &now},
		{Pid: 3, Name: "d", Alive: false, PerSecond: topRates{Commits: 10, Lost: 1}, Pins: 2, Behind: 1},
		{Pid: 4, Name: "a", Alive: true, PerSecond: topRates{Commits: 2, Changes: 9}, Since: &before},
	}
	want := map[string][]int{
		"pid": {1, 2, 3, 4}, "name": {4, 2, 1, 3}, "state": {3, 2, 1, 4}, "commits": {3, 4, 1, 2}, "changes": {4, 2, 1, 3},
		"lost": {3, 1, 2, 4}, "pins": {3, 2, 1, 4}, "behind": {1, 3, 2, 4}, "pinned": {4, 2, 1, 3},
	}
	require.LessOrEqual(t, len(topColumns), 9, "there is a key for each")
	require.Len(t, topColumns, len(want))
	for _, c := range topColumns {
		for _, reversed := range []bool{false, true} {
			sorted := slices.Clone(rows)
			if reversed {
				slices.Reverse(sorted)
			}
			topOrder(nil).sort(sorted, c)
			var pids []int
			for _, p := range sorted {
				pids = append(pids, p.Pid)
			}
			require.Equal(t, want[c.name], pids, c.name)
		}
		named, err := topColumnNamed(c.name)
		require.NoError(t, err)
		require.Equal(t, c.title, named.title)
		require.True(t, strings.HasPrefix(c.title, strings.ToUpper(c.name)), c.title)
	}
}

// Rows keep their places when others come and go. Handles of one process are distinct.
func TestTopOrder(t *testing.T) {
	pins, err := topColumnNamed("pins")
	require.NoError(t, err)
	opened := time.Now()
	row := func(handle, pins int) topProcess {
		return topProcess{Pid: 1, Pins: pins, handle: shm.Process{Pid: 1, Started: opened.Add(time.Duration(handle) * time.Second)}}
	}
	var o topOrder
	sorted := func(rows ...topProcess) (handles []int) {
		o.sort(rows, pins)
		o = topOrderOf(rows)
		for _, p := range rows {
			handles = append(handles, int(p.handle.Started.Sub(opened)/time.Second))
		}
		return handles
	}
	require.Equal(t, []int{2, 3, 1}, sorted(row(1, 0), row(2, 9), row(3, 5)))
	require.Equal(t, []int{2, 3, 1}, sorted(row(1, 7), row(2, 0), row(3, 5)))
	require.Equal(t, []int{2, 1, 5, 4}, sorted(row(4, 7), row(5, 8), row(1, 7), row(2, 0)))
	require.Equal(t, []int{2, 1, 5, 4, 3}, sorted(row(3, 9), row(4, 7), row(5, 8), row(1, 7), row(2, 0)))
	o = nil
	require.Equal(t, []int{3, 5, 1, 4, 2}, sorted(row(3, 9), row(1, 7), row(4, 7), row(5, 8), row(2, 0)))
}

// Rows are sorted by rates from the second look on. Printed lines are sorted in each look.
func TestTopArranges(t *testing.T) {
	commits, err := topColumnNamed("commits")
	require.NoError(t, err)
	for _, keep := range []bool{true, false} {
		tp, s := top{by: commits, keepPlaces: keep}, &topStore{}
		arranged := func(seconds float64, commits ...float64) (pids []int) {
			l := topLook{Seconds: seconds}
			for i, n := range commits {
				l.Processes = append(l.Processes, topProcess{Pid: i, handle: shm.Process{Pid: i}, PerSecond: topRates{Commits: n}})
			}
			tp.arrange(s, l)
			for _, p := range l.Processes {
				pids = append(pids, p.Pid)
			}
			return pids
		}
		require.Equal(t, []int{0, 1, 2}, arranged(0, 0, 0, 0))
		require.Equal(t, []int{1, 2, 0}, arranged(1, 1, 9, 5))
		third := arranged(1, 7, 0, 5)
		if keep {
			require.Equal(t, []int{1, 2, 0}, third)
		} else {
			require.Equal(t, []int{0, 2, 1}, third)
		}
	}
}
