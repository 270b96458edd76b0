// Package durus serves the records of package shm/record by the storage protocol of Durus, the
// Python object database, so that unmodified Durus programs work on a store.
//
//	srv, err := durus.New(&durus.Options{Storage: st})
//	go srv.Serve(listener)
//	...
//	err = srv.Shutdown(ctx)
//
// Listeners are those of TCP and of unix sockets. Several servers, and Go programs with sessions
// of their own, may work on one store at the same time.
//
// # The protocol
//
// Numbers are big-endian and without a sign. A client sends a command of one byte, and what belongs
// to it, and reads the answer:
//
//	V version(4)            version(4). This is version 1; with another one the connection is closed
//	N                       a new id(8)
//	M n(1)                  n new ids
//	L id(8)                 status: O length(4) record; K if there is none; I if it has changed
//	B n(4) n ids            n answers as to L
//	S                       n(4), and n ids that have changed since the client was told last
//	C                       as S; then the client sends a commit, and reads O, or I for a conflict
//	P                       O, when garbage is being collected
//	Q                       the server ends, without an answer
//
// A record is id(8), the length of the data(4), the data, and 8 bytes for each id that it refers to.
// A commit is its length(4), and as many bytes of entries, each of which is length(4), id(8) and a
// record of that id; the length counts the id and the record. A client that wants no commit after
// all sends the length 0, and gets no answer.
//
// # A connection
//
// Each connection is a record.Session with a goroutine. What the client knows is in the session: which
// ids it was given, which it has loaded, and what it was told. So a commit conflicts when a record
// that the client has loaded or stored was changed after the list that C has answered with.
//
// A connection is closed, and changes nothing, for an unknown command, a commit with an entry that is
// longer than the commit or is no record, bytes that are left over, an id that this client was not
// given and that no record has, a length above Options.MaxCommit or Options.MaxLoad, or bytes above
// Options.MaxArriving. So it is for a commit that the store has no room for. The answers to what came
// before are sent.
//
// Nobody waits for a client: a commit is read whole before it begins, and no lock is held while bytes
// are read or written. What a client was not told yet takes memory in the handle, which is bounded
// (record.Options.MaxChanges). The connections that are furthest behind are closed at that bound. A connection
// also takes a bit for each id that its client was given, or has loaded or stored, in chunks of 512 bytes.
//
// # What differs from Durus's server
//
// P answers when the collection has ended, but after one second at most, and it goes on then. An id that
// was given and not stored is not given again. A new record that a connection has stored and that
// nothing but such records has referred to yet stays until the connection ends. M for more ids than 16,777,216 that a client
// has not stored closes the connection.
//
// # What a kill leaves
//
// A commit is one of the store, and O is sent after it. So a server that is killed has done each commit
// that it has acknowledged, and the one that it was at as a whole or not at all. The next server needs no
// repair.
package durus
