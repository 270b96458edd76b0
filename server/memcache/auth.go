package memcache

import (
	"bytes"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"syscall"
)

// Auth are the users who may send requests, with their passwords, from a file with a line
// user:password for each. The first request of a connection must be a set whose value is the
// name, a blank and the password.
type Auth struct {
	path  string
	users atomic.Pointer[[]user]
}

type user struct{ name, password []byte }

// LoadAuth reads the file of users. The error tells what is wrong with which line, and no
// password.
func LoadAuth(path string) (*Auth, error) {
	a := &Auth{path: path}
	return a, a.Reload()
}

// Reload reads the file again, for connections that come later. After an error the users are
// those that they were.
func (a *Auth) Reload() error {
	text, err := readUsers(a.path)
	if err != nil {
		return fmt.Errorf("memcache: reading the file of users: %w", err)
	}
	var users []user
	for i, line := range bytes.Split(text, []byte("\n")) {
		line = bytes.TrimSuffix(line, []byte("\r"))
		if len(line) == 0 {
			continue
		}
		name, password, ok := bytes.Cut(line, []byte(":"))
		if !ok {
			return fmt.Errorf("memcache: line %d of %s has no colon, expected user:password", i+1, a.path)
		}
		users = append(users, user{name, password})
	}
	if len(users) == 0 {
		return fmt.Errorf("memcache: %s has no line, expected one user:password or more", a.path)
	}
	a.users.Store(&users)
	return nil
}

// mostUsers is how many bytes the file of users may have.
const mostUsers = 1 << 20

// readUsers reads the file of users. It waits for nobody: a pipe would keep a server from its
// start, or from its signals.
func readUsers(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("found %s of mode %v, expected a regular file", path, st.Mode())
	}
	text, err := io.ReadAll(io.LimitReader(f, mostUsers+1))
	if len(text) > mostUsers {
		return nil, fmt.Errorf("found more than %d bytes in %s, expected at most that", mostUsers, path)
	}
	return text, err
}

// knows reports whether there is a user with this password. How long it takes tells nothing
// about names and passwords but their lengths.
func (a *Auth) knows(name, password []byte) bool {
	found := 0
	for _, u := range *a.users.Load() {
		found |= subtle.ConstantTimeCompare(u.name, name) & subtle.ConstantTimeCompare(u.password, password)
	}
	return found == 1
}

// maxAuth is the length of the longest value by which a client may authenticate itself. Nothing
// bounds it in memcached but the buffer; who is unknown is given little memory here.
const maxAuth = 2048

// authenticate reads the first request of a client. Until one was right, all others are
// refused.
func (c *conn) authenticate() error {
	line, err := c.in.line()
	if errors.Is(err, errLine) {
		return errClose
	}
	if err != nil {
		return err
	}
	args, _ := c.split(line)
	var size uint32
	ok := len(args) >= 5 && string(args[0]) == "set"
	if ok {
		size, ok = parseUint32(args[4])
	}
	switch {
	case !ok:
		return c.say("CLIENT_ERROR unauthenticated")
	case size > maxAuth:
		_ = c.say("CLIENT_ERROR bad authentication token format")
		return errClose
	}
	block, err := c.in.data(int(size) + 2)
	if err != nil {
		return err
	}
	if string(block[size:]) != "\r\n" {
		return c.say("CLIENT_ERROR bad command line termination")
	}
	words, _ := c.split(block[:size])
	if len(words) < 2 {
		return c.say("CLIENT_ERROR bad authentication token format")
	}
	c.counts.add(authCmds, 1)
	if !c.srv.opts.Auth.knows(words[0], words[1]) {
		c.counts.add(authErrors, 1)
		return c.say("CLIENT_ERROR authentication failure")
	}
	c.known = true
	return c.say("STORED")
}
