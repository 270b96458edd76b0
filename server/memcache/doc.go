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
// # Stale items and winners
//
// By the meta protocol one client is asked to store an item again that is missing, stale or
// about to end: its answer has W, for won. The other clients get the item that there is, and Z.
// Two marks of the item (cache.Item.Marks) keep this. They change in the same step in which a
// request looks at them, so among the clients of all servers of a store one wins. If that
// client does not store the item, nobody else wins until the item ends: a request gives it a
// short time to live for that. An item is stale, which answers show by X, after md with I,
// after ms with I and the number of an earlier item, and when Go processes have made it stale.
// Unique numbers have no order, so each number but the present one is that of an earlier item.
//
// When an item was last used, and whether it was read, is what this server knows: see recent.
//
// # What a kill leaves
//
// A request that changes an item makes one commit of the store, and its answer is written
// after that. So a server that is killed has done what it has acknowledged, and it has done
// the request it was at, or not. The next server of the store has all items.
package memcache
