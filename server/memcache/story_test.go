package memcache

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A story is a file in testdata with requests and the answers to them, to the letter:
//
//	> a line that is sent, with an end of line
//	= "bytes that are sent", in the syntax of Go
//	< a line that is expected
//	# a remark
//
// {name} in an expected line stands for a number, which {name} in a later line means. A line
// of the form "! option" comes first, and starts the server with that option.
type story struct {
	name    string
	options []string
	steps   []storyStep
}

// A storyStep is what is sent until an answer is expected, and that answer.
type storyStep struct {
	line       int
	send, want string
}

func readStory(t testing.TB, path string) (s story) {
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	s.name = strings.TrimSuffix(filepath.Base(path), ".txt")
	var step storyStep
	for i, line := range strings.Split(string(text), "\n") {
		mark, rest, _ := strings.Cut(line, " ")
		if (mark == ">" || mark == "=") && step.want != "" {
			s.steps = append(s.steps, step)
			step = storyStep{}
		}
		switch mark {
		case "", "#":
		case "!":
			s.options = append(s.options, rest)
		case ">":
			step.send += rest + "\r\n"
		case "=":
			raw, err := strconv.Unquote(rest)
			require.NoError(t, err, "%s:%d", path, i+1)
			step.send += raw
		case "<":
			step.want += rest + "\r\n"
			step.line = i + 1
		default:
			t.Fatalf("%s:%d: found %q, expected one of > = < # !", path, i+1, line)
		}
	}
	s.steps = append(s.steps, step)
	return s
}

// stories returns those of a directory in testdata: "text" is what memcached answers likewise,
// and "later" what its later versions do, or what this server does better.
func stories(t testing.TB, dir string) (all []story) {
	paths, err := filepath.Glob("testdata/" + dir + "/*.txt")
	require.NoError(t, err)
	require.NotEmpty(t, paths)
	for _, p := range paths {
		all = append(all, readStory(t, p))
	}
	return all
}

var (
	hole = regexp.MustCompile(`\{[a-z]+\}`)
)

// matcher returns an expression for an answer, in which numbers that are known stand for
// themselves.
func matcher(want string, known map[string]string) *regexp.Regexp {
	var b strings.Builder
	b.WriteString("^")
	rest := want
	for {
		at := hole.FindStringIndex(rest)
		if at == nil {
			break
		}
		b.WriteString(regexp.QuoteMeta(rest[:at[0]]))
		name := rest[at[0]+1 : at[1]-1]
		if n, ok := known[name]; ok {
			b.WriteString(n)
		} else {
			fmt.Fprintf(&b, `(?P<%s>\d+)`, name)
		}
		rest = rest[at[1]:]
	}
	b.WriteString(regexp.QuoteMeta(rest) + "$")
	return regexp.MustCompile(b.String())
}

// play tells a story to a server, and checks its answers.
func (s story) play(t testing.TB, nc net.Conn, write func(w io.Writer, b []byte) error) {
	known := map[string]string{}
	r := bufio.NewReader(nc)
	require.NoError(t, nc.SetDeadline(time.Now().Add(20*time.Second)))
	for _, step := range s.steps {
		send := hole.ReplaceAllStringFunc(step.send, func(name string) string {
			if n, ok := known[name[1:len(name)-1]]; ok {
				return n
			}
			return name
		})
		ended := make(chan error, 1)
		go func() { ended <- write(nc, []byte(send)) }()
		var got []byte
		for range strings.Count(step.want, "\r\n") {
			line, err := r.ReadBytes('\n')
			got = append(got, line...)
			require.NoError(t, err, "%s.txt:%d: got %q, expected %q", s.name, step.line, got, step.want)
		}
		m := matcher(step.want, known)
		found := m.FindSubmatch(got)
		require.NotNil(t, found, "%s.txt:%d:\ngot      %.300q\nexpected %.300q", s.name, step.line, got, step.want)
		for i, name := range m.SubexpNames() {
			if i > 0 {
				known[name] = string(found[i])
			}
		}
		require.NoError(t, <-ended)
	}
	// Nothing more has come.
	require.NoError(t, nc.(interface{ CloseWrite() error }).CloseWrite())
	rest, err := io.ReadAll(r)
	require.NoError(t, err, s.name)
	require.Empty(t, string(rest), "%s.txt: after the last answer", s.name)
}

// joined returns the story with all requests in one step. It must not have holes.
func (s story) joined() (all story, ok bool) {
	var step storyStep
	for _, one := range s.steps {
		step.send += one.send
		step.want += one.want
		step.line = one.line
	}
	return story{s.name, s.options, []storyStep{step}}, !hole.MatchString(step.want)
}

func whole(w io.Writer, b []byte) error { _, err := w.Write(b); return err }

func byteByByte(w io.Writer, b []byte) error {
	const most = 3000 // of a large value the beginning and the end
	for len(b) > 0 {
		n := 1
		if len(b) > most {
			n = len(b) - most/2
		}
		if _, err := w.Write(b[:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// optionsOf returns the options of the server for a story.
func optionsOf(t testing.TB, s story) (o Options) {
	for _, option := range s.options {
		switch option {
		case "-C":
			o.NoCAS = true
		case "-F":
			o.NoFlush = true
		case "-X":
			o.NoDump = true
		case "-W":
			o.NoWatch = true
		case "-A":
			o.AllowShutdown = true
			o.Stop = func(bool) {}
		case "-I 1024":
			o.ItemSize = 1024
		default:
			t.Fatalf("%s.txt has the option %q, which this test does not know", s.name, option)
		}
	}
	return o
}

func TestStories(t *testing.T) {
	for _, s := range append(stories(t, "text"), stories(t, "later")...) {
		t.Run(s.name, func(t *testing.T) {
			t.Run("step by step", func(t *testing.T) {
				_, path := serve(t, optionsOf(t, s))
				s.play(t, dial(t, path), whole)
			})
			t.Run("byte by byte", func(t *testing.T) {
				_, path := serve(t, optionsOf(t, s))
				s.play(t, dial(t, path), byteByByte)
			})
			t.Run("at once", func(t *testing.T) {
				all, ok := s.joined()
				if !ok {
					t.Skip("a later request needs an earlier answer")
				}
				_, path := serve(t, optionsOf(t, s))
				all.play(t, dial(t, path), whole)
			})
		})
	}
}

// The same stories told to memcached itself: the answers are as there.
func TestStoriesOfMemcached(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a memcached for each story")
	}
	for _, s := range stories(t, "text") {
		t.Run(s.name, func(t *testing.T) {
			path, _ := memcached(t, s.options...)
			s.play(t, dial(t, path), whole)
		})
	}
}

// memcached starts the memcached of this machine, and returns its socket.
func memcached(t testing.TB, options ...string) (path string, pid int) {
	binary, err := exec.LookPath("memcached")
	if err != nil {
		t.Skip("there is no memcached on this machine")
	}
	version, err := exec.Command(binary, "-V").Output()
	require.NoError(t, err)
	if !bytes.Contains(version, []byte(Version)) {
		t.Logf("found %s, expected %s: its answers may differ", bytes.TrimSpace(version), Version)
	}
	path = t.TempDir() + "/socket"
	args := []string{"-s", path, "-U", "0"}
	if os.Getuid() == 0 {
		args = append(args, "-u", "root")
	}
	for _, o := range options {
		args = append(args, strings.Fields(o)...)
	}
	if strings.Contains(strings.Join(options, " "), "-I 1024") {
		args = append(args, "-o", "slab_chunk_max=1024")
	}
	cmd := exec.Command(binary, args...)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	await(t, path)
	return path, cmd.Process.Pid
}
