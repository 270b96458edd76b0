package memcache

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A client that asks for more prefixes than fit does not make a dump larger than maxDetail. A
// reset makes room for others.
func TestDetailIsBounded(t *testing.T) {
	s, path := serve(t, Options{Detail: true})
	nc := dial(t, path)
	require.NoError(t, nc.SetDeadline(time.Now().Add(20*time.Second)))
	long := strings.Repeat("p", 240)
	r := bufio.NewReader(nc)
	const many = 100
	for i := 0; i < 2*maxDetail/len(long); i += many {
		var b strings.Builder
		for j := range many {
			fmt.Fprintf(&b, "get %s%05d:\r\n", long, i+j)
		}
		_, err := io.WriteString(nc, b.String())
		require.NoError(t, err)
		_, err = io.ReadFull(r, make([]byte, many*len("END\r\n")))
		require.NoError(t, err)
	}
	dump := string(s.detail.appendTo(nil))
	require.LessOrEqual(t, len(dump), maxDetail)
	require.Greater(t, len(dump), maxDetail/2)
	require.Contains(t, dump, "PREFIX "+long+"00000 get 1 hit 0 set 0 del 0\r\n")

	s.ResetStats()
	s.detail.set([]byte("other:key"))
	require.Equal(t, "PREFIX other get 0 hit 0 set 1 del 0\r\nEND\r\n", string(s.detail.appendTo(nil)))
}
