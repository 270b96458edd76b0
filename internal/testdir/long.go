package testdir

import "os"

// Long reports whether the tests run in full, which the environment variable SHMKV_LONG
// asks for with any value. Otherwise every kind of test runs, with fewer repetitions.
func Long() bool { return os.Getenv("SHMKV_LONG") != "" }

// Scale returns how often a test repeats something: long if the tests run in full.
func Scale(quick, long int) int {
	if Long() {
		return long
	}
	return quick
}
