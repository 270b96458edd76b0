// The race detector sees nothing of a mapping, and slows processes down.

//go:build !race

package shm

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/seed-869cc763/shmkv/internal/testdir"
)

// The soak test: processes of several goroutines, some with two handles, work on
// one store, are killed, stopped and continued at random, and write down every
// operation: its invocation before, its response after. The parent proves that
// each key's history is linearizable. Operations on several keys are one entry
// in each key's history; that they are whole is seen by invariants: the sum of
// the accounts is constant, the two halves of a pair agree, a snapshot does not
// change. At first the file system is full, for a third of the time: what is refused
// then must not have happened.
//
// To keep histories short, keys are of an epoch, a fraction of a second; so a
// stopped process comes back to keys that everybody else has left.
const (
	soakChildren = 4
	soakKeys     = 5
	soakEpoch    = 250 * time.Millisecond
	soakLife     = 3 * time.Second // of a child at most
	soakAccounts = 12
	soakMoney    = 1000 // in each account at first
	soakPairs    = 8
)

// A record of a log is one operation on one key.
const (
	recState = iota // recNone, recBegun, recDone, recRefused
	recOp
	recKey // epoch*soakKeys + key
	recCall
	recReturn
	recNew  // id of the value written, 0 = absent
	recOld  // id of the value that CompareAndSwap expects
	recSeen // id of the value that was seen
	recFlag // what a bool result was
	recWords

	recordsPerLog = 30000
)

const (
	recNone = iota
	recBegun
	recDone
	recRefused
)

// The operations, as a history has them.
const (
	opGet = iota
	opHas
	opSet
	opDelete
	opSwap
	opCAS
	opCount
)

var opNames = [...]string{"get", "has", "set", "delete", "swap", "compare-and-swap"}

// soakLog is one goroutine's log. It lies in shared memory, so what is written
// is safe from the death of its writer at once.
type soakLog struct {
	*board
	n int // records
}

func (l *soakLog) full() bool { return l.n > recordsPerLog-16 }

// begin writes an invocation and returns the record.
func (l *soakLog) begin(op, key int, new, old uint64) int {
	r := l.n * recWords
	l.n++
	for i, v := range [...]uint64{recOp: uint64(op), recKey: uint64(key), recCall: uint64(clock()), recNew: new, recOld: old} {
		if i != recState {
			l.set(r+i, v)
		}
	}
	l.set(r+recState, recBegun)
	return r
}

// done writes the response.
func (l *soakLog) done(r int, seen uint64, flag bool) {
	l.set(r+recReturn, uint64(clock()))
	l.set(r+recSeen, seen)
	if flag {
		l.set(r+recFlag, 1)
	}
	l.set(r+recState, recDone)
}

// refused writes that there was no space for the operations.
func (l *soakLog) refused(err error, recs ...int) bool {
	if !errors.Is(err, ErrFull) {
		must(err)
		return false
	}
	for _, r := range recs {
		l.set(r+recState, recRefused)
	}
	return true
}

// soaker is one goroutine of a child.
type soaker struct {
	s     *Store
	log   *soakLog
	rnd   *rand.Rand
	start int64 // of the round
	next  uint64
	round string
	last  map[int]uint64 // value last seen of a key, to expect in CompareAndSwap

	held      *Snapshot
	heldUntil int64
	heldSeen  map[string]uint64
}

func init() {
	children["soak"] = func() {
		path, start, until := setting("PATH"), settingInt("START"), settingInt("UNTIL")
		until = min(until, clock()+int64(soakLife))
		rnd := rand.New(rand.NewPCG(uint64(settingInt("SEED")), 1))
		stores := []*Store{mustOpen(path, nil)}
		if rnd.IntN(3) == 0 {
			stores = append(stores, mustOpen(path, nil))
		}
		n := int(settingInt("GOROUTINES"))
		id := uint64(settingInt("ID"))
		goAll(n, func(i int) {
			b, err := openBoard(fmt.Sprintf("%s-%d", setting("LOG"), i))
			must(err)
			w := soaker{
				s:     stores[i%len(stores)],
				log:   &soakLog{board: b},
				rnd:   rand.New(rand.NewPCG(uint64(settingInt("SEED")), uint64(i)+2)),
				start: start, round: setting("ROUND"),
				next: id<<32 | uint64(i)<<24,
				last: map[int]uint64{},
			}
			for clock() < until && !w.log.full() {
				for range 100 {
					if w.rnd.IntN(8) == 0 {
						w.loggedStep()
					} else {
						w.otherStep()
					}
				}
				time.Sleep(time.Duration(w.rnd.IntN(2000)) * time.Microsecond)
			}
			w.letGo()
		})
		for _, s := range stores {
			must(s.Close())
		}
	}
}

func (w *soaker) newID() uint64 { w.next++; return w.next }

func (w *soaker) key() int {
	return int((clock()-w.start)/int64(soakEpoch))*soakKeys + w.rnd.IntN(soakKeys)
}

func (w *soaker) name(key int) []byte {
	return fmt.Appendf(nil, "%s/%d/%d", w.round, key/soakKeys, key%soakKeys)
}

// value is of a size that follows from its id: mostly small, sometimes of
// several pages.
func soakValue(id uint64) []byte {
	n := int(id*2654435761>>8) % 300
	if id%61 == 0 {
		n += 40 << 10
	}
	return testValue(id, n)
}

func (w *soaker) id(v []byte, err error) uint64 {
	if errors.Is(err, ErrNotFound) {
		return 0
	}
	must(err)
	id, ok := valueID(v)
	if !ok || len(v) != len(soakValue(id)) {
		failChild("read a value of %d bytes that nobody wrote, of id %#x", len(v), id)
	}
	return id
}

// loggedStep does one operation on a key with a history.
func (w *soaker) loggedStep() {
	k := w.key()
	name := w.name(k)
	switch w.rnd.IntN(15) {
	case 0, 1, 2:
		r := w.log.begin(opGet, k, 0, 0)
		id := w.id(w.s.Get(name))
		w.log.done(r, id, false)
		w.last[k] = id
	case 3:
		r := w.log.begin(opHas, k, 0, 0)
		has, err := w.s.Has(name)
		must(err)
		w.log.done(r, 0, has)
	case 4, 5, 6:
		id := w.newID()
		r := w.log.begin(opSet, k, id, 0)
		if !w.log.refused(w.s.Set(name, soakValue(id)), r) {
			w.log.done(r, 0, false)
		}
	case 7:
		r := w.log.begin(opDelete, k, 0, 0)
		if existed, err := w.s.Delete(name); !w.log.refused(err, r) {
			w.log.done(r, 0, existed)
		}
	case 8:
		id := w.newID()
		if w.rnd.IntN(5) == 0 {
			id = 0
		}
		r := w.log.begin(opSwap, k, id, 0)
		old, existed, err := w.s.Swap(name, valueOrNil(id))
		if w.log.refused(err, r) {
			return
		}
		if !existed {
			err = ErrNotFound
		}
		seen := w.id(old, err)
		w.log.done(r, seen, false)
	case 9, 10:
		id, old := w.newID(), w.last[k]
		if w.rnd.IntN(5) == 0 {
			id = 0
		}
		r := w.log.begin(opCAS, k, id, old)
		swapped, err := w.s.CompareAndSwap(name, valueOrNil(old), valueOrNil(id))
		if w.log.refused(err, r) {
			return
		}
		w.log.done(r, 0, swapped)
		if swapped {
			w.last[k] = id
		}
	case 11, 12:
		w.modify(k, name)
	case 13:
		w.update(k)
	case 14:
		w.view(k)
	}
}

// otherStep does something that the invariants see.
func (w *soaker) otherStep() {
	switch w.rnd.IntN(16) {
	case 0, 1, 2, 3, 4, 5:
		w.transfer()
	case 6, 7, 8, 9:
		w.writePair()
	case 10:
		must(w.s.View(w.checkInvariants))
	case 11, 12:
		w.sumInUpdate()
	case 13, 14:
		w.sumInGetMany()
	case 15:
		w.hold()
	}
}

func valueOrNil(id uint64) []byte {
	if id == 0 {
		return nil
	}
	return soakValue(id)
}

// modify is a swap that sees the old value in between.
func (w *soaker) modify(k int, name []byte) {
	id := w.newID()
	r := w.log.begin(opSwap, k, id, 0)
	var seen uint64
	err := w.s.Modify(name, func(old []byte, exists bool) ([]byte, bool) {
		seen = 0
		if exists {
			seen = w.id(old, nil)
		}
		return soakValue(id), true
	})
	if !w.log.refused(err, r) {
		w.log.done(r, seen, false)
	}
}

// update swaps several keys of an epoch in one transaction.
func (w *soaker) update(k int) {
	var recs, keys []int
	var ids []uint64
	for i := range 2 + w.rnd.IntN(soakKeys-1) {
		key := k/soakKeys*soakKeys + (k+i)%soakKeys
		keys = append(keys, key)
		ids = append(ids, w.newID())
	}
	for i, key := range keys {
		recs = append(recs, w.log.begin(opSwap, key, ids[i], 0))
	}
	seen := make([]uint64, len(keys))
	err := w.s.Update(func(tx *Tx) error {
		for i, key := range keys {
			seen[i] = w.id(tx.Get(w.name(key)))
			if err := tx.Set(w.name(key), soakValue(ids[i])); err != nil {
				return err
			}
		}
		return nil
	})
	if w.log.refused(err, recs...) {
		return
	}
	for i, r := range recs {
		w.log.done(r, seen[i], false)
	}
}

// view reads all keys of an epoch in one snapshot.
func (w *soaker) view(k int) {
	var recs []int
	for i := range soakKeys {
		recs = append(recs, w.log.begin(opGet, k/soakKeys*soakKeys+i, 0, 0))
	}
	must(w.s.View(func(sn *Snapshot) error {
		for i, r := range recs {
			w.log.done(r, w.id(sn.Get(w.name(k/soakKeys*soakKeys+i))), false)
		}
		return nil
	}))
}

func account(i int) []byte { return fmt.Appendf(nil, "account/%d", i) }

func half(side string, i int) []byte { return fmt.Appendf(nil, "pair/%s/%d", side, i) }

func amount(v []byte) int64 { return int64(binary.LittleEndian.Uint64(v)) }

// transfer moves money between two to four accounts.
func (w *soaker) transfer() {
	n := 2 + w.rnd.IntN(3)
	order := w.rnd.Perm(soakAccounts)[:n]
	sum := w.rnd.Int64N(100)
	w.log.refused(w.s.Update(func(tx *Tx) error {
		for i, a := range order {
			v, err := tx.Get(account(a))
			if err != nil {
				return err
			}
			change := sum
			if i == 0 {
				change = -sum * int64(n-1)
			}
			// The length varies, so that blocks of many sizes are replaced.
			next := make([]byte, 8+w.rnd.IntN(100))
			binary.LittleEndian.PutUint64(next, uint64(amount(v)+change))
			if err := tx.Set(account(a), next); err != nil {
				return err
			}
		}
		return nil
	}))
}

func (w *soaker) writePair() {
	i, id := w.rnd.IntN(soakPairs), w.newID()
	w.log.refused(w.s.Update(func(tx *Tx) error {
		if id%7 == 0 {
			_, err := tx.Delete(half("a", i))
			if err == nil {
				_, err = tx.Delete(half("b", i))
			}
			return err
		}
		if err := tx.Set(half("a", i), soakValue(id)); err != nil {
			return err
		}
		return tx.Set(half("b", i), soakValue(id))
	}))
}

func (w *soaker) checkSum(sum int64, how string) {
	if sum != soakAccounts*soakMoney {
		failChild("the sum of the accounts is %d by %s, expected %d", sum, how, soakAccounts*soakMoney)
	}
}

func (w *soaker) checkInvariants(sn *Snapshot) error {
	sum := int64(0)
	for i := range soakAccounts {
		v, err := sn.Get(account(i))
		must(err)
		sum += amount(v)
	}
	w.checkSum(sum, fmt.Sprintf("a view of version %d", sn.Version()))
	for i := range soakPairs {
		if a, b := w.id(sn.Get(half("a", i))), w.id(sn.Get(half("b", i))); a != b {
			failChild("the halves of pair %d are %#x and %#x in version %d", i, a, b, sn.Version())
		}
	}
	n := 0
	for range sn.All() {
		n++
	}
	if n != sn.Len() {
		failChild("All gives %d entries, Len %d, in version %d", n, sn.Len(), sn.Version())
	}
	return nil
}

func (w *soaker) sumInUpdate() {
	sum := int64(0)
	if !w.log.refused(w.s.Update(func(tx *Tx) error {
		sum = 0
		for i := range soakAccounts {
			v, err := tx.Get(account(i))
			if err != nil {
				return err
			}
			sum += amount(v)
		}
		return nil
	})) {
		w.checkSum(sum, "an update")
	}
}

func (w *soaker) sumInGetMany() {
	var keys [][]byte
	for i := range soakAccounts {
		keys = append(keys, account(i))
	}
	sum := int64(0)
	must(w.s.GetMany(keys, func(_ int, v []byte, ok bool) {
		if ok {
			sum += amount(v)
		}
	}))
	w.checkSum(sum, "GetMany")
}

// hold takes a snapshot and notes what is in it, or, when the time has come,
// proves that nothing in it has changed.
func (w *soaker) hold() {
	if w.held != nil {
		if clock() > w.heldUntil {
			w.letGo()
		}
		return
	}
	var err error
	w.held, err = w.s.Snapshot()
	must(err)
	w.heldUntil = clock() + w.rnd.Int64N(int64(700*time.Millisecond))
	w.heldSeen = w.contents(w.held)
}

func (w *soaker) contents(sn *Snapshot) map[string]uint64 {
	all := map[string]uint64{}
	for key, v := range sn.All() {
		if strings.HasPrefix(string(key), "account/") {
			all[string(key)] = uint64(amount(v))
		} else {
			all[string(key)] = w.id(v, nil)
		}
	}
	return all
}

func (w *soaker) letGo() {
	if w.held == nil {
		return
	}
	now := w.contents(w.held)
	if len(now) != len(w.heldSeen) {
		failChild("a snapshot of version %d had %d entries, and has %d now", w.held.Version(), len(w.heldSeen), len(now))
	}
	for key, id := range w.heldSeen {
		if now[key] != id {
			failChild("key %q was %#x in a snapshot of version %d, and is %#x now", key, id, w.held.Version(), now[key])
		}
	}
	must(w.checkInvariants(w.held))
	must(w.held.Close())
	w.held = nil
}

// record is one entry of a history.
type record struct {
	op        int
	new, old  uint64
	seen      uint64
	flag      bool
	unknown   bool // killed before its response
	call, ret int64
}

// keyModel is what one key does. An operation without a response may have taken
// effect at any time after its invocation; if it did not, it is as well to say
// that it did after all others.
var keyModel = porcupine.Model{
	Init: func() any { return uint64(0) },
	Step: func(state, input, _ any) (bool, any) {
		id, r := state.(uint64), input.(*record)
		switch r.op {
		case opGet:
			return r.seen == id, id
		case opHas:
			return r.flag == (id != 0), id
		case opSet:
			return true, r.new
		case opDelete:
			return r.unknown || r.flag == (id != 0), uint64(0)
		case opSwap:
			return r.unknown || r.seen == id, r.new
		}
		if id == r.old {
			return r.unknown || r.flag, r.new
		}
		return r.unknown || !r.flag, id
	},
	DescribeOperation: func(input, _ any) string {
		r := input.(*record)
		return fmt.Sprintf("%s new %#x old %#x seen %#x %v unknown %v", opNames[r.op], r.new, r.old, r.seen, r.flag, r.unknown)
	},
}

// readLog adds a log's records to the histories, by key.
func readLog(t *testing.T, path string, client int, histories map[int][]porcupine.Operation) (records, unknown, refused int) {
	b, err := openBoard(path)
	require.NoError(t, err)
	defer func() { _ = syscall.Munmap(b.raw) }()
	for n := range recordsPerLog {
		w := func(i int) uint64 { return b.get(n*recWords + i) }
		state := w(recState)
		if state == recNone {
			// Several may have been begun together, so nothing follows.
			break
		}
		if state == recRefused {
			refused++
			continue
		}
		r := &record{op: int(w(recOp)), new: w(recNew), old: w(recOld), seen: w(recSeen), flag: w(recFlag) != 0,
			call: int64(w(recCall)), ret: int64(w(recReturn)), unknown: state != recDone}
		require.Less(t, r.op, opCount)
		records++
		if r.unknown {
			if r.op == opGet || r.op == opHas {
				continue
			}
			unknown++
			r.ret = math.MaxInt64
		}
		key := int(w(recKey))
		histories[key] = append(histories[key], porcupine.Operation{ClientId: client, Input: r, Call: r.call, Return: r.ret})
	}
	return records, unknown, refused
}

// soakRound is one stretch of the soak test.
type soakRound struct {
	t     *testing.T
	rnd   *rand.Rand
	dir   string
	disk  string // a small file system of the test's own, if not empty
	path  string
	name  string
	start int64
	until int64

	logs  []string
	all   []*child
	alive []*child
	count struct{ started, killed, stopped, checks int }
}

func (r *soakRound) startOne() {
	id := len(r.all) + 1
	log := filepath.Join(r.dir, fmt.Sprintf("%s-log-%d", r.name, id))
	n := 2 + r.rnd.IntN(3)
	for i := range n {
		path := fmt.Sprintf("%s-%d", log, i)
		require.NoError(r.t, os.WriteFile(path, nil, 0o600))
		require.NoError(r.t, os.Truncate(path, recordsPerLog*recWords*8))
		r.logs = append(r.logs, path)
	}
	c := startChild(r.t, "soak", settings{"PATH": r.path, "START": fmt.Sprint(r.start), "UNTIL": fmt.Sprint(r.until),
		"SEED": fmt.Sprint(r.rnd.Int64()), "GOROUTINES": fmt.Sprint(n), "ID": fmt.Sprint(id), "LOG": log, "ROUND": r.name})
	r.count.started++
	r.all, r.alive = append(r.all, c), append(r.alive, c)
}

// chaos kills and stops children until the time is up.
func (r *soakRound) chaos() {
	watch, err := Open(r.path, nil)
	require.NoError(r.t, err)
	defer func() { require.NoError(r.t, watch.Close()) }()
	var letGo func()
	for clock() < r.until {
		switch third := 3 * (clock() - r.start) / (r.until - r.start); {
		case third == 0 && letGo == nil:
			letGo = r.hog(watch)
		case third == 1 && letGo != nil:
			letGo()
			letGo = nil
		}
		r.alive = slices.DeleteFunc(r.alive, func(c *child) bool {
			select {
			case <-c.done:
				c.wait(r.t)
				return true
			default:
				return false
			}
		})
		for len(r.alive) < soakChildren {
			r.startOne()
		}
		time.Sleep(time.Duration(10+r.rnd.IntN(60)) * time.Millisecond)
		c := r.alive[r.rnd.IntN(len(r.alive))]
		switch r.rnd.IntN(4) {
		case 0, 1:
			r.count.killed++
			c.kill(r.t)
		case 2:
			r.count.stopped++
			c.signal(syscall.SIGSTOP)
			time.Sleep(time.Duration(r.rnd.IntN(150)) * time.Millisecond)
			if r.rnd.IntN(2) == 0 {
				r.check(watch)
			}
			if r.rnd.IntN(3) == 0 {
				c.kill(r.t)
			} else {
				c.signal(syscall.SIGCONT)
			}
		case 3:
			r.check(watch)
		}
	}
	for _, c := range r.alive {
		c.wait(r.t)
	}
	if letGo != nil {
		letGo()
	}
}

// hog takes all the space that is left, until it is let go: of the file system, if
// that is the test's own, else of the store.
func (r *soakRound) hog(watch *Store) (letGo func()) {
	if r.disk != "" {
		f, err := os.Create(filepath.Join(r.disk, "hog"))
		require.NoError(r.t, err)
		for b := make([]byte, 4096); err == nil; {
			_, err = f.Write(b)
		}
		require.ErrorIs(r.t, err, syscall.ENOSPC)
		return func() {
			require.NoError(r.t, f.Close())
			require.NoError(r.t, os.Remove(f.Name()))
		}
	}
	n, err := uint64(0), error(nil)
	for ; err == nil; n++ {
		err = watch.Set(fmt.Appendf(nil, "hog/%d", n), soakValue(61*n))
	}
	require.ErrorIs(r.t, err, ErrFull)
	return func() {
		for i := range n {
			_, err := watch.Delete(fmt.Appendf(nil, "hog/%d", i))
			require.NoError(r.t, err)
		}
	}
}

// check checks the store while others write or are stopped in the middle of it.
func (r *soakRound) check(watch *Store) {
	r.count.checks++
	rep, err := watch.Check(context.Background(), nil)
	if err != nil {
		r.t.Fatalf("Check, while others write: %v %+v", err, rep)
	}
}

// judge proves that every key's history is linearizable.
func (r *soakRound) judge() {
	histories := map[int][]porcupine.Operation{}
	records, unknown, refused := 0, 0, 0
	for i, log := range r.logs {
		n, u, f := readLog(r.t, log, i, histories)
		records, unknown, refused = records+n, unknown+u, refused+f
		require.NoError(r.t, os.Remove(log))
	}
	undecided, longest := 0, 0
	begin := time.Now()
	for key, h := range histories {
		longest = max(longest, len(h))
		left := max(40*time.Second-time.Since(begin), time.Millisecond)
		switch porcupine.CheckOperationsTimeout(keyModel, h, min(left, 10*time.Second)) {
		case porcupine.Illegal:
			r.t.Errorf("the history of key %d of epoch %d is not linearizable (%d operations)%s",
				key%soakKeys, key/soakKeys, len(h), describe(h))
		case porcupine.Unknown:
			undecided++
		}
	}
	r.t.Logf("%s: %d children, %d killed, %d stopped, %d checks; %d operations, %d without response, %d refused for want of space, on %d keys, at most %d on one; judged in %v",
		r.name, r.count.started, r.count.killed, r.count.stopped, r.count.checks, records, unknown, refused, len(histories), longest, time.Since(begin).Round(time.Millisecond))
	if undecided > 0 {
		r.t.Logf("%d histories were too long to judge", undecided)
	}
	require.Less(r.t, undecided, len(histories)/2+1, "histories that were too long to judge")
	require.NotZero(r.t, records)
}

// describe shows the end of the longest part of a history that is linearizable,
// and what follows.
func describe(h []porcupine.Operation) string {
	slices.SortFunc(h, func(a, b porcupine.Operation) int { return int(a.Call - b.Call) })
	// The shortest prefix, by time, that is illegal.
	lo, hi := 0, len(h)
	for lo < hi {
		mid := (lo + hi) / 2
		if porcupine.CheckOperationsTimeout(keyModel, cut(h, mid), 5*time.Second) == porcupine.Illegal {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	var b strings.Builder
	h = cut(h, lo)
	for _, op := range h[max(0, len(h)-40):] {
		r := op.Input.(*record)
		fmt.Fprintf(&b, "\n  %d..%d client %d: %s", op.Call, op.Return, op.ClientId, keyModel.DescribeOperation(r, nil))
	}
	return b.String()
}

// cut returns the first n operations by their invocation. What had not returned
// by then may have done anything.
func cut(h []porcupine.Operation, n int) []porcupine.Operation {
	if n >= len(h) {
		return h
	}
	end := h[n].Call
	var part []porcupine.Operation
	for _, op := range h[:n] {
		r := *op.Input.(*record)
		if op.Return >= end {
			r.unknown = true
			if r.op == opGet || r.op == opHas {
				continue
			}
			op.Return = math.MaxInt64
		}
		op.Input = &r
		part = append(part, op)
	}
	return part
}

func TestSoak(t *testing.T) {
	rnd := newRand(t)
	dir, disk, path := testdir.Memory(t), t.TempDir(), ""
	space := int64(3+rnd.IntN(26)) << 19 // from 1.5 to 14 MiB
	if err := unix.Mount("shmkv-test", disk, "tmpfs", 0, fmt.Sprint("size=", space)); err == nil {
		t.Cleanup(func() { _ = unix.Unmount(disk, unix.MNT_DETACH) })
		path = filepath.Join(disk, "store")
	} else {
		disk, path = "", filepath.Join(dir, "store")
	}
	s, err := Open(path, &Options{MaxSize: space})
	require.NoError(t, err)
	for i := range soakAccounts {
		require.NoError(t, s.Set(account(i), binary.LittleEndian.AppendUint64(nil, soakMoney)))
	}
	require.NoError(t, s.Close())
	for left, n := *soakFlag, 0; left > 0 && !t.Failed(); left, n = left-defaultSoak, n+1 {
		start := clock()
		r := &soakRound{t: t, rnd: rnd, dir: dir, disk: disk, path: path, name: fmt.Sprintf("round %d", n),
			start: start, until: start + int64(min(left, defaultSoak))}
		r.chaos()
		r.judge()
		s := openSound(t, path)
		soakClear(t, s)
		checkSound(t, s)
		require.NoError(t, s.Close())
	}
	checkFresh(t, path)
}

// soakClear deletes the keys of a round.
func soakClear(t *testing.T, s *Store) {
	require.NoError(t, s.Update(func(tx *Tx) error {
		for key := range tx.All() {
			if strings.HasPrefix(string(key), "round ") {
				if _, err := tx.Delete(append([]byte{}, key...)); err != nil {
					return err
				}
			}
		}
		return nil
	}))
}
