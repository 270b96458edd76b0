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

// A peer executes tasks, each in a child process that command and the task's flags start.
type peer struct {
	name    string
	command []string
	// alone means that only one process can use the store. In measurements of several processes, the peer uses as
	// many goroutines of one process.
	alone bool
	// serves means that the store needs a child with the work "serve" while it is in use.
	serves bool
	// fleeting means that the store ends with its process, so that each child fills its own store.
	fleeting bool
	// durable means that commits can survive a crash of the system, if the task asks for it.
	durable bool
	// keepsHouse means that a process works on the store in the background for a while after its writes.
	keepsHouse bool
}

// storeName is the name of the store itself among the peers.
const storeName = "shm"

// ourPeer has the properties of the store and its variants.
var ourPeer = peer{keepsHouse: true, durable: true}

// The variants of the store that use a named map: a hash map, or an ordered map.
const (
	namedName   = "shm-map"
	orderedName = "shm-ordered"
)

// goPeers are the peers that this binary implements, as a child. The build tag lmdb adds one.
var goPeers = map[string]goPeer{
	storeName:      {open: openShm(shm.Options{}), stats: shmStats, rewrite: rewriteShm, cache: openShmCache},
	"shm-small":    {open: openShm(shm.Options{HugePages: shm.HugePagesOff}), stats: shmStats, rewrite: rewriteShm},
	"shm-prefault": {open: openShm(shm.Options{Prefault: true}), stats: shmStats, rewrite: rewriteShm},
	namedName:      {open: openMap, stats: shmStats, rewrite: rewriteShm},
	orderedName:    {open: openOrdered, stats: shmStats, rewrite: rewriteShm},
	"memory":       {open: openMemory},
	"xsync":        {open: openXsync, volatile: true},
	"syncmap":      {open: openSyncMap, volatile: true},
	"otter":        {open: openOtter, volatile: true, cache: openOtterCache},
	"ristretto":    {open: openNoTable, volatile: true, cache: openRistrettoCache},
	redisName:      {open: openNoTable, volatile: true},
	"btree":        {open: openBTree, volatile: true},
	"bbolt":        {open: openBolt},
	"memcached":    {open: openMemcached, serve: serveMemcached, cache: openMemcachedCache},
}

// peerBuilders build the peers, in the order of the report. Each builder may create files in the directory dir. An
// error states why a peer cannot take part, and how to install it.
var peerBuilders = []struct {
	name  string
	about string
	build func(ctx context.Context, dir string) (peer, error)
}{
	{"lmdb", "LMDB from C", buildC("lmdb", peer{durable: true}, "gcc liblmdb-dev", "-llmdb", "-lpthread")},
	{"lmdb-go", "LMDB from Go, through cgo", buildLMDBGo},
	{"tdb", "tdb from C, with mutexes", buildC("tdb", peer{serves: true}, "gcc libtdb-dev", "-ltdb")},
	{"sharedmem", "Hash::SharedMem from Perl, less the loop in Perl", buildSharedMem},
	{"memcached", "memcached over a unix socket", buildMemcached},
	{redisName, "Redis over a unix socket, for counters only", buildRedis},
	{"flat", "a hash table in C, in one process: a lower bound", buildC("flat", peer{alone: true, fleeting: true}, "gcc")},
	{"xsync", "xsync.Map, in one process", buildGo("xsync", peer{alone: true, fleeting: true})},
	{"syncmap", "sync.Map, in one process", buildGo("syncmap", peer{alone: true, fleeting: true})},
	{"otter", "the cache otter, in one process", buildGo("otter", peer{alone: true, fleeting: true})},
	{"ristretto", "the cache ristretto, in one process", buildGo("ristretto", peer{alone: true, fleeting: true})},
	{"btree", "tidwall/btree, in one process", buildGo("btree", peer{alone: true, fleeting: true})},
	{"bbolt", "bbolt, in one process", buildGo("bbolt", peer{alone: true, durable: true})},
	{"shm-small", "the store, without huge pages", buildGo("shm-small", ourPeer)},
	{"shm-prefault", "the store, prefaulted", buildGo("shm-prefault", ourPeer)},
	{namedName, "the store, with a named hash map", buildGo(namedName, ourPeer)},
	{orderedName, "the store, with an ordered map", buildGo(orderedName, ourPeer)},
	{"memory", "no store: copying from and to an array in mapped memory", buildGo("memory", peer{})},
}

// buildGo returns a builder of a peer that this binary implements.
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
	return buildGo("lmdb-go", peer{durable: true})(ctx, dir)
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

// buildC returns a builder of a peer in C, with the source peers/name.c. packages are its Debian packages, and
// libraries its linker flags.
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

// writeSources creates the directory peers in dir, unless it exists.
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
	// Without contraction, C rounds products and sums as other languages do.
	args := append([]string{"-O2", "-ffp-contract=off", "-o", program, filepath.Join(dir, "peers", name+".c")}, libraries...)
	if out, err := exec.CommandContext(ctx, "cc", args...).CombinedOutput(); err != nil {
		first, _, _ := strings.Cut(string(bytes.TrimSpace(out)), "\n")
		return "", fmt.Errorf("cc: %w: %s", err, first)
	}
	return program, nil
}
