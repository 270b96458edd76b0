package text

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestSize(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1536: "1.5 KiB", 1<<20 - 1: "1.0 MiB", 64 << 30: "64.0 GiB", math.MaxInt64: "8.0 EiB",
	} {
		require.Equal(t, want, Size(n))
	}
}

func TestParseSize(t *testing.T) {
	for s, want := range map[string]int64{"0": 0, "4096": 4096, "1KiB": 1024, "1k": 1024, "1.5 MiB": 3 << 19, "2g": 2 << 30, "7B": 7} {
		n, err := ParseSize(s)
		require.NoError(t, err, s)
		require.Equal(t, want, n, s)
	}
	for _, s := range []string{"", "MiB", "-1", "1KB2", "1 parsec", "NaN", "1e30", "16EiB"} {
		_, err := ParseSize(s)
		require.Error(t, err, s)
	}
}

func TestCount(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", -1234567: "-1,234,567", 123456: "123,456"} {
		require.Equal(t, want, Count(n))
	}
}

func TestAgo(t *testing.T) {
	now := time.Now()
	for d, want := range map[time.Duration]string{
		-time.Hour: "now", 0: "now", 59 * time.Second: "59 s ago", 90 * time.Second: "1 min ago", 3 * time.Hour: "3 h ago", 50 * time.Hour: "2 days ago",
	} {
		require.Equal(t, want, Ago(now.Add(-d), now))
	}
}

func TestPrintable(t *testing.T) {
	for s, want := range map[string]string{
		"user:1": "user:1", "größe": "größe", "": `""`, "a\nb": `"a\nb"`, "\xff": `"\xff"`, `"`: `"\""`, "\x1b[0m": `"\x1b[0m"`,
	} {
		require.Equal(t, want, Printable([]byte(s)))
	}
}

func TestTable(t *testing.T) {
	var b strings.Builder
	require.NoError(t, Table(&b, "lrl", []string{"a", "1", "x"}, []string{"länger", "1000", ""}))
	require.Equal(t, "a          1  x\nlänger  1000\n", b.String())
	b.Reset()
	require.NoError(t, Table(&b, "ll", []string{"日本", "x"}, []string{"e\u0301", "x"})) // 4 columns wide, and 1
	require.Equal(t, "日本  x\ne\u0301     x\n", b.String())
}

func TestBrief(t *testing.T) {
	for value, want := range map[string]string{
		"":                            `""`,
		"plain":                       "plain",
		strings.Repeat("x", 64):       strings.Repeat("x", 64),
		strings.Repeat("x", 65):       strings.Repeat("x", 64) + "... (65 bytes)",
		strings.Repeat("x", 63) + "ü": strings.Repeat("x", 63) + "... (65 bytes)", // not half of the last character
		strings.Repeat("\x80", 2000):  `"` + strings.Repeat(`\x80`, 60) + `"... (2,000 bytes)`,
	} {
		require.Equal(t, want, Brief([]byte(value)))
	}
}
