package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// mostPath is the longest path of a unix socket that Linux takes, in bytes.
const mostPath = 107

// ListenUnix listens on a unix socket with these permission bits. A socket file that nobody
// listens on, which a killed server leaves, is replaced. A server that listens on it, and
// files of other kinds, are errors. Closing the listener removes the file, unless that has been
// replaced by another one meanwhile.
//
// Of several processes that do so at once, one gets the socket: each locks the directory while
// it looks and listens. Whoever can read the directory can hold that lock, so after some seconds
// a process goes on without it.
func ListenUnix(path string, mode fs.FileMode, backlog int) (net.Listener, error) {
	if len(path) > mostPath {
		return nil, fmt.Errorf("listening on %s: found a path of %d bytes, expected at most %d", path, len(path), mostPath)
	}
	unlock, err := LockDir(filepath.Dir(path))
	switch {
	case err == nil:
		defer unlock()
	case !errors.Is(err, unix.EWOULDBLOCK):
		return nil, fmt.Errorf("listening on %s: %w", path, err)
	}
	if err := removeStale(path); err != nil {
		return nil, fmt.Errorf("listening on %s: %w", path, err)
	}
	// The file has its mode from the beginning, so that nobody can connect before.
	before := unix.Umask(int(^mode & 0o777))
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	unix.Umask(before)
	if err != nil {
		return nil, err
	}
	file, err := os.Lstat(path)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("listening on %s: %w", path, err), l.Close())
	}
	l.SetUnlinkOnClose(false)
	return withBacklog(&unixListener{UnixListener: l, path: path, file: file}, backlog)
}

// A unixListener removes its file when it is closed for the first time.
type unixListener struct {
	*net.UnixListener
	path   string
	file   fs.FileInfo
	closed sync.Once
}

// Close removes the file before it closes the socket. As long as that is open nobody listens on
// another file of this number.
func (l *unixListener) Close() error {
	l.closed.Do(func() {
		if st, err := os.Lstat(l.path); err == nil && os.SameFile(st, l.file) {
			_ = os.Remove(l.path)
		}
	})
	return l.UnixListener.Close()
}

// LockDir locks a directory among processes that use LockDir. It waits for some seconds. If the
// directory is removed meanwhile, the error is fs.ErrNotExist.
func LockDir(dir string) (unlock func(), err error) {
	f, err := os.OpenFile(dir, os.O_RDONLY|syscall.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	const patience, pause = 5 * time.Second, 5 * time.Millisecond
	for began := time.Now(); ; time.Sleep(pause) {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			if err = stillAt(f, dir); err != nil {
				_ = f.Close()
				return nil, err
			}
			return func() { _ = f.Close() }, nil // which unlocks it
		}
		if err != unix.EWOULDBLOCK && err != unix.EINTR || time.Since(began) > patience {
			_ = f.Close()
			return nil, &fs.PathError{Op: "flock", Path: dir, Err: err}
		}
	}
}

// stillAt returns an error if another file than f is at path, or none.
func stillAt(f *os.File, path string) error {
	now, err := os.Stat(path)
	if err != nil {
		return err
	}
	st, err := f.Stat()
	if err == nil && !os.SameFile(st, now) {
		err = &fs.PathError{Op: "flock", Path: path, Err: fs.ErrNotExist}
	}
	return err
}

// removeStale removes a socket file that nobody listens on.
func removeStale(path string) error {
	st, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case st.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("found a file of mode %v, expected a socket or none", st.Mode())
	}
	c, err := net.Dial("unix", path)
	if err == nil {
		_ = c.Close()
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return errors.New("found a socket that another process listens on, expected one that nobody listens on, or none")
	}
	return os.Remove(path)
}

// withBacklog changes how many connections may wait to be accepted.
func withBacklog(l net.Listener, backlog int) (net.Listener, error) {
	raw, err := l.(syscall.Conn).SyscallConn()
	if err == nil {
		e := raw.Control(func(fd uintptr) { err = unix.Listen(int(fd), backlog) })
		err = errors.Join(err, e)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("listening on %v with a backlog of %d: %w", l.Addr(), backlog, err), l.Close())
	}
	return l, nil
}

// ListenTCP listens on all addresses, each a host, or a host and a port; an IPv6 address with
// a port is in brackets. Of a name it takes all addresses. port is that of hosts without one.
// In place of -1 it takes one that is free on all of them. An address that this machine does
// not have is an error, unless another one of the same name is there, or, if some is set,
// another one of the list.
func ListenTCP(ctx context.Context, addresses []string, port int, some bool, backlog int) ([]net.Listener, error) {
	for try := 0; ; try++ {
		var l tcpListeners
		err := l.addAll(ctx, addresses, port, some, backlog)
		if err == nil {
			return l.all, nil
		}
		for _, one := range l.all {
			_ = one.Close()
		}
		// A port that the kernel has chosen for one address may be taken on the next one.
		if port != -1 || !errors.Is(err, syscall.EADDRINUSE) || try == 10 {
			return nil, err
		}
	}
}

type tcpListeners struct{ all []net.Listener }

func (l *tcpListeners) addAll(ctx context.Context, addresses []string, port int, some bool, backlog int) error {
	var missing error
	for _, a := range addresses {
		host, at, err := splitPort(a, port)
		if err != nil {
			return err
		}
		ips, err := net.DefaultResolver.LookupIPAddr(ctx, host)
		if err != nil {
			return fmt.Errorf("listening on %s: %w", a, err)
		}
		before := len(l.all)
		for _, ip := range ips {
			err := l.add(ip, at, backlog)
			switch {
			case isMissing(err):
				missing = err
			case err != nil:
				return err
			case at == -1:
				at = l.all[len(l.all)-1].Addr().(*net.TCPAddr).Port
				port = at
			}
		}
		if len(l.all) == before && !some {
			return missing
		}
	}
	if len(l.all) == 0 {
		return missing
	}
	return nil
}

// add listens on one address.
func (l *tcpListeners) add(ip net.IPAddr, port, backlog int) error {
	network := "tcp6"
	if ip.IP.To4() != nil {
		network = "tcp4"
	}
	one, err := net.ListenTCP(network, &net.TCPAddr{IP: ip.IP, Zone: ip.Zone, Port: max(port, 0)})
	if err != nil {
		return err
	}
	limited, err := withBacklog(one, backlog)
	if err == nil {
		l.all = append(l.all, limited)
	}
	return err
}

// isMissing reports whether the machine does not have an address, or not its family.
func isMissing(err error) bool {
	return errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EAFNOSUPPORT)
}

// splitPort splits the port off, or returns the one that is the default.
func splitPort(address string, otherwise int) (host string, port int, err error) {
	if _, err := netip.ParseAddr(address); err == nil { // also IPv6 without brackets
		return address, otherwise, nil
	}
	host, number, err := net.SplitHostPort(address)
	if err != nil {
		host, _, err = net.SplitHostPort(address + ":0")
		if err != nil || host == "" {
			return "", 0, fmt.Errorf("found the address %q, expected a host, or host:port", address)
		}
		return host, otherwise, nil
	}
	port, err = strconv.Atoi(number)
	if err != nil || port < 0 || port > 65535 || host == "" {
		return "", 0, fmt.Errorf("found the address %q, expected a host, or host:port with a port from 0 to 65535", address)
	}
	return host, port, nil
}
