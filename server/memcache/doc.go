// Package memcache serves a cache of package shm/cache by the protocols of memcached, so that
// programs in any language share it with Go processes that have it open.
//
//	srv, err := memcache.New(&memcache.Options{Cache: c})
//	go srv.Serve(listener)
//
// # Terms
//
//	request      a command line with the data block that may follow it, or a binary packet
//	answer       the bytes that a request is answered with; none with noreply
//	idle         a connection of which no byte is buffered
//	work         the buffers of a connection that is not idle
//	item size    the bytes of key and value, with what memcached adds to them; see Options.ItemSize
//
// # A connection
//
// One goroutine serves a connection. It
//
//	waits      until there is something to read; an idle connection has no work
//	executes   all requests that have arrived whole, and appends their answers to the output
//	answers    with one write, before it waits again, or when the output exceeds outputLimit
//
// So requests that a client sends without waiting for answers are answered together. While a
// client does not read its answers, the write does not return, and no more requests are read
// from it.
//
// # Bounds
//
// A command line has at most maxLine bytes, one that begins with get, gets, gat or gats at
// most maxGetLine. The buffer of a value grows as its bytes arrive, up to Options.ItemSize; the
// bytes of a larger value are read and forgotten.
//
// # What a kill leaves
//
// A request that changes an item makes one commit of the store, and its answer is written
// after that. So a server that is killed has done what it has acknowledged, and it has done
// the request it was at, or not. The next server of the store has all items.
package memcache
