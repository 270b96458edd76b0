// Prefork is a web server of several processes with one cache. The parent listens and
// starts workers, which serve from its socket and share the cache:
//
//	GET /page/NAME     a page that takes 50 ms to make, and stays in the cache for a while
//	GET /stats         hits, misses and evictions of all workers, ever
//
// A page that many ask for at the same time is made once, by one worker. When the cache is
// full, pages that are seldom asked for make room for others.
//
// On SIGHUP the parent replaces the workers one by one, as for a new version of the
// program. No connection is refused meanwhile, and the cache stays warm.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

var (
	dir     = flag.String("store", "", "directory of the cache (default: a temporary one in /dev/shm, removed in the end)")
	addr    = flag.String("addr", "localhost:8080", "address to listen on")
	workers = flag.Int("workers", 2, "how many processes serve")
	ttl     = flag.Duration("ttl", time.Minute, "how long a page stays in the cache")
	size    = flag.Int64("bytes", 64<<20, "how large the cache can be")
	worker  = flag.Bool("worker", false, "be a worker; the program starts these itself")
)

func main() {
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	run := lead
	if *worker {
		run = work
	}
	if err := run(ctx); err != nil {
		log.Fatal("prefork: ", err)
	}
}

// lead listens, and keeps the workers running until it is asked to stop.
func lead(ctx context.Context) (err error) {
	if *dir == "" {
		if *dir, err = os.MkdirTemp("/dev/shm", "shmkv-prefork-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(*dir)) }()
	}
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	l, err := net.Listen("tcp", *addr)
	if err != nil {
		return err
	}
	defer l.Close()
	socket, err := inheritable(l.(*net.TCPListener))
	if err != nil {
		return err
	}
	defer socket.Close()

	died := make(chan *process)
	var all []*process
	defer func() {
		for _, p := range all {
			err = errors.Join(err, p.stop())
		}
	}()
	for range *workers {
		p, err := start(socket, died)
		if err != nil {
			return err
		}
		all = append(all, p)
	}
	fmt.Printf("serving http://%s in %d processes, store %s, kill -HUP %d replaces them\n", l.Addr(), len(all), *dir, os.Getpid())

	for {
		select {
		case <-ctx.Done():
			return nil
		case <-hup:
			for i, old := range all {
				// The new one serves before the old one stops.
				p, err := start(socket, died)
				if err != nil {
					log.Print("keeping the old workers: ", err)
					break
				}
				all[i] = p
				if err := old.stop(); err != nil {
					log.Print("stopping a worker: ", err)
				}
			}
			fmt.Println("restarted the workers")
		case dead := <-died:
			for i, p := range all {
				if p != dead {
					continue // else it was replaced, or was stopped
				}
				log.Printf("worker %d died: %v", p.cmd.Process.Pid, p.err)
				if all[i], err = start(socket, died); err != nil {
					all = append(all[:i], all[i+1:]...)
					return err
				}
			}
		}
	}
}

// inheritable returns the socket of a listener for workers. It is not what File of the
// listener returns: that makes the socket blocking each time it is handed to a child, for
// all who share it, and a worker in Accept could not be stopped then.
func inheritable(l *net.TCPListener) (*os.File, error) {
	raw, err := l.SyscallConn()
	if err != nil {
		return nil, err
	}
	var fd int
	var failed error
	err = raw.Control(func(own uintptr) {
		syscall.ForkLock.RLock() // no child is to get it by chance
		defer syscall.ForkLock.RUnlock()
		if fd, failed = syscall.Dup(int(own)); failed == nil {
			syscall.CloseOnExec(fd)
		}
	})
	if err = errors.Join(err, failed); err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), "listener"), nil
}

// A process is a worker, as its parent sees it.
type process struct {
	cmd   *exec.Cmd
	alive io.Closer     // a pipe to the worker, which stops when it closes, with the parent's death too
	ended chan struct{} // closed when the process has ended, after err was set
	err   error
}

// start starts a worker and waits until it serves.
func start(socket *os.File, died chan<- *process) (*process, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &process{cmd: exec.Command(exe, "-worker", "-store", *dir, "-ttl", ttl.String(), "-bytes", strconv.FormatInt(*size, 10)), ended: make(chan struct{})}
	p.cmd.ExtraFiles = []*os.File{socket} // descriptor 3 of the worker
	p.cmd.Stderr = os.Stderr
	ready, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if p.alive, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	_, notReady := bufio.NewReader(ready).ReadString('\n')
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
		died <- p
	}()
	if notReady != nil {
		return nil, errors.Join(errors.New("the worker does not start"), p.stop())
	}
	return p, nil
}

// stop lets a worker finish what it does, and waits for it.
func (p *process) stop() error {
	_ = p.alive.Close()
	<-p.ended
	return p.err
}
