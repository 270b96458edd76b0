// Package tempdir makes temporary directories that somebody removes also when
// their maker is killed: a maker holds a lock on its directory while it lives, and
// whoever makes the next directory of the same name pattern removes those that
// nobody holds.
package tempdir
