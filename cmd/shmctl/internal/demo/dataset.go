package demo

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/seed-869cc763/shmkv/cmd/shmctl/internal/text"
)

// Paths of the package index on Debian machines.
const (
	aptLists   = "/var/lib/apt/lists"
	aptHelper  = "/usr/lib/apt/apt-helper" // reads all compressions that apt uses
	dpkgStatus = "/var/lib/dpkg/status"
)

// dataBytes is the largest size of a data set in bytes. It limits the demo's time and
// space.
const dataBytes = 64 << 20

// recordBytes is the largest size of a record in bytes.
const recordBytes = 1 << 20

// dataSet is the real data of the demo: records with distinct keys.
type dataSet struct {
	origin  string // a description for the report
	records []dataRecord
	bytes   int64

	limit int   // most records
	most  int64 // most bytes
	keys  map[string]bool
}

type dataRecord struct{ key, value []byte }

var errEnough = errors.New("enough records")

// add adds a copy of a record if its key is new.
func (d *dataSet) add(key, value []byte) error {
	if len(d.records) == d.limit || d.bytes+int64(len(key)+len(value)) > d.most {
		return errEnough
	}
	if d.keys[string(key)] {
		return nil
	}
	d.keys[string(key)] = true
	d.records = append(d.records, dataRecord{bytes.Clone(key), bytes.Clone(value)})
	d.bytes += int64(len(key) + len(value))
	return nil
}

// findData returns a data set: the package index of apt, else the installed packages of
// dpkg, else the sources of the Go installation. limit and most are its largest numbers of
// records and bytes.
func findData(ctx context.Context, limit int, most int64) (*dataSet, error) {
	for _, source := range []func(context.Context, *dataSet) error{readAptLists, readDpkgStatus, readGoSources} {
		d := &dataSet{limit: limit, most: most, keys: map[string]bool{}}
		if err := source(ctx, d); err != nil && !errors.Is(err, errEnough) {
			if ctx.Err() != nil {
				return nil, err
			}
			continue // this machine has no such data
		}
		if len(d.records) > 0 {
			return d, nil
		}
	}
	return nil, fmt.Errorf("found no data set: expected one of %s/*_Packages, %s and an installed Go (go on the PATH, or GOROOT set)", aptLists, dpkgStatus)
}

func readAptLists(ctx context.Context, d *dataSet) error {
	names, err := filepath.Glob(filepath.Join(aptLists, "*_Packages*"))
	if err != nil {
		return err
	}
	read := 0
	for _, name := range names {
		before := len(d.records)
		err := readPackages(ctx, name, d)
		if len(d.records) > before {
			read++
		}
		if errors.Is(err, errEnough) {
			break
		}
	}
	d.origin = fmt.Sprintf("the Debian package index (%s of %s)", text.Things(read, "file", "files"), aptLists)
	return ctx.Err()
}

func readDpkgStatus(ctx context.Context, d *dataSet) error {
	d.origin = "the installed Debian packages (" + dpkgStatus + ")"
	return readPackages(ctx, dpkgStatus, d)
}

// readPackages adds the stanzas of a package index, which may be compressed.
func readPackages(ctx context.Context, name string, d *dataSet) error {
	in, done, err := openPackages(ctx, name)
	if err != nil {
		return err
	}
	defer done()
	stanzas := bufio.NewScanner(in)
	stanzas.Buffer(nil, recordBytes)
	stanzas.Split(splitStanza)
	for stanzas.Scan() {
		if key, ok := packageKey(stanzas.Bytes()); ok {
			if err := d.add(key, stanzas.Bytes()); err != nil {
				return err
			}
		}
	}
	return stanzas.Err()
}

// openPackages opens an index for reading. done closes it, even before its end.
func openPackages(ctx context.Context, name string) (in io.Reader, done func(), err error) {
	switch ext := filepath.Ext(name); ext {
	case ".lz4", ".xz", ".zst", ".lzma":
		return aptCat(ctx, name)
	case "", ".gz", ".bz2":
		f, err := os.Open(name)
		if err != nil {
			return nil, nil, err
		}
		in = f
		switch ext {
		case ".gz":
			if in, err = gzip.NewReader(f); err != nil {
				return nil, nil, errors.Join(err, f.Close())
			}
		case ".bz2":
			in = bzip2.NewReader(f)
		}
		return in, func() { _ = f.Close() }, nil
	}
	if strings.HasSuffix(name, "_Packages") { // a dot before it belongs to a host name
		f, err := os.Open(name)
		return f, func() { _ = f.Close() }, err
	}
	return nil, nil, fmt.Errorf("%s: unknown compression", name)
}

// aptCat reads an index with apt-helper, for compressions that Go does not support.
func aptCat(ctx context.Context, name string) (io.Reader, func(), error) {
	ctx, cancel := context.WithCancel(ctx)
	cmd := exec.CommandContext(ctx, aptHelper, "cat-file", name)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		cancel()
		return nil, nil, err
	}
	return out, func() {
		cancel()
		_ = cmd.Wait()
	}, nil
}

// splitStanza is a bufio.SplitFunc that splits at empty lines.
func splitStanza(data []byte, atEOF bool) (advance int, token []byte, err error) {
	start := 0
	for start < len(data) && data[start] == '\n' {
		start++
	}
	if i := bytes.Index(data[start:], []byte("\n\n")); i >= 0 {
		return start + i + 2, data[start : start+i], nil
	}
	if atEOF && start < len(data) {
		return len(data), bytes.TrimRight(data[start:], "\n"), nil
	}
	return start, nil, nil
}

// packageKey returns name_version_architecture of a stanza.
func packageKey(stanza []byte) ([]byte, bool) {
	var parts [3][]byte
	for line := range bytes.Lines(stanza) {
		field, value, _ := bytes.Cut(line, []byte(":"))
		if i := slices.Index([]string{"Package", "Version", "Architecture"}, string(field)); i >= 0 {
			parts[i] = bytes.TrimSpace(value)
		}
	}
	if len(parts[0]) == 0 || len(parts[1]) == 0 || len(parts[2]) == 0 {
		return nil, false
	}
	return bytes.Join(parts[:], []byte("_")), true
}

// readGoSources adds the files of the Go installation's source tree.
func readGoSources(ctx context.Context, d *dataSet) error {
	root := os.Getenv("GOROOT")
	if root == "" {
		out, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
		if err != nil {
			return err
		}
		root = strings.TrimSpace(string(out))
	}
	d.origin = "the sources of the Go installation"
	return d.addTree(ctx, os.DirFS(filepath.Join(root, "src")))
}

func (d *dataSet) addTree(ctx context.Context, tree fs.FS) error {
	return fs.WalkDir(tree, ".", func(path string, e fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		if info, err := e.Info(); err != nil || info.Size() > recordBytes {
			return err
		}
		value, err := fs.ReadFile(tree, path)
		if err != nil {
			return err
		}
		return d.add([]byte(path), value)
	})
}

// share writes the data set to an anonymous file, which the demo's processes inherit. Each
// record consists of the lengths of its key and value, its key, and its value.
func (d *dataSet) share() (*os.File, error) {
	fd, err := unix.MemfdCreate("shmctl-demo", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), "data set")
	out := bufio.NewWriterSize(f, 1<<20)
	for _, r := range d.records {
		var head [8]byte
		binary.LittleEndian.PutUint32(head[:], uint32(len(r.key)))
		binary.LittleEndian.PutUint32(head[4:], uint32(len(r.value)))
		for _, b := range [][]byte{head[:], r.key, r.value} {
			if _, err := out.Write(b); err != nil {
				return nil, errors.Join(err, f.Close())
			}
		}
	}
	if err := out.Flush(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// sharedData is the file descriptor of the data set in a process of the demo.
const sharedData = 3

// inheritData maps the data set of the parent. The mapping lasts until the process ends.
func inheritData() ([]dataRecord, error) {
	unix.CloseOnExec(sharedData)
	var st unix.Stat_t
	if err := unix.Fstat(sharedData, &st); err != nil {
		return nil, fmt.Errorf("the data set that shmctl demo shares: %w", err)
	}
	b, err := unix.Mmap(sharedData, 0, int(st.Size), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("mapping the data set that shmctl demo shares: %w", err)
	}
	var all []dataRecord
	for len(b) > 0 {
		if len(b) < 8 {
			return nil, errors.New("the data set that shmctl demo shares ends early")
		}
		k, v := uint64(binary.LittleEndian.Uint32(b)), uint64(binary.LittleEndian.Uint32(b[4:]))
		if b = b[8:]; k+v > uint64(len(b)) {
			return nil, errors.New("the data set that shmctl demo shares ends early")
		}
		all = append(all, dataRecord{b[:k:k], b[k : k+v : k+v]})
		b = b[k+v:]
	}
	return all, nil
}
