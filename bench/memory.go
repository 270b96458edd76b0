package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
)

// A memoryTable is no store, but an array of values in a mapped file. A get copies one value out of it, and a set
// copies one value into it. Its figures are the limits of the memory: the copy bandwidth for large values, and the
// latency if keys depend on each other.
type memoryTable struct {
	values []byte
	size   int // of each value
}

const cacheLine = 64

func openMemory(t task) (table, error) {
	if !slices.Contains([]string{"load", "get", "get-dependent", "set", "scan", "chase"}, t.work) || t.batch > 1 {
		return nil, errUnsupported
	}
	if t.work == "load" {
		if err := os.Mkdir(t.path, 0o700); err != nil {
			return nil, err
		}
	}
	values, err := mapFile(filepath.Join(t.path, "values"), t.n*t.value)
	return &memoryTable{values, t.value}, err
}

// mapFile maps a file of the given size, and creates a missing file.
func mapFile(path string, bytes int) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := f.Truncate(int64(bytes)); err != nil {
		return nil, err
	}
	return syscall.Mmap(int(f.Fd()), 0, bytes, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
}

func (m *memoryTable) at(key []byte) []byte {
	i := int(indexOf(key)) * m.size
	if i >= len(m.values) {
		return nil
	}
	return m.values[i : i+m.size]
}

func (m *memoryTable) read(dst, key []byte) ([]byte, error) {
	value := m.at(key)
	return copyOut(dst, value, value != nil)
}

func (m *memoryTable) write(key, value []byte) error {
	copy(m.at(key), value)
	return nil
}

func (m *memoryTable) remove([]byte) error { return errUnsupported }

func (m *memoryTable) scan(each func(key, value []byte) error) error {
	var key [keyBytes]byte
	for i := range len(m.values) / m.size {
		binary.BigEndian.PutUint64(key[8:], uint64(i))
		if err := each(key[:], m.values[i*m.size:(i+1)*m.size]); err != nil {
			return err
		}
	}
	return nil
}

func (m *memoryTable) close() error { return syscall.Munmap(m.values) }

// chase returns an operation that follows pointers. Each pointer is in its own cache line, and all are on one random
// cycle through as many bytes as the entries take.
func (m *memoryTable) chase(t task) (opsPerCall int, op func(i uint64) error, end func() error, err error) {
	lines := int(max(2, payload(t.n, t.value)/cacheLine))
	file := filepath.Join(t.path, "chase")
	memory, err := mapFile(file, lines*cacheLine)
	if err != nil {
		return 0, nil, nil, err
	}
	next := func(line int) []byte { return memory[line*cacheLine : line*cacheLine+8] }
	for i := range lines {
		binary.NativeEndian.PutUint64(next(i), uint64(i))
	}
	// Sattolo's shuffle makes one cycle of all lines.
	random := sequence{seed: t.seed}
	for i := lines - 1; i > 0; i-- {
		random.n = uint64(i)
		a, b := next(i), next(int(random.draw(uint64(i))))
		x, y := binary.NativeEndian.Uint64(a), binary.NativeEndian.Uint64(b)
		binary.NativeEndian.PutUint64(a, y)
		binary.NativeEndian.PutUint64(b, x)
	}
	at := uint64(0)
	op = func(uint64) error {
		for range 64 {
			at = binary.NativeEndian.Uint64(memory[at*cacheLine:])
		}
		return nil
	}
	end = func() error {
		if at >= uint64(lines) {
			return fmt.Errorf("chased to line %d of %d", at, lines)
		}
		return os.Remove(file)
	}
	return 64, op, end, nil
}
