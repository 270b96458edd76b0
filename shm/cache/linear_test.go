//go:build !race

package cache

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/internal/testdir"
	"github.com/seed-869cc763/shmkv/internal/testproc"
	"github.com/seed-869cc763/shmkv/shm"
)

// A state is what a key is between two calls.
type state struct {
	value string // all values that are written differ
	there bool
}

// apply carries out an event on a state, and reports whether its result can have been. An event
// without an End has no result: all results can have been.
func (s state) apply(e *event) (state, bool) {
	result, after := "ok", state{e.Arg, true}
	switch e.Op {
	case "get":
		after = s
		if !s.there {
			result = "absent"
		}
	case "set":
	case "add":
		if s.there {
			result, after = "exists", s
		}
	case "replace":
		if !s.there {
			result, after = "absent", s
		}
	case "cas":
		if !s.there {
			result, after = "absent", s
		} else if s.value != e.Want {
			result, after = "token", s
		}
	case "append":
		if after.value = s.value + e.Arg; !s.there {
			result, after = "absent", s
		}
	case "delete":
		if after = (state{}); !s.there {
			result = "absent"
		}
	case "flush":
		after = state{}
	case "soften": // see requireStale
		after = s
	}
	if e.End == 0 {
		return after, true
	}
	return after, e.Result == result && (e.Op != "get" || !s.there || e.Got == s.value)
}

// linear reports whether the events of one key can have happened one by one, each between its
// start and its end. It goes through the orders that are possible depth first, and enters each
// set of events with a state once.
func linear(events []event) bool {
	slices.SortFunc(events, func(a, b event) int { return int(a.Start - b.Start) })
	n := len(events)
	end := make([]int64, n)
	for i := range events {
		if end[i] = events[i].End; end[i] == 0 {
			end[i] = math.MaxInt64
		}
	}
	done := make([]bool, n)
	been := map[string]bool{}
	var try func(first, left int, s state) bool
	try = func(first, left int, s state) bool {
		for first < n && done[first] {
			first++
		}
		if left == 0 {
			return true
		}
		// Of those that are left, the one that ends first bounds the starts of the next.
		least, window := int64(math.MaxInt64), []byte(fmt.Sprint(first, s))
		for i := first; i < n && events[i].Start <= least; i++ {
			if done[i] {
				window = fmt.Append(window, " ", i)
			} else {
				least = min(least, end[i])
			}
		}
		if been[string(window)] {
			return false
		}
		been[string(window)] = true
		for i := first; i < n && events[i].Start <= least; i++ {
			if done[i] {
				continue
			}
			done[i] = true
			if after, ok := s.apply(&events[i]); ok && try(first, left-1, after) {
				return true
			}
			if events[i].End == 0 && try(first, left-1, s) { // it was killed before it did anything
				return true
			}
			done[i] = false
		}
		return false
	}
	return try(0, n, state{})
}

// The checker itself finds histories that are not linear.
func TestLinear(t *testing.T) {
	set := func(v string, start, end int64) event {
		return event{Op: "set", Arg: v, Result: "ok", Start: start, End: end}
	}
	get := func(v string, start, end int64) event {
		if v == "" {
			return event{Op: "get", Result: "absent", Start: start, End: end}
		}
		return event{Op: "get", Got: v, Result: "ok", Start: start, End: end}
	}
	flush := func(start, end int64) event { return event{Op: "flush", Result: "ok", Start: start, End: end} }
	require.True(t, linear([]event{set("a", 1, 2), get("a", 3, 4)}))
	require.False(t, linear([]event{set("a", 1, 2), get("", 3, 4)}))
	require.True(t, linear([]event{set("a", 1, 5), get("", 3, 4), get("a", 4, 6)}))
	require.False(t, linear([]event{set("a", 1, 5), get("a", 2, 3), get("", 4, 5)}))
	require.False(t, linear([]event{set("a", 1, 2), flush(3, 4), get("a", 5, 6)}))
	require.True(t, linear([]event{set("a", 1, 2), flush(3, 6), get("a", 4, 5), get("", 7, 8)}))
	require.True(t, linear([]event{set("a", 1, 0), get("", 2, 3), get("a", 4, 5)}))
	require.False(t, linear([]event{set("a", 1, 0), get("a", 2, 3), get("", 4, 5)}))
	require.False(t, linear([]event{
		set("a", 1, 2),
		{Op: "cas", Want: "a", Arg: "b", Result: "ok", Start: 3, End: 10},
		{Op: "cas", Want: "a", Arg: "c", Result: "ok", Start: 3, End: 10},
	}))
}

// requireLinear checks the history of each key.
func requireLinear(t testing.TB, events []event) {
	t.Helper()
	keys := map[string][]event{}
	for _, e := range events {
		if e.Key != "" {
			keys[e.Key] = nil
		}
	}
	for _, e := range events {
		for key := range keys {
			if e.Key == key || e.Key == "" {
				keys[key] = append(keys[key], e)
			}
		}
	}
	for key, of := range keys {
		if !linear(of) {
			text := ""
			for _, e := range of {
				text += fmt.Sprintf("%+v\n", e)
			}
			t.Fatalf("the history of key %q is not linear:\n%.10000s", key, text)
		}
	}
}

// resultOf names the outcome of a call.
func resultOf(err error) string {
	switch {
	case err == nil:
		return "ok"
	case err == shm.ErrNotFound:
		return "absent"
	case errors.Is(err, shm.ErrExist):
		return "exists"
	case errors.Is(err, ErrToken):
		return "token"
	}
	failChild("%v", err)
	return ""
}

func init() {
	// "calls" makes random calls on a few keys.
	children["calls"] = func() {
		c, err := Open(setting("PATH"), &Options{Bytes: 8 << 20, TTL: time.Hour})
		must(err)
		client, ops := settingInt("CLIENT"), strings.Fields(setting("OPS"))
		h := newHistorian(setting("DIR"), client)
		known := map[string]Item{}
		for i := range settingInt("CALLS") {
			key := "key" + strconv.Itoa(rand.IntN(settingInt("KEYS")))
			e := event{Op: ops[rand.IntN(len(ops))], Key: key, Arg: fmt.Sprintf("%d.%d ", client, i)}
			k, v, got, stale := []byte(key), []byte(e.Arg), "", false
			if e.Op == "flush" || e.Op == "soften" {
				e.Key = ""
			}
			it, ok := known[key]
			if e.Op == "cas" {
				if !ok {
					e.Op = "get"
				}
				e.Want = string(it.Value)
			}
			h.begin(e)
			switch e.Op {
			case "get":
				it, err = c.Get(k)
				if got, stale = string(it.Value), it.Stale; err == nil {
					known[key] = it
				}
			case "set":
				err = c.Set(k, v, 0)
			case "add":
				err = c.Add(k, v, 0)
			case "replace":
				err = c.Replace(k, v, 0)
			case "cas":
				err = c.CompareAndSwap(k, it.Token, v, 0)
			case "append":
				_, err = c.AppendValue(k, v)
			case "delete":
				var existed bool
				if existed, err = c.Delete(k); err == nil && !existed {
					err = shm.ErrNotFound
				}
			case "flush":
				err = c.Invalidate(false)
			case "soften":
				err = c.Invalidate(true)
			}
			h.end(resultOf(err), got, stale)
		}
		must(c.Close())
	}
	// "counts" increments a number.
	children["counts"] = func() {
		c, err := Open(setting("PATH"), &Options{Bytes: 8 << 20})
		must(err)
		for range settingInt("CALLS") {
			_, err := c.Increment([]byte("number"), 3)
			must(err)
			_, err = c.Decrement([]byte("number"), 1)
			must(err)
		}
		must(c.Close())
	}
}

// histories starts children that make calls, kills some of them, and returns what they did.
func histories(t *testing.T, clients, calls, keys int, ops string, kill bool) []event {
	dir := testdir.Memory(t)
	path := dir + "/store"
	c, err := Open(path, &Options{Bytes: 8 << 20})
	require.NoError(t, err)
	defer func() { require.NoError(t, c.Close()) }()
	var all []*testproc.Child
	for i := range clients {
		all = append(all, startChild(t, "calls", map[string]string{
			"PATH": path, "DIR": dir, "CLIENT": strconv.Itoa(i), "CALLS": strconv.Itoa(calls), "KEYS": strconv.Itoa(keys), "OPS": ops,
		}))
	}
	if kill {
		for _, ch := range all[:clients/2] {
			for ended := false; !ended; time.Sleep(time.Millisecond) { // until it has begun
				n, _ := countLines(dir, slices.Index(all, ch))
				select {
				case <-ch.Done:
					ended = true
				default:
					ended = n > rand.IntN(calls)
				}
			}
			ch.Kill(t)
		}
	}
	for _, ch := range all {
		ch.Wait(t)
	}
	_, err = c.Store().Check(t.Context(), nil)
	require.NoError(t, err)
	return readHistory(t, dir, clients)
}

// The conditional calls of several processes happen one by one, also when some are killed.
func TestLinearCalls(t *testing.T) {
	const ops = "get get get add replace cas cas cas append delete"
	for _, kill := range []bool{false, true} {
		t.Run(fmt.Sprintf("kill=%v", kill), func(t *testing.T) {
			for range rounds(3) {
				events := histories(t, 4, 600, 3, ops, kill)
				requireLinear(t, events)
				if !kill {
					require.Len(t, events, 4*600)
				}
				swapped := 0
				for _, e := range events {
					if e.Op == "cas" && e.Result == "ok" {
						swapped++
					}
				}
				require.NotZero(t, swapped)
			}
		})
	}
}

// No increment of several processes is lost.
func TestCountAmongProcesses(t *testing.T) {
	path := testdir.Memory(t) + "/store"
	c, err := Open(path, &Options{Bytes: 8 << 20})
	require.NoError(t, err)
	defer func() { require.NoError(t, c.Close()) }()
	require.NoError(t, c.Set([]byte("number"), []byte("5"), -1))
	var all []*testproc.Child
	for range 4 {
		all = append(all, startChild(t, "counts", map[string]string{"PATH": path, "CALLS": "1000"}))
	}
	for _, ch := range all {
		ch.Wait(t)
	}
	it, err := c.Get([]byte("number"))
	require.NoError(t, err)
	require.Equal(t, "8005", string(it.Value))
}
