package alloc

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/alloc/layout"
)

// alive asks whether a handle is alive, and fails the test if there is no answer.
func alive(t *testing.T, a *Arena, h layout.Handle) bool {
	t.Helper()
	ok, err := a.Alive(h)
	require.NoError(t, err)
	return ok
}

// A handle is alive until it is closed or its process dies, whoever asks, and whoever has
// its proc afterwards.
func TestAlive(t *testing.T) {
	h, err := NewHeap(1 << 20)
	require.NoError(t, err)
	asker, _, err := h.Attach(nil)
	require.NoError(t, err)
	require.True(t, alive(t, asker, asker.Handle()))

	closed, _, err := h.Attach(nil)
	require.NoError(t, err)
	require.True(t, alive(t, asker, closed.Handle()))
	require.True(t, alive(t, closed, closed.Handle()))
	require.NotEqual(t, asker.Handle(), closed.Handle())
	require.NoError(t, closed.Close())
	require.False(t, alive(t, asker, closed.Handle()), "it has left")

	killed, kill, err := h.Attach(nil)
	require.NoError(t, err)
	require.Equal(t, closed.proc, killed.proc, "expected a successor in the same proc")
	require.True(t, alive(t, asker, killed.Handle()))
	require.False(t, alive(t, asker, closed.Handle()), "another one has its proc")
	kill()
	require.False(t, alive(t, asker, killed.Handle()), "it is dead and not adopted")

	heir, _, err := h.Attach(nil)
	require.NoError(t, err)
	require.Equal(t, killed.proc, heir.proc)
	require.False(t, alive(t, asker, killed.Handle()), "another one has its proc")
	require.True(t, alive(t, asker, heir.Handle()))
	require.NoError(t, heir.Close())

	for _, none := range []layout.Handle{0, 1<<64 - 1, layout.MakeHandle(layout.MaxProcs, 1),
		layout.MakeHandle(asker.proc, 1), layout.MakeHandle(asker.proc, asker.Handle().Gen()-1), layout.MakeHandle(200, 0)} {
		require.False(t, alive(t, asker, none), "%#x", none)
	}
	require.NoError(t, asker.Close())
}

// Another opening of the same number of handles, under another boot or on a copy, has
// other names.
func TestHandlesOfAnotherBoot(t *testing.T) {
	h, err := NewHeap(1 << 20)
	require.NoError(t, err)
	seen := map[layout.Handle]bool{}
	for range 10 {
		a, kill, err := h.Attach(nil)
		require.NoError(t, err)
		require.Zero(t, a.proc)
		for name := range seen {
			require.False(t, alive(t, a, name))
		}
		require.False(t, seen[a.Handle()])
		seen[a.Handle()] = true
		kill()
		clear(h.slots[layout.OffProcs/8:]) // as after another boot
	}
}
