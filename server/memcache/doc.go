// Package memcache serves a cache of package shm/cache by the protocols of memcached, so that
// programs in any language share it with the Go processes that have it open.
//
//	srv, err := memcache.New(&memcache.Options{Cache: c})
//	go srv.Serve(listener)
//	...
//	err = srv.Shutdown(ctx)
//
// Listeners are those of TCP and of unix sockets. The answers are those of memcached, to the
// letter: the tests tell the same stories to a server and to memcached.
//
// # Terms
//
//	request      a command line with the data block that may follow it, or a binary packet
//	answer       the bytes that a request is answered with; none with noreply
//	idle         a connection of which no byte is buffered
//	work         the buffers of a connection that is not idle
//	loop         a goroutine that waits for all connections of a thread, and runs those that have something
//	item size    the bytes of key and value, with what memcached adds to them; see Options.ItemSize
//
// # A connection
//
// A loop gives a connection the goroutine when bytes have arrived. The connection then
//
//	executes   all requests that have arrived whole, and appends their answers to the output
//	answers    with one write, when no more has arrived, or when the output exceeds outputLimit
//	rests      without buffers and without a goroutine until more arrives
//
// If it must wait within a request, for the rest of a value or for a client that does not read,
// it keeps the goroutine, and another one is the loop. So requests that a client sends without
// waiting for answers are answered together; gets of one key among them are looked up together.
// While a client does not read its answers, no more requests are read from it.
//
// # Bounds
//
//	an idle connection   a few hundred bytes
//	a command line       2048 bytes; 256 KiB if it begins with get, gets, gat or gats. One that is longer
//	                     closes the connection.
//	the input            16 KiB, or the line or value that is being read: its buffer grows as its bytes
//	                     arrive, up to Options.ItemSize. Larger values are read and forgotten.
//	the output           64 KiB, or one item
//	a watcher            256 KiB of lines that it has not read; later ones are skipped
//
// # What differs from memcached
//
// The cache has no slabs, no LRU and no crawler. Items are all in class 1 of stats items and
// stats slabs; the commands slabs, lru and lru_crawler are understood, and change what stats
// settings shows. get_flushed stays 0: nobody knows which items a flush dropped. Watchers of
// evictions are told of those that the handle Options.Cache makes, and not of those of other
// processes. The number of an item that gets shows is random and not one more than the last.
//
// # What a kill leaves
//
// A request that changes an item makes one commit of the store, and its answer is written
// after that. So a server that is killed has done what it has acknowledged, and it has done
// the request it was at, or not. The next server of the store has all items, and several
// servers may serve one store at the same time. Statistics end with their server.
package memcache
