// Nats has one set of data on several hosts: a bucket of NATS's JetStream is the source of
// truth, to which all changes go, and each host has a copy in a store, from which its
// processes read. A copy is kept fresh while there is a connection, and read also without one.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/seed-869cc763/shmkv/shm"
)

const usage = `usage:
  nats [flags] server           be the server of the bucket
  nats [flags] follow           keep this host's copy fresh
  nats [flags] set KEY VALUE    change the bucket
  nats [flags] delete KEY       change the bucket
  nats [flags] get KEY          read this host's copy
`

var (
	url    = flag.String("url", "nats://127.0.0.1:4222", "where the server is")
	bucket = flag.String("bucket", "settings", "name of the bucket")
	dir    = flag.String("store", "/dev/shm/shmkv-nats", "store of this host's copy")
	host   = flag.String("host", "127.0.0.1", "address of the server that server starts")
	port   = flag.Int("port", 4222, "its port")
	data   = flag.String("data", "nats-data", "directory of its data")
)

func main() {
	flag.Usage = func() {
		fmt.Fprint(os.Stderr, usage)
		flag.PrintDefaults()
	}
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "nats:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	switch {
	case len(args) == 1 && args[0] == "server":
		return serve(ctx)
	case len(args) == 1 && args[0] == "follow":
		return follow(ctx)
	case len(args) == 3 && args[0] == "set", len(args) == 2 && args[0] == "delete":
		return change(ctx, args[1], args[2:]...)
	case len(args) == 2 && args[0] == "get":
		return get(args[1])
	}
	flag.Usage()
	return fmt.Errorf("found the arguments %q, expected one of the commands above", args)
}

func serve(ctx context.Context) error {
	s, err := StartServer(*host, *port, *data)
	if err != nil {
		return err
	}
	fmt.Println("serves", s.ClientURL())
	<-ctx.Done()
	s.Shutdown()
	s.WaitForShutdown()
	return nil
}

func follow(ctx context.Context) (err error) {
	c, err := OpenCopy(*dir, *bucket, slog.New(slog.NewTextHandler(os.Stdout, nil)))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	return c.Follow(ctx, *url)
}

// change sets a key, or deletes it if there is no value.
func change(ctx context.Context, key string, value ...string) error {
	kv, nc, err := Bucket(ctx, *url, *bucket)
	if err != nil {
		return err
	}
	defer nc.Close()
	if len(value) == 0 {
		return kv.Delete(ctx, key)
	}
	_, err = kv.PutString(ctx, key, value[0])
	return err
}

func get(key string) (err error) {
	store, err := shm.Open(*dir, &shm.Options{ReadOnly: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	value, err := store.Map(valuesMap).Get([]byte(key))
	if err != nil {
		return err
	}
	fmt.Printf("%s\n", value)
	return nil
}
