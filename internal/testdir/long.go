package testdir

import "os"

// Long reports whether the tests run in full: the environment variable SHMKV_LONG is not
// empty. Otherwise each kind of test runs with fewer repetitions.
func Long() bool { return os.Getenv("SHMKV_LONG") != "" }

// Scale returns a number of repetitions: long if the tests run in full, else quick.
func Scale(quick, long int) int {
	if Long() {
		return long
	}
	return quick
}
