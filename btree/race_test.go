//go:build race

package btree

// slow divides the rounds of the longest tests. With the race detector every read is an
// atomic load.
const slow = 5
