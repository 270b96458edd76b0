// Package testdir gives tests temporary directories on disk, in memory and on small file
// systems. Nothing of them remains, even if the tests are killed. A directory is locked
// while its process lives, and the next test run removes it after that. Only the process
// and its children see its mounts, which end with them.
package testdir
