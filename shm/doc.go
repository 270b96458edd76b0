// Package shm is a key/value store in shared memory. Processes of one host open
// the same directory and work on the same mapped files directly: there is no
// server, no socket, and no lock around the store.
//
//   - A lookup reads memory. It takes no lock and leaves no trace; readers never
//     block, and block nobody.
//   - A write builds new nodes beside the old ones and publishes them by one
//     compare-and-swap of the root. Update does so for many keys, as a whole.
//   - A store has an unnamed hash map, whose calls are those of Store, and any number of
//     named maps: hash maps (Map) and maps in the order of bytes (Ordered). One commit
//     and one snapshot span all of them.
//   - A Snapshot shows one version for as long as it is open, without copies. It
//     keeps the blocks that only it can see, and no others: the space of entries
//     that were written and replaced since is reused.
//   - A process may be killed or stopped anywhere. Its commits are there, its
//     unfinished transactions are not, and the next process that needs it takes
//     over the space that the dead process held. Nobody waits for it.
//
// # What survives what
//
// A commit survives the death of every process, as the page cache does, and a
// clean shutdown of the host when the directory is on a disk. On tmpfs the store
// lives until the host restarts. On a disk, a crash of the operating system or a
// power cut takes the store back to its last checkpoint, when it is opened for
// writing next. Options.Checkpoint says when there is one, by default every ten
// seconds while there are commits. Sync takes one.
//
// Bits that change on the disk or in memory can change a value without a trace.
// A handle with Options.Checksums writes a checksum with each entry. Check and
// copies verify it; reads do not.
//
// # Where to put a store
//
// In a directory of a local file system: a tmpfs, which is fastest, or a disk.
//
//   - /dev/shm is a tmpfs on every Linux. But systemd-logind removes a user's files
//     there when that user has logged out, unless it is a system user (with an
//     ID below 1000) or logind.conf says RemoveIPC=no. Services are better off
//     with a directory below /run, or a tmpfs of their own.
//   - Containers share a store through a volume or a tmpfs that is mounted into
//     each of them. A store in a container's own file system, overlay, is refused.
//     Mount the directory that holds the store, so that Rewrite can replace it.
//     A container has a /dev/shm of its own; Docker gives it 64 MB.
//   - Nothing may clean the directory up by age, as systemd-tmpfiles does in /tmp
//     and /var/tmp.
//
// If the files are removed while a process has them open, its reads go on and show the
// removed store. Its writes fail with ErrMoved after at most a second, because the next
// process that opens the path makes a new store there. Stale reports this, and shmctl
// doctor finds processes that use a removed store.
//
// # Caveats
//
//   - Processes that may write are trusted: they can write anything anywhere in
//     the files. Readers cannot damage the data, but they can write to the file
//     procs, and so cause others to read memory that is being overwritten.
//   - One host, a local file system. Network file systems are refused, and so is
//     overlay, on which a container's own files lie.
//   - Slices from Snapshot, View, GetMany and Tx are memory of the store. A write to
//     one faults. They must not be used after the Snapshot, View, GetMany or Tx has
//     ended, because their memory is reused.
//   - The files must not be truncated or written to by other programs while a
//     process has them open. Renaming the directory is harmless, and removing it
//     ends the store.
//   - The version is 48 bits wide: enough for 8 years at a million commits a
//     second.
//   - 64-bit Linux. The order of memory accesses is handled on amd64 and arm64.
package shm
