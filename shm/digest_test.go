package shm

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/hamt"
	"github.com/seed-869cc763/shmkv/node"
)

// CheckDigest checks that the root node has the digest of all entries.
func CheckDigest(t testing.TB, s *Store) {
	t.Helper()
	require.NoError(t, s.View(func(sn *Snapshot) error {
		p := prover{s: s, r: hamt.NewReader(s.a.Mem(), s.a.Known()), at: sn.pin.Root, visit: func(*target, node.Node) error { return nil }}
		_, err := p.run()
		require.Equal(t, sn.root().digest, p.digest)
		return err
	}))
}
