package cache

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/internal/testdir"
	"github.com/seed-869cc763/shmkv/shm"
)

// creators opens handles on one region, with a clock of the test.
func creators(t *testing.T, n int) ([]*Cache, *fakeClock) {
	t.Helper()
	path, clock := testdir.Memory(t)+"/store", newClock()
	all := make([]*Cache, n)
	for i := range all {
		c, err := Open(path, &Options{Bytes: 8 << 20, Now: clock.now})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, c.Close()) })
		all[i] = c
	}
	return all, clock
}

// soon is a context that ends if what should happen does not.
func soon(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func gives(value string) func(context.Context) ([]byte, error) {
	return func(context.Context) ([]byte, error) { return []byte(value), nil }
}

// mustNotCreate is the function of callers who must not create.
func mustNotCreate(t *testing.T) func(context.Context) ([]byte, error) {
	return func(context.Context) ([]byte, error) {
		t.Errorf("another one was to create")
		return nil, errors.New("called")
	}
}

// got calls GetOrCreate, and expects a value.
func got(t *testing.T, c *Cache, key, want string, create func(context.Context) ([]byte, error), opts ...CreateOption) {
	t.Helper()
	v, err := c.GetOrCreate(soon(t), []byte(key), create, opts...)
	require.NoError(t, err)
	require.Equal(t, want, string(v))
}

// held returns the value of key in the cache.
func held(t *testing.T, c *Cache, key string) string {
	t.Helper()
	it, err := c.Get([]byte(key))
	if err == shm.ErrNotFound {
		return "absent"
	}
	require.NoError(t, err)
	return string(it.Value)
}

// A begun is a creation that is under way until it is told how to end.
type begun struct {
	goOn   chan func(context.Context) ([]byte, error)
	result chan error
	value  []byte
}

// begin begins to create key, and returns when its function has been called.
func begin(t *testing.T, c *Cache, key string, opts ...CreateOption) *begun {
	t.Helper()
	b := &begun{goOn: make(chan func(context.Context) ([]byte, error)), result: make(chan error, 1)}
	called := make(chan struct{})
	go func() {
		var err error
		b.value, err = c.GetOrCreate(t.Context(), []byte(key), func(ctx context.Context) ([]byte, error) {
			close(called)
			return (<-b.goOn)(ctx)
		}, opts...)
		b.result <- err
	}()
	<-called
	return b
}

func (b *begun) end(create func(context.Context) ([]byte, error)) error {
	b.goOn <- create
	return <-b.result
}

// waiter returns a caller that waits for a creation.
func waiter(t *testing.T, c *Cache, key string) *creation {
	t.Helper()
	k := &creation{c: c, key: []byte(key), o: completeCreate(nil)}
	k.look()
	require.Equal(t, busy, k.next)
	return k
}

// claimsLeft returns how many claims there are.
func claimsLeft(c *Cache) int { return c.claims().Len() }

// A crowd asks for one key through several handles. One of it creates.
func TestCreateOnce(t *testing.T) {
	all, _ := creators(t, 3)
	for round := range 20 {
		key := fmt.Sprintf("key %d", round)
		var calls atomic.Int64
		var wg sync.WaitGroup
		for g := range 60 {
			wg.Go(func() {
				v, err := all[g%3].GetOrCreate(t.Context(), []byte(key), func(context.Context) ([]byte, error) {
					n := calls.Add(1)
					runtime.Gosched()
					return fmt.Appendf(nil, "%s made %d", key, n), nil
				})
				if err != nil || string(v) != key+" made 1" {
					t.Errorf("%q, %v", v, err)
				}
			})
		}
		wg.Wait()
		require.EqualValues(t, 1, calls.Load())
	}
	require.Zero(t, claimsLeft(all[0]))
}

// A creation that fails stores nothing. Those who wait get to know, and the next one creates.
func TestCreateFails(t *testing.T) {
	all, clock := creators(t, 2)
	broken := errors.New("the origin is away")
	ends := map[string]func(context.Context) ([]byte, error){
		"error":  func(context.Context) ([]byte, error) { return []byte("v"), broken },
		"goexit": func(context.Context) ([]byte, error) { runtime.Goexit(); return nil, nil },
	}
	for name, fails := range ends {
		b := begin(t, all[0], name)
		k := waiter(t, all[1], name)
		waits := make(chan error)
		go func() { waits <- k.await(soon(t)) }()
		b.goOn <- fails
		if name == "error" {
			require.ErrorIs(t, <-b.result, broken)
		}
		require.NoError(t, <-waits)
		require.ErrorIs(t, k.err, ErrCreate)
		if name == "error" {
			require.ErrorContains(t, k.err, broken.Error())
		}
		require.Equal(t, "absent", held(t, all[1], name))
		got(t, all[1], name, "second", gives("second"))
		got(t, all[0], name, "second", mustNotCreate(t))
	}

	func() {
		defer func() { require.Equal(t, "oh", recover()) }()
		_, _ = all[0].GetOrCreate(t.Context(), []byte("panic"), func(context.Context) ([]byte, error) { panic("oh") })
	}()
	// Whoever asks after that has not waited, and creates.
	got(t, all[1], "panic", "second", gives("second"))

	// What failures leave goes away.
	for i := range 100 {
		_, err := all[0].GetOrCreate(t.Context(), fmt.Append(nil, i), ends["error"])
		require.ErrorIs(t, err, broken)
	}
	require.Greater(t, claimsLeft(all[0]), 90)
	clock.advance(failedFor)
	for range 100 {
		all[0].sweepClaims()
	}
	require.Zero(t, claimsLeft(all[0]))
}

// A creator whose caller goes away gives its claim to one who waits. One who waits can go
// away too.
func TestCreateContexts(t *testing.T) {
	all, _ := creators(t, 2)
	ctx, cancel := context.WithCancel(t.Context())
	first := make(chan error, 1)
	called := make(chan struct{})
	go func() {
		_, err := all[0].GetOrCreate(ctx, []byte("k"), func(ctx context.Context) ([]byte, error) {
			close(called)
			<-ctx.Done()
			return nil, ctx.Err()
		})
		first <- err
	}()
	<-called
	leaves, leave := context.WithCancel(t.Context())
	leave()
	_, err := all[1].GetOrCreate(leaves, []byte("k"), mustNotCreate(t))
	require.ErrorIs(t, err, context.Canceled)

	k := waiter(t, all[1], "k")
	cancel()
	require.ErrorIs(t, <-first, context.Canceled)
	require.NoError(t, k.await(soon(t)))
	require.Equal(t, won, k.next)
	k.release()
	got(t, all[0], "k", "v", gives("v"))
}

// While a stale value is created again others get it.
func TestCreateStale(t *testing.T) {
	all, clock := creators(t, 2)
	opts := []CreateOption{WithTTL(time.Minute), WithSoftTTL(time.Second)}
	got(t, all[0], "k", "old", gives("old"), opts...)
	clock.advance(time.Second - 1)
	got(t, all[1], "k", "old", mustNotCreate(t), opts...)
	clock.advance(1)
	b := begin(t, all[0], "k", opts...)
	got(t, all[1], "k", "old", mustNotCreate(t), opts...)
	require.NoError(t, b.end(gives("new")))
	require.Equal(t, "new", string(b.value))
	got(t, all[1], "k", "new", mustNotCreate(t), opts...)

	// Once it has expired, they wait.
	clock.advance(time.Second)
	b = begin(t, all[0], "k", opts...)
	got(t, all[1], "k", "new", mustNotCreate(t), opts...)
	clock.advance(5 * time.Second)
	got(t, all[1], "k", "new", mustNotCreate(t), opts...)
	require.NoError(t, b.end(gives("newer")))
	got(t, all[1], "k", "newer", mustNotCreate(t), opts...)

	// A soft invalidation makes what was begun before it stale.
	clock.advance(time.Second)
	b = begin(t, all[0], "k", opts...)
	require.NoError(t, all[1].Invalidate(true))
	require.NoError(t, b.end(gives("begun before")))
	got(t, all[1], "k", "begun after", gives("begun after"), opts...)
	got(t, all[0], "k", "begun after", mustNotCreate(t), opts...)
}

// A creation in the background keeps nobody waiting, and outlives the context of its caller.
func TestCreateInTheBackground(t *testing.T) {
	all, clock := creators(t, 2)
	opts := []CreateOption{WithSoftTTL(time.Second), WithBackground()}
	got(t, all[0], "k", "old", gives("old"), opts...)
	clock.advance(time.Second)
	ctx, cancel := context.WithCancel(t.Context())
	goOn := make(chan struct{})
	v, err := all[0].GetOrCreate(ctx, []byte("k"), func(ctx context.Context) ([]byte, error) {
		<-goOn
		return []byte("new"), ctx.Err()
	}, opts...)
	require.NoError(t, err)
	require.Equal(t, "old", string(v))
	cancel()
	got(t, all[1], "k", "old", mustNotCreate(t), opts...)
	close(goOn)
	require.NoError(t, all[1].bell([]byte("k")).Await(t.Context(), func() (shm.Owner, bool) {
		return 0, held(t, all[1], "k") == "new"
	}))
}

// A creator that has lost its claim, or whose item was written meanwhile, stores nothing.
func TestLateCreatorsStoreNothing(t *testing.T) {
	all, clock := creators(t, 2)
	a, b := all[0], all[1]

	late := begin(t, a, "taken over")
	clock.advance(defaultLease)
	got(t, b, "taken over", "second", gives("second"))
	require.NoError(t, late.end(gives("late")))
	require.Equal(t, "late", string(late.value), "the caller's own")
	require.Equal(t, "second", held(t, a, "taken over"))

	late = begin(t, a, "still being created")
	clock.advance(defaultLease)
	second := begin(t, b, "still being created")
	require.NoError(t, late.end(gives("late")))
	require.Equal(t, "absent", held(t, a, "still being created"))
	require.NoError(t, second.end(gives("second")))
	require.Equal(t, "second", held(t, a, "still being created"))

	late = begin(t, a, "fails late")
	clock.advance(defaultLease)
	second = begin(t, b, "fails late")
	k := waiter(t, a, "fails late")
	require.Error(t, late.end(func(context.Context) ([]byte, error) { return nil, errors.New("late") }))
	k.look()
	require.Equal(t, busy, k.next, "the failure of another creation")
	require.NoError(t, second.end(gives("second")))

	late = begin(t, a, "set")
	require.NoError(t, b.Set([]byte("set"), []byte("by hand"), 0))
	require.NoError(t, late.end(gives("late")))
	require.Equal(t, "by hand", held(t, a, "set"))

	for name, remove := range map[string]func() error{
		"deleted": func() error { _, err := b.Delete([]byte("deleted")); return err },
		"flushed": func() error { return b.Invalidate(false) },
	} {
		got(t, a, name, "first", gives("first"), WithSoftTTL(1))
		clock.advance(1)
		late = begin(t, a, name, WithSoftTTL(1))
		require.NoError(t, remove())
		require.NoError(t, late.end(gives("late")))
		require.Equal(t, "absent", held(t, a, name), name)
	}
	require.Zero(t, claimsLeft(a))

	// One that was swept because it has expired was not written.
	got(t, a, "swept", "first", gives("first"), WithTTL(1))
	clock.advance(1)
	late = begin(t, a, "swept")
	for {
		_, err := b.items.Get([]byte("swept"))
		if err == shm.ErrNotFound {
			break
		}
		require.NoError(t, err)
		_, err = b.sweepStep(1000)
		require.NoError(t, err)
	}
	require.NoError(t, late.end(gives("second")))
	require.Equal(t, "second", held(t, b, "swept"))
}

// A creator whose process runs keeps its claim for as long as it takes.
func TestLeaseIsRenewed(t *testing.T) {
	path := testdir.Memory(t) + "/store"
	c, err := Open(path, nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, c.Close()) }()
	const lease = 200 * time.Millisecond
	b := begin(t, c, "k", WithLease(lease))
	k := waiter(t, c, "k")
	first, err := c.claims().Get([]byte("k"))
	require.NoError(t, err)
	was, err := readClaim(first)
	require.NoError(t, err)
	ctx := soon(t)
	for renewed := was; renewed.until <= was.until; {
		require.NoError(t, ctx.Err(), "the lease was not renewed")
		time.Sleep(time.Millisecond)
		now, err := c.claims().Get([]byte("k"))
		require.NoError(t, err)
		renewed, err = readClaim(now)
		require.NoError(t, err)
		require.Equal(t, was.number, renewed.number)
	}
	k.look()
	require.Equal(t, busy, k.next)

	// When it finds that another one has the claim, its context ends.
	_, err = c.claims().Delete([]byte("k"))
	require.NoError(t, err)
	err = b.end(func(ctx context.Context) ([]byte, error) {
		select {
		case <-ctx.Done():
		case <-soon(t).Done():
		}
		return nil, context.Cause(ctx)
	})
	require.ErrorIs(t, err, errClaimLost)
}

// A value may be for the caller alone, and it may be known that there is none.
func TestCreateNothing(t *testing.T) {
	all, clock := creators(t, 2)
	once := func(context.Context) ([]byte, error) {
		return []byte("once"), fmt.Errorf("too large: %w", ErrDoNotKeep)
	}
	b := begin(t, all[0], "k")
	k := waiter(t, all[1], "k")
	require.NoError(t, b.end(once))
	require.Equal(t, "once", string(b.value))
	k.look()
	require.Equal(t, won, k.next, "the next one creates")
	k.release()
	require.Equal(t, "absent", held(t, all[0], "k"))

	none := func(context.Context) ([]byte, error) { return nil, fmt.Errorf("no such user: %w", shm.ErrNotFound) }
	for _, remembers := range []bool{false, true} {
		key := fmt.Sprint("remembers ", remembers)
		opts := []CreateOption{WithSoftTTL(1)}
		if remembers {
			opts = append(opts, WithAbsentTTL(time.Minute))
		}
		got(t, all[0], key, "was", gives("was"), opts...)
		clock.advance(1)
		_, err := all[0].Delete([]byte(key))
		require.NoError(t, err)
		b := begin(t, all[0], key, opts...)
		k := waiter(t, all[1], key)
		require.Equal(t, shm.ErrNotFound, b.end(none))
		k.look()
		require.Equal(t, ready, k.next)
		require.Equal(t, shm.ErrNotFound, k.err)
		if remembers {
			_, err := all[1].GetOrCreate(t.Context(), []byte(key), mustNotCreate(t))
			require.Equal(t, shm.ErrNotFound, err)
			clock.advance(time.Minute)
		}
		got(t, all[1], key, "there", gives("there"))
	}

	// A stale value goes when it is found that there is none.
	got(t, all[0], "gone", "was", gives("was"), WithSoftTTL(1))
	clock.advance(1)
	_, err := all[0].GetOrCreate(t.Context(), []byte("gone"), none)
	require.Equal(t, shm.ErrNotFound, err)
	require.Equal(t, "absent", held(t, all[1], "gone"))
	got(t, all[0], "empty", "", func(context.Context) ([]byte, error) { return nil, nil })
	require.Equal(t, "", held(t, all[0], "empty"))
}

// A value that is too large for the cache is for the caller of its creator.
func TestCreateTooLarge(t *testing.T) {
	all, _ := creators(t, 2)
	large := string(make([]byte, 7<<20))
	b := begin(t, all[0], "k")
	k := waiter(t, all[1], "k")
	require.ErrorIs(t, b.end(gives(large)), shm.ErrTooLarge)
	require.Len(t, b.value, len(large))
	k.look()
	require.ErrorIs(t, k.err, ErrCreate)
	require.ErrorContains(t, k.err, shm.ErrTooLarge.Error())
	got(t, all[1], "k", "small", gives("small"))
}

// Callers that ask for overlapping sets of keys, each in another order, all get all values,
// and each key is created once.
func TestCreateMany(t *testing.T) {
	all, clock := creators(t, 3)
	const keys = 40
	var calls [keys]atomic.Int64
	create := func(_ context.Context, missing [][]byte) ([][]byte, error) {
		values := make([][]byte, len(missing))
		for i, key := range missing {
			var n int
			if _, err := fmt.Sscan(string(key), &n); err != nil {
				return nil, err
			}
			calls[n].Add(1)
			if n%10 != 9 {
				values[i] = append([]byte("value of "), key...)
			}
		}
		runtime.Gosched()
		return values, nil
	}
	var wg sync.WaitGroup
	for g := range 12 {
		wg.Go(func() {
			var ask [][]byte
			for i := range keys / 2 {
				ask = append(ask, fmt.Append(nil, (g*7+i*(1+g%3*2))%keys))
			}
			ask = append(ask, ask[0])
			values, err := all[g%3].GetOrCreateMany(t.Context(), ask, create, WithAbsentTTL(time.Minute))
			if err != nil || len(values) != len(ask) {
				t.Errorf("%d values, %v", len(values), err)
				return
			}
			for i, key := range ask {
				want := "value of " + string(key)
				if key[len(key)-1] == '9' {
					want = ""
				}
				if string(values[i]) != want {
					t.Errorf("key %s: %q", key, values[i])
				}
			}
		})
	}
	wg.Wait()
	for i := range calls {
		require.LessOrEqual(t, calls[i].Load(), int64(1), "key %d", i)
	}

	wrong := func(context.Context, [][]byte) ([][]byte, error) { return nil, nil }
	_, err := all[0].GetOrCreateMany(t.Context(), [][]byte{[]byte("a"), []byte("b")}, wrong)
	require.ErrorContains(t, err, "found 0 values for 2 keys")
	clock.advance(time.Hour)
	for range 100 {
		all[0].sweepClaims()
	}
	require.Zero(t, claimsLeft(all[0]))
}

// Jitter only shortens, and by no more than it says.
func TestJitter(t *testing.T) {
	all, clock := creators(t, 1)
	o := completeCreate([]CreateOption{WithTTL(1000), WithSoftTTL(100), WithJitter(0.25)})
	seen := map[time.Time]bool{}
	for range 1000 {
		expires, stale := o.times(all[0])
		seen[expires] = true
		require.GreaterOrEqual(t, expires.Sub(clock.now()), time.Duration(750))
		require.LessOrEqual(t, expires.Sub(clock.now()), time.Duration(1000))
		require.GreaterOrEqual(t, stale.Sub(clock.now()), time.Duration(75))
		require.LessOrEqual(t, stale.Sub(clock.now()), time.Duration(100))
	}
	require.Greater(t, len(seen), 100)
}

// A claim is what it was, and damage is told.
func TestClaimBytes(t *testing.T) {
	for _, cl := range []claim{
		{number: 1},
		{number: 1<<64 - 1, owner: 1<<64 - 1, until: 1<<63 - 1, failed: 7, absent: true, known: true, why: "why"},
		{number: 3, absent: true},
	} {
		read, err := readClaim(cl.bytes())
		require.NoError(t, err)
		require.Equal(t, cl, read)
	}
	all, _ := creators(t, 1)
	for _, bad := range [][]byte{{}, make([]byte, claimBytes), append(make([]byte, 8), claim{number: 1}.bytes()...)[:20]} {
		require.NoError(t, all[0].claims().Set([]byte("k"), bad))
		_, err := all[0].GetOrCreate(t.Context(), []byte("k"), mustNotCreate(t))
		require.ErrorIs(t, err, shm.ErrCorrupt)
	}
}

// Between the look at the item and that at the claim another one has stored the item, and
// dropped its claim (rule G1).
func TestTakerLooksAgain(t *testing.T) {
	all, _ := creators(t, 2)
	k := &creation{c: all[0], key: []byte("k"), o: completeCreate(nil)}
	_, _, there, err := k.item()
	require.NoError(t, err)
	require.False(t, there)
	got(t, all[1], "k", "first", gives("first"))
	require.NoError(t, k.take(nil, claim{}))
	require.Equal(t, ready, k.next)
	require.Equal(t, "first", string(k.value))
	require.Zero(t, claimsLeft(all[1]))
}

// A value whose creation began before a flush is not stored after it, also if there was no
// item. The caller gets it.
func TestFlushDuringCreation(t *testing.T) {
	all, _ := creators(t, 2)
	for _, before := range []string{"absent", "old"} {
		if before != "absent" {
			require.NoError(t, all[0].Set([]byte("key"), []byte(before), time.Hour))
			require.NoError(t, all[0].Invalidate(true))
		}
		b := begin(t, all[0], "key")
		require.NoError(t, all[1].Flush(time.Time{}))
		require.NoError(t, b.end(gives("made before")))
		require.Equal(t, "made before", string(b.value))
		require.Equal(t, "absent", held(t, all[1], "key"))
		got(t, all[1], "key", "made after", gives("made after"))
		require.NoError(t, all[0].Flush(time.Time{}))
		require.Zero(t, claimsLeft(all[0]))
	}
}
