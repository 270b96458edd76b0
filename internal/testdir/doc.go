// Package testdir gives tests temporary directories, on disk, in memory and on
// small file systems, of which nothing is left in the end; also if the tests are
// killed. A directory is locked while its process lives, and the next run of any
// tests removes it; a mount is seen by the process and its children alone, and
// ends with them.
package testdir
