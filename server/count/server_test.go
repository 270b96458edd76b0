package count

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/server/count/countclient"
	"github.com/seed-869cc763/shmkv/server/count/wire"
	"github.com/seed-869cc763/shmkv/shm"
	"github.com/seed-869cc763/shmkv/shm/counter"
)

var byDefault = wire.Layout{Keyspace: wire.DefaultName, Key: wire.DefaultName}

// message returns an increment as it is on the wire.
func message(t testing.TB, keyspace, key string, n int64) []byte {
	b, err := byDefault.AppendIncrement(nil, n, []byte(keyspace), []byte(key))
	require.NoError(t, err)
	return b
}

// An increment on the wire, byte by byte, and rows.
func TestBytes(t *testing.T) {
	v := serving(t, Options{})
	c := v.raw(v.adds)
	m := make([]byte, 520)
	m[0] = 3
	copy(m[8:], "pages")
	copy(m[264:], "\x00a\x00b")
	_, err := c.Write(m)
	require.NoError(t, err)
	wins(t, c, 1)
	now, err := counter.Open(v.store, "pages").Get([]byte("\x00a\x00b"))
	require.NoError(t, err)
	require.Equal(t, int64(3), now)
	copy(m, "\xff\xff\xff\xff\xff\xff\xff\xff") // -1
	copy(m[264:], strings.Repeat("k", 256))
	copy(m[8:], strings.Repeat("s", 256))
	_, err = c.Write(m)
	require.NoError(t, err)
	wins(t, c, 1)
	now, err = counter.Open(v.store, strings.Repeat("s", 256)).Get(m[264:])
	require.NoError(t, err)
	require.Equal(t, int64(-1), now)

	r := v.raw(v.rows)
	ask := make([]byte, 272)
	copy(ask, "pages")
	ask[264] = 9 // the length
	_, err = r.Write(ask)
	require.NoError(t, err)
	want := make([]byte, 8+264)
	want[0], want[8] = 1, 3
	copy(want[16:], "\x00a\x00b")
	got := make([]byte, len(want))
	_, err = io.ReadFull(r, got)
	require.NoError(t, err)
	require.Equal(t, want, got)
}

// What a random program does over the wire, in pieces and without waiting, is what a map of Go
// does. The lengths of names are other ones.
func TestModel(t *testing.T) {
	v := serving(t, Options{KeyspaceBytes: 5, KeyBytes: 3})
	layout := wire.Layout{Keyspace: 5, Key: 3}
	opts := &countclient.Options{KeyspaceBytes: 5, KeyBytes: 3}
	seed := rand.Uint64()
	defer func() {
		if t.Failed() {
			t.Logf("seed %d", seed)
		}
	}()
	var mu sync.Mutex
	model := map[string]map[string]int64{}
	var wg sync.WaitGroup
	for g := range 6 {
		c := v.raw(v.adds)
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(seed, uint64(g)))
			for range 40 {
				var b []byte
				sent := rng.IntN(300)
				for range sent {
					keyspace, key, n := fmt.Sprint("ks", rng.IntN(3)), fmt.Sprint(rng.IntN(50)), rng.Int64N(7)-3
					b, _ = layout.AppendIncrement(b, n, []byte(keyspace), []byte(key))
					mu.Lock()
					if model[keyspace] == nil {
						model[keyspace] = map[string]int64{}
					}
					model[keyspace][key] += n
					mu.Unlock()
				}
				for len(b) > 0 {
					piece := 1 + rng.IntN(min(len(b), 1+rng.IntN(4000)))
					if _, err := c.Write(b[:piece]); err != nil {
						t.Error(err)
						return
					}
					b = b[piece:]
				}
				if _, err := io.ReadFull(c, make([]byte, 3*sent)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	r := v.reader(opts)
	for keyspace, counts := range model {
		all, err := r.Range([]byte(keyspace), 0, math.MaxUint64)
		require.NoError(t, err)
		require.Len(t, all, len(counts))
		for i, c := range all {
			require.Equal(t, counts[string(c.Key)], c.N)
			if i > 0 {
				b := all[i-1]
				require.True(t, b.N > c.N || b.N == c.N && bytes.Compare(b.Key, c.Key) < 0)
			}
		}
		require.NoError(t, counter.Open(v.store, keyspace).Check(t.Context()))
		for _, ask := range [][2]uint64{{0, 0}, {3, 2}, {uint64(len(all)) - 1, 5}, {uint64(len(all)), 5}, {math.MaxUint64, math.MaxUint64}} {
			part, err := r.Range([]byte(keyspace), ask[0], ask[1])
			require.NoError(t, err)
			from := min(ask[0], uint64(len(all)))
			want := all[from : from+min(ask[1], uint64(len(all))-from)]
			require.Equal(t, len(want), len(part))
			for i := range want {
				require.Equal(t, want[i], part[i])
			}
		}
	}
	all, err := r.Range([]byte("none"), 0, 10)
	require.NoError(t, err)
	require.Empty(t, all)
}

// An answer of many pieces is one of one version, while others add.
func TestLargeAnswer(t *testing.T) {
	v := serving(t, Options{})
	set := counter.Open(v.store, "pages")
	var all []counter.Count
	for i := range 5000 {
		all = append(all, counter.Count{Key: fmt.Append(nil, i), N: 1000})
	}
	require.NoError(t, set.AddMany(all))
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() { // the sum of each version is the same
		for {
			select {
			case <-stop:
				return
			default:
			}
			if err := set.AddMany([]counter.Count{{Key: []byte("1"), N: 1}, {Key: []byte("4999"), N: -1}}); err != nil {
				t.Error(err)
				return
			}
		}
	})
	r := v.reader(nil)
	for range 20 {
		rows, err := r.Range([]byte("pages"), 0, 1<<40)
		require.NoError(t, err)
		require.Len(t, rows, 5000)
		sum := int64(0)
		for _, c := range rows {
			sum += c.N
		}
		require.Equal(t, int64(5_000_000), sum)
	}
	close(stop)
	wg.Wait()
}

// A thousand connections with half a message each, and as many that are idle, do not keep
// another one from being served. What they send then counts.
func TestManyConnections(t *testing.T) {
	v := serving(t, Options{})
	var half []net.Conn
	m := message(t, "pages", "half", 1)
	for i := range 1000 {
		c := v.raw(v.adds)
		_, err := c.Write(m[:1+i%(len(m)-1)])
		require.NoError(t, err)
		half = append(half, c)
	}
	require.NoError(t, v.adder(nil).Add([]byte("pages"), []byte("whole"), 1))
	for i, c := range half {
		if i%2 == 0 {
			require.NoError(t, c.Close())
			continue
		}
		_, err := c.Write(m[1+i%(len(m)-1):])
		require.NoError(t, err)
	}
	for i, c := range half {
		if i%2 == 1 {
			wins(t, c, 1)
		}
	}
	n, err := counter.Open(v.store, "pages").Get([]byte("half"))
	require.NoError(t, err)
	require.Equal(t, int64(500), n)
}

// Clients that never read their answers, and one that asks for many rows, do not keep others
// from being served.
func TestDeafClients(t *testing.T) {
	v := serving(t, Options{Patience: 50 * time.Millisecond})
	set := counter.Open(v.store, "many")
	var all []counter.Count
	for i := range 20_000 {
		all = append(all, counter.Count{Key: fmt.Append(nil, i), N: 1})
	}
	require.NoError(t, set.AddMany(all))
	burst := bytes.Repeat(message(t, "pages", "deaf", 1), 1000)
	var deaf sync.WaitGroup
	for range 20 {
		c := v.raw(v.adds)
		deaf.Go(func() {
			for range 10 {
				if _, err := c.Write(burst); err != nil {
					t.Error(err)
					return
				}
			}
		})
		ask, err := byDefault.AppendRequest(nil, []byte("many"), 0, math.MaxUint64)
		require.NoError(t, err)
		_, err = v.raw(v.rows).Write(ask)
		require.NoError(t, err)
	}
	a, r := v.adder(nil), v.reader(nil)
	for range 100 {
		require.NoError(t, a.Add([]byte("pages"), []byte("good"), 1))
		_, err := r.Range([]byte("pages"), 0, 10)
		require.NoError(t, err)
	}
	v.says("found a client that took")
	deaf.Wait()
	require.Eventually(t, func() bool { // this client too may be slower than the patience of the server
		rows, err := v.reader(nil).Range([]byte("many"), 0, math.MaxUint64)
		return err == nil && len(rows) == 20_000
	}, 60*time.Second, time.Millisecond)
}

// A client that takes each piece of a large answer within the patience of the server, but less over all
// than it must, is disconnected.
func TestSlowReader(t *testing.T) {
	v := serving(t, Options{Patience: time.Second, Rate: 1 << 30})
	set := counter.Open(v.store, "many")
	var all []counter.Count
	for i := range 20_000 {
		all = append(all, counter.Count{Key: fmt.Append(nil, i), N: 1})
	}
	require.NoError(t, set.AddMany(all))
	ask, err := byDefault.AppendRequest(nil, []byte("many"), 0, math.MaxUint64)
	require.NoError(t, err)
	c := v.raw(v.rows)
	_, err = c.Write(ask)
	require.NoError(t, err)
	b := make([]byte, workBytes)
	n := 0
	for size := wire.NumberSize + len(all)*byDefault.RowSize(); ; time.Sleep(50 * time.Millisecond) {
		m, err := io.ReadFull(c, b)
		n += m
		require.Less(t, n, size, "the slow client was served")
		if err != nil {
			break
		}
	}
	v.says("found a client that took")
}

// An increment that overflows is not answered, and closes its connection and no other.
func TestOverflow(t *testing.T) {
	v := serving(t, Options{})
	c := v.raw(v.adds)
	_, err := c.Write(slicesOf(message(t, "pages", "a", 5), message(t, "pages", "b", math.MaxInt64),
		message(t, "pages", "b", 1), message(t, "pages", "c", 1)))
	require.NoError(t, err)
	answers, err := io.ReadAll(c)
	require.NoError(t, err)
	require.Equal(t, "WINWIN", string(answers))
	v.says("found a count of 9223372036854775807, expected one that can be changed by 1")
	set := counter.Open(v.store, "pages")
	n, err := set.Get([]byte("b"))
	require.NoError(t, err)
	require.Equal(t, int64(math.MaxInt64), n)

	// Beside others in one round.
	bad, good := message(t, "pages", "b", 1), v.adder(nil)
	for range 50 {
		c := v.raw(v.adds)
		_, err := c.Write(bad)
		require.NoError(t, err)
		require.NoError(t, good.Send([]byte("pages"), []byte("good"), 1))
		require.NoError(t, good.Flush())
		answers, err := io.ReadAll(c)
		require.NoError(t, err)
		require.Empty(t, answers)
	}
	n, err = set.Get([]byte("good"))
	require.NoError(t, err)
	require.Equal(t, int64(50), n)
	require.NoError(t, set.Check(t.Context()))
}

func slicesOf(all ...[]byte) []byte { return bytes.Join(all, nil) }

// A keyspace that is damaged fails the clients that use it, and no others.
func TestDamagedKeyspace(t *testing.T) {
	v := serving(t, Options{})
	require.NoError(t, v.store.Ordered("counter.counts:bad").Set([]byte("a"), nil))
	var wg sync.WaitGroup
	for i := range 8 {
		a := v.adder(nil)
		wg.Go(func() {
			for range 200 {
				if err := a.Add([]byte("good"), []byte("a"), 1); err != nil {
					t.Error(i, err)
					return
				}
			}
		})
	}
	for range 50 {
		require.ErrorIs(t, v.adder(nil).Add([]byte("bad"), []byte("a"), 1), io.ErrUnexpectedEOF)
	}
	wg.Wait()
	n, err := counter.Open(v.store, "good").Get([]byte("a"))
	require.NoError(t, err)
	require.Equal(t, int64(1600), n)
	v.says("a map of another kind")
}

// Rows that the protocol cannot give close the connection.
func TestRowsThatDoNotFit(t *testing.T) {
	v := serving(t, Options{})
	for i, key := range []string{strings.Repeat("k", 257), "a\x00"} {
		keyspace := fmt.Sprint("ks", i)
		_, err := counter.Open(v.store, keyspace).Add([]byte(key), 1)
		require.NoError(t, err)
		_, err = v.reader(nil).Range([]byte(keyspace), 0, 1)
		require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	}
	v.says("of 257 bytes, expected at most 256")
	v.says("which ends with a NUL")
}

// Names that a message cannot have are refused by the client, and nothing is sent.
func TestClientRefuses(t *testing.T) {
	v := serving(t, Options{})
	a := v.adder(nil)
	require.ErrorContains(t, a.Add(nil, make([]byte, 257), 1), "of 257 bytes, expected at most 256")
	require.ErrorContains(t, a.Add([]byte("a\x00"), nil, 1), "ends with a NUL")
	require.NoError(t, a.Add(nil, nil, 1)) // empty names
	rows, err := v.reader(nil).Range(nil, 0, 2)
	require.NoError(t, err)
	require.Equal(t, []countclient.Count{{Key: []byte{}, N: 1}}, rows)
}

// More connections than are allowed are closed, and those before work.
func TestMaxConns(t *testing.T) {
	v := serving(t, Options{MaxConns: 2})
	a, b := v.adder(nil), v.adder(nil)
	require.NoError(t, a.Add(nil, nil, 1))
	require.NoError(t, b.Add(nil, nil, 1))
	require.Error(t, v.adder(nil).Add(nil, nil, 1))
	require.NoError(t, a.Add(nil, nil, 1))
	v.says("found 2 connections, expected fewer")
	require.NoError(t, a.Close())
	require.Eventually(t, func() bool { return v.adder(nil).Add(nil, nil, 1) == nil }, 30*time.Second, time.Millisecond)
}

// In a full store increments are not answered and do not count, and the server goes on.
func TestFullStore(t *testing.T) {
	dir := t.TempDir()
	s, err := shm.Open(dir, &shm.Options{MaxSize: 1 << 20, Checkpoint: shm.OnSync()})
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	v := serving(t, Options{Store: s})
	a, answered := v.adder(nil), 0
	for ; answered < 100_000; answered++ {
		if err = a.Add([]byte("pages"), fmt.Append(nil, answered), 1); err != nil {
			break
		}
	}
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	v.says("full")
	set := counter.Open(s, "pages")
	require.Equal(t, answered, set.Len())
	_, err = set.Drop()
	require.NoError(t, err)
	require.Eventually(t, func() bool { return v.adder(nil).Add(nil, nil, 1) == nil }, 30*time.Second, time.Millisecond)
	require.NoError(t, v.Shutdown(t.Context()))
}

// Shutdown answers what has arrived, whether or not its connections are idle or deaf.
func TestShutdown(t *testing.T) {
	v := serving(t, Options{})
	v.adder(nil)
	c := v.raw(v.adds)
	_, err := c.Write(message(t, "pages", "a", 1)) // so that it is accepted
	require.NoError(t, err)
	wins(t, c, 1)
	sent := 300
	_, err = c.Write(bytes.Repeat(message(t, "pages", "a", 1), sent))
	require.NoError(t, err)
	_, err = c.Write([]byte("half"))
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	require.NoError(t, v.Shutdown(ctx))
	answers, err := io.ReadAll(c)
	require.NoError(t, err)
	require.Equal(t, strings.Repeat("WIN", sent), string(answers))
	require.NoError(t, v.Shutdown(ctx))

	w := serving(t, Options{})
	deaf := w.raw(w.adds)
	require.NoError(t, deaf.SetDeadline(time.Time{}))
	go func() {
		for burst := bytes.Repeat(message(t, "pages", "a", 1), 1000); ; {
			if _, err := deaf.Write(burst); err != nil {
				return
			}
		}
	}()
	set := counter.Open(w.store, "pages")
	require.Eventually(t, func() bool { n, _ := set.Get([]byte("a")); return n > 1000 }, 30*time.Second, time.Millisecond)
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := w.Shutdown(short); err != nil { // unless it was not deaf yet
		require.ErrorIs(t, err, context.DeadlineExceeded)
	}
}

// Whatever is sent, a server stays up and the counters stay in step.
func FuzzServer(f *testing.F) {
	f.Add([]byte("a"))
	f.Add(bytes.Repeat([]byte{0xff}, 1000))
	f.Add(make([]byte, 520))
	v := serving(f, Options{KeyspaceBytes: 3, KeyBytes: 2})
	a := v.adder(&countclient.Options{KeyspaceBytes: 3, KeyBytes: 2})
	f.Fuzz(func(t *testing.T, sent []byte) {
		for _, path := range []string{v.adds, v.rows} {
			c, err := net.Dial("unix", path)
			require.NoError(t, err)
			_, err = c.Write(sent)
			require.NoError(t, err)
			require.NoError(t, c.(*net.UnixConn).CloseWrite())
			answer, err := io.ReadAll(c)
			require.NoError(t, err)
			if path == v.rows && len(sent) >= 19 {
				require.GreaterOrEqual(t, len(answer), 8)
				require.LessOrEqual(t, binary.LittleEndian.Uint64(answer), uint64(1<<20))
			}
			require.NoError(t, c.Close())
		}
		require.NoError(t, a.Add([]byte("abc"), []byte("a"), 1))
	})
}
