package count

import (
	"cmp"
	"strings"

	"github.com/seed-869cc763/shmkv/server/count/wire"
)

// An adder is a connection that sends increments.
type adder struct{ c *conn }

// manyWins are answers to many increments.
var manyWins = []byte(strings.Repeat(wire.Win, 4096))

// handle implements handler.
func (a *adder) handle(messages []byte, done func()) error {
	won, failed := a.c.s.folder.add(a.c.s.layout, messages)
	done()
	return cmp.Or(a.answer(won), failed)
}

// answer writes the answers to this many increments.
func (a *adder) answer(won int) error {
	for rest := won * len(wire.Win); rest > 0; {
		n, err := a.c.Write(manyWins[:min(rest, len(manyWins))])
		if err != nil {
			return err
		}
		rest -= n
	}
	return nil
}
