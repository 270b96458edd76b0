//go:build mips64 || ppc64 || s390x

package region

// The words of the format are little-endian and are used in place. Other processors
// could not read a store that a big-endian processor wrote.
var _ = shmkv_needs_a_little_endian_processor
