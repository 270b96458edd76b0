//go:build !shmhook && !race

package shm

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/internal/testdir"
)

// The proof that the tests can fail. Each breach leaves out or turns round one
// rule of the protocol in a copy of one source file, which replaces the file in
// a build of the tests (go test -overlay), so that the code itself has no
// switches. A breach that no test catches fails this one.

var flagBreaches = flag.String("breaches", "", "which breaches to try: a pattern, or all; a few that are quick by default")

// A breach is a fault seeded in one file.
type breach struct {
	rule string
	what string
	file string // in the module
	old  string // stands in it once
	new  string
	// tests is what should catch it: a pattern of tests in pkg, run with the
	// hook unless plain. By default the crash points and the schedules.
	tests string
	pkg   string
	plain bool
	quick bool // tried by default
	most  int  // for -schedules, 400 by default
}

const (
	fileAdopt   = "alloc/adopt.go"
	fileArena   = "alloc/arena.go"
	fileFiles   = "alloc/file_linux.go"
	fileDraft   = "alloc/draft_linux.go"
	fileCommit  = "alloc/commit.go"
	filePage    = "alloc/page.go"
	filePin     = "alloc/pin.go"
	fileReclaim = "alloc/reclaim.go"
	fileKeep    = "alloc/keep.go"
	fileTx      = "hamt/tx.go"
	fileUpdate  = "shm/tx.go"
	fileSlot    = "alloc/slot.go"
	fileUsers   = "alloc/users.go"

	fileEvacuate = "alloc/evacuate.go"
	fileRoom     = "shm/room.go"
	fileRebase   = "hamt/rebase.go"
	fileCombine  = "shm/combine.go"
)

// Rules of which there is no breach: P3 and K1 are about checkpoints, which the store
// does not have; Q3 is that a leader runs nothing of the user's; D3 is the layout, with
// nothing in slots that leads to a free (see TestVandalOfSlots); D4 is that nobody
// waits for an adopter, which every schedule that stops one for ever shows.
var breaches = []breach{
	// Pins.
	{rule: "P1", what: "the horizon is raised after the scan", file: fileReclaim,
		old: "	a.mem.Max(offHorizon, h)\n	a.takeScan(&s.view)\n", new: "	a.takeScan(&s.view)\n	a.mem.Max(offHorizon, h)\n"},
	{rule: "P1", what: "the horizon is never raised before freeing, only at the end", file: fileReclaim,
		old: "	a.mem.Max(offHorizon, h)\n	a.takeScan(&s.view)\n", new: "	defer a.mem.Max(offHorizon, h)\n	a.takeScan(&s.view)\n"},
	{rule: "P1", what: "a pin is not checked against the horizon", file: filePin, quick: true,
		old: "if a.ro.Load(offHorizon) <= version || h > maxVersion {", new: "if true {"},
	{rule: "P1", what: "a pin is checked before it is published", file: filePin,
		old: "		a.shared.Store(off+pinVersion, version)\n		if a.ro.Load(offHorizon) <= version || h > maxVersion {",
		new: "		ok := a.ro.Load(offHorizon) <= version || h > maxVersion\n		a.shared.Store(off+pinVersion, version)\n		if ok {"},
	{rule: "P2", what: "the scan of the pass before is used", file: fileReclaim,
		old: "	a.mem.Max(offHorizon, h)\n	a.takeScan(&s.view)\n", new: "	a.mem.Max(offHorizon, h)\n	defer a.takeScan(&s.view)\n"},
	{rule: "P2", what: "pins are not looked at", file: filePin,
		old: "	if lo < len(s.pins) && s.pins[lo] < retired {", new: "	if false {"},
	{rule: "P2", what: "a pin at the very birth of a block is missed", file: filePin,
		old: "s.pins[mid] < birth {", new: "s.pins[mid] <= birth {"},
	{rule: "P4", what: "the pins of the dead are kept", file: fileAdopt,
		old: "	a.releaseDeadPins(i)\n	if g", new: "	if g"},

	{rule: "P1", what: "a pin is given away, then emptied", file: filePin, tests: "TestSchedules/in_one_handle",
		old: "	a.shared.Release(snapPin(i)+pinVersion, 0)\n	a.shared.Release(snapPin(i)+pinOwner, 0)\n",
		new: "	a.shared.Release(snapPin(i)+pinOwner, 0)\n	a.shared.Release(snapPin(i)+pinVersion, 0)\n"},
	{rule: "P4", what: "a pin is emptied by the first of its users", file: filePin, tests: "TestSchedules/in_one_handle",
		old: "			if t.users.CAS(usersOf(i), n, n-1) {\n				return false\n", new: "			if t.users.CAS(usersOf(i), n, 0) {\n				return true\n"},
	{rule: "P4", what: "a pin of another version is shared", file: filePin, tests: "TestSchedules/in_one_handle",
		old: "		if n>>usersBits != version || ", new: "		if n == 0 || "},
	{rule: "P4", what: "a pin that nobody uses any more is shared", file: filePin, tests: "TestSchedules/in_one_handle",
		old: "			if t.users.CAS(usersOf(i), n, 0) {\n", new: "			if t.users.CAS(usersOf(i), n, n-1) {\n"},
	{rule: "P4", what: "snapshots of one version do not share a pin", file: filePin, tests: "TestManySnapshots", plain: true,
		old: "	if p, ok, err := a.sharePin(int(last), int(last)+1); ok || err != nil {\n		return p, err\n	}\n", new: ""},
	{rule: "P4", what: "Views do not share pins when all are taken", file: filePin, tests: "TestMoreViewsThanPins", plain: true,
		old: "	if p, ok, err := a.sharePin(0, maxSnapPins); ok || err != nil {\n		return p, err\n	}\n", new: ""},
	{rule: "P4", what: "an idle handle keeps its pins", file: filePin, tests: "TestIdleHandlesKeepNoPins|TestClosedSnapshots", plain: true,
		old: "	a.shared.Release(snapPin(i)+pinVersion, 0)\n	a.shared.Release(snapPin(i)+pinOwner, 0)\n", new: "	a.shared.Release(snapPin(i)+pinVersion, 0)\n"},

	// Commit.
	{rule: "C1", what: "the queue's tail moves before the compare-and-swap", file: fileCommit, quick: true,
		old: "		won = a.mem.CAS(", new: "		s.setTail(tail)\n		won = a.mem.CAS("},
	{rule: "C1", what: "the old root is marked after the compare-and-swap", tests: "TestSchedules/comes_back", file: fileCommit, quick: true,
		old: "		s.m.Release(old.Off+rootSuperseded, 1)                              // 5\n		won = a.mem.CAS(offRoot, old.Off|old.Version<<48, node|version<<48) // 6\n",
		new: "		won = a.mem.CAS(offRoot, old.Off|old.Version<<48, node|version<<48) // 6\n		s.m.Release(old.Off+rootSuperseded, 1) // 5\n"},
	{rule: "C1", what: "the intent is kept after a lost compare-and-swap", file: fileCommit, quick: true,
		old: "		s.m.Release(s.base+slotIntent, 0)\n		s.Unretire(old.Off)\n", new: "		s.Unretire(old.Off)\n"},
	{rule: "C1", what: "the log is emptied before the queue's tail moves, without an intent", file: fileCommit,
		old: "	s.setTail(tail) // 7\n	s.dropLog()\n	s.m.Release(s.base+slotIntent, 0)\n", new: "	s.m.Release(s.base+slotIntent, 0)\n	s.dropLog()\n	s.setTail(tail) // 7\n"},
	{rule: "C1", what: "no intent", file: fileCommit,
		old: "	s.m.Store(s.base+slotIntent, node) // everybody can see it before the look that follows\n", new: ""},
	{rule: "C2", what: "the mark is read before the root word", tests: "TestSchedules/comes_back", file: fileAdopt,
		old: "		current := a.ro.Load(offRoot)&offMask == node\n		committed = current || a.ro.Load(node+rootSuperseded) != 0\n",
		new: "		committed = a.ro.Load(node+rootSuperseded) != 0\n		committed = committed || a.ro.Load(offRoot)&offMask == node\n"},
	{rule: "C2", what: "only the root word is looked at", file: fileAdopt,
		old: "		committed = current || a.ro.Load(node+rootSuperseded) != 0\n", new: "		committed = current\n"},
	{rule: "C2", what: "committed: the intent is dropped first", file: fileAdopt,
		old: "	if committed {\n		tail :=", new: "	s.m.Store(s.base+slotIntent, 0)\n	if committed {\n		tail :="},
	{rule: "C2", what: "not committed: the log goes first, then the intent", file: fileAdopt,
		old: "	if node != 0 {\n		s.m.Store(s.base+slotIntent, 0)\n	}\n", new: "	if node != 0 {\n		s.Rewind(0)\n		s.m.Store(s.base+slotIntent, 0)\n	}\n"},
	{rule: "C2", what: "the log of what was not committed is forgotten", file: fileAdopt,
		old: "	s.Rewind(0)\n	if err := s.flush()", new: "	s.dropLog()\n	if err := s.flush()"},
	{rule: "C2", what: "the adopter of a commit does not move the tail", file: fileAdopt,
		old: "		s.setTail(tail)\n", new: ""},
	{rule: "C2", what: "a committed log is believed to be the slot's", tests: "TestSchedules/replaced", file: fileAdopt,
		old: "	if err := s.checkLists(committed); err != nil {", new: "	if err := s.checkLists(false); err != nil {"},
	{rule: "C2", what: "reclaimers do not spare the roots that intents name", file: filePin, tests: "TestSchedules/comes_back",
		old: "			if r == off {", new: "			if r == off && false {"},
	{rule: "C3", what: "a lost commit keeps a block too many in its log", file: fileCommit,
		old: "	s.Rewind(keep)\n", new: "	s.Rewind(keep + 1)\n"},
	{rule: "C4", what: "a lost commit builds anew under the pin that it had", file: fileCommit,
		old: "	word, version := s.a.pinVersionAt(slotPin(s.idx))\n",
		new: "	word := s.a.ro.Load(offRoot)\n	version := versionAt(s.a.ro.Load(offHorizon), word)\n	if s.a.shared.Load(slotPin(s.idx)+pinVersion) == 0 {\n		word, version = s.a.pinVersionAt(slotPin(s.idx))\n	}\n"},
	{rule: "C4", what: "a branch is taken for unchanged by its offset alone", tests: "TestSchedules/overtaken", file: fileTx,
		old: " && r.mem.Word(at.Off()) <= version; same {", new: "; same {"},
	{rule: "C4", what: "what was copied stands whatever the winner has changed", file: fileTx,
		old: "		if same = at.Off() == t.path[d].off", new: "		if same = d == 1 || at.Off() == t.path[d].off"},
	{rule: "C4", what: "what others have inserted is counted again by the next rebase", tests: "TestSchedules/overtaken_twice", file: fileTx,
		old: "	t.before.entries, t.before.dataBytes = entries, dataBytes\n	t.nfresh = 0\n	err := t.link", new: "	t.nfresh = 0\n	err := t.link"},
	{rule: "C5", what: "Modify decides once, whatever came in between", tests: "TestSchedules/writers_of_one_key", file: "shm/write.go",
		old: "	c, err = w.decide(h, key, decide)\n	for lost",
		new: "	var v []byte\n	var k change\n	asked, once := false, decide\n	decide = func(old []byte, exists bool) ([]byte, change, error) {\n		if !asked {\n			asked = true\n			v, k, _ = once(old, exists)\n		}\n		return v, k, nil\n	}\n	c, err = w.decide(h, key, decide)\n	for lost"},
	{rule: "C6", what: "births are not stamped", file: fileCommit,
		old: "		s.m.SetWord(entry&offMask, version)\n", new: ""},
	{rule: "C6", what: "published nodes are changed in place", file: fileSlot,
		old: "	if w&^offMask != s.mark || w&offMask >= s.LogLen() {\n", new: "	if w == s.root.Version {\n		return true\n	} else if w&^offMask != s.mark || w&offMask >= s.LogLen() {\n"},
	{rule: "C6", what: "an own block is changed as the node that a stray reference says it is", file: fileSlot, tests: "TestMineIsOfASize", pkg: "./alloc", plain: true,
		old: "	return s.m.Word(s.logEntry(w&offMask)) == off|uint64(classOf(size))<<48\n", new: "	return true\n"},

	{rule: "C8", what: "an intent does not keep the old root", tests: "TestErasedPin", file: filePin,
		old: "			s.intents = append(s.intents, r, a.ro.Load(page+slotIntentOld))\n", new: "			s.intents = append(s.intents, r)\n"},
	{rule: "C8", what: "the old root is marked whatever the root is by now", tests: "TestErasedPin", file: fileCommit,
		old: "	won := a.ro.Load(offRoot) == old.Off|old.Version<<48 &&", new: "	won := true ||"},
	{rule: "C7", what: "a link beyond the tail is believed", tests: "TestSchedules/end_of_a_queue", file: fileCommit,
		old: "		if i == chunkCap {\n			if s.logFull() {", new: "		if p := s.m.Word(page + chunkNext); i == chunkCap && p != 0 {\n			page, i, tail = p, 0, p\n		} else if i == chunkCap {\n			if s.logFull() {"},

	// Groups of goroutines.
	{rule: "C4", what: "a group stands whatever the winner has changed", file: fileRebase, tests: "TestRebaseMany$", pkg: "./hamt", plain: true,
		old: "		if refs[i] != g.was[i] || ", new: "		if "},
	{rule: "C4", what: "a child of the root is taken for unchanged by its offset alone", file: fileRebase, tests: "TestRebaseManyLooksAtBirths", pkg: "./hamt", plain: true,
		old: " || refs[i] != 0 && r.mem.Word(min(refs[i].Off(), r.last())) > version {", new: " {"},
	{rule: "C5", what: "a group that is made again keeps what it had found", file: fileCombine, tests: "TestGroupOvertaken",
		old: "		w.apply(&r.edit)\n", new: "		was := r.outcome\n		w.apply(&r.edit)\n		if was.changed {\n			r.outcome = was\n		}\n"},
	{rule: "Q1", what: "who leads goes on for as long as requests come", file: fileCombine, tests: "TestLeadEnds", plain: true,
		old: "len(l.waiting) > 0 && led < ledMost;", new: "len(l.waiting) > 0;"},
	{rule: "Q1", what: "who stops leading wakes nobody", file: fileCombine, tests: "TestLeadEnds", plain: true,
		old: "			first.rouse()\n			return\n", new: "			return\n"},
	{rule: "Q2", what: "who gives up the lead does not look at the queue", file: fileCombine, tests: "TestQueuedAtTheEnd",
		old: "		if l.queue.Load() == nil || !l.lead() {\n			return\n		}\n", new: "		if true {\n			return\n		}\n"},
	{rule: "Q2", what: "who is about to sleep does not look whether anybody leads", file: fileCombine, tests: "TestNobodySleeps", plain: true,
		old: "	if !l.led.Load() && r.state.CompareAndSwap(parked, waiting) {\n		return\n	}\n", new: ""},
	{rule: "Q4", what: "a request that is done gets ErrClosed", file: fileCombine, tests: "TestLeadAfterOutcome", plain: true,
		old: "if i := slices.Index(l.waiting, r); i >= 0 { // else another leader has carried it out\n\t\t\tl.waiting = slices.Delete(l.waiting, i, i+1)",
		new: "{\n\t\t\tl.waiting = slices.DeleteFunc(l.waiting, func(x *request) bool { return x == r })"},
	{rule: "Q4", what: "a writer that waits is no user of the handle", file: "shm/write.go", tests: "TestSchedules/keys_beside_close",
		old: "		took = s.share(e)\n", new: "		s.a.Leave(u)\n		took = s.share(e)\n		u, _ = s.a.Enter()\n"},
	{rule: "Q5", what: "a leader that panics keeps the lead", file: fileCombine, tests: "TestFaultWhileLeading", plain: true,
		old: "			l.fail(s)\n", new: ""},

	// Blocks.
	{rule: "C9", what: "a light transaction does not look at the horizon when it commits", tests: "TestLightTransaction", pkg: "./alloc", plain: true, file: fileCommit,
		old: " && a.ro.Load(offHorizon) <= old.Version\n", new: "\n"},
	{rule: "C9", what: "what a light transaction found counts though it is not sound", tests: "TestSchedules", file: "shm/write.go",
		old: "err != errUnguarded && w.Sound() {", new: "err != errUnguarded {"},
	{rule: "B1", what: "a refill leaves no record", file: fileSlot,
		old: "				s.m.Store(s.base+slotRefillAt, at)\n", new: ""},
	{rule: "B1", what: "the refill's mask is written after the word's offset", file: fileSlot,
		old: "				s.m.SetWord(s.base+slotRefillMask, mask)\n				s.m.Store(s.base+slotRefillAt, at)\n", new: "				s.m.Store(s.base+slotRefillAt, at)\n				s.m.SetWord(s.base+slotRefillMask, mask)\n"},
	{rule: "B1", what: "bits are set by storing the word", most: 2000, tests: "TestSchedules/(of_a_slab|owner,_giver)", file: fileSlot,
		old: "				s.m.Or(at, mask)\n", new: "				s.m.Store(at, s.a.ro.Load(at)|mask)\n"},
	{rule: "B1", what: "bits are set before the record", file: fileSlot,
		old: "				s.m.SetWord(s.base+slotRefillMask, mask)\n", new: "				s.linkRefill(p, c, i, mask)\n				s.m.Or(at, mask)\n				s.m.SetWord(s.base+slotRefillMask, mask)\n"},
	{rule: "B1", what: "the adopter does not finish a refill", file: fileAdopt,
		old: "			s.finishRefill(p, c, i, mask)\n", new: ""},
	{rule: "B2", what: "a block is given back without a stamp", file: fileSlot,
		old: "	s.m.Store(off, returnOf(s.idx))\n", new: ""},
	{rule: "B2", what: "a block is given back without a note", file: fileSlot,
		old: "	s.m.SetWord(s.base+slotReturn, off|uint64(c)<<48)\n", new: ""},
	{rule: "B2", what: "the adopter does not look at the stamp", file: fileSlot,
		old: "; set && a.ro.Load(off) == returnOf(s.idx) {", new: "; set {"},
	{rule: "B2", what: "the adopter clears no bit", file: fileSlot,
		old: "; set && a.ro.Load(off) == returnOf(s.idx) {", new: "; set && false {"},
	{rule: "B2", what: "stamps are written over after bits are set", file: fileSlot, tests: "TestSchedules/owner,_giver",
		old: "				s.linkRefill(p, c, i, mask)\n				s.m.Or(at, mask)\n", new: "				s.m.Or(at, mask)\n				s.linkRefill(p, c, i, mask)\n"},
	{rule: "B2", what: "a block leaves its magazine before it is given back", file: fileSlot,
		old: "	s.m.Store(off, returnOf(s.idx))\n	s.m.SetWord(s.base+slotReturnNext, next)\n", new: "	unlink()\n	s.m.Store(off, returnOf(s.idx))\n	s.m.SetWord(s.base+slotReturnNext, next)\n"},
	{rule: "B2", what: "a block is taken from its magazine before it is logged", file: fileSlot,
		old: "	s.pushLog(b | uint64(c)<<48)\n	s.setMag(c, next)\n", new: "	s.setMag(c, next)\n	s.pushLog(b | uint64(c)<<48)\n"},
	{rule: "B3", what: "what is set aside is stamped as given back", file: fileReclaim,
		old: "	s.m.SetWord(e, block)\n	s.m.SetWord(e+8, retired)\n	s.m.SetWord(p+chunkCount, n+1)\n",
		new: "	s.m.Store(block&offMask, returnOf(s.idx))\n	s.m.SetWord(e, block)\n	s.m.SetWord(e+8, retired)\n	s.m.SetWord(p+chunkCount, n+1)\n"},
	{rule: "B3", what: "a reclaimed block leaves the queue before it is anywhere else", file: fileReclaim,
		old: "		s.pushMag(c, off)\n		unlink()\n	default:", new: "		unlink()\n		s.pushMag(c, off)\n	default:"},
	{rule: "B3", what: "a block is set aside after it left the queue", file: fileReclaim,
		old: "	s.m.SetWord(p+chunkCount, n+1)\n	unlink()\n", new: "	unlink()\n	s.m.SetWord(p+chunkCount, n+1)\n"},
	{rule: "B4", what: "a shared slab is taken without a compare-and-swap", file: fileSlot,
		old: "	ok := s.a.casPage(p, st, makeState(state, st.class(), s.idx, st.gen()+1))\n", new: "	ok := true\n	s.a.mem.Store(desc(p)+descState, uint64(makeState(state, st.class(), s.idx, st.gen()+1)))\n"},
	{rule: "B5", what: "a shared slab is taken without a new generation", file: fileSlot,
		old: "	ok := s.a.casPage(p, st, makeState(state, st.class(), s.idx, st.gen()+1))\n", new: "	ok := s.a.casPage(p, st, makeState(state, st.class(), s.idx, st.gen()))\n"},
	{rule: "B4", what: "a slab that is given up stays linked when its slot dies", most: 3000, tests: "TestSchedules/given_up", file: fileAdopt,
		old: "		if p != 0 && !(s.owns(p, pageSlabOwned) && a.page(p).class() == c) {", new: "		if false {"},
	{rule: "B4", what: "a pass drains pages that it has shared", tests: "TestSetAsidePageShared", file: fileReclaim,
		old: "	for i := range s.aside {\n		p := s.aside[i] //", new: "	for i, p := range s.aside {\n		//"},
	{rule: "B4", what: "an idle slot is taken without a compare-and-swap", tests: "TestSchedules/idle_slot", file: fileReclaim,
		old: "	if owner&ownerIdle == 0 || !a.mem.CAS(word, owner, a.owner) {\n		return false\n	}\n", new: "	if owner&ownerIdle == 0 {\n		return false\n	}\n	a.mem.Store(word, a.owner)\n"},
	{rule: "B4", what: "an owner does not ask whether its idle slot is still its own", tests: "TestSchedules/idle_slot", file: fileSlot,
		old: "	if !s.m.CAS(offOwners+uint64(s.idx)*8, s.owner|ownerIdle, s.owner) {\n		return false\n	}\n", new: "	s.m.Store(offOwners+uint64(s.idx)*8, s.owner)\n"},
	{rule: "B4", what: "a handle's claims of one slot look the same", tests: "TestSlotTakenAndClaimedAgain", pkg: "./alloc", plain: true, file: fileAdopt,
		old: "owner | claim<<48 }", new: "owner }"},
	{rule: "B5", what: "pages are claimed before they are written down", file: filePage,
		old: "		if !st.free() || st.gen() >= gen || !a.casPage(q, st, makeState(pageClaimed, 0, s.idx, gen)) {\n			break\n		}\n		if st.state() == pageHole {\n			holes++",
		new: "		s.endRecord()\n		if !st.free() || st.gen() >= gen || !a.casPage(q, st, makeState(pageClaimed, 0, s.idx, gen)) {\n			break\n		}\n		s.record(recClaim, p, n, gen, gen)\n		if st.state() == pageHole {\n			holes++"},
	{rule: "B5", what: "pages are claimed without a compare-and-swap", file: filePage,
		old: "		if !st.free() || st.gen() >= gen || !a.casPage(q, st, makeState(pageClaimed, 0, s.idx, gen)) {\n			break\n		}\n		if st.state() == pageHole {\n			holes++",
		new: "		if !st.free() || st.gen() >= gen {\n			break\n		}\n		a.mem.Store(desc(q)+descState, uint64(makeState(pageClaimed, 0, s.idx, gen)))\n		if st.state() == pageHole {\n			holes++"},
	{rule: "B5", what: "pages are unlinked before their free is written down", file: filePage,
		old: "	s.record(recFree, first, k, gen, head.gen())\n	unlink()\n", new: "	unlink()\n	s.record(recFree, first, k, gen, head.gen())\n"},
	{rule: "B5", what: "a free that is done again does not look at generations", file: filePage,
		old: "		if st.free() || st.state() == pageReserve || st.gen() != want {\n			continue\n		}\n		a.mem.Release(desc(p)+descInfo, 0)", new: "		if st.free() || st.state() == pageReserve {\n			continue\n		}\n		a.mem.Release(desc(p)+descInfo, 0)"},
	{rule: "B5", what: "the adopter drops what a record says", file: fileAdopt,
		old: "	s.recoverRecord()\n\n	// A set-aside page", new: "	s.endRecord()\n\n	// A set-aside page"},
	{rule: "B5", what: "hints of what was looked at in part are taken down", file: filePage, tests: "TestSearchesHideNothing",
		old: "			if !found && base >= from && a.noteHints(base) {", new: "			if !found && a.noteHints(base) {"},
	{rule: "B5", what: "of a run that others have taken pages of holes are made", file: filePage, tests: "TestFreedRunTakenInPart", pkg: "./alloc", plain: true,
		old: "		if s.a.allFree(r.first, k) && s.claimAt(", new: "		if s.claimAt("},
	{rule: "B5", what: "the end is raised before a note tells of the pages", file: filePage,
		old: "	a.noteGroup(end, hintNote|hintNoteEnd)\n	a.mem.Max(offEnd, to)\n", new: "	a.mem.Max(offEnd, to)\n	a.noteGroup(end, hintNote|hintNoteEnd)\n"},
	{rule: "B5", what: "a searcher does not note whose hints it takes down", file: filePage, tests: "TestHintsTakenDown",
		old: "	a.noteGroup(base, hintNote)\n	return true\n", new: "	return true\n"},
	{rule: "B5", what: "the adopter does not read notes of hints", file: fileAdopt, tests: "TestHintsTakenDown",
		old: "	a.announceNoted(i) // before what follows can note something else there\n", new: ""},
	{rule: "B6", what: "nobody reads notes of hints before ErrFull", file: fileReclaim, tests: "TestHintsTakenDown",
		old: "		a.announceNoted(i) // its handle may be stopped\n", new: "		_ = i\n"},
	{rule: "B5", what: "the adopter does not set hints again", file: fileAdopt, tests: "TestCrashPoints/snapshot",
		old: "func (a *Arena) announce(p uint64) {\n", new: "func (a *Arena) announce(p uint64) {\n	return\n"},
	{rule: "B5", what: "pages are counted after they are taken", file: filePage, tests: "TestDeathsAndFreePages",
		old: "	a.mem.Add(offFreePages, -free) // before they are taken: see recoverRecord\n", new: "	defer a.mem.Add(offFreePages, -free)\n"},
	{rule: "B5", what: "pages are counted after they are freed", file: filePage, tests: "TestDeathsAndFreePages",
		old: "	s.a.mem.Add(offFreePages, k) // before they are free, so that redoFree does not count\n	s.redoFree()\n", new: "	s.redoFree()\n	s.a.mem.Add(offFreePages, k)\n"},
	{rule: "B6", what: "a delete may not take the reserve", file: "shm/write.go", tests: "Full|Space|Refus", plain: true,
		old: "	w.AllowReserve(e.frees())\n", new: ""},
	{rule: "B6", what: "sparse slabs are not emptied before ErrFull", file: fileRoom, tests: "FullStoreFits", plain: true,
		old: "	if err == nil || !errors.Is(err, ErrFull) || *round == roomRounds {\n", new: "	if true {\n"},
	{rule: "B6", what: "blocks that are freed before ErrFull are not looked for", file: fileSlot, tests: "CostOfRefused",
		old: "errors.Is(err, ErrFull) && a.search(hintsOf(c), take) {", new: "false {"},
	{rule: "B6", what: "nothing is freed before ErrFull", file: filePage, tests: "Full|Space|Refus|Model", plain: true,
		old: "		if tries == 3 || !s.relieve() {", new: "		if true {"},

	{rule: "B8", what: "what was in use for a moment is given back", file: fileKeep, tests: "TestKeepWhatComesAndGoes", pkg: "./alloc", plain: true,
		old: "	low = min(low, free)\n", new: "	low = free\n"},
	{rule: "B8", what: "a handle keeps house whose turn it is not", file: fileKeep, tests: "TestKeepersTakeTurns", pkg: "./alloc", plain: true,
		old: "	if until != h.turn && until > now && until-now < 2*uint64(leaseTime) {", new: "	if false {"},
	{rule: "B8", what: "a turn lasts for as long as its time says", file: fileKeep, tests: "TestKeepersTakeTurns", pkg: "./alloc", plain: true,
		old: " && until-now < 2*uint64(leaseTime) {", new: " {"},
	{rule: "B8", what: "a keeper gives back all at once", file: fileKeep, tests: "TestKeepIsBounded", pkg: "./alloc", plain: true,
		old: "min(h.give, givePages), giveCalls)", new: "h.give, 1<<30)"},
	{rule: "B8", what: "a keeper does not see that the store has grown", file: fileKeep, tests: "TestKeepersTakeTurns", pkg: "./alloc", plain: true,
		old: "	if _, err := a.Limit(); err != nil { // the store may have grown\n		return 0, err\n	}\n", new: ""},
	{rule: "B8", what: "sparse slabs are left as they are", file: fileKeep, tests: "TestSpace$", plain: true,
		old: "	if h.sparse {\n		if err =", new: "	if false {\n		if err ="},
	{rule: "C9", what: "a write of one key holds a pin", file: "shm/write.go", tests: "TestStoppedWriterHoldsLittle",
		old: "	w.light, w.guarded = true, w.s.a.Punched()\n", new: "	w.light, w.guarded = false, w.s.a.Punched()\n"},
	{rule: "C5", what: "a large transaction holds nobody back", file: "shm/rivals.go", tests: "TestLargeTransactionBesideWriter", plain: true,
		old: "	if !w.CloseGate(3 * took) {\n", new: "	if true {\n"},

	// Readers.
	{rule: "R1", what: "the end is read before the root", tests: "TestSchedules/growth", file: fileArena,
		old: "	g = Glance{horizon: a.ro.Load(offHorizon), word: a.ro.Load(offRoot), end: a.ro.Load(offEnd)}\n",
		new: "	g = Glance{end: a.ro.Load(offEnd), horizon: a.ro.Load(offHorizon), word: a.ro.Load(offRoot)}\n"},
	{rule: "R1", what: "the end is raised over holes", tests: "TestNoHoles", plain: true, file: filePage,
		old: "			if err := a.b.back(lo, hi-lo); err != nil {\n", new: "			if err := a.b.back(hi-pageSize, pageSize); err != nil {\n"},
	{rule: "R1", what: "a reader looks for holes before it has the root", tests: "TestReadsBesideTheFirstHole", file: "shm/get.go",
		old: "	g, ok := s.a.Glance()\n	if !ok {\n		return dst, hamt.Damaged, true\n	}\n	if !inGuard && s.a.Punched() {\n", new: "	punched := s.a.Punched()\n	g, ok := s.a.Glance()\n	if !ok {\n		return dst, hamt.Damaged, true\n	}\n	if !inGuard && punched {\n"},
	{rule: "R1", what: "the end is stored, not raised", tests: "TestSchedules/two_growers", file: filePage,
		old: "	a.mem.Max(offEnd, to)\n", new: "	a.mem.Store(offEnd, to)\n"},
	{rule: "R2", what: "the horizon is read after the root", tests: "TestSchedules/reader", file: fileArena,
		old: "	g = Glance{horizon: a.ro.Load(offHorizon), word: a.ro.Load(offRoot), end: a.ro.Load(offEnd)}\n",
		new: "	g = Glance{word: a.ro.Load(offRoot), horizon: a.ro.Load(offHorizon), end: a.ro.Load(offEnd)}\n"},
	{rule: "R2", what: "an optimistic result is always believed", tests: "TestSchedules/reader", file: fileArena, quick: true,
		old: "	return h == g.horizon || h-g.horizon <= (g.word>>48-g.horizon)&0xffff\n", new: "	return h != 0\n"},
	{rule: "R2", what: "an optimistic result is believed one version too long", tests: "TestSchedules/reader", file: fileArena,
		old: "	return h == g.horizon || h-g.horizon <= (g.word>>48-g.horizon)&0xffff\n", new: "	return h == g.horizon || h-g.horizon <= (g.word>>48-g.horizon)&0xffff+1\n"},
	{rule: "R2", what: "what a failed try has appended stays", file: "shm/get.go", tests: "TestSchedules/reader",
		old: "		if held {\n			switch status {", new: "		if !held {\n			dst = got\n		} else {\n			switch status {"},
	{rule: "R3", what: "no fence before the horizon is read again", tests: "TestSchedules/out_of_order", file: fileArena,
		old: "	a.ro.LoadFence()\n", new: ""},
	{rule: "R4", what: "a reader that cannot pin gives up at the first try", file: "shm/get.go", tests: "TestOvertakenReader",
		old: "	for range readOnlyTries {\n", new: "	for range 1 {\n"},

	// Handles.
	{rule: "H1", what: "Close ends a handle while others are inside", tests: "TestSchedules/beside_close", file: fileUsers, quick: true,
		old: "	if a.users.any() {\n		return nil\n	}\n	return a.finish()\n", new: "	return a.finish()\n"},
	{rule: "H1", what: "a call looks whether the handle is closed, then counts itself", tests: "TestSchedules/beside_close", file: fileUsers,
		old: "	u = a.users.enter()\n	if a.closed.Load() {\n", new: "	a.ro.Touch(region.OpLoad, 0)\n	u = a.users.enter()\n	if false {\n"},
	{rule: "H1", what: "the last to leave a closed handle does not end it", tests: "TestSchedules/beside_close", file: fileUsers,
		old: "	u.lane.count.Add(-1)\n	if a.closed.Load() && ", new: "	u.lane.count.Add(-1)\n	if false && "},
	{rule: "H1", what: "the mappings are detached before the slots are given back", tests: "TestSchedules/beside_close", file: fileUsers,
		old: "		var failed error\n		if a.CanPin() {\n			a.dropPins()\n", new: "		failed := a.b.close()\n		if a.CanPin() {\n			a.dropPins()\n"},
	{rule: "H1", what: "Close drops the pins of those who are inside", tests: "TestCloseIn", plain: true, file: fileUsers,
		old: "	if !a.closed.Swap(true) {\n		if a.CanPin() {\n", new: "	if !a.closed.Swap(true) {\n		if a.CanPin() {\n			a.dropPins()\n"},
	{rule: "H1", what: "a loop over a snapshot does not tell that it was cut short", tests: "TestSchedules/beside_close", file: "shm/snapshot.go",
		old: "			return closed\n		})\n	}\n}\n\n// Err", new: "			return nil\n		})\n	}\n}\n\n// Err"},

	{rule: "H1", what: "the snapshot of a View is read after the View", tests: "TestViewsSnapshotKept", file: "shm/snapshot.go",
		old: "		if err := sn.check(); err != nil {\n			return nil, err // the View has ended: nobody is inside any more\n		}\n", new: ""},
	{rule: "H1", what: "a loop does not keep the pin of a snapshot that is closed meanwhile", tests: "TestCloseInDiff", plain: true, file: "shm/snapshot.go",
		old: "	if sn.state.CompareAndSwap(0, snapshotClosed) || sn.state.Or(snapshotClosed) == 0 {\n", new: "	if sn.state.Or(snapshotClosed)&snapshotClosed == 0 {\n"},

	// The dead.
	{rule: "D1", what: "locks are tested through the opening that holds one's own", tests: "TestSchedules/(opener|adopter)", file: fileAdopt,
		old: "		if i == a.entry || !a.taken(i) {\n			continue\n		}\n		if l == nil {\n			var err error\n			if l, err = a.b.locks(); err != nil {\n				return dead, err\n			}\n		}\n",
		new: "		if !a.taken(i) {\n			continue\n		}\n		l := a.lock\n"},
	{rule: "D1", what: "nobody asks whether the other is dead", file: fileAdopt,
		old: "		if !ok {\n			continue\n		}\n		was, err", new: "		_ = ok\n		was, err"},
	{rule: "D2", what: "a dead entry is taken with its slots as they are", file: fileAdopt,
		old: "		_, err := a.adoptEntry(i)\n		return err == nil, err\n", new: "		return true, nil\n"},
	{rule: "D2", what: "the idle slot of a dead one is adopted while others may take it", tests: "TestSchedules/dead_one", file: fileAdopt,
		old: "owner&ownerIdle != 0 && !a.mem.CAS(word, owner, owner&^ownerIdle) {", new: "false {"},
	{rule: "D2", what: "a free slot is taken as it is", tests: "TestFreeSlotIsPutInOrder", pkg: "./alloc", plain: true, file: fileSlot,
		old: "	return s, s.recover() //", new: "	return s, nil //"},
	{rule: "D2", what: "a reader is refused where dead writers have all entries", tests: "TestReaderAfterDeadWriters", pkg: "./alloc", plain: true, file: fileArena,
		old: "	case err == errDeadEntries:\n", new: "	case false:\n"},
	{rule: "B6", what: "nobody counts the reserve again after a death", tests: "TestDeathsAndReserve", pkg: "./alloc", plain: true, file: fileAdopt,
		old: "		a.countReserve()\n", new: ""},
	{rule: "D2", what: "an adopted slot is not released", file: fileAdopt,
		old: "		a.mem.Store(word, 0)\n	}\n	if failed", new: "	}\n	if failed"},
	{rule: "D2", what: "an adopted slot is released before it is in order", file: fileAdopt,
		old: "		page, err := a.slotPage(j)\n", new: "		a.mem.Store(word, 0)\n		page, err := a.slotPage(j)\n"},

	{rule: "D5", what: "a new store replaces one that was made meanwhile", file: fileFiles, tests: "TestCreate|TestCreator", plain: true,
		old: "t.dir.Link(t.tmp, t.name)", new: "t.dir.Rename(t.tmp, t.name)"},
	{rule: "D5", what: "a file has its name before it is whole", file: fileFiles, tests: "TestCreate|TestCreator", plain: true,
		old: "	if err := format(m, &files{data: data.f}, super, version); err != nil {\n",
		new: "	if _, err := data.link(); err != nil {\n		return false, err\n	}\n	if err := format(m, &files{data: data.f}, super, version); err != nil {\n"},
	{rule: "D5", what: "slots have their name before there is memory for data", file: fileFiles, tests: "TestNoRoomToCreate", plain: true,
		old: "	data, err := newTemp(dir, nameData, o.Mode)\n", new: "	_, _ = slots.link()\n	data, err := newTemp(dir, nameData, o.Mode)\n"},
	{rule: "D5", what: "the end is raised before there is memory", tests: "TestNoHoles", plain: true, file: filePage,
		old: "	for i := range segments {\n		g := &segments[i]\n		if g.stop <= end", new: "	a.mem.Max(offEnd, to)\n	for i := range segments {\n		g := &segments[i]\n		if g.stop <= end"},

	{rule: "D8", what: "writers go on in a store that was removed", tests: "TestRemovedWhileOpen", plain: true, file: "alloc/moved.go",
		old: "		if removed {\n", new: "		if removed && false {\n"},
	{rule: "D8", what: "a writer looks once whether the store was removed", tests: "TestRemovedWhileOpen", plain: true, file: "alloc/moved.go",
		old: "		n.timer.Reset(time.Second)\n", new: ""},

	// The ledger and its cost.
	{rule: "L3", what: "what is set aside is looked at in every pass", file: fileReclaim, tests: "TestCostOfHeldBlocks",
		old: "		if p != 0 && !s.view.still(s.asideKeys[i]) {", new: "		if p != 0 {"},
	{rule: "L3", what: "pages set aside by others are looked through in every pass", file: fileReclaim, tests: "TestCostOfHeldBlocks",
		old: "			if s.view.still(heldKey(a.ro.Load(p+chunkKey))) || a.laterThan(p, h) {", new: "			if a.laterThan(p, h) {"},
	{rule: "L1", what: "the ledger takes what is intended for in flight", file: "alloc/ledger.go",
		old: "		committed := u.committed(u.a.ro.Load(base + slotIntent))\n", new: "		committed := false\n"},
	{rule: "L1", what: "what two passes find is believed beside writers", file: "alloc/ledger.go", tests: "TestOvertakenCheck$|TestCheckOvertakenAlike",
		old: "			f.agreed = was.agreed + 1\n", new: "			f.agreed = agreeing\n"},
	{rule: "L1", what: "what a pass finds is believed beside writers", file: "alloc/ledger.go", tests: "TestOvertakenCheck$|TestCheckOvertakenAlike",
		old: "	agreeing      = 12 ", new: "	agreeing      = 0 "},
	{rule: "L1", what: "a pass that writers have overtaken counts", file: "alloc/ledger.go", tests: "TestOvertakenCheck$",
		old: "	held = func() bool { return a.Held(g) }\n", new: "	held = func() bool { return true }\n"},
	{rule: "L1", what: "beside writers nothing is believed", file: "alloc/ledger.go", tests: "TestOvertakenCheckFindsFaults",
		old: "f := u.wrong[k]; u.Quiet || f.agreed >= agreeing {", new: "f := u.wrong[k]; u.Quiet {"},

	// The trie.
	{rule: "I3", what: "a delete does not contract", file: fileTx, tests: ".", pkg: "./hamt", plain: true, quick: true,
		old: "		case kindLeaf, kindCollision:\n			d := depth - 1", new: "		case kindLeaf + 99:\n			d := depth - 1"},
	{rule: "I6", what: "a walk in a transaction sees what it changes meanwhile", file: fileTx, tests: ".", pkg: "./hamt", plain: true,
		old: "	return t.frozenBelow != 0 && t.alloc.Age(off) < t.frozenBelow\n", new: "	return false\n"},
	{rule: "C5", what: "a move that was overtaken is committed upon the version that it was made for", file: fileRoom, tests: "TestSchedules/compactor",
		old: "	if err = w.begin(); err == nil {\n		// Any", new: "	if w.root.Off == 0 {\n		err = w.begin()\n	} else {\n		err = w.pin()\n	}\n	if err == nil {\n		// Any"},
	{rule: "B7", what: "a leaf is moved that stands elsewhere", file: "hamt/move.go", tests: "TestMove", pkg: "./hamt", plain: true,
		old: "	case at.kind() == kindLeaf && at.Off() == off:\n", new: "	case at.kind() == kindLeaf:\n"},
	{rule: "B7", what: "what is moved takes space in what is being emptied", file: fileSlot, tests: "TestCompact$", plain: true,
		old: "st.class() != c || s.avoids(p) ||", new: "st.class() != c ||"},
	{rule: "B7", what: "one that gained nothing is followed by others", file: fileEvacuate, tests: "CostOfRefused",
		old: "	if b.pages != 0 && k >= b.pages &&", new: "	if b.pages > surveyPages && k >= b.pages &&"},
	{rule: "B7", what: "what snapshots hold is moved", file: fileEvacuate, tests: "MovesNothingForNothing", plain: true,
		old: "		if e.mover.Guard(func() { held[i] = s.holdsAny(w) }) || held[i] {", new: "		if held[i] {"},
	{rule: "C7", what: "what a transaction set that was given up is in the next one", file: fileUpdate, tests: "TestTransactionGivenUp", plain: true,
		old: "		w.pending.n = 0\n", new: ""},
	{rule: "B3", what: "what a transaction has shown and replaced is used again at once", file: fileUpdate, tests: "TestTxGetStaysValid", plain: true,
		old: "		w.tx.KeepLeaves = true\n", new: ""},
	{rule: "L2", what: "an entry that stands at another depth is taken for changed", file: "hamt/diff.go", tests: ".", pkg: "./hamt", plain: true,
		old: "	return side{branch: branch{bitmap: bit(h, depth)}, only: ref}, nil\n", new: "	return side{branch: branch{bitmap: bit(h, 0)}, only: ref}, nil\n"},

	{rule: "L2", what: "equal references of two stores are taken for one node", file: "hamt/diff.go", tests: "Join", pkg: "./hamt", plain: true,
		old: "	if a == b && (d.shared || a == 0) || d.stopped {\n", new: "	if a == b || d.stopped {\n"},

	// Backups.
	{rule: "D5", what: "a backup removes one that is being made", file: fileDraft, tests: "Drafts", pkg: "./alloc", plain: true,
		old: "	err := ofdLock(f, unix.F_WRLCK, makerLock, 1)\n", new: "	var err error\n"},
	{rule: "D5", what: "a mark is not looked for again once it is locked", file: fileDraft, tests: "TestMakersOfOneCopy", plain: true,
		old: "	if _, err := dir.Lstat(draftMark + digits); err != nil {\n", new: "	if _, err := dir.Lstat(\".\"); err != nil {\n"},
	{rule: "D5", what: "a backup replaces what was made there meanwhile", file: fileDraft, tests: "TestBackupRefuses", plain: true,
		old: "unix.RENAME_NOREPLACE", new: "0"},
	{rule: "D5", what: "a backup leaves what the dead have left", file: fileDraft, tests: "TestKilledBackup", plain: true,
		old: "		_ = removeDraft(parent, dir, name, digits)\n", new: ""},
	{rule: "D5", what: "a backup removes a store that only has the name of a draft", file: fileDraft, tests: "TestNoDraft", pkg: "./alloc", plain: true,
		old: "dir.OpenFile(draftMark+digits, os.O_RDWR|unix", new: "dir.OpenFile(draftMark+digits, os.O_RDWR|os.O_CREATE|unix"},
	{rule: "D6", what: "an old store does not become a draft before it has the name of one", file: fileDraft, tests: "TestReplaceKilled", pkg: "./alloc", plain: true,
		old: "makeMark(old.dir, d.digits())", new: "makeMark(d.dir, \"x\"+d.digits())"},
	{rule: "D6", what: "who opened the old store takes the mark off it", file: fileFiles, tests: "TestReplacedWhileItIsOpened", pkg: "./alloc", plain: true,
		old: "			a.b.(*files).writes = false\n", new: ""},

	{rule: "D7", what: "a backup can be opened for writing", file: fileFiles, tests: "TestBackupIsReadOnly", plain: true,
		old: "	if super.origin.Backup && !o.ReadOnly {", new: "	if false {"},
	{rule: "D7", what: "a backup that is rewritten is one no more", file: "shm/rewrite.go", tests: "TestBackupIsReadOnly", plain: true,
		old: "	origin := sn.s.a.Origin()\n", new: "	origin := sn.s.a.Origin()\n	origin.Backup = false\n"},
	{rule: "D7", what: "a store that is restored is a backup", file: "shm/backup.go", tests: "TestBackupIsReadOnly", plain: true,
		old: "	shows.Backup = backup\n", new: "	shows.Backup = true\n"},

	// Waiting.
	{rule: "W1", what: "a waiter does not raise the flag", file: "alloc/wait.go", tests: "Wait", plain: true,
		old: "	a.shared.Store(offWaitFlag, 1)\n", new: ""},
}

func TestBreaches(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("builds the tests again for each breach")
	}
	root, err := filepath.Abs("..")
	require.NoError(t, err)
	wanted := func(b *breach) bool { return b.quick }
	if *flagBreaches != "" {
		pattern := *flagBreaches
		if pattern == "all" {
			pattern = ""
		}
		re, err := regexp.Compile(pattern)
		require.NoError(t, err)
		wanted = func(b *breach) bool { return re.MatchString(b.rule + " " + b.what) }
	}
	var mu sync.Mutex
	var table []string
	t.Cleanup(func() {
		for _, row := range table {
			t.Log(row)
		}
		t.Logf("%d breaches of the %d were tried", len(table), len(breaches))
	})
	for i := range breaches {
		b := &breaches[i]
		source, err := os.ReadFile(filepath.Join(root, b.file))
		require.NoError(t, err)
		require.Equal(t, 1, strings.Count(string(source), b.old), "%s: %s: what the breach replaces in %s", b.rule, b.what, b.file)
		if !wanted(b) {
			continue
		}
		t.Run(fmt.Sprintf("%s %s", b.rule, b.what), func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			by, after := b.try(t, root, string(source))
			if by == "" {
				t.Errorf("nothing caught it in %.0f s", time.Since(began).Seconds())
				by = "NOTHING"
			}
			mu.Lock()
			defer mu.Unlock()
			table = append(table, fmt.Sprintf("%-3s %-70s %s %s, %.1f s", b.rule, b.what, by, after, time.Since(began).Seconds()))
		})
	}
}

var (
	failedTest = regexp.MustCompile(`(?m)^\s*--- FAIL: (Test[^/ ]+/\S+)`)
	failedAny  = regexp.MustCompile(`(?m)^\s*--- FAIL: (\S+)`)
	afterMany  = regexp.MustCompile(`found after (\d+ \w+)`)
)

// try runs the tests upon the breach, and returns which test caught it and
// after how much.
func (b *breach) try(t *testing.T, root, source string) (by, after string) {
	mutant := strings.Replace(source, b.old, b.new, 1)
	dir := t.TempDir()
	file := filepath.Join(dir, "mutant.go")
	require.NoError(t, os.WriteFile(file, []byte(mutant), 0o600))
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {filepath.Join(root, b.file): file}})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "overlay.json"), overlay, 0o600))

	pkg, tests := b.pkg, b.tests
	if pkg == "" {
		pkg = "./shm"
	}
	if tests == "" {
		tests = "^(TestCrashPoints|TestSchedules)$"
	}
	args := []string{"test", "-vet=off", "-count=1", "-failfast", "-timeout=150s", "-overlay=" + filepath.Join(dir, "overlay.json"), "-run", tests}
	if !b.plain {
		args = append(args, "-tags=shmhook")
	}
	args = append(args, pkg)
	if !b.plain {
		args = append(args, fmt.Sprintf("-schedules=%d", max(b.most, 400)))
	}
	cmd := exec.Command("go", args...)
	cmd.Dir = root
	cmd.Env = append(testdir.GoEnv(), "GOFLAGS=-buildvcs=false")
	raw, err := cmd.CombinedOutput()
	out := string(raw)
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if strings.Contains(out, "[build failed]") || strings.Contains(out, "[setup failed]") {
		t.Fatalf("the breach does not build:\n%s", out)
	}
	if err == nil {
		return "", ""
	}
	if m := afterMany.FindStringSubmatch(out); m != nil {
		after = "after " + m[1]
	}
	for _, re := range []*regexp.Regexp{failedTest, failedAny} {
		if m := re.FindStringSubmatch(out); m != nil {
			return m[1], after
		}
	}
	if strings.Contains(out, "test timed out") {
		return "a test that did not end", after
	}
	return "a crash of the tests", after
}
