package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strconv"
	"syscall"
	"time"
)

// stopPatience is how long --stop waits for the end of a server. Durus waits as long.
const stopPatience = 10 * time.Second

// stopOther ends the server at the address of the flags, and returns when nobody listens there.
func (d *durusServer) stopOther(ctx context.Context) error {
	network, address := "unix", d.socket
	if d.socket == "" {
		network, address = "tcp", net.JoinHostPort(unbracketed(d.host), strconv.Itoa(d.port))
	}
	ctx, cancel := context.WithTimeout(ctx, stopPatience)
	defer cancel()
	var dialer net.Dialer
	nc, err := dialer.DialContext(ctx, network, address)
	if nobodyListens(err) {
		return fmt.Errorf("found no server at %s: %w", address, err)
	}
	if err != nil {
		return err
	}
	_, err = nc.Write([]byte{'Q'})
	if err := errors.Join(err, nc.Close()); err != nil {
		return err
	}
	for {
		nc, err := dialer.DialContext(ctx, network, address)
		if nobodyListens(err) {
			return nil
		}
		if err == nil {
			nc.Close()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the server at %s goes on %v after it was asked to end", address, stopPatience)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// nobodyListens reports whether an error of Dial says so.
func nobodyListens(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, fs.ErrNotExist)
}
