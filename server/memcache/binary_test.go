package memcache

import (
	"bufio"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestBinaryStories tells the server all stories, one request after the other.
func TestBinaryStories(t *testing.T) {
	_, path := serve(t, Options{})
	for _, s := range binaryStories {
		t.Run(s.name, func(t *testing.T) { s.tell(t, dial(t, path), whole) })
	}
}

// TestBinaryByteByByte tells the stories byte by byte, long values without their middle.
func TestBinaryByteByByte(t *testing.T) {
	_, path := serve(t, Options{})
	for _, s := range binaryStories {
		t.Run(s.name, func(t *testing.T) {
			s.tell(t, dial(t, path), byteByByte)
		})
	}
}

// TestBinaryPipelined sends whole stories, and all that stay connected as one.
func TestBinaryPipelined(t *testing.T) {
	_, path := serve(t, Options{})
	flush := step{req{op: 0x08}, done0}
	all := binaryStory{}
	for _, s := range binaryStories {
		if s.refers() {
			continue // to an answer, which the client does not have yet
		}
		t.Run(s.name, func(t *testing.T) { s.tellAtOnce(t, dial(t, path)) })
		if !s.closed && !strings.Contains(s.name, "GiB") {
			all.steps = append(append(all.steps, s.renamed().steps...), flush)
		}
	}
	t.Run("all", func(t *testing.T) { all.tellAtOnce(t, dial(t, path)) })
}

// TestBinaryStoriesOfMemcached tells the stories to memcached: they say what it does.
func TestBinaryStoriesOfMemcached(t *testing.T) {
	path, _ := memcached(t)
	for _, s := range binaryStories {
		t.Run(s.name, func(t *testing.T) {
			if s.ours != "" {
				t.Skip(s.ours)
			}
			s.tell(t, dial(t, path), whole)
		})
	}
}

// refers reports whether a request of the story needs a unique number of an answer.
func (s binaryStory) refers() bool {
	for _, step := range s.steps {
		if strings.HasPrefix(step.unique, "$") {
			return true
		}
	}
	return false
}

// renamed returns the story with unique numbers that no other story names.
func (s binaryStory) renamed() binaryStory {
	steps := s.steps
	s.steps = nil
	for _, step := range steps {
		step.answers = slices.Clone(step.answers)
		for i := range step.answers {
			if a := &step.answers[i]; strings.HasPrefix(a.unique, "$") {
				a.unique += s.name
			}
		}
		s.steps = append(s.steps, step)
	}
	return s
}

// tell sends the requests of a story one by one, and compares the answers.
func (s binaryStory) tell(t *testing.T, nc net.Conn, send func(io.Writer, []byte) error) {
	u := uniques{}
	r := bufio.NewReader(nc)
	require.NoError(t, nc.SetDeadline(time.Now().Add(20*time.Second)))
	require.NoError(t, send(nc, req{op: opFlush}.packet(t, u, 0)))
	u.check(t, step{req: req{op: opFlush}}, ans{}, 0, r)
	for i, step := range s.steps {
		opaque := uint32(i + 1)
		if err := send(nc, step.packet(t, u, opaque)); err != nil {
			require.True(t, s.closed, "step %d: %v", i, err)
		}
		for _, a := range step.answers {
			u.check(t, step, a, opaque, r)
		}
	}
	s.end(t, nc, r)
}

// tellAtOnce sends all requests of a story while it reads the answers.
func (s binaryStory) tellAtOnce(t *testing.T, nc net.Conn) {
	u := uniques{}
	require.NoError(t, nc.SetDeadline(time.Now().Add(20*time.Second)))
	all := req{op: opFlush}.packet(t, u, 0)
	for i, step := range s.steps {
		all = append(all, step.packet(t, u, uint32(i+1))...)
	}
	sent := make(chan error, 1)
	go func() { sent <- whole(nc, all) }()
	r := bufio.NewReader(nc)
	u.check(t, step{req: req{op: opFlush}}, ans{}, 0, r)
	for i, step := range s.steps {
		for _, a := range step.answers {
			u.check(t, step, a, uint32(i+1), r)
		}
	}
	s.end(t, nc, r)
	if err := <-sent; err != nil {
		require.True(t, s.closed, "%v", err)
	}
}

// end checks that there are no more answers than expected, and that the connection is closed,
// or that the server closes it when the client has said its last.
func (s binaryStory) end(t *testing.T, nc net.Conn, r io.Reader) {
	if !s.closed {
		require.NoError(t, nc.(*net.UnixConn).CloseWrite())
	}
	rest, err := io.ReadAll(r)
	require.Empty(t, rest)
	if !s.closed {
		require.NoError(t, err)
	}
}

// TestBinaryBytes shows a request and its answer as they are sent.
func TestBinaryBytes(t *testing.T) {
	_, path := serve(t, Options{NoCAS: true})
	require.Equal(t, ""+
		"\x81\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xde\xad\xbe\xef\x00\x00\x00\x00\x00\x00\x00\x00"+
		"\x81\x0c\x00\x05\x04\x00\x00\x00\x00\x00\x00\x0e\x01\x02\x03\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x0aHelloWorld"+
		"\x81\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x09\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00Not found",
		talk(t, dial(t, path), ""+
			"\x80\x01\x00\x05\x08\x00\x00\x00\x00\x00\x00\x12\xde\xad\xbe\xef\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x0a\x00\x00\x00\x00HelloWorld"+
			"\x80\x0c\x00\x05\x00\x00\x00\x00\x00\x00\x00\x05\x01\x02\x03\x04\x00\x00\x00\x00\x00\x00\x00\x00Hello"+
			"\x80\x00\x00\x05\x00\x00\x00\x00\x00\x00\x00\x05\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00World"))
}
