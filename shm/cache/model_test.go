package cache

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/internal/testdir"
	"github.com/seed-869cc763/shmkv/shm"
)

var seedFlag = flag.Uint64("seed", 0, "seed of the tests that draw; 0 takes a new one")

// newRand returns a random source whose seed a failing test prints.
func newRand(t testing.TB) *rand.Rand {
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("seed: -seed %d", seed)
		}
	})
	return rand.New(rand.NewPCG(seed, 0))
}

// A fakeClock is the clock of a test.
type fakeClock struct{ nanos atomic.Int64 }

func newClock() *fakeClock {
	c := &fakeClock{}
	c.nanos.Store(1_700_000_000_000_000_000)
	return c
}

func (c *fakeClock) now() time.Time          { return time.Unix(0, c.nanos.Load()) }
func (c *fakeClock) advance(d time.Duration) { c.nanos.Add(int64(d)) }

// A modelItem is what the model knows of an item.
type modelItem struct {
	value   string
	flags   uint32
	marks   uint8
	expires time.Time
	stale   time.Time
	old     bool // the region was invalidated softly since
	token   uint64
}

// A model is a cache that forgets nothing but what it must.
type model struct {
	clock   *fakeClock
	ttl     time.Duration
	items   map[string]modelItem
	flushAt time.Time
}

// settle does what the passing of time does.
func (m *model) settle() {
	if !m.flushAt.IsZero() && !m.clock.now().Before(m.flushAt) {
		clear(m.items)
		m.flushAt = time.Time{}
	}
}

func (m *model) get(key string) (modelItem, bool) {
	it, ok := m.items[key]
	if ok && !it.expires.IsZero() && !m.clock.now().Before(it.expires) {
		return modelItem{}, false
	}
	return it, ok
}

func (m *model) ends(ttl time.Duration) time.Time {
	if ttl == 0 {
		ttl = m.ttl
	}
	if ttl <= 0 {
		return time.Time{}
	}
	return m.clock.now().Add(ttl)
}

// TestModel carries out random calls through two handles on one region, one in another region
// that must not be disturbed, and compares each result with a model. The clock moves only
// between calls, mostly forward and sometimes back.
func TestModel(t *testing.T) {
	rnd := newRand(t)
	clock := newClock()
	dir := testdir.Memory(t) + "/store"
	opts := &Options{Bytes: 16 << 20, TTL: 20 * time.Second, Now: clock.now}
	var handles [2]*Cache
	for i := range handles {
		var err error
		handles[i], err = Open(dir, opts)
		require.NoError(t, err)
		defer func() { _ = handles[i].Close() }()
	}
	beside, err := New(handles[0].Store(), &Options{Region: "beside", Now: clock.now})
	require.NoError(t, err)
	defer func() { _ = beside.Close() }()
	require.NoError(t, beside.Set([]byte("a"), []byte("beside"), -1))

	m := &model{clock: clock, ttl: opts.TTL, items: map[string]modelItem{}}
	steps := 30_000
	if testing.Short() {
		steps = 3_000
	}
	for range steps {
		s := &step{t: t, rnd: rnd, m: m, c: handles[rnd.IntN(2)], key: string(rune('a' + rnd.IntN(12)))}
		m.settle()
		s.do()
		if rnd.IntN(3) == 0 {
			clock.advance(time.Duration(rnd.Int64N(int64(3 * time.Second))))
		}
		if rnd.IntN(200) == 0 {
			s.forget()
			clock.advance(-time.Duration(rnd.Int64N(int64(5 * time.Second))))
		}
	}
	it, err := beside.Get([]byte("a"))
	require.NoError(t, err)
	require.Equal(t, "beside", string(it.Value))
	require.False(t, it.Stale)
}

// A step is one call and what is needed to judge it.
type step struct {
	t   *testing.T
	rnd *rand.Rand
	m   *model
	c   *Cache
	key string
}

// value draws a value: often a number, sometimes a long one.
func (s *step) value() string {
	switch s.rnd.IntN(4) {
	case 0:
		return strconv.FormatUint(s.rnd.Uint64()>>s.rnd.IntN(64), 10)
	case 1:
		return strconv.Itoa(s.rnd.IntN(20))
	case 2:
		return strings.Repeat("long ", s.rnd.IntN(1000))
	}
	return "text"
}

func (s *step) ttl() time.Duration {
	return [...]time.Duration{0, -1, 1, time.Second, 5 * time.Second, 1 << 62}[s.rnd.IntN(6)]
}

// check compares what the cache says of a key with the model, and learns the token of an item
// that was just written. By that time the clock has not moved.
func (s *step) check(key string) {
	s.t.Helper()
	it, err := s.c.Get([]byte(key))
	want, there := s.m.get(key)
	if !there {
		require.Equal(s.t, shm.ErrNotFound, err, "key %q", key)
		require.Empty(s.t, it)
		return
	}
	require.NoError(s.t, err, "key %q", key)
	s.same(want, it)
	if want.token == 0 {
		want.token = it.Token
		s.m.items[key] = want
	}
}

func (s *step) same(want modelItem, it Item) {
	s.t.Helper()
	require.Equal(s.t, want.value, string(it.Value))
	require.Equal(s.t, want.flags, it.Flags)
	require.Equal(s.t, want.marks, it.Marks)
	require.True(s.t, want.expires.Equal(it.Expires), "found %v, expected %v", it.Expires, want.expires)
	require.Equal(s.t, want.old || !want.stale.IsZero() && !s.m.clock.now().Before(want.stale), it.Stale)
	require.NotZero(s.t, it.Token)
	if want.token != 0 {
		require.Equal(s.t, want.token, it.Token)
	}
}

// wrote checks the error of a write, and makes the item that of the key if there was none.
func (s *step) wrote(err, want error, it modelItem) {
	s.t.Helper()
	if want != nil {
		require.ErrorIs(s.t, err, want)
	} else {
		require.NoError(s.t, err)
		if !it.expires.IsZero() && it.expires.After(lastTime) {
			it.expires = time.Time{}
		}
		old := s.m.items[s.key].token
		s.m.items[s.key] = it
		s.check(s.key)
		if it.token == 0 {
			require.NotEqual(s.t, old, s.m.items[s.key].token, "a write kept the token")
		}
	}
	s.check(s.key)
}

// forget deletes what has expired, before the clock goes back: the cache may have deleted it
// or not.
func (s *step) forget() {
	s.m.settle()
	for k := range 12 {
		key := string(rune('a' + k))
		if _, there := s.m.get(key); !there {
			existed, err := s.c.Delete([]byte(key))
			require.NoError(s.t, err)
			require.False(s.t, existed)
			delete(s.m.items, key)
		}
	}
}

func (s *step) do() {
	key, m, c := []byte(s.key), s.m, s.c
	was, there := m.get(s.key)
	absent := func() error {
		if there {
			return nil
		}
		return shm.ErrNotFound
	}
	switch s.rnd.IntN(18) {
	case 0, 1:
		v, ttl := s.value(), s.ttl()
		s.wrote(c.Set(key, []byte(v), ttl), nil, modelItem{value: v, expires: m.ends(ttl)})
	case 2:
		v, ttl := s.value(), s.ttl()
		var want error
		if there {
			want = shm.ErrExist
		}
		s.wrote(c.Add(key, []byte(v), ttl), want, modelItem{value: v, expires: m.ends(ttl)})
	case 3:
		v, ttl := s.value(), s.ttl()
		s.wrote(c.Replace(key, []byte(v), ttl), absent(), modelItem{value: v, expires: m.ends(ttl)})
	case 4:
		v, ttl, token, want := s.value(), s.ttl(), was.token, absent()
		if s.rnd.IntN(2) == 0 {
			if token++; there {
				want = ErrToken
			}
		}
		s.wrote(c.CompareAndSwap(key, token, []byte(v), ttl), want, modelItem{value: v, expires: m.ends(ttl)})
	case 5:
		it := Item{Value: []byte(s.value()), Flags: s.rnd.Uint32(), Marks: uint8(s.rnd.Uint32()), Expires: m.ends(s.ttl()), StaleAfter: m.ends(s.ttl())}
		_, err := c.SetItem(key, it, Always)
		s.wrote(err, nil, modelOf(it))
	case 6:
		if was.value += "+"; len(was.value) > 20_000 {
			return
		}
		was.token, was.old = 0, false
		_, err := c.AppendValue(key, []byte("+"))
		s.wrote(err, absent(), was)
	case 7:
		was.value = "-" + was.value
		was.token, was.old = 0, false
		_, err := c.PrependValue(key, []byte("-"))
		s.wrote(err, absent(), was)
	case 8:
		ttl := s.ttl()
		was.expires = m.ends(ttl)
		s.wrote(c.Touch(key, ttl), absent(), was)
	case 9:
		ttl := s.ttl()
		was.expires = m.ends(ttl)
		if was.expires.After(lastTime) {
			was.expires = time.Time{}
		}
		it, err := c.GetAndTouch(key, ttl)
		s.wrote(err, absent(), was)
		if err == nil {
			s.same(was, it)
		}
	case 10:
		existed, err := c.Delete(key)
		require.NoError(s.t, err)
		require.Equal(s.t, there, existed)
		delete(m.items, s.key)
		s.check(s.key)
	case 11, 12:
		s.count(key, was, absent())
	case 13:
		var keys [][]byte
		for k := range 14 {
			keys = append(keys, []byte{byte('a' + k)})
		}
		n := 0
		require.NoError(s.t, c.GetMany(keys, func(i int, it Item, ok bool) {
			require.Equal(s.t, n, i)
			n++
			want, there := m.get(string(keys[i]))
			require.Equal(s.t, there, ok)
			if ok {
				s.same(want, it)
			}
		}))
		require.Equal(s.t, len(keys), n)
	case 14:
		dst := []byte("dst")
		got, err := c.Append(dst, key)
		require.Equal(s.t, absent(), err)
		require.Equal(s.t, "dst"+was.value, string(got))
	case 15:
		s.invalidate()
	case 16:
		s.compute(key, was, there)
	case 17:
		require.NoError(s.t, c.View(func(v *View) error {
			n := 0
			for key, it := range v.All() {
				want, there := m.get(string(key))
				require.True(s.t, there)
				s.same(want, it)
				n++
			}
			for key := range m.items {
				if _, there := m.get(key); there {
					n--
				}
			}
			require.Zero(s.t, n)
			return v.Err()
		}))
	}
}

// modelOf is an item that was written, as the model has it.
func modelOf(it Item) modelItem {
	return modelItem{value: string(it.Value), flags: it.Flags, marks: it.Marks, expires: it.Expires, stale: it.StaleAfter}
}

// compute reads, decides and writes in one step.
func (s *step) compute(key []byte, was modelItem, there bool) {
	do := shm.Action(s.rnd.IntN(3))
	next := Item{Value: []byte(s.value()), Marks: uint8(s.rnd.Uint32()), Expires: s.m.ends(s.ttl())}
	now := modelOf(next)
	switch s.rnd.IntN(3) {
	case 0:
		if next.Token, now.token = was.token, was.token; there {
			now.old = was.old
		}
	case 1:
		next.Token = s.rnd.Uint64() | 1
		now.token = next.Token
	}
	if do != shm.ActionSet {
		now = was
	}
	it, err := s.c.Compute(key, func(it Item, exists bool) (Item, shm.Action, error) {
		require.Equal(s.t, there, exists)
		if exists {
			s.same(was, it)
		}
		return next, do, nil
	})
	require.NoError(s.t, err)
	switch {
	case do == shm.ActionDelete || do == shm.ActionKeep && !there:
		require.Zero(s.t, it)
		if do == shm.ActionDelete {
			delete(s.m.items, s.key)
		}
		s.check(s.key)
	case do == shm.ActionKeep:
		it.Value = []byte(was.value)
		s.same(was, it)
		s.check(s.key)
	default:
		require.Nil(s.t, it.Value)
		s.wrote(nil, nil, now)
		it.Value = next.Value
		s.same(s.m.items[s.key], it)
	}
}

// count increments or decrements.
func (s *step) count(key []byte, was modelItem, want error) {
	n := s.rnd.Uint64() >> s.rnd.IntN(64)
	number, err := strconv.ParseUint(strings.TrimRight(was.value, " "), 10, 64)
	if want == nil && (err != nil || len(was.value) > 20) {
		want = ErrNotNumber
	}
	var now uint64
	if s.rnd.IntN(2) == 0 {
		number += n
		now, err = s.c.Increment(key, n)
	} else {
		number -= min(number, n)
		now, err = s.c.Decrement(key, n)
	}
	if want == nil {
		require.Equal(s.t, number, now)
	}
	was.value = fmt.Sprintf("%-*d", len(was.value), number)
	was.token, was.old = 0, false
	s.wrote(err, want, was)
}

// invalidate invalidates the region in one of the ways, but rarely.
func (s *step) invalidate() {
	switch s.rnd.IntN(24) {
	case 0:
		require.NoError(s.t, s.c.Flush(time.Time{}))
		clear(s.m.items)
		s.m.flushAt = time.Time{}
	case 1:
		require.NoError(s.t, s.c.Invalidate(false))
		clear(s.m.items)
		s.m.flushAt = time.Time{}
	case 2:
		require.NoError(s.t, s.c.Flush(s.m.clock.now()))
		clear(s.m.items)
		s.m.flushAt = time.Time{}
	case 3:
		s.m.flushAt = s.m.clock.now().Add(time.Duration(s.rnd.Int64N(int64(10*time.Second))) + 1)
		require.NoError(s.t, s.c.Flush(s.m.flushAt))
	case 4, 5, 6:
		require.NoError(s.t, s.c.Invalidate(true))
		for k, it := range s.m.items {
			it.old = true
			s.m.items[k] = it
		}
	case 7, 8:
		s.c.sweep.mu.Lock()
		_, err := s.c.sweepStep(5)
		s.c.sweep.mu.Unlock()
		require.NoError(s.t, err)
	}
	for k := range 12 {
		s.check(string(rune('a' + k)))
	}
}
