// Package tempdir makes temporary directories that are removed even if their maker is
// killed. A maker holds a lock on its directory while it lives. The next Make with the
// same name prefix removes the directories that nobody has locked.
package tempdir
