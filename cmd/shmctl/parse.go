package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/seed-869cc763/shmkv/shm"
)

// A dumpLine is a line of the input of load: an entry, or the beginning of a map.
type dumpLine struct {
	key, value []byte
	begins     *mapHead // nil: an entry
}

// A mapHead is the name and the kind of a map.
type mapHead struct {
	name string
	kind shm.Kind // 0: the unnamed map
}

// A field is a field of a line, as "key" and "key64" are in JSON.
type field int

const (
	fieldKey field = iota
	fieldValue
	fieldMap
	fieldKind
	fields
)

// fieldNamed returns the field of this name in JSON, and whether it is in base64.
func fieldNamed(name json.Token) (f field, in64 bool, err error) {
	switch name {
	case "key", "key64":
		return fieldKey, name == "key64", nil
	case "value", "value64":
		return fieldValue, name == "value64", nil
	case "map", "map64":
		return fieldMap, name == "map64", nil
	case "kind":
		return fieldKind, false, nil
	}
	return 0, false, fmt.Errorf("unknown field %q", name)
}

// parseLine parses a line of JSON Lines. Unlike package json it returns an error for
// invalid UTF-8, for lone surrogates, and for two fields of one name.
func parseLine(text []byte) (l dumpLine, err error) {
	if !utf8.Valid(text) {
		return l, errors.New("not valid UTF-8; write such keys, values and names in base64, as key64, value64 and map64")
	}
	if loneSurrogate(text) {
		return l, errors.New(`half of a \u surrogate pair`)
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return l, malformed("an object", err)
	}
	var have [fields]bool
	var values [fields][]byte
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return l, malformed("a field", err)
		}
		f, in64, err := fieldNamed(name)
		if err != nil {
			return l, err
		}
		if have[f] {
			return l, fmt.Errorf("field %q: its value was already given", name)
		}
		have[f] = true
		t, err := dec.Token()
		if err == nil && t == nil && name == "map" {
			continue // null
		}
		s, ok := t.(string)
		if err != nil || !ok {
			return l, malformed(fmt.Sprintf("a string as field %q", name), err)
		}
		values[f] = []byte(s)
		if in64 {
			if values[f], err = decode64(s); err != nil {
				return l, fmt.Errorf("field %q: %w", name, err)
			}
		}
	}
	if _, err := dec.Token(); err != nil {
		return l, malformed("the end of the object", err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return l, errors.New("the line has more text after the object")
	}
	if have[fieldMap] || have[fieldKind] {
		l.begins, err = parseHead(have, values)
		return l, err
	}
	l.key, l.value = values[fieldKey], values[fieldValue]
	return l, checkEntry(have, l)
}

func checkEntry(have [fields]bool, l dumpLine) error {
	switch {
	case !have[fieldKey]:
		return errors.New("no field key or key64")
	case !have[fieldValue]:
		return errors.New("no field value or value64")
	case len(l.key) > shm.MaxKey:
		return fmt.Errorf("%w: found a key of %d bytes, expected at most %d", shm.ErrTooLarge, len(l.key), shm.MaxKey)
	case uint64(len(l.value)) > shm.MaxValue:
		return fmt.Errorf("%w: found a value of %d bytes, expected at most %d", shm.ErrTooLarge, len(l.value), uint64(shm.MaxValue))
	}
	return nil
}

// parseHead returns the map that a line begins.
func parseHead(have [fields]bool, values [fields][]byte) (*mapHead, error) {
	name, kind := values[fieldMap], string(values[fieldKind])
	unnamed := name == nil
	switch {
	case !have[fieldMap]:
		return nil, errors.New("no field map or map64 beside the field kind")
	case have[fieldKey] || have[fieldValue]:
		return nil, errors.New("a key or value beside the field map, which begins a map")
	case unnamed && have[fieldKind]:
		return nil, fmt.Errorf("found kind %q of the unnamed map, expected none", kind)
	case unnamed:
		return &mapHead{}, nil
	case !have[fieldKind]:
		return nil, errors.New("no field kind")
	case len(name) > shm.MaxName:
		return nil, fmt.Errorf("%w: found a map's name of %d bytes, expected at most %d", shm.ErrTooLarge, len(name), shm.MaxName)
	}
	for _, k := range []shm.Kind{shm.KindHash, shm.KindOrdered} {
		if kind == k.String() {
			return &mapHead{string(name), k}, nil
		}
	}
	return nil, fmt.Errorf("found kind %q, expected %q or %q", kind, shm.KindHash, shm.KindOrdered)
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
