//go:build race

package hamt

// slow divides the rounds of the longest tests: with the race detector every
// byte that they read is an atomic load.
const slow = 5
