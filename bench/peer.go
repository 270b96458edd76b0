package main

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// A peer is something that carries out tasks, in a child process started by command and the task's flags.
type peer struct {
	name    string
	command []string
}

// storeName is the name of the store itself among the peers.
const storeName = "shm"

// newStore returns the store as a peer: this binary again.
func newStore() (peer, error) {
	exe, err := os.Executable()
	return peer{storeName, []string{exe, storeName}}, err
}

// peerBuilders make the peers that the store is compared with. Each may leave files in the directory dir. An
// error says why a peer cannot take part here, and what would help.
var peerBuilders = []struct {
	name  string
	build func(ctx context.Context, dir string) (peer, error)
}{
	{"lmdb", buildLMDB},
}

//go:embed peers/lmdb.c
var lmdbSource []byte

func buildLMDB(ctx context.Context, dir string) (peer, error) {
	command, err := compile(ctx, dir, "lmdb", lmdbSource, "-llmdb")
	if err != nil {
		return peer{}, fmt.Errorf("%w (on Debian: apt-get install gcc liblmdb-dev)", err)
	}
	return peer{"lmdb", []string{command}}, nil
}

// compile builds a C program in dir and returns its path.
func compile(ctx context.Context, dir, name string, source []byte, libraries ...string) (string, error) {
	file := filepath.Join(dir, name+".c")
	if err := os.WriteFile(file, source, 0o600); err != nil {
		return "", err
	}
	program := filepath.Join(dir, name)
	args := append([]string{"-O2", "-o", program, file}, libraries...)
	if out, err := exec.CommandContext(ctx, "cc", args...).CombinedOutput(); err != nil {
		first, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
		return "", fmt.Errorf("cc: %w: %s", err, first)
	}
	return program, nil
}
