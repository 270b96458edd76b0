package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/shm"
)

func roundTrip(t *testing.T, key, value []byte) {
	t.Helper()
	var line bytes.Buffer
	require.NoError(t, newRecordWriter(&line).record(key, value))
	require.Equal(t, 1, strings.Count(line.String(), "\n"), "%s", line.String())
	l, err := parseLine(line.Bytes())
	require.NoError(t, err, "%s", line.String())
	require.Nil(t, l.begins)
	require.True(t, bytes.Equal(key, l.key), "%q became %q", key, l.key)
	require.True(t, bytes.Equal(value, l.value), "%q became %q", value, l.value)
}

func TestRecordRoundTrip(t *testing.T) {
	for _, s := range []string{
		"", "plain", "two\nlines\r\n", "\x00", "\xff", "a\xffb", `"quoted" \u0041 \`, "<&>", "\u2028\u2029", "\ufffd", "\U0001f600",
		"\xed\xa0\x80", // a surrogate, not valid in UTF-8
	} {
		roundTrip(t, []byte(s), []byte("v"))
		roundTrip(t, []byte("k"), []byte(s))
	}
}

// The line that begins a map keeps its name and kind.
func TestHeadRoundTrip(t *testing.T) {
	for _, name := range strangeNames {
		for _, kind := range []shm.Kind{shm.KindHash, shm.KindOrdered} {
			var text bytes.Buffer
			require.NoError(t, newRecordWriter(&text).begin(mapView{name: &name, kind: kind}))
			l, err := parseLine(text.Bytes())
			require.NoError(t, err, text.String())
			require.Equal(t, dumpLine{begins: &mapHead{name, kind}}, l, text.String())
		}
	}
	var text bytes.Buffer
	require.NoError(t, newRecordWriter(&text).begin(mapView{kind: shm.KindHash}))
	require.Equal(t, `{"map":null}`+"\n", text.String())
	l, err := parseLine(text.Bytes())
	require.NoError(t, err)
	require.Equal(t, dumpLine{begins: &mapHead{}}, l)
}

func FuzzRecordRoundTrip(f *testing.F) {
	f.Add([]byte("key"), []byte("\xff\x00"))
	f.Fuzz(func(t *testing.T, key, value []byte) {
		if len(key) <= shm.MaxKey {
			roundTrip(t, key, value)
		}
	})
}

func TestRecordAccepts(t *testing.T) {
	for line, want := range map[string][2]string{
		`{"key":"k","value":"v"}`:              {"k", "v"},
		` { "value" : "v" , "key" : "k" } `:    {"k", "v"},
		`{"key64":"aw==","value64":"dg=="}`:    {"k", "v"},
		`{"key":"\ud83d\ude00","value":""}`:    {"\U0001f600", ""},
		`{"key":"\\ud83d","value":"\\\\u"}`:    {`\ud83d`, `\\u`},
		`{"key":"\u006b","value":"\ufffd"}`:    {"k", "\ufffd"},
		`{"key":"k","value64":"gA==" }` + "\r": {"k", "\x80"},
	} {
		l, err := parseLine([]byte(line))
		require.NoError(t, err, line)
		require.Equal(t, want, [2]string{string(l.key), string(l.value)}, line)
	}
}

func TestRecordRefuses(t *testing.T) {
	for line, want := range map[string]string{
		``:                                   "expected an object",
		`null`:                               "expected an object",
		`[]`:                                 "expected an object",
		`{}`:                                 "no field key",
		`{"key":"k"}`:                        "no field value",
		`{"value":"v"}`:                      "no field key",
		`{"key":"k","value":1}`:              `expected a string as field "value"`,
		`{"key":"k","value":null}`:           `expected a string as field "value"`,
		`{"key":"k","value":{}}`:             `expected a string as field "value"`,
		`{"key":"k","value":"v"`:             "found the end of the line",
		`{"key":"k","value":"v"}{}`:          "more text after",
		`{"key":"k","value":"v"} x`:          "more text after",
		`{"key":"k" "value":"v"}`:            "expected",
		`{"Key":"k","value":"v"}`:            `unknown field "Key"`,
		`{"key":"k","value":"v","ttl":"1"}`:  `unknown field "ttl"`,
		`{"key":"k","key":"l","value":"v"}`:  "already given",
		`{"key":"k","key64":"","value":"v"}`: "already given",
		`{"key":"k","value64":"?"}`:          "base64",
		`{"key":"k","value64":"gB=="}`:       "base64",
		`{"key":"\ud800","value":"v"}`:       "surrogate",
		`{"key":"\ud800\u0041","value":"v"}`: "surrogate",
		`{"key":"\udc00","value":"v"}`:       "surrogate",
		"{\"key\":\"\xff\",\"value\":\"v\"}": "not valid UTF-8",
		`{"map":"m"}`:                        "no field kind",
		`{"kind":"hash"}`:                    "no field map",
		`{"map":"m","kind":"list"}`:          `found kind "list", expected "hash" or "ordered"`,
		`{"map":"m","kind":null}`:            `expected a string as field "kind"`,
		`{"map":null,"kind":"hash"}`:         `found kind "hash" of the unnamed map, expected none`,
		`{"map":1,"kind":"hash"}`:            `expected a string as field "map"`,
		`{"map64":null,"kind":"hash"}`:       `expected a string as field "map64"`,
		`{"map":"m","map64":"","kind":"x"}`:  "already given",
		`{"map":null,"map":"m"}`:             "already given",
		`{"map64":"?","kind":"hash"}`:        "base64",
		`{"map":null,"key":"k","value":"v"}`: "a key or value beside the field map",
		`{"map":"m","kind":"hash","key":""}`: "a key or value beside the field map",
		`{"map":"` + strings.Repeat("m", shm.MaxName+1) + `","kind":"hash"}`: "too large",
		`{"key":"` + strings.Repeat("k", shm.MaxKey+1) + `","value":""}`:     "too large",
	} {
		_, err := parseLine([]byte(line))
		require.ErrorContains(t, err, want, line)
	}
}
