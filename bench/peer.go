package main

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/seed-869cc763/shmkv/shm"
)

// A peer is something that carries out tasks, in a child process started by command and the task's flags.
type peer struct {
	name    string
	command []string
	// alone says that one process has the store for itself. Where others work in several processes, it works in as
	// many goroutines of one.
	alone bool
	// serves says that the store needs a child with the work "serve" as long as it is in use.
	serves bool
	// fleeting says that the store is gone when its process ends, so that every child fills its own.
	fleeting bool
	// keepsHouse says that a process which has written goes on to work on the store in the background for a while.
	keepsHouse bool
}

// storeName is the name of the store itself among the peers.
const storeName = "shm"

// goPeers are the peers that this binary is itself, as a child. With the build tag lmdb there is one more.
var goPeers = map[string]goPeer{
	storeName:      {open: openShm(shm.Options{}), stats: shmStats, rewrite: rewriteShm},
	"shm-small":    {open: openShm(shm.Options{HugePages: shm.HugePagesOff}), stats: shmStats, rewrite: rewriteShm},
	"shm-prefault": {open: openShm(shm.Options{Prefault: true}), stats: shmStats, rewrite: rewriteShm},
	"memory":       {open: openMemory},
	"xsync":        {open: openXsync, volatile: true},
	"syncmap":      {open: openSyncMap, volatile: true},
	"otter":        {open: openOtter, volatile: true},
	"bbolt":        {open: openBolt},
	"memcached":    {open: openMemcached, serve: serveMemcached},
}

// peerBuilders make the peers that the store is compared with, in the order of the report. Each may leave files in
// the directory dir. An error says why a peer cannot take part here, and what would help.
var peerBuilders = []struct {
	name  string
	about string
	build func(ctx context.Context, dir string) (peer, error)
}{
	{"lmdb", "LMDB from C", buildC("lmdb", peer{}, "gcc liblmdb-dev", "-llmdb", "-lpthread")},
	{"lmdb-go", "LMDB from Go, through cgo", buildLMDBGo},
	{"tdb", "tdb from C, with mutexes", buildC("tdb", peer{serves: true}, "gcc libtdb-dev", "-ltdb")},
	{"sharedmem", "Hash::SharedMem from Perl, less the loop in Perl", buildSharedMem},
	{"memcached", "memcached over a unix socket", buildMemcached},
	{"flat", "a hash table in C, in one process: a lower bound", buildC("flat", peer{alone: true, fleeting: true}, "gcc")},
	{"xsync", "xsync.Map, in one process", buildGo("xsync", peer{alone: true, fleeting: true})},
	{"syncmap", "sync.Map, in one process", buildGo("syncmap", peer{alone: true, fleeting: true})},
	{"otter", "the cache otter, in one process", buildGo("otter", peer{alone: true, fleeting: true})},
	{"bbolt", "bbolt, in one process", buildGo("bbolt", peer{alone: true})},
	{"shm-small", "the store, without huge pages", buildGo("shm-small", peer{keepsHouse: true})},
	{"shm-prefault", "the store, prefaulted", buildGo("shm-prefault", peer{keepsHouse: true})},
	{"memory", "no store: copying from and to an array in mapped memory", buildGo("memory", peer{})},
}

// buildGo returns a builder of a peer that is this binary again.
func buildGo(name string, p peer) func(context.Context, string) (peer, error) {
	return func(context.Context, string) (peer, error) {
		exe, err := os.Executable()
		p.name, p.command = name, []string{exe, name}
		return p, err
	}
}

func buildLMDBGo(ctx context.Context, dir string) (peer, error) {
	if goPeers["lmdb-go"].open == nil {
		return peer{}, errors.New("left out of this binary (go run -tags lmdb . ; on Debian: apt-get install gcc liblmdb-dev)")
	}
	return buildGo("lmdb-go", peer{})(ctx, dir)
}

func buildMemcached(ctx context.Context, dir string) (peer, error) {
	if _, err := exec.LookPath("memcached"); err != nil {
		return peer{}, fmt.Errorf("%w (on Debian: apt-get install memcached)", err)
	}
	return buildGo("memcached", peer{serves: true})(ctx, dir)
}

func buildSharedMem(ctx context.Context, dir string) (peer, error) {
	if err := exec.CommandContext(ctx, "perl", "-MHash::SharedMem", "-e", "1").Run(); err != nil {
		return peer{}, fmt.Errorf("perl with Hash::SharedMem: %w (on Debian: apt-get install libhash-sharedmem-perl)", err)
	}
	err := writeSources(dir)
	return peer{name: "sharedmem", command: []string{"perl", filepath.Join(dir, "peers", "sharedmem.pl")}}, err
}

//go:embed peers
var peerSources embed.FS

// buildC returns a builder of a peer that is a C program: peers/name.c, with what it needs from Debian and what it
// is linked with.
func buildC(name string, p peer, packages string, libraries ...string) func(context.Context, string) (peer, error) {
	return func(ctx context.Context, dir string) (peer, error) {
		command, err := compile(ctx, dir, name, libraries)
		if err != nil {
			return peer{}, fmt.Errorf("%w (on Debian: apt-get install %s)", err, packages)
		}
		p.name, p.command = name, []string{command}
		return p, nil
	}
}

// writeSources makes a folder peers in dir, unless it is there.
func writeSources(dir string) error {
	err := os.CopyFS(dir, peerSources)
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	return err
}

// compile builds a C program in dir and returns its path.
func compile(ctx context.Context, dir, name string, libraries []string) (string, error) {
	if err := writeSources(dir); err != nil {
		return "", err
	}
	program := filepath.Join(dir, name)
	// Without contraction, products and sums are rounded as in every other language.
	args := append([]string{"-O2", "-ffp-contract=off", "-o", program, filepath.Join(dir, "peers", name+".c")}, libraries...)
	if out, err := exec.CommandContext(ctx, "cc", args...).CombinedOutput(); err != nil {
		first, _, _ := strings.Cut(string(bytes.TrimSpace(out)), "\n")
		return "", fmt.Errorf("cc: %w: %s", err, first)
	}
	return program, nil
}
