package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// No byte of a key that is sent as several bytes counts as another key.
func TestKeyFilter(t *testing.T) {
	for typed, want := range map[string]string{
		"q":                   "q",
		"12?":                 "12?",
		"\x1bOQ1":             "\x1b1", // F2
		"\x1b[A\x1b[Bq":       "\x1b\x1bq",
		"\x1b[15~7":           "\x1b7",
		"\x1b[1;5Cq":          "\x1bq",
		"\x1b\x1b[A":          "\x1b\x1b",
		"\x1bq":               "\x1bq", // Alt and q, or escape and then q
		"\x1b[\x03":           "\x1b\x03",
		"\x1bO\x03q":          "\x1b\x03q",
		"\x1b[200~q\x1b[201~": "\x1bq\x1b",
	} {
		var f keyFilter
		var got []byte
		for _, b := range []byte(typed) {
			if f.passes(b) {
				got = append(got, b)
			}
		}
		require.Equal(t, want, string(got), "%q", typed)
	}
}

func TestCut(t *testing.T) {
	for line, want := range map[string]string{
		"": "", "abcd": "abcd", "abcde": "abcd", "größe": "größ", "日本語": "日本", "a日本": "a日", "e\u0301e\u0301eee": "e\u0301e\u0301ee",
	} {
		require.Equal(t, want, cut(line, 4))
	}
	require.Empty(t, cut("abc", 0))
}
