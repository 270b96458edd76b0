package region

import (
	"os"
	"path/filepath"
	"runtime/debug"
	"testing"

	"github.com/stretchr/testify/require"
)

// There may be no memory behind the page that follows.
func TestPrefetchStaysOnItsPage(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "page"))
	require.NoError(t, err)
	defer func() { _ = f.Close() }()
	require.NoError(t, f.Truncate(pageSize))
	system := uint64(os.Getpagesize()) // touching beyond the file faults from here on
	m, err := Map(f, 2*system, false)
	require.NoError(t, err)
	defer func() { require.NoError(t, m.Unmap()) }()

	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	require.Panics(t, func() { m.Load(system) })
	for _, off := range []uint64{0, 8, pageSize - 64, pageSize - 8} {
		for delta := uint64(0); delta <= 600; delta += 8 {
			require.NotPanics(t, func() { m.Prefetch(system-pageSize+off, delta) })
		}
	}
}
