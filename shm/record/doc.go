// Package record keeps objects that refer to each other in a store of package shm. Any number
// of processes work on one store at a time.
//
//	st, err := record.Open("/var/lib/app/objects", nil)
//	s, err := st.Session()
//	root, err := s.Load(0)
//	c := s.Begin()
//	err = c.Store(record.Record{ID: 0, Data: data, Refs: ids})
//	err = c.End() // ErrConflict: another session was faster
//
// # Terms
//
//	record     an id, data, and the ids that it refers to
//	root       the record with the id 0
//	session    a client: it has a view of the records, and is told what others changed in it
//	stamp      the number of the last commit that changed records; it is in the head
//	position   the stamp that a session's view is of
//	held       an id that a session has loaded or stored since it was last told of a change
//	given      an id that was handed to a session, which alone may store it first
//	fresh      a record that a live session has created and that none but fresh records has ever referred to
//	unreferred a record other than the root that no record refers to, and that is not fresh
//	garbage    a record that no chain of references leads to from the root or a fresh record
//	collect    delete garbage; its id waits until all sessions were told, then it is given again
//
// # Maps
//
// A storage has three maps of the store: records (id to data and references), counts (id to the
// number of records that refer to it, itself not counted; no entry for 0), and the ordered map
// books, whose keys begin with a tag:
//
//	head                  stamp, next id, state of the collection
//	client  owner, number the least position of the sessions of a handle, as it was published
//	fresh   id            the handle whose session has stored it
//	unreferred id
//	waiting stamp, id     collected by the commit of that stamp, not given again yet
//	gray    id / 4096     bits of the ids that the trace is to visit
//	marks   id / 4096     bits of those that it has visited
//
// All of them change in the commit that changes the records. A process that is killed leaves
// no half of a commit, and no memory that others need: a client entry or a fresh one of a dead
// handle counts for nothing, and the next collection deletes it.
//
// # Views and conflicts
//
// A handle pins one snapshot, the newest it knows, for all its sessions. When it takes a newer
// one, the Diff of the two gives the ids that changed. A session reads from that snapshot
// the ids that have not changed since its position, which are the same in both, and gets
// ErrConflict for the others. So it sees one version, and a session that lags pins nothing. Sync
// returns the ids that changed and moves the position. A commit moves it too when there is nothing to tell.
//
// A commit conflicts if a record that it stores or that its session holds was changed by another
// commit since the position, or if one that it stores or refers to was collected. The transaction
// compares the stamp with the one of the pinned snapshot. If it is another one, the Diff up to there
// is taken first.
//
// A handle remembers the changed ids that a session was not told yet, one number for each id.
// The sessions that are furthest behind are given up (ErrLagged) when there are more than
// Options.MaxChanges.
//
// # Ids
//
// Ids are counted up from 0. One that was given and not stored is not given again, but for 0:
// while there is no root and the session that has it is gone, it is given again, because a
// store without a root is of no use. A collected id is given again after the commit that
// collected it is not newer than the position of any session of a live handle, and while no record
// refers to it. A crash of the system that takes the store back takes the ids back too.
//
// # Collection
//
// Counts find records that no other refers to. Cycles need a trace:
//
//	idle     to mark: gray is the root and the fresh records
//	mark     a step visits some gray ids over a snapshot, marks them, and makes what they refer to gray
//	         if it is not marked. Each commit makes what it stores, and each reference that it adds,
//	         gray. To sweep: in a transaction that finds nothing gray.
//	sweep    what is not marked is garbage from that commit on: it is not found, and a commit that
//	         refers to it conflicts. A step deletes some of it. Commits mark what they create. To
//	         idle: when a step has gone through all records; the marks go.
//
// Each step is one commit and the state is in the store. After a kill the next Pack goes on, in
// whatever process. A client can hold garbage and refer to it again: before the sweep that makes it
// gray, and it stays with all that it refers to; after that its commit conflicts, and it is told.
// So nothing that a record refers to is taken away from under it. A Pack that finds another one
// under way waits for it, and takes over if that one's process is dead, or has made no step for a second.
package record
