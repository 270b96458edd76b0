//go:build mips64 || ppc64 || s390x

package region

// The words of the format are little-endian, and they are used in place: a
// store that a big-endian processor wrote could not be read elsewhere.
var _ = shmkv_needs_a_little_endian_processor
