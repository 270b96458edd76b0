package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/seed-869cc763/shmkv/shm/cache"
	"github.com/seed-869cc763/shmkv/shm/codec"
)

// work serves from the parent's socket until the parent closes the pipe or dies, or until
// ctx ends.
func work(ctx context.Context) (err error) {
	// A terminal sends it to all processes. It is for the parent to stop the workers.
	signal.Ignore(syscall.SIGINT)
	all, err := open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, all.Cache().Close()) }()
	l, err := net.FileListener(os.NewFile(3, "listener"))
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /page/{name}", all.serve)
	mux.HandleFunc("GET /stats", all.stats)
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

// A Page is what the cache has.
type Page struct {
	HTML string
	By   int // the process that has made it
}

// pages are the pages of the site, by their names.
type pages struct{ *cache.Typed[string, Page] }

func open() (pages, error) {
	c, err := cache.Open(*dir, &cache.Options{Bytes: *size, TTL: *ttl})
	if err != nil {
		return pages{}, err
	}
	return pages{cache.NewTyped(c, codec.String[string]{}, codec.JSON[Page]{})}, nil
}

func (p pages) serve(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	page, err := p.GetOrCreate(r.Context(), name, func(ctx context.Context) (Page, error) { return render(ctx, name) },
		cache.WithJitter(0.1)) // so that not all pages end at the same time
	switch {
	case err != nil && page.HTML == "":
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	case err != nil:
		log.Print(err) // the page could not be stored, and is made all the same
	}
	w.Header().Set("Worker", strconv.Itoa(os.Getpid()))
	w.Header().Set("Made-By", strconv.Itoa(page.By))
	_, _ = io.WriteString(w, page.HTML)
}

// render is what the cache saves.
func render(ctx context.Context, name string) (Page, error) {
	select {
	case <-ctx.Done():
		return Page{}, ctx.Err()
	case <-time.After(50 * time.Millisecond):
		return Page{fmt.Sprintf("<h1>%s</h1>\n", html.EscapeString(name)), os.Getpid()}, nil
	}
}

// stats tells of all workers. What the others have counted in the last second may be missing.
func (p pages) stats(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(p.Cache().Stats().All)
}
