// Package gobcodec is a codec for encoding/gob. It is a package of its own so that programs
// which do not use gob do not have it in their binary.
package gobcodec

import (
	"bytes"
	"encoding/gob"
	"fmt"
)

// Gob is the gob of package encoding/gob. Each value brings the description of its type with
// it, so a small value takes several times the bytes that it takes in JSON. The order of the
// entries of a Go map is random in it: it is no codec for keys.
type Gob[T any] struct{}

// Append appends the gob of v.
func (Gob[T]) Append(dst []byte, v T) ([]byte, error) {
	b := bytes.NewBuffer(dst)
	if err := gob.NewEncoder(b).Encode(&v); err != nil {
		return dst, err
	}
	return b.Bytes(), nil
}

// Decode returns the value of a gob.
func (Gob[T]) Decode(data []byte) (T, error) {
	var v T
	r := bytes.NewReader(data)
	err := gob.NewDecoder(r).Decode(&v)
	if err == nil && r.Len() > 0 {
		err = fmt.Errorf("found %d bytes behind the value, expected none", r.Len())
	}
	if err != nil {
		var zero T // v may be half a value
		return zero, err
	}
	return v, nil
}
