package daemon

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

// WritePID writes the number of this process to a file, in place of what is in it. Who reads
// the file finds the old content or all of the new one. remove removes the file, if it still
// has this number.
func WritePID(path string) (remove func(), err error) {
	if st, err := os.Lstat(path); err == nil && !st.Mode().IsRegular() {
		return nil, fmt.Errorf("writing a pid file: found %s of mode %v, expected a regular file or none", path, st.Mode())
	}
	number := []byte(strconv.Itoa(os.Getpid()) + "\n")
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".tmp-")
	if err != nil {
		return nil, fmt.Errorf("writing a pid file: %w", err)
	}
	_, err = tmp.Write(number)
	err = errors.Join(err, tmp.Chmod(0o644), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		_ = os.Remove(tmp.Name())
		return nil, fmt.Errorf("writing a pid file: %w", err)
	}
	return func() {
		if b, err := os.ReadFile(path); err == nil && bytes.Equal(b, number) {
			_ = os.Remove(path)
		}
	}, nil
}
