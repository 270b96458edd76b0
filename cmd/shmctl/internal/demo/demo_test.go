package demo

import (
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/internal/testdir"
	"github.com/seed-869cc763/shmkv/shm"
)

func TestMain(m *testing.M) { os.Exit(testdir.Main(m)) }

// These tests check that the demo detects damage. The tests of shmctl demo check that a
// whole run is sound.

// planned returns a store as two writers with progress p leave it.
func planned(t *testing.T, records []dataRecord, p progress) (*shm.Store, []share) {
	t.Helper()
	s, err := shm.Open(t.TempDir(), nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	shares := []share{{0, 2, len(records)}, {1, 2, len(records)}}
	for _, sh := range shares {
		for pos := range sh.len() {
			setRevision(t, s, records[sh.record(pos)], p.revision(pos))
		}
	}
	return s, shares
}

func setRevision(t *testing.T, s *shm.Store, r dataRecord, revision int) {
	t.Helper()
	if revision == 0 {
		_, err := s.Delete(r.key)
		require.NoError(t, err)
		return
	}
	require.NoError(t, s.Set(r.key, appendRevision(nil, r.value, revision)))
}

func someRecords(n int) (all []dataRecord) {
	for i := range n {
		all = append(all, dataRecord{fmt.Appendf(nil, "key %d", i), fmt.Appendf(nil, "value %d", i)})
	}
	return all
}

func TestVerifyShare(t *testing.T) {
	records := someRecords(601)
	for _, p := range []progress{{1, 0}, {1, cycleRecords}, {2, batchRecords + 7}, {3, 0}} {
		s, shares := planned(t, records, p)
		verify := func() (right int, wrong error) {
			require.NoError(t, s.View(func(sn *shm.Snapshot) error {
				right, wrong = verifyShare(sn, records, shares[1], p)
				return nil
			}))
			return right, wrong
		}
		right, wrong := verify()
		require.NoError(t, wrong)
		require.Equal(t, 300, right)
		for _, pos := range []int{0, p.At, 299} {
			r := records[shares[1].record(pos)]
			setRevision(t, s, r, p.revision(pos)+1)
			right, wrong = verify()
			require.ErrorContains(t, wrong, string(r.key))
			require.Equal(t, 299, right)
			setRevision(t, s, r, p.revision(pos))
		}
	}
}

func TestReaderNotices(t *testing.T) {
	records := someRecords(2 * cycleRecords)
	p := progress{3, batchRecords + 5}
	read := func(s *shm.Store, rounds int, prepare func(r *reader)) error {
		r := reader{s: s, records: records, shares: 2, newest: make([]int, len(records)), rng: newRNG(1)}
		prepare(&r)
		for range rounds {
			if err := r.round(); err != nil {
				return err
			}
		}
		return nil
	}
	nothing := func(*reader) {}
	s, shares := planned(t, records, p)
	require.NoError(t, read(s, 20, nothing))

	at := func(pos int) dataRecord { return records[shares[0].record(pos)] }
	for name, c := range map[string]struct {
		pos, revision int
	}{
		"half a transaction":      {10, 2},
		"a lost write":            {batchRecords + 2, 2},
		"a write before its turn": {batchRecords + 10, 3},
		"a lost record":           {batchRecords + 10, 0},
	} {
		setRevision(t, s, at(c.pos), c.revision)
		require.ErrorContains(t, read(s, 20, nothing), "found revision", name)
		setRevision(t, s, at(c.pos), p.revision(c.pos))
	}
	require.ErrorContains(t, read(s, 20, func(r *reader) { r.newest[7] = 9 }), "after revision 9")
	for _, wrong := range []string{"", "value 1", "value 0", "value 0" + revisionMark + "3", "value 0" + revisionMark + "x\n", "value 0" + revisionMark + "0\n"} {
		require.NoError(t, s.Set(at(0).key, []byte(wrong)))
		require.ErrorContains(t, read(s, 20, nothing), "not its record", "%q", wrong)
	}
}

func TestShare(t *testing.T) {
	for _, n := range []int{1, 2, 99, 100, 101, 119, 120, 121, 1000} {
		seen := map[int]bool{}
		for first := range min(n, 3) {
			s := share{first, min(n, 3), n}
			for at := 0; at < s.len(); {
				end, batch := s.step(at)
				require.True(t, batch || end == at+1)
				for ; at < end; at++ {
					require.False(t, seen[s.record(at)])
					seen[s.record(at)] = true
				}
			}
			end, batch := s.step(s.middleBatch())
			require.True(t, batch)
			require.Greater(t, end, s.middleBatch())
		}
		require.Len(t, seen, n)
	}
}
