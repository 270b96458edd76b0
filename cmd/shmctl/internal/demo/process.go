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

// The verbs of the demo's processes, for which main calls Write and Read. Their arguments
// are the store's directory and a job in JSON.
//
// A process reports on its standard output that it is ready, waits for a byte on its
// standard input, works, and reports its work. It stops when its standard input ends,
// because the parent has closed it or has died.
const (
	WriterVerb = "demo-writer"
	ReaderVerb = "demo-reader"
)

// message is a line from a process to the demo.
type message struct {
	Ready   bool `json:"ready,omitempty"`
	Holding bool `json:"holding,omitempty"` // stopped in the middle of a transaction
	Done    bool `json:"done,omitempty"`

	Progress progress `json:"progress"`          // of a writer: committed records
	Written  int      `json:"written,omitempty"` // if Holding: records in the open transaction
	Work     work     `json:"work"`
}

// work is the work of a process.
type work struct {
	Seconds      float64 `json:"seconds"`
	Singles      int64   `json:"single_sets,omitempty"`
	Transactions int64   `json:"transactions,omitempty"`
	Batched      int64   `json:"sets_in_transactions,omitempty"`
	Gets         int64   `json:"gets,omitempty"`
	Views        int64   `json:"views,omitempty"`
	Viewed       int64   `json:"gets_in_views,omitempty"`
}

// operations returns the number of records written, or of values read and verified.
func (w work) operations() int64 { return w.Singles + w.Batched + w.Gets + w.Viewed }

// perSecond returns the number of operations in each second.
func (w work) perSecond() int64 {
	if w.Seconds <= 0 {
		return 0
	}
	return int64(float64(w.operations()) / w.Seconds)
}

// process is a child process, as the parent sees it.
type process struct {
	name   string
	place  int // in the report
	cmd    *exec.Cmd
	in     io.Closer
	start  io.Writer
	writer bool
	share  share // of a writer

	last    message // last message from the process
	victim  bool    // the parent kills it on purpose
	running bool
}

// event is a message of a process, or its end.
type event struct {
	p       *process
	message message
	ended   bool
	err     error
}

// launch starts a process. The process ends when ctx is done or the calling thread ends,
// so the calling goroutine must be locked to its thread.
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
	p.cmd.ExtraFiles = []*os.File{data} // becomes sharedData, the only inherited file
	p.cmd.WaitDelay = time.Second
	p.cmd.SysProcAttr = &syscall.SysProcAttr{
		Pdeathsig: syscall.SIGKILL,
		Setpgid:   true, // only the parent gets interrupts from the terminal
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

// release starts the work of a process that is ready.
func (p *process) release() error {
	_, err := p.start.Write([]byte{'\n'})
	return err
}

// stop tells a process to end.
func (p *process) stop() { _ = p.in.Close() }

// killed reports whether a process that has ended was killed with SIGKILL.
func (p *process) killed() bool {
	status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}

// errStopped reports that the parent has stopped the process.
var errStopped = errors.New("stopped by the parent")

// parent is the parent process, as a child sees it.
type parent struct {
	out   *json.Encoder
	begun chan struct{}
	gone  chan struct{} // closed when the parent stops this process or dies
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

// ready reports to the parent and returns when the parent starts the work.
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

// stopped reports whether the parent has stopped this process or died.
func (p *parent) stopped() bool {
	select {
	case <-p.gone:
		return true
	default:
		return false
	}
}

// sharedWriter lets several processes write lines to one writer.
type sharedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (s *sharedWriter) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.w.Write(b)
}
