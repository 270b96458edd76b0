package cache

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/internal/testdir"
	"github.com/seed-869cc763/shmkv/shm"
	"github.com/seed-869cc763/shmkv/shm/codec"
)

type user struct {
	Name   string
	Visits int
	By     map[string]int
}

func openTyped(t *testing.T, opts *Options) *Typed[uint32, user] {
	return NewTyped(open(t, opts), codec.Int[uint32]{}, codec.JSON[user]{})
}

func TestTyped(t *testing.T) {
	clock := newClock()
	users := openTyped(t, &Options{Now: clock.now})
	_, err := users.Get(1)
	require.Equal(t, shm.ErrNotFound, err)
	require.Equal(t, shm.ErrNotFound, users.Replace(1, user{}, 0))
	require.Equal(t, shm.ErrNotFound, users.Touch(1, 0))

	// A zero value is one, and something else than none.
	require.NoError(t, users.Set(1, user{}, 0))
	u, err := users.Get(1)
	require.NoError(t, err)
	require.Zero(t, u)

	require.ErrorIs(t, users.Add(1, user{}, 0), shm.ErrExist)
	require.NoError(t, users.Replace(1, user{Name: "ann"}, time.Second))
	it, err := users.GetItem(1)
	require.NoError(t, err)
	require.Equal(t, TypedItem[user]{Value: user{Name: "ann"}, Expires: clock.now().Add(time.Second).Local(), Token: it.Token}, it)
	require.ErrorIs(t, users.CompareAndSwap(1, it.Token+1, user{}, 0), ErrToken)
	require.NoError(t, users.CompareAndSwap(1, it.Token, user{Name: "bob"}, time.Second))
	touched, err := users.GetAndTouch(1, time.Minute)
	require.NoError(t, err)
	require.Equal(t, "bob", touched.Value.Name)
	require.Equal(t, clock.now().Add(time.Minute).Local(), touched.Expires)
	require.NoError(t, users.Touch(1, time.Hour))

	token, err := users.SetItem(2, TypedItem[user]{Value: user{Name: "eve"}, Flags: 7}, IfAbsent)
	require.NoError(t, err)
	it, err = users.GetItem(2)
	require.NoError(t, err)
	require.Equal(t, TypedItem[user]{Value: user{Name: "eve"}, Flags: 7, Token: token}, it)
	all, err := users.GetMany([]uint32{1, 2, 3, 2})
	require.NoError(t, err)
	require.Equal(t, map[uint32]user{1: {Name: "bob"}, 2: {Name: "eve"}}, all)

	clock.advance(time.Hour)
	_, err = users.Get(1)
	require.Equal(t, shm.ErrNotFound, err)
	existed, err := users.Delete(2)
	require.NoError(t, err)
	require.True(t, existed)
	existed, err = users.Delete(2)
	require.NoError(t, err)
	require.False(t, existed)
}

func TestTypedUpdate(t *testing.T) {
	clock := newClock()
	users := openTyped(t, &Options{Now: clock.now})
	_, err := users.SetItem(1, TypedItem[user]{Flags: 9}, Always)
	require.NoError(t, err)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for range 50 {
				for key := range uint32(2) {
					if err := users.Update(key, time.Hour, func(u *user) error {
						u.Visits++
						if u.By == nil {
							u.By = map[string]int{}
						}
						u.By[fmt.Sprint(g)]++
						return nil
					}); err != nil {
						t.Error(err)
					}
				}
				if g == 0 { // also beside a Touch
					_ = users.Touch(1, time.Hour)
				}
			}
		})
	}
	wg.Wait()
	for key := range uint32(2) {
		it, err := users.GetItem(key)
		require.NoError(t, err)
		require.Equal(t, user{Visits: 200, By: map[string]int{"0": 50, "1": 50, "2": 50, "3": 50}}, it.Value)
		require.Equal(t, 9*key, it.Flags)
		require.Equal(t, clock.now().Add(time.Hour).Local(), it.Expires)
	}

	refused := errors.New("refused")
	version := users.Cache().Store().Version()
	require.Equal(t, refused, users.Update(0, 0, func(u *user) error { u.Visits = 0; return refused }))
	require.Equal(t, version, users.Cache().Store().Version())

	// The value comes and goes between the read and the write.
	runs := 0
	require.NoError(t, users.Update(5, 0, func(u *user) error {
		switch runs++; runs {
		case 1:
			require.Zero(t, *u)
			require.NoError(t, users.Set(5, user{Visits: 10}, 0))
		case 2:
			require.Equal(t, 10, u.Visits)
			_, err := users.Delete(5)
			require.NoError(t, err)
		default:
			require.Zero(t, *u)
		}
		u.Visits++
		return nil
	}))
	u, err := users.Get(5)
	require.NoError(t, err)
	require.Equal(t, user{Visits: 1}, u)
	require.Equal(t, 3, runs)
}

func TestTypedGetOrCreate(t *testing.T) {
	ctx := context.Background()
	users := openTyped(t, nil)
	created := 0
	create := func(context.Context) (user, error) { created++; return user{Name: "ann", Visits: created}, nil }
	for range 2 {
		u, err := users.GetOrCreate(ctx, 1, create)
		require.NoError(t, err)
		require.Equal(t, user{Name: "ann", Visits: 1}, u)
	}
	u, err := users.GetOrCreate(ctx, 2, func(context.Context) (user, error) { return user{}, nil })
	require.NoError(t, err)
	require.Zero(t, u)
	_, err = users.Get(2)
	require.NoError(t, err)

	u, err = users.GetOrCreate(ctx, 3, func(context.Context) (user, error) { return user{Name: "guest"}, ErrDoNotKeep })
	require.NoError(t, err)
	require.Equal(t, user{Name: "guest"}, u)
	_, err = users.Get(3)
	require.Equal(t, shm.ErrNotFound, err)

	refused := errors.New("refused")
	u, err = users.GetOrCreate(ctx, 3, func(context.Context) (user, error) { return user{Name: "no"}, refused })
	require.ErrorIs(t, err, refused)
	require.Zero(t, u)
	_, err = users.GetOrCreate(ctx, 3, func(context.Context) (user, error) { return user{Name: "no"}, shm.ErrNotFound })
	require.ErrorIs(t, err, shm.ErrNotFound)

	var asked [][]uint32
	many := func(_ context.Context, missing []uint32) (map[uint32]user, error) {
		asked = append(asked, missing)
		return map[uint32]user{3: {Name: "eve"}, 8: {Name: "not asked for"}}, nil
	}
	for range 2 {
		all, err := users.GetOrCreateMany(ctx, []uint32{1, 3, 4}, many, WithAbsentTTL(time.Hour))
		require.NoError(t, err)
		require.Equal(t, map[uint32]user{1: {Name: "ann", Visits: 1}, 3: {Name: "eve"}}, all)
	}
	require.Equal(t, [][]uint32{{3, 4}}, asked)
	_, err = users.GetOrCreateMany(ctx, []uint32{5}, func(context.Context, []uint32) (map[uint32]user, error) { return nil, refused })
	require.ErrorIs(t, err, refused)
}

// A value of no bytes is one, and something else than none.
func TestTypedEmptyValue(t *testing.T) {
	ctx := context.Background()
	texts := NewTyped(open(t, nil), codec.String[string]{}, codec.String[string]{})
	for range 2 {
		all, err := texts.GetOrCreateMany(ctx, []string{"", "b"}, func(context.Context, []string) (map[string]string, error) {
			return map[string]string{"": "", "b": "B"}, nil
		})
		require.NoError(t, err)
		require.Equal(t, map[string]string{"": "", "b": "B"}, all)
	}
	text, err := texts.GetOrCreate(ctx, "c", func(context.Context) (string, error) { return "", nil })
	require.NoError(t, err)
	require.Empty(t, text)
	all, err := texts.GetMany([]string{"", "b", "c", "d"})
	require.NoError(t, err)
	require.Equal(t, map[string]string{"": "", "b": "B", "c": ""}, all)
}

// A stale value is returned, and created again in the background, while the buffers of the
// call are in use elsewhere.
func TestTypedBackground(t *testing.T) {
	ctx := context.Background()
	clock := newClock()
	c := open(t, &Options{Now: clock.now})
	numbers := NewTyped(c, codec.Int[int64]{}, codec.Int[int64]{})
	for round := range int64(3) {
		for key := range int64(100) {
			n, err := numbers.GetOrCreate(ctx, key, func(context.Context) (int64, error) { return key + 1000*round, nil },
				WithSoftTTL(time.Minute), WithBackground())
			require.NoError(t, err)
			require.Equal(t, key+1000*max(round-1, 0), n)
		}
		require.Eventually(t, func() bool {
			all, err := numbers.GetMany([]int64{0, 50, 99})
			if err != nil || c.claims().Len() > 0 {
				return false
			}
			return all[0] == 1000*round && all[50] == 50+1000*round && all[99] == 99+1000*round
		}, 20*time.Second, time.Millisecond)
		for key := range int64(100) {
			n, err := numbers.Get(key)
			require.NoError(t, err)
			require.Equal(t, key+1000*round, n)
		}
		clock.advance(time.Hour)
	}
}

// An error of a codec names the key and the type, and nothing is written.
func TestTypedErrors(t *testing.T) {
	c := open(t, &Options{Region: "users"})
	users := NewTyped(c, codec.String[string]{}, codec.JSON[user]{})
	require.NoError(t, c.Set([]byte("ann"), []byte(`"text"`), 0))
	check := func(got user, err error) {
		t.Helper()
		require.ErrorIs(t, err, codec.ErrDecode)
		require.ErrorContains(t, err, `cache: region "users": decoding the value of "ann": found bytes that are not of the type cache.user: json: `)
		require.Zero(t, got)
	}
	check(users.Get("ann"))
	check(users.GetOrCreate(context.Background(), "ann", func(context.Context) (user, error) {
		t.Error("the value is there")
		return user{}, nil
	}))
	it, err := users.GetItem("ann")
	check(it.Value, err)
	check(user{}, users.Update("ann", 0, func(*user) error { return nil }))
	require.NoError(t, users.Set("bob", user{Name: "bob"}, 0))
	all, err := users.GetMany([]string{"ann", "bob"})
	check(user{}, err)
	require.Equal(t, map[string]user{"bob": {Name: "bob"}}, all)
	_, err = users.GetOrCreateMany(context.Background(), []string{"ann"}, nil)
	check(user{}, err)

	version := c.Store().Version()
	odd := NewTyped(c, codec.String[string]{}, codec.JSON[func()]{})
	require.ErrorContains(t, odd.Set("key", func() {}, 0), `cache: region "users": encoding the value of "key" as func(): json: `)
	require.Equal(t, version, c.Store().Version())
	_, err = odd.GetOrCreate(context.Background(), "key", func(context.Context) (func(), error) { return func() {}, nil })
	require.ErrorContains(t, err, `encoding the value of "key" as func(): json: `)
	_, err = c.Get([]byte("key"))
	require.Equal(t, shm.ErrNotFound, err)

	keys := NewTyped(c, codec.JSON[chan int]{}, codec.String[string]{})
	_, err = keys.Get(nil)
	require.ErrorContains(t, err, `encoding the key <nil> as chan int: json: `)
}

// The views of two regions do not disturb each other, with values of all lengths.
func TestTypedRegions(t *testing.T) {
	s, err := shm.Open(testdir.Memory(t)+"/store", nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	var views []*Typed[string, string]
	for _, region := range []string{"a", "b"} {
		c, err := New(s, &Options{Region: region})
		require.NoError(t, err)
		defer func() { require.NoError(t, c.Close()) }()
		views = append(views, NewTyped(c, codec.String[string]{}, codec.String[string]{}))
	}
	long := string(make([]byte, 200<<10))
	for i, v := range views {
		require.NoError(t, v.Set("key", fmt.Sprint(i), 0))
		require.NoError(t, v.Set("long", long, 0))
	}
	for i, v := range views {
		got, err := v.Get("long")
		require.NoError(t, err)
		require.Equal(t, long, got)
		got, err = v.Get("key")
		require.NoError(t, err)
		require.Equal(t, fmt.Sprint(i), got)
	}
}
