//go:build !race

package count

import (
	"net"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

// Idle connections have no buffers, also when they have sent something before, and half of a
// message.
func TestIdleMemory(t *testing.T) {
	v := serving(t, Options{})
	used := func() uint64 {
		runtime.GC()
		runtime.GC() // for what is in pools
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapInuse + m.StackInuse
	}
	m := message(t, "pages", "a", 1)
	conns := make([]net.Conn, 500)
	before := used()
	for i := range conns {
		conns[i] = v.raw(v.adds)
		_, err := conns[i].Write(m)
		require.NoError(t, err)
		wins(t, conns[i], 1)
		_, err = conns[i].Write(m[:300])
		require.NoError(t, err)
	}
	after := used()
	each := (after - min(before, after)) / uint64(len(conns))
	t.Logf("%d bytes a connection, with that of the client", each)
	require.Less(t, each, uint64(24<<10))
}
