package hamt

import (
	"github.com/seed-869cc763/shmkv/internal/nodetest"
)

const (
	seed0 = 0x0706050403020100
	seed1 = 0x0f0e0d0c0b0a0908
)

func sip(key []byte) uint64 { return Hash(seed0, seed1, key) }

// reader returns a Reader whose end is directly after the last block, so that each kind
// of node is the last one at times.
func reader(h *nodetest.Heap) Reader { return NewReader(h.Mem, max(h.Top, maxBranch)) }
