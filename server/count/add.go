package count

import (
	"cmp"
	"os"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/seed-869cc763/shmkv/server/count/wire"
)

// An adder is a connection that sends increments. All answers are the same, so those that the
// client does not take yet are only a number. A goroutine writes them, and the adder goes on to
// read: a client may send any number of increments before it reads an answer.
type adder struct {
	c *conn

	mu      sync.Mutex
	owed    int   // bytes of answers that are not written yet
	writing bool  // a goroutine writes them
	err     error // of that goroutine
	ended   sync.WaitGroup
}

// manyWins are answers to many increments.
var manyWins = []byte(strings.Repeat(wire.Win, 4096))

// handle implements handler.
func (a *adder) handle(messages []byte, done func()) error {
	won, failed := a.c.s.folder.add(a.c.s.layout, messages)
	done()
	return cmp.Or(a.answer(won), failed)
}

// end implements handler.
func (a *adder) end() { a.ended.Wait() }

// answer answers this many increments. It does not wait for the client.
func (a *adder) answer(won int) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.owed += won * len(wire.Win)
	if a.writing || a.err != nil {
		return a.err
	}
	for a.owed > 0 {
		n, err := a.c.writeNow(a.next())
		if err == unix.EAGAIN {
			a.writing = true
			a.ended.Go(a.write)
			return nil
		}
		if err != nil {
			return os.NewSyscallError("write", err)
		}
		a.owed -= n
	}
	return nil
}

// next returns the beginning of what is owed, which may be in the middle of an answer.
func (a *adder) next() []byte {
	from := -a.owed % len(wire.Win)
	if from < 0 {
		from += len(wire.Win)
	}
	return manyWins[from:min(from+a.owed, len(manyWins))]
}

// write writes all that is owed, at the pace of the client.
func (a *adder) write() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for a.owed > 0 && a.err == nil {
		b := a.next()
		a.mu.Unlock()
		n, err := a.c.Write(b)
		a.mu.Lock()
		a.owed, a.err = a.owed-n, err
	}
	a.writing = false
	if a.err != nil {
		_ = a.c.Close() // nobody reads the answers to what is still sent
	}
}
