//go:build 386 || arm || mips || mipsle

package region

// A store is mapped as a whole, which needs more than 32 bits of address space, and its
// words have 64 bits.
var _ = shmkv_needs_a_64_bit_processor
