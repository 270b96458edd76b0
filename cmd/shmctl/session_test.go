package main

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"

	"github.com/rogpeppe/go-internal/testscript"
)

// A session is a process that carries out the command lines of a script, one after the other. With
// a process for each of them the scripts took four times the CPU time.
type session struct {
	vars  []string // environment at the start of the script
	input []byte   // standard input of the next command line

	cmd     *exec.Cmd
	calls   *json.Encoder
	answers *json.Decoder
	output  bytes.Buffer // of the process, if it crashes
	end     func()
}

// A sessionCall is a command line and its surroundings. The last three are paths of files.
type sessionCall struct {
	Args                  []string
	Dir                   string
	Env                   map[string]string
	Stdin, Stdout, Stderr string
}

// sessionEnv are the variables that scripts change.
var sessionEnv = []string{storeVariable, "SOURCE_DATE_EPOCH"}

// ownProcess are the verbs that are processes of their own: they start others, or change what
// belongs to the process.
var ownProcess = []string{"serve", "demo"}

// sessionVariable is set in the process of a session.
const sessionVariable = "SHMCTL_TEST_SESSION"

// shmctlOrSession is the main function of this binary as shmctl.
func shmctlOrSession() {
	if os.Getenv(sessionVariable) == "" {
		main()
	}
	_ = os.Unsetenv(sessionVariable)
	calls, answers := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	for {
		var c sessionCall
		if err := calls.Decode(&c); err == io.EOF {
			return
		} else if err != nil {
			panic(err)
		}
		if err := answers.Encode(c.run()); err != nil {
			panic(err)
		}
	}
}

// run carries out a command line as main does.
func (c *sessionCall) run() (code int) {
	must := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	must(os.Chdir(c.Dir))
	for name, value := range c.Env {
		must(os.Setenv(name, value))
	}
	in, out, errs := os.Stdin, os.Stdout, os.Stderr
	defer func() { os.Stdin, os.Stdout, os.Stderr = in, out, errs }()
	for _, f := range []struct {
		to   **os.File
		path string
		flag int
	}{{&os.Stdin, c.Stdin, os.O_RDONLY}, {&os.Stdout, c.Stdout, os.O_WRONLY | os.O_APPEND}, {&os.Stderr, c.Stderr, os.O_WRONLY | os.O_APPEND}} {
		file, err := os.OpenFile(f.path, f.flag, 0)
		must(err)
		defer func() { must(file.Close()) }()
		*f.to = file
	}
	return run(c.Args, os.Stdin, os.Stdout, os.Stderr)
}

// sessionKey is the key of the session among the values of a script.
type sessionKey struct{}

// newSession prepares a session for a script. Its process starts with the first command line.
func newSession(env *testscript.Env) error {
	s := &session{vars: slices.Clone(env.Vars)}
	env.Values[sessionKey{}] = s
	env.Defer(func() {
		if s.end != nil {
			s.end()
		}
	})
	return nil
}

func sessionOfScript(ts *testscript.TestScript) *session { return ts.Value(sessionKey{}).(*session) }

// start starts the process.
func (s *session) start() error {
	s.cmd = exec.Command("shmctl")
	s.cmd.Env, s.cmd.Stderr = append(s.vars, sessionVariable+"=1"), &s.output
	in, err := s.cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	s.calls, s.answers = json.NewEncoder(in), json.NewDecoder(out)
	s.end = func() {
		_ = in.Close()
		_ = s.cmd.Wait()
	}
	return s.cmd.Start()
}

// shmctl carries out a command line. Its output is that of the script's command.
func (s *session) shmctl(ts *testscript.TestScript, args []string) (code int, stderr string) {
	if s.cmd == nil {
		ts.Check(s.start())
	}
	dir, err := os.MkdirTemp("", "")
	ts.Check(err)
	defer func() { _ = os.RemoveAll(dir) }()
	c := sessionCall{
		Args: args, Dir: ts.MkAbs("."), Env: map[string]string{},
		Stdin: filepath.Join(dir, "stdin"), Stdout: filepath.Join(dir, "stdout"), Stderr: filepath.Join(dir, "stderr"),
	}
	for _, name := range sessionEnv {
		c.Env[name] = ts.Getenv(name)
	}
	ts.Check(os.WriteFile(c.Stdin, s.input, 0o600))
	ts.Check(os.WriteFile(c.Stdout, nil, 0o600))
	ts.Check(os.WriteFile(c.Stderr, nil, 0o600))
	s.input = nil
	ts.Check(s.calls.Encode(c))
	if err := s.answers.Decode(&code); err != nil {
		s.end()
		ts.Fatalf("shmctl has crashed: %v: %s", err, s.output.String())
	}
	stderr = ts.ReadFile(c.Stderr)
	_, _ = io.WriteString(ts.Stdout(), ts.ReadFile(c.Stdout))
	_, _ = io.WriteString(ts.Stderr(), stderr)
	return code, stderr
}

// input FILE makes a file the standard input of the next command line of exits.
func input(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: input FILE")
	}
	sessionOfScript(ts).input = []byte(ts.ReadFile(args[0]))
}
