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
	k, v, err := parseRecord(line.Bytes())
	require.NoError(t, err, "%s", line.String())
	require.True(t, bytes.Equal(key, k), "%q became %q", key, k)
	require.True(t, bytes.Equal(value, v), "%q became %q", value, v)
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
		key, value, err := parseRecord([]byte(line))
		require.NoError(t, err, line)
		require.Equal(t, want, [2]string{string(key), string(value)}, line)
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
		`{"key":"` + strings.Repeat("k", shm.MaxKey+1) + `","value":""}`: "too large",
	} {
		_, _, err := parseRecord([]byte(line))
		require.ErrorContains(t, err, want, line)
	}
}
