package record

import (
	"context"
	"errors"
	"iter"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// manyRecords is the same sequence each time, of records that refer to earlier and later ones, some of
// them twice.
func manyRecords(n int) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		rnd := rand.New(rand.NewPCG(1, 2))
		for i := range n {
			id := ID(i)
			if i > 0 && rnd.IntN(10) == 0 {
				id = ID(rnd.IntN(i))
			}
			r := Record{ID: id, Data: make([]byte, rnd.IntN(50))}
			for range rnd.IntN(4) {
				r.Refs = append(r.Refs, ID(rnd.IntN(n)))
			}
			if !yield(r, nil) {
				return
			}
		}
	}
}

func lastOf(t testing.TB, all iter.Seq2[Record, error]) map[ID]Record {
	m := map[ID]Record{}
	for r, err := range all {
		require.NoError(t, err)
		m[r.ID] = r
	}
	return m
}

// An import that is interrupted at any commit, and run again, has all records, and no collection takes
// one in between.
func TestImport(t *testing.T) {
	const n = 5000
	want := lastOf(t, manyRecords(n))
	for stop := range 6 {
		st := open(t, t.TempDir(), nil)
		ctx, cancel := context.WithCancel(t.Context())
		commits := 0
		done, err := st.Import(ctx, manyRecords(n), &ImportOptions{Progress: func(int64) {
			if commits++; commits == stop {
				cancel()
			}
		}})
		if stop > 0 {
			require.ErrorIs(t, err, context.Canceled)
			_, err = st.Session()
			require.ErrorIs(t, err, ErrImporting)
			_, err = st.Pack(t.Context())
			require.ErrorIs(t, err, ErrImporting)
			other := open(t, st.Store().Path(), nil)
			_, err = other.Import(t.Context(), manyRecords(n), nil)
			require.ErrorIs(t, err, ErrImporting, "the handle that has begun lives")
			done, err = st.Import(t.Context(), manyRecords(n), nil)
		}
		require.NoError(t, err)
		require.Equal(t, int64(n), done.Records)
		require.Equal(t, want, lastOf(t, st.All()))
		require.NoError(t, st.Check(t.Context()))
		s := session(t, st)
		require.NotContains(t, want, ids(t, s, 1)[0])
		_, err = st.Import(t.Context(), manyRecords(n), nil)
		require.Error(t, err, "it is not empty")

		// What the root leads to stays.
		keep, todo := map[ID]bool{}, []ID{0}
		for len(todo) > 0 {
			id := todo[0]
			todo = todo[1:]
			if r, there := want[id]; there && !keep[id] {
				keep[id] = true
				todo = append(todo, r.Refs...)
			}
		}
		packs(t, st, len(want)-len(keep))
		cancel()
	}
}

// All records of one storage are those of another one that has imported them.
func TestImportFromAnother(t *testing.T) {
	a, b := open(t, t.TempDir(), nil), open(t, t.TempDir(), nil)
	_, err := a.Import(t.Context(), manyRecords(500), nil)
	require.NoError(t, err)
	_, err = b.Import(t.Context(), a.All(), nil)
	require.NoError(t, err)
	require.Equal(t, lastOf(t, a.All()), lastOf(t, b.All()))
	require.NoError(t, b.Check(t.Context()))
}

func TestImportErrors(t *testing.T) {
	st := open(t, t.TempDir(), nil)
	broken := errors.New("broken")
	_, err := st.Import(t.Context(), func(yield func(Record, error) bool) { yield(Record{}, broken) }, nil)
	require.ErrorIs(t, err, broken)
	_, err = st.Import(t.Context(), func(yield func(Record, error) bool) { yield(Record{ID: ^ID(0)}, nil) }, nil)
	require.Error(t, err)
	_, err = st.Import(t.Context(), manyRecords(3), nil)
	require.NoError(t, err)
	used := open(t, t.TempDir(), nil)
	session(t, used)
	_, err = used.Import(t.Context(), manyRecords(3), nil)
	require.ErrorContains(t, err, "found sessions")
}
