package main

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/seed-869cc763/shmkv/cmd/shmctl/internal/text"
)

// A topServer is what the kernel tells of a process that serves a store.
type topServer struct {
	Protocol    string   `json:"protocol"`
	Addresses   []string `json:"addresses"`   // on which it listens
	Connections int      `json:"connections"` // that are open
}

// serverOf returns what a process serves, or nil if it is no server of this store, or if this
// user may not know.
func serverOf(pid int, store string) *topServer {
	proc := filepath.Join("/proc", strconv.Itoa(pid))
	line, err := os.ReadFile(filepath.Join(proc, "cmdline"))
	if err != nil {
		return nil
	}
	args := strings.Split(string(line), "\x00")
	if len(args) < 3 || args[1] != "serve" {
		return nil
	}
	files, err := filepath.Glob(filepath.Join(proc, "fd", "*"))
	if err != nil {
		return nil
	}
	s := &topServer{Protocol: args[2], Addresses: []string{}}
	sockets := map[string]bool{} // by inode
	ours := false                // or it is of another pid namespace
	for _, f := range files {
		target, err := os.Readlink(f)
		if err != nil {
			continue
		}
		if inode, ok := strings.CutPrefix(target, "socket:["); ok {
			sockets[strings.TrimSuffix(inode, "]")] = true
		}
		ours = ours || filepath.Dir(target) == store
	}
	if !ours {
		return nil
	}
	for _, table := range []struct {
		name string
		line func(fields []string) (inode, address string, listens, connected bool)
	}{{"tcp", tcpSocket}, {"tcp6", tcpSocket}, {"unix", unixSocket}} {
		b, err := os.ReadFile(filepath.Join(proc, "net", table.name))
		if err != nil {
			continue
		}
		for l := range bytes.Lines(b) {
			inode, address, listens, connected := table.line(strings.Fields(string(l)))
			if !sockets[inode] {
				continue
			}
			sockets[inode] = false // a table that changes may have a socket twice
			switch {
			case listens:
				s.Addresses = append(s.Addresses, address)
			case connected:
				s.Connections++
			}
		}
	}
	slices.Sort(s.Addresses)
	return s
}

// The states of sockets in the kernel's tables.
const (
	tcpEstablished = "01"
	tcpListens     = "0A"
	unixListens    = "00010000" // flags
	unixConnected  = "03"
)

// tcpSocket reads a line of /proc/net/tcp or tcp6.
func tcpSocket(f []string) (inode, address string, listens, connected bool) {
	if len(f) < 10 {
		return "", "", false, false
	}
	return f[9], tcpAddress(f[1]), f[3] == tcpListens, f[3] == tcpEstablished
}

// tcpAddress converts an address and port as the kernel writes it: the bytes of each word of
// four in the order of the processor, in hexadecimal.
func tcpAddress(s string) string {
	address, port, _ := strings.Cut(s, ":")
	b, err := hex.DecodeString(address)
	n, portErr := strconv.ParseUint(port, 16, 16)
	if err != nil || portErr != nil || len(b)%4 != 0 {
		return s
	}
	for i := 0; i < len(b); i += 4 {
		binary.NativeEndian.PutUint32(b[i:], binary.BigEndian.Uint32(b[i:]))
	}
	ip, ok := netip.AddrFromSlice(b)
	if !ok {
		return s
	}
	return netip.AddrPortFrom(ip, uint16(n)).String()
}

// unixSocket reads a line of /proc/net/unix. A path may have blanks.
func unixSocket(f []string) (inode, address string, listens, connected bool) {
	if len(f) < 8 {
		return "", "", false, false
	}
	return f[6], strings.Join(f[7:], " "), f[3] == unixListens, f[3] != unixListens && f[5] == unixConnected
}

// String describes the server for people.
func (s *topServer) String() string {
	var at []string
	for _, a := range s.Addresses {
		at = append(at, text.Printable([]byte(a)))
	}
	return fmt.Sprintf("serves %s on %s to %s", text.Printable([]byte(s.Protocol)), strings.Join(at, ", "), text.Things(s.Connections, "connection", "connections"))
}

// servers returns a line for each server among the processes.
func (l topLook) servers() (lines []string) {
	for _, p := range l.Processes {
		if p.Server != nil {
			lines = append(lines, fmt.Sprintf("%d %v", p.Pid, p.Server))
		}
	}
	return lines
}
