package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// The verbs of the demo's processes, which main gives to Write and Read. Their
// arguments are the store's directory and a job in JSON.
//
// A process says on its standard output that it is ready, waits for a byte on its
// standard input, works, and reports its work. When its standard input ends it
// stops: its parent wants it to, or has died.
const (
	WriterVerb = "demo-writer"
	ReaderVerb = "demo-reader"
)

// message is a line from a process to the demo.
type message struct {
	Ready   bool `json:"ready,omitempty"`
	Holding bool `json:"holding,omitempty"` // in the middle of a transaction, for good
	Done    bool `json:"done,omitempty"`

	Progress progress `json:"progress"`          // of a writer: what is committed
	Written  int      `json:"written,omitempty"` // of a holding one: records in its open transaction
	Work     work     `json:"work"`
}

// work is what a process has done.
type work struct {
	Seconds      float64 `json:"seconds"`
	Singles      int64   `json:"single_sets,omitempty"`
	Transactions int64   `json:"transactions,omitempty"`
	Batched      int64   `json:"sets_in_transactions,omitempty"`
	Gets         int64   `json:"gets,omitempty"`
	Views        int64   `json:"views,omitempty"`
	Viewed       int64   `json:"gets_in_views,omitempty"`
}

// operations are records written, or values read and verified.
func (w work) operations() int64 { return w.Singles + w.Batched + w.Gets + w.Viewed }

// perSecond is the rate of operations.
func (w work) perSecond() int64 {
	if w.Seconds <= 0 {
		return 0
	}
	return int64(float64(w.operations()) / w.Seconds)
}

// process is a child of the demo, seen from the parent.
type process struct {
	name   string
	place  int // in the report
	cmd    *exec.Cmd
	in     io.Closer
	start  io.Writer
	writer bool
	share  share // of a writer

	last    message // that it sent
	victim  bool    // it is killed on purpose
	running bool
}

// event is a message of a process, or its end.
type event struct {
	p       *process
	message message
	ended   bool
	err     error
}

// launch starts a process. It ends with ctx, and with the thread that calls
// launch, which must be locked to a goroutine of the demo for that reason.
func launch(ctx context.Context, p *process, events chan<- event, data *os.File, stderr io.Writer, verb, dir string, job any) error {
	binary, err := os.Executable()
	if err != nil {
		return err
	}
	arg, err := json.Marshal(job)
	if err != nil {
		return err
	}
	p.cmd = exec.CommandContext(ctx, binary, verb, dir, string(arg))
	p.cmd.Args[0] = "shmctl"
	p.cmd.Stderr = stderr
	p.cmd.ExtraFiles = []*os.File{data} // becomes sharedData; nothing else is inherited
	p.cmd.WaitDelay = time.Second
	p.cmd.SysProcAttr = &syscall.SysProcAttr{
		Pdeathsig: syscall.SIGKILL,
		Setpgid:   true, // an interrupt from the terminal is the parent's to handle
	}
	in, err := p.cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := p.cmd.Start(); err != nil {
		return fmt.Errorf("starting %s: %w", p.name, err)
	}
	p.in, p.start, p.running = in, in, true
	go func() {
		lines := json.NewDecoder(out)
		var err error
		for {
			var m message
			if err = lines.Decode(&m); err != nil {
				break
			}
			events <- event{p: p, message: m}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, os.ErrClosed) {
			err = nil
		}
		if e := p.cmd.Wait(); e != nil {
			err = e
		}
		events <- event{p: p, ended: true, err: err}
	}()
	return nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// release lets a process that is ready begin.
func (p *process) release() error {
	_, err := p.start.Write([]byte{'\n'})
	return err
}

// stop tells a process to come to an end.
func (p *process) stop() { _ = p.in.Close() }

// killed reports whether a process that has ended was killed with SIGKILL.
func (p *process) killed() bool {
	status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}

// errStopped: the parent wants no more.
var errStopped = errors.New("stopped by the parent")

// parent is the demo, seen from one of its processes.
type parent struct {
	out   *json.Encoder
	begun chan struct{}
	gone  chan struct{} // or wants no more
}

func attend(in io.Reader, out io.Writer) *parent {
	p := &parent{json.NewEncoder(out), make(chan struct{}), make(chan struct{})}
	go func() {
		defer close(p.gone)
		var b [1]byte
		if _, err := io.ReadFull(in, b[:]); err != nil {
			return
		}
		close(p.begun)
		_, _ = io.Copy(io.Discard, in)
	}()
	return p
}

// ready tells the parent so, and returns when it says begin.
func (p *parent) ready() error {
	if err := p.out.Encode(message{Ready: true}); err != nil {
		return err
	}
	select {
	case <-p.begun:
		return nil
	case <-p.gone:
		return errStopped
	}
}

// stopped reports whether the parent wants no more.
func (p *parent) stopped() bool {
	select {
	case <-p.gone:
		return true
	default:
		return false
	}
}

// sharedWriter lets processes write to one writer, each a line at a time.
type sharedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (s *sharedWriter) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.w.Write(b)
}
