// Package count serves the counters of package shm/counter by countd's protocol.
//
//	srv, err := count.New(&count.Options{Store: s})
//	go srv.ServeIncrements(l1)
//	go srv.ServeRows(l2)
//	...
//	err = srv.Shutdown(ctx)
//
// Package wire has the bytes of the messages, and package countclient is a client. Listeners are
// those of TCP and of unix sockets.
//
// # Terms
//
//	message   an increment, or a request for rows: it has a fixed length
//	round     the increments of all connections that one commit carries out
//	work      the buffer of a connection of which messages are being carried out
//	rest      the beginning of a message whose end has not arrived
//
// # A connection
//
// A goroutine per connection waits without a buffer until bytes have arrived. It then reads up
// to 64 KiB, or one message if that is longer, and carries out the messages that have arrived
// whole. It keeps the rest, and gives the buffer back before it waits.
//
// Increments of all connections are added to a round while another one is being committed. So
// each commit carries out what has arrived during the commit before it. When it is done, each
// connection writes WIN for each of its messages. It does not wait for the client to take them: of
// answers that the socket has no room for it keeps the number, and a goroutine writes them while
// the connection goes on to read.
//
// A request for rows that fit into 64 KiB is answered from a copy. A larger answer is written
// from a snapshot of one version, which keeps the blocks that were replaced since. So a
// client that does not take each 64 KiB of it within Options.Patience, or not Options.Rate over
// all, is disconnected, and at most 16 such answers are under way; further ones wait.
//
// # What closes a connection
//
// Each message of the right length is one. What cannot be carried out closes the connection, and
// the log says why; answers to the messages before it are written first. What the client sends
// behind it is read and dropped, for Options.Patience at most: TCP drops answers under way when a
// socket with unread bytes is closed.
//
//	an increment that overflows its count   it is not answered and changes nothing. Those of the
//	                                        same connection behind it may count
//	a full or damaged store                 the increments that are not answered do not count
//	a row whose key is too long for the     in the middle of the answer
//	protocol, or ends with a NUL
//	the end of the client's sending         after the answers to all whole messages
//
// # Bounds
//
//	an idle connection        its goroutine, and the rest of a message
//	one with work             64 KiB more, or one message, and as much for an answer with rows.
//	                          Answers to increments need no buffer.
//	a client that does not    as one with work, and a goroutine. Its increments are committed, and of
//	read                      their answers the number is kept. Its requests for rows are not read
//	a round                   4096 increments, or those of one read of a connection
//	connections               Options.MaxConns; further ones are closed
//
// # What a kill leaves
//
// WIN is written after the commit. So a server that is killed has counted each increment that
// was answered, and each other one that was sent once or not at all. It has no state but its
// connections: the next server finds all counters, and several may serve one store.
package count
