package memcache

import (
	"io"
	"testing"

	"github.com/stretchr/testify/require"
)

// An append makes a new item: it is not stale any more.
func TestAppendClearsMarks(t *testing.T) {
	_, path := serve(t, Options{})
	nc := dial(t, path)
	for _, change := range []string{"append a 0 0 1 noreply\r\nx\r\n", "ms a 1 MA q\r\nx\r\n", ""} {
		ask(t, nc, "set a 0 0 1\r\na")
		ask(t, nc, "md a I")
		require.Equal(t, []string{"HD s1 X W"}, ask(t, nc, "mg a s"))
		if change != "" {
			_, err := io.WriteString(nc, change)
			require.NoError(t, err)
		} else {
			b := dial(t, path)
			_, err := b.Write(req{op: opAppend, key: "a", value: "x"}.packet(t, nil, 0))
			require.NoError(t, err)
			g, err := readAnswer(b)
			require.NoError(t, err)
			require.Zero(t, g.status)
		}
		require.Equal(t, []string{"HD s2"}, ask(t, nc, "mg a s"), change)
	}
}
