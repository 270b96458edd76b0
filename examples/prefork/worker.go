package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/seed-869cc763/shmkv/shm"
)

// work serves from the parent's socket until the parent closes the pipe or dies, or until
// ctx ends.
func work(ctx context.Context) (err error) {
	// A terminal sends it to all processes. It is for the parent to stop the workers.
	signal.Ignore(syscall.SIGINT)
	store, err := shm.Open(*dir, &shm.Options{MaxSize: 256 << 20})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	l, err := net.FileListener(os.NewFile(3, "listener"))
	if err != nil {
		return err
	}
	c := cache{store}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /page/{name}", c.page)
	mux.HandleFunc("GET /stats", c.stats)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}

	ctx, cancel := context.WithCancel(ctx)
	go func() {
		defer cancel()
		_, _ = io.Copy(io.Discard, os.Stdin)
	}()
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	fmt.Println("ready")
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	// What was accepted is answered. What was not is for the other workers.
	patience, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return server.Shutdown(patience)
}

// cache keeps pages in a store: 8 bytes for the time at which the page is too old, and the
// page. Where it fails the page is made, so that a full store makes the server slower and
// no worse.
type cache struct{ store *shm.Store }

func (c cache) page(w http.ResponseWriter, r *http.Request) {
	key := []byte("page/" + r.PathValue("name"))
	w.Header().Set("Worker", strconv.Itoa(os.Getpid()))
	entry, err := c.store.Get(key)
	if err != nil && !errors.Is(err, shm.ErrNotFound) {
		log.Print(err)
	}
	if fresh(entry) {
		c.count("hits")
		_, _ = w.Write(entry[8:])
		return
	}
	page := render(r.PathValue("name"))
	entry = binary.LittleEndian.AppendUint64(nil, uint64(time.Now().Add(*ttl).UnixNano()))
	entry = append(entry, page...)
	if err = c.store.Set(key, entry); errors.Is(err, shm.ErrFull) {
		if err = c.dropOld(); err == nil {
			err = c.store.Set(key, entry)
		}
	}
	if err != nil {
		log.Print(err)
	}
	c.count("misses") // now that there is room
	_, _ = w.Write(page)
}

func fresh(entry []byte) bool {
	return len(entry) >= 8 && time.Now().UnixNano() < int64(binary.LittleEndian.Uint64(entry))
}

// render is what the cache saves.
func render(name string) []byte {
	time.Sleep(50 * time.Millisecond)
	return fmt.Appendf(nil, "<h1>%s</h1>\n", name)
}

// dropOld deletes the pages that are too old. If there is none, new pages find no place
// for a while.
func (c cache) dropOld() error {
	return c.store.Update(func(tx *shm.Tx) error {
		for key, entry := range tx.All() {
			if bytes.HasPrefix(key, []byte("page/")) && !fresh(entry) {
				if _, err := tx.Delete(key); err != nil {
					return err
				}
			}
		}
		return tx.Err()
	})
}

// count counts in the store, so that the count is of all workers and survives them. To
// count in memory and add now and then would be cheaper, and lose what a dead one has.
func (c cache) count(name string) {
	if _, err := c.store.Add([]byte("count/"+name), 1); err != nil {
		log.Print(err)
	}
}

func (c cache) stats(w http.ResponseWriter, r *http.Request) {
	number := map[string]string{}
	for _, name := range []string{"hits", "misses"} {
		value, err := c.store.Get([]byte("count/" + name)) // a decimal number, as Add writes it
		if errors.Is(err, shm.ErrNotFound) {
			value, err = []byte("0"), nil
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		number[name] = string(value)
	}
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, "{\"hits\": %s, \"misses\": %s}\n", number["hits"], number["misses"])
}
