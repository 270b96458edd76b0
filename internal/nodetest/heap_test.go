package nodetest

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestClassSizes(t *testing.T) {
	for _, c := range [][2]uint64{{1, 16}, {17, 24}, {128, 128}, {129, 144}, {256, 256}, {257, 288}, {512, 512},
		{513, 576}, {1024, 1024}, {1025, 1152}, {32768, 32768}, {32769, 36864}} {
		require.Equal(t, c[1], ClassSize(c[0]), "%d", c[0])
	}
}
