// Package text formats numbers, times, names and tables for people, and parses the sizes
// that they type.
//
// A name is the key of an entry or the name of a process. It may contain any bytes. Names
// and values are quoted as in Go if they contain control characters, which a terminal
// would interpret, or newlines.
package text

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/rivo/uniseg"
)

var sizeUnits = []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}

// Size formats a number of bytes, as in 1.5 KiB.
func Size(n int64) string {
	v, unit := float64(n), 0
	for math.Abs(v) >= 1023.95 && unit < len(sizeUnits)-1 {
		v /= 1024
		unit++
	}
	if unit == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", v, sizeUnits[unit])
}

// ParseSize parses a number of bytes, as in 65536, 512MiB or 2g.
func ParseSize(s string) (int64, error) {
	number, unit := s, ""
	if i := strings.IndexFunc(s, unicode.IsLetter); i >= 0 {
		number, unit = strings.TrimSpace(s[:i]), s[i:]
	}
	v, err := strconv.ParseFloat(number, 64)
	factor := 1.0
	known := unit == ""
	for _, name := range sizeUnits {
		known = known || strings.EqualFold(unit, name) || strings.EqualFold(unit+"iB", name)
		if known {
			break
		}
		factor *= 1024
	}
	if v *= factor; err != nil || !known || !(v >= 0 && v < math.MaxInt64) {
		return 0, fmt.Errorf("found %q, expected a size such as 65536, 512MiB or 2GiB", s)
	}
	return int64(v), nil
}

// Count formats a number with commas between groups of three digits.
func Count[N int | int64 | uint64](n N) string {
	digits := fmt.Sprint(n)
	sign := ""
	if digits[0] == '-' {
		sign, digits = "-", digits[1:]
	}
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return sign + digits
}

// Things formats a number of things. one and many are the singular and plural of their
// name.
func Things[N int | int64 | uint64](n N, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return Count(n) + " " + many
}

// Whole formats a number, rounded to an integer.
func Whole(n float64) string { return Count(uint64(math.Round(n))) }

// Ago formats the time from t to now, as in "3 min ago".
func Ago(t, now time.Time) string {
	d := now.Sub(t)
	switch {
	case d < time.Second:
		return "now"
	case d < time.Minute:
		return fmt.Sprintf("%d s ago", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%d min ago", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h ago", d/time.Hour)
	}
	return fmt.Sprintf("%d days ago", d/(24*time.Hour))
}

// Printable returns a key, name or value as it is if all its characters are printable.
// If not, or if it is empty or begins with a quote, it returns b quoted as in Go.
func Printable(b []byte) string {
	plain := len(b) > 0 && b[0] != '"' && utf8.Valid(b)
	for _, r := range string(b) {
		plain = plain && unicode.IsPrint(r)
	}
	if plain {
		return string(b)
	}
	return strconv.Quote(string(b))
}

// OneLine returns the text of an error on one line.
func OneLine(err error) string {
	var parts []string
	for line := range strings.Lines(strings.TrimPrefix(err.Error(), "shm: ")) {
		if line = strings.TrimSpace(line); line != "" {
			parts = append(parts, line)
		}
	}
	return strings.Join(parts, "; ")
}

// briefBytes is the number of bytes of a value that Brief shows.
const briefBytes = 64

// Brief returns a value as Printable does. Of a value of more than 64 bytes it returns the
// beginning and the length.
func Brief(b []byte) string {
	if len(b) <= briefBytes {
		return Printable(b)
	}
	n := briefBytes
	for n > briefBytes-utf8.UTFMax && !utf8.RuneStart(b[n]) {
		n-- // do not split a character
	}
	return fmt.Sprintf("%s... (%s bytes)", Printable(b[:n]), Count(len(b)))
}

// Table prints rows in columns. align has a letter for each column: l for left, r for
// right.
func Table(w io.Writer, align string, rows ...[]string) error {
	width := make([]int, len(align))
	for _, row := range rows {
		for i, cell := range row {
			width[i] = max(width[i], uniseg.StringWidth(cell))
		}
	}
	var b strings.Builder
	for _, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			pad := strings.Repeat(" ", width[i]-uniseg.StringWidth(cell))
			if align[i] == 'r' {
				cell, pad = pad+cell, ""
			}
			line.WriteString(cell + pad + "  ")
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}
