package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The help of each verb that selects keys states that it reads all entries, in the text and
// with the flags.
func TestMatchHelp(t *testing.T) {
	for _, verb := range []string{"del", "dump", "get", "keys"} {
		code, help, _ := runs("", verb, "--help")
		require.Equal(t, exitOK, code)
		require.Contains(t, help, matchHelp, verb)
		require.Regexp(t, `\n +--glob PATTERN .*all entries are read\n`, help, verb)
		require.Regexp(t, `\n +--prefix P .*all entries are read\n`, help, verb)
	}
	require.Contains(t, strings.ReplaceAll(matchHelp, "\n", " "), "all entries are read, however few are selected")
}

func TestGlob(t *testing.T) {
	for glob, keys := range map[string]struct{ yes, no []string }{
		"":            {[]string{""}, []string{"a"}},
		"*":           {[]string{"", "a", "a/b", "\n", "\xff\xfe", "ü"}, nil},
		"user:*":      {[]string{"user:", "user:1", "user:1/x"}, []string{"user", "auser:1"}},
		"*.go":        {[]string{".go", "a/b.go"}, []string{"ago", "a.gob"}},
		"a?c":         {[]string{"abc", "aüc", "a\nc", "a\xffc", "a.c"}, []string{"ac", "abbc"}},
		"[a-c]x":      {[]string{"ax", "cx"}, []string{"dx", "-x", "x"}},
		"[!a-c]x":     {[]string{"dx", "-x"}, []string{"ax", "x"}},
		"[^a-c]":      {[]string{"d", "^"}, []string{"a"}},
		"[]a]":        {[]string{"]", "a"}, []string{"b"}},
		"[!]]":        {[]string{"a"}, []string{"]"}},
		"[a-]":        {[]string{"a", "-"}, []string{"b"}},
		`[\]\-[:.$]`:  {[]string{"]", "-", "[", ":", ".", "$"}, []string{`\`, "a"}},
		"[ä-ü]":       {[]string{"ö"}, []string{"o"}},
		`\*\?\[a\]\\`: {[]string{`*?[a]\`}, []string{"x?[a]\\"}},
		"(a|b)+.$^{}": {[]string{"(a|b)+.$^{}"}, []string{"a", "b"}},
	} {
		re, err := compileGlob(glob)
		require.NoError(t, err, glob)
		for _, key := range keys.yes {
			require.True(t, re.MatchString(key), "%s should match %q", glob, key)
		}
		for _, key := range keys.no {
			require.False(t, re.MatchString(key), "%s should not match %q", glob, key)
		}
	}
	for glob, want := range map[string]string{
		"a[b": "has no ]", "[": "has no ]", "[]": "has no ]", "[!]": "has no ]", `a\`: "nothing follows", "[z-a]": "empty", "\xff": "UTF-8",
	} {
		_, err := compileGlob(glob)
		require.ErrorContains(t, err, want, glob)
		require.Equal(t, exitUsage, exitCode(err))
	}
}
