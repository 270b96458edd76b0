// Package testdir finds a place for the stores of tests.
package testdir
