package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/seed-869cc763/shmkv/shm"
)

// recordHelp describes the format of records for dump and load.
const recordHelp = `A record is a line of JSON, {"key":"...","value":"..."}. A key or value that is
not valid UTF-8 is in base64, as "key64" or "value64".`

// jsonRecord is the JSON form of a record. Of each pair of fields one is set.
type jsonRecord struct {
	Key     *string `json:"key,omitempty"`
	Key64   []byte  `json:"key64,omitempty"`
	Value   *string `json:"value,omitempty"`
	Value64 []byte  `json:"value64,omitempty"`
}

func (r *jsonRecord) setKey(b []byte)   { r.Key, r.Key64 = textOr64(b) }
func (r *jsonRecord) setValue(b []byte) { r.Value, r.Value64 = textOr64(b) }

// textOr64 returns b as text or, if it is not valid UTF-8, as bytes for base64. These
// bytes are never empty, so omitempty omits only the other field.
func textOr64(b []byte) (*string, []byte) {
	if !utf8.Valid(b) {
		return nil, b
	}
	s := string(b)
	return &s, nil
}

// recordWriter writes records as JSON Lines.
type recordWriter struct{ enc *json.Encoder }

func newRecordWriter(w io.Writer) recordWriter {
	return recordWriter{newEncoder(w)}
}

func (w recordWriter) record(key, value []byte) error {
	var r jsonRecord
	r.setKey(key)
	r.setValue(value)
	return w.enc.Encode(&r)
}

func (w recordWriter) key(key []byte) error {
	var r jsonRecord
	r.setKey(key)
	return w.enc.Encode(&r)
}

// parseRecord parses a line of JSON Lines. Unlike package json it returns an error for
// invalid UTF-8, for lone surrogates, and for two fields of one name.
func parseRecord(line []byte) (key, value []byte, err error) {
	if !utf8.Valid(line) {
		return nil, nil, errors.New("not valid UTF-8; write such keys and values in base64, as key64 and value64")
	}
	if loneSurrogate(line) {
		return nil, nil, errors.New(`half of a \u surrogate pair`)
	}
	dec := json.NewDecoder(bytes.NewReader(line))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, nil, malformed("an object", err)
	}
	var haveKey, haveValue bool
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return nil, nil, malformed("a field", err)
		}
		var in64 bool
		var to *[]byte
		var have *bool
		switch name {
		case "key", "key64":
			to, have, in64 = &key, &haveKey, name == "key64"
		case "value", "value64":
			to, have, in64 = &value, &haveValue, name == "value64"
		default:
			return nil, nil, fmt.Errorf("unknown field %q", name)
		}
		if *have {
			return nil, nil, fmt.Errorf("field %q: its value was already given", name)
		}
		t, err := dec.Token()
		text, ok := t.(string)
		if err != nil || !ok {
			return nil, nil, malformed(fmt.Sprintf("a string as field %q", name), err)
		}
		*to = []byte(text)
		if in64 {
			if *to, err = base64.StdEncoding.Strict().DecodeString(text); err != nil {
				return nil, nil, fmt.Errorf("field %q: %w", name, err)
			}
		}
		*have = true
	}
	if _, err := dec.Token(); err != nil {
		return nil, nil, malformed("the end of the object", err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, nil, errors.New("the line has more text after the object")
	}
	switch {
	case !haveKey:
		return nil, nil, errors.New("no field key or key64")
	case !haveValue:
		return nil, nil, errors.New("no field value or value64")
	case len(key) > shm.MaxKey:
		return nil, nil, fmt.Errorf("%w: found a key of %d bytes, expected at most %d", shm.ErrTooLarge, len(key), shm.MaxKey)
	case uint64(len(value)) > shm.MaxValue:
		return nil, nil, fmt.Errorf("%w: found a value of %d bytes, expected at most %d", shm.ErrTooLarge, len(value), uint64(shm.MaxValue))
	}
	return key, value, nil
}

func malformed(expected string, err error) error {
	switch {
	case err == nil:
		return fmt.Errorf("expected %s", expected)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("expected %s, found the end of the line", expected)
	}
	return fmt.Errorf("expected %s: %w", expected, err)
}

// loneSurrogate reports whether line contains an escape of half a surrogate pair, such as
// \ud800 alone.
func loneSurrogate(line []byte) bool {
	for i := 0; i < len(line); i++ {
		if line[i] != '\\' {
			continue
		}
		r, ok := escape(line[i:])
		if !ok {
			i++ // an escape of two bytes
			continue
		}
		i += 5
		if !utf16.IsSurrogate(r) {
			continue
		}
		low, ok := escape(line[i+1:])
		if !ok || utf16.DecodeRune(r, low) == utf8.RuneError {
			return true
		}
		i += 6
	}
	return false
}

// escape parses \uXXXX at the start of b.
func escape(b []byte) (rune, bool) {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0, false
	}
	n, err := strconv.ParseUint(string(b[2:6]), 16, 16)
	return rune(n), err == nil
}
