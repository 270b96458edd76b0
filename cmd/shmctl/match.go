package main

import (
	"bytes"
	"fmt"
	"iter"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/seed-869cc763/shmkv/shm"
)

// matchHelp describes the flags that select keys.
const matchHelp = `In --glob, * matches any bytes, ? one character, [a-z] one character of a set, and
[!a-z] one character outside of a set. A \ makes the next character literal. The
pattern must match the whole key. With --prefix as well, a key must match both. A
hash map has no order of keys, so all entries are read, however few are selected. Of
an ordered map only those with the prefix are read.`

// keyMatch selects keys by --prefix and --glob.
type keyMatch struct {
	prefix, glob string
	cmd          *cobra.Command
	re           *regexp.Regexp
}

func (m *keyMatch) flags(cmd *cobra.Command) {
	m.cmd = cmd
	cmd.Flags().StringVar(&m.prefix, "prefix", "", "only keys that begin with `P`; in a hash map all entries are read")
	cmd.Flags().StringVar(&m.glob, "glob", "", "only keys that match `PATTERN`, such as 'user:*'; all entries are read")
}

// given reports whether --prefix or --glob is given.
func (m *keyMatch) given() bool {
	return m.cmd.Flags().Changed("prefix") || m.cmd.Flags().Changed("glob")
}

// compile compiles the pattern. Call it before matches and each.
func (m *keyMatch) compile() (err error) {
	if m.cmd.Flags().Changed("glob") {
		m.re, err = compileGlob(m.glob)
	}
	return err
}

func (m *keyMatch) matches(key []byte) bool {
	return bytes.HasPrefix(key, []byte(m.prefix)) && (m.re == nil || m.re.Match(key))
}

// each calls fn for the entries of a map whose keys match.
func (m *keyMatch) each(v mapView, fn func(key, value []byte) error) error {
	if o, ok := v.entries.(*shm.OrderedView); ok && m.prefix != "" {
		return m.among(o.Prefix([]byte(m.prefix)), v.sn, fn)
	}
	return v.each(func(key, value []byte) error {
		if !m.matches(key) {
			return nil
		}
		return fn(key, value)
	})
}

// among calls fn for those of some entries of a snapshot whose keys match.
func (m *keyMatch) among(entries iter.Seq2[[]byte, []byte], sn *shm.Snapshot, fn func(key, value []byte) error) error {
	for key, value := range entries {
		if !m.matches(key) {
			continue
		}
		if err := fn(key, value); err != nil {
			return err
		}
	}
	return sn.Err()
}

// compileGlob translates a pattern to a regular expression. A slash has no special
// meaning.
func compileGlob(glob string) (*regexp.Regexp, error) {
	bad := func(what string) (*regexp.Regexp, error) {
		return nil, usagef("--glob: found %q, expected a pattern: %s", glob, what)
	}
	if !utf8.ValidString(glob) {
		return bad("it is not valid UTF-8")
	}
	var re strings.Builder
	re.WriteString(`(?s)\A`)
	inSet, first := false, false // first: a ] here belongs to the set
	for i := 0; i < len(glob); {
		r, n := utf8.DecodeRuneInString(glob[i:])
		i += n
		literal := first && r == ']'
		if r == '\\' {
			if i == len(glob) {
				return bad(`nothing follows the last \`)
			}
			r, n = utf8.DecodeRuneInString(glob[i:])
			i += n
			literal = true
		}
		first = false
		switch {
		case literal:
			fmt.Fprintf(&re, `\x{%x}`, r)
		case inSet && r == ']':
			re.WriteByte(']')
			inSet = false
		case inSet && r == '-':
			re.WriteByte('-')
		case inSet:
			fmt.Fprintf(&re, `\x{%x}`, r)
		case r == '*':
			re.WriteString(`.*`)
		case r == '?':
			re.WriteByte('.')
		case r == '[':
			re.WriteByte('[')
			inSet, first = true, true
			if strings.HasPrefix(glob[i:], "!") || strings.HasPrefix(glob[i:], "^") {
				re.WriteByte('^')
				i++
			}
		default:
			fmt.Fprintf(&re, `\x{%x}`, r)
		}
	}
	if inSet {
		return bad("a [ has no ]")
	}
	re.WriteString(`\z`)
	compiled, err := regexp.Compile(re.String())
	if err != nil {
		return bad("a range of a set is empty")
	}
	return compiled, nil
}
