package record

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/shm"
)

// In a full store a commit returns ErrFull and changes nothing. A collection makes room again, unless
// the records are hardly larger than what is kept of their ids.
func TestFull(t *testing.T) {
	for _, size := range []int{10_000, 1000} {
		st := open(t, t.TempDir(), &Options{Store: shm.Options{MaxSize: 8 << 20}})
		s := session(t, st)
		require.NoError(t, stores(s, rec(0, "root")))
		last := rec(0, "root")
		var err error
		for err == nil {
			var id ID
			if id, err = s.NewID(); err != nil {
				break
			}
			next := rec(0, "root", id)
			if err = stores(s, next, rec(id, string(make([]byte, size)))); err == nil {
				last = next
			}
		}
		require.ErrorIs(t, err, shm.ErrFull)
		require.ErrorContains(t, err, "is kept for collections of garbage")
		loads(t, s, last)
		require.NoError(t, st.Check(t.Context()))
		p, err := st.Pack(t.Context())
		require.NoError(t, err)
		require.Positive(t, p.Collected)
		require.NoError(t, st.Check(t.Context()))
		_, err = s.Sync()
		require.NoError(t, err)
		require.NoError(t, stores(s, rec(0, string(make([]byte, size)))))
	}
}
