package main

import (
	"encoding/json"
	"io"
	"unicode/utf8"
)

// recordHelp describes the format of records for dump and load.
const recordHelp = `A record is a line of JSON, {"key":"...","value":"..."}. A key or value that is
not valid UTF-8 is in base64, as "key64" or "value64". A line
{"map":"NAME","kind":"hash"} begins a named map, or one of kind "ordered": the
records after it are entries of the map. A name that is not valid UTF-8 is in base64,
as "map64". A line {"map":null} begins the unnamed map, to which records at the
beginning belong too.`

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

// jsonName is the JSON form of a map's name. Of the unnamed map no field is set.
type jsonName struct {
	Map   *string `json:"map,omitempty"`
	Map64 []byte  `json:"map64,omitempty"`
}

func nameOf(name string) (n jsonName) {
	n.Map, n.Map64 = textOr64([]byte(name))
	return n
}

// jsonMap is the line that begins a named map.
type jsonMap struct {
	jsonName
	Kind string `json:"kind"`
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

// begin writes the line that begins a map.
func (w recordWriter) begin(v mapView) error {
	if v.name == nil {
		return w.enc.Encode(struct {
			Map *string `json:"map"`
		}{})
	}
	return w.enc.Encode(jsonMap{nameOf(*v.name), v.kind.String()})
}

func (w recordWriter) key(key []byte) error {
	var r jsonRecord
	r.setKey(key)
	return w.enc.Encode(&r)
}
