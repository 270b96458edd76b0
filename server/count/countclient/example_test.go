package countclient_test

import (
	"context"
	"fmt"
	"log"
	"net"
	"os"

	"github.com/seed-869cc763/shmkv/server/count"
	"github.com/seed-869cc763/shmkv/server/count/countclient"
	"github.com/seed-869cc763/shmkv/shm"
)

func Example() {
	dir, err := os.MkdirTemp("", "countclient-example-")
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	s, err := shm.Open(dir+"/store", nil)
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	srv, err := count.New(&count.Options{Store: s})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = srv.Shutdown(context.Background()) }()
	for path, serve := range map[string]func(net.Listener) error{dir + "/sock": srv.ServeIncrements, dir + "/sock.read": srv.ServeRows} {
		l, err := net.Listen("unix", path)
		if err != nil {
			log.Fatal(err)
		}
		go func() { _ = serve(l) }()
	}

	a, err := countclient.DialAdder("unix", dir+"/sock", nil)
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = a.Close() }()
	for _, page := range []string{"/index", "/about", "/index"} {
		if err := a.Send([]byte("pages"), []byte(page), 1); err != nil {
			log.Fatal(err)
		}
	}
	if err := a.Flush(); err != nil {
		log.Fatal(err)
	}
	r, err := countclient.DialReader("unix", dir+"/sock.read", nil)
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	rows, err := r.Range([]byte("pages"), 0, 10)
	if err != nil {
		log.Fatal(err)
	}
	for _, row := range rows {
		fmt.Printf("%d %s\n", row.N, row.Key)
	}
	// Output:
	// 2 /index
	// 1 /about
}
