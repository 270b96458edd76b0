package shm_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/shm"
)

func BenchmarkAlive(b *testing.B) {
	s := fileStore(b, nil)
	other, err := shm.Open(s.Path(), nil)
	require.NoError(b, err)
	defer func() { require.NoError(b, other.Close()) }()
	name, err := other.Owner()
	require.NoError(b, err)
	for b.Loop() {
		if alive, err := s.Alive(name); !alive || err != nil {
			b.Fatal(alive, err)
		}
	}
}

func BenchmarkRing(b *testing.B) {
	bell := fileStore(b, nil).Bell(1)
	for b.Loop() {
		if err := bell.Ring(); err != nil {
			b.Fatal(err)
		}
	}
}
