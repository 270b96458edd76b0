//go:build !race

package cache

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/internal/testdir"
	"github.com/seed-869cc763/shmkv/internal/testproc"
)

// A flush of one process is seen by all others as one step: an item that was set before is gone,
// and one that is set afterwards stays. So is a soft invalidation.
func TestFlushAmongProcesses(t *testing.T) {
	for _, ops := range []string{
		"get get get set set set set flush",
		"get get get set set set set soften",
		"get get set add delete append flush soften",
	} {
		for _, kill := range []bool{false, true} {
			t.Run(fmt.Sprint(ops, " kill=", kill), func(t *testing.T) {
				for range rounds(2) {
					events := histories(t, 4, 400, 2, ops, kill)
					requireLinear(t, events)
					requireStale(t, events)
				}
			})
		}
	}
}

// requireStale checks which of the items that were read were stale. One is if its region was
// invalidated between its write and the read, and is not if that was before the write or after
// the read. If a call of Invalidate ran at the same time as one of these, it may be or not.
func requireStale(t testing.TB, events []event) {
	t.Helper()
	writes := map[string]event{}
	var softens []event
	for _, e := range events {
		if e.Op == "soften" {
			softens = append(softens, e)
		} else if e.Op != "get" {
			writes[e.Arg] = e
		}
	}
	stale, fresh := 0, 0
	for _, e := range events {
		if e.Op != "get" || e.Result != "ok" {
			continue
		}
		parts := strings.Fields(e.Got)
		write := writes[parts[len(parts)-1]+" "]
		require.NotZero(t, write.Start, "%+v", e)
		must, may := false, false
		for _, s := range softens {
			must = must || write.End != 0 && s.Start > write.End && s.End != 0 && s.End < e.Start
			may = may || (s.End == 0 || s.End > write.Start) && s.Start < e.End
		}
		require.True(t, !must || e.Stale, "found a fresh item, expected a stale one: %+v of %+v", e, write)
		require.True(t, may || !e.Stale, "found a stale item, expected a fresh one: %+v of %+v", e, write)
		if e.Stale {
			stale++
		} else {
			fresh++
		}
	}
	t.Logf("%d reads of stale items, %d of fresh ones", stale, fresh)
}

func init() {
	// "sets" sets a key again and again, by the clock of the system, and reads it.
	children["sets"] = func() {
		c, err := Open(setting("PATH"), &Options{Bytes: 8 << 20})
		must(err)
		client := settingInt("CLIENT")
		h := newHistorian(setting("DIR"), client)
		for i, began := 0, time.Now(); time.Since(began) < 300*time.Millisecond; i++ {
			e := event{Op: "set", Key: "key", Arg: fmt.Sprintf("%d.%d", client, i)}
			if i%8 != 0 {
				e.Op = "get"
			}
			h.begin(e)
			if e.Op == "set" {
				err = c.Set([]byte("key"), []byte(e.Arg), -1)
				h.end(resultOf(err), "", false)
			} else {
				it, err := c.Get([]byte("key"))
				h.end(resultOf(err), string(it.Value), false)
			}
			time.Sleep(200 * time.Microsecond)
		}
		must(c.Close())
	}
}

// A flush at a time to come happens then, once, whoever comes first, and whether or not the
// process that asked for it is still there.
func TestFlushAtAmongProcesses(t *testing.T) {
	for range rounds(3) {
		dir := testdir.Memory(t)
		path := dir + "/store"
		const clients = 4
		var all []*testproc.Child
		for i := range clients {
			all = append(all, startChild(t, "sets", map[string]string{"PATH": path, "DIR": dir, "CLIENT": strconv.Itoa(i)}))
		}
		c, err := Open(path, &Options{Bytes: 8 << 20})
		require.NoError(t, err)
		time.Sleep(100 * time.Millisecond)
		at := time.Now().Add(100 * time.Millisecond)
		require.NoError(t, c.Flush(at))
		moment := clockNanos() + time.Until(at).Nanoseconds()
		require.NoError(t, c.Close())
		for _, ch := range all {
			ch.Wait(t)
		}
		// Clocks may be late by a millisecond, and the event is what they say.
		const late = int64(1100 * time.Microsecond)
		events := readHistory(t, dir, clients)
		requireLinear(t, append(events, event{Op: "flush", Result: "ok", Start: moment - late, End: moment + late}))
		before, after := 0, 0
		for _, e := range events {
			if e.Op == "get" && e.Result == "ok" {
				if e.End < moment-late {
					before++
				} else if e.Start > moment+late {
					after++
				}
			}
		}
		t.Logf("%d gets found an item before, %d after", before, after)
	}
}
