package shmkv_test

import (
	"go/ast"
	"go/build"
	"go/parser"
	"go/token"
	"go/types"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/internal/testdir"
)

// What a target that cannot work lacks, as the compiler says it.
const (
	needs64Bit        = "undefined: shmkv_needs_a_64_bit_processor"
	needsLittleEndian = "undefined: shmkv_needs_a_little_endian_processor"
	needsLinux        = "undefined: shmkv_needs_linux"
)

// refused says for each target what the compiler is to refuse it for; where
// nothing is said the library is to compile.
var refused = map[string][]string{
	"linux/amd64":    nil,
	"linux/arm64":    nil,
	"linux/loong64":  nil,
	"linux/mips64le": nil,
	"linux/ppc64le":  nil,
	"linux/riscv64":  nil,

	"linux/386":    {needs64Bit},
	"linux/arm":    {needs64Bit},
	"linux/mips":   {needs64Bit},
	"linux/mipsle": {needs64Bit},

	"linux/mips64": {needsLittleEndian},
	"linux/ppc64":  {needsLittleEndian},
	"linux/s390x":  {needsLittleEndian},

	"aix/ppc64":       {needsLittleEndian, needsLinux},
	"darwin/amd64":    {needsLinux},
	"darwin/arm64":    {needsLinux},
	"dragonfly/amd64": {needsLinux},
	"freebsd/amd64":   {needsLinux},
	"freebsd/arm":     {needs64Bit, needsLinux},
	"illumos/amd64":   {needsLinux},
	"js/wasm":         {needsLinux},
	"netbsd/amd64":    {needsLinux},
	"openbsd/amd64":   {needsLinux},
	"plan9/amd64":     {needsLinux},
	"solaris/amd64":   {needsLinux},
	"wasip1/wasm":     {needsLinux},
	"windows/386":     {needs64Bit, needsLinux},
	"windows/amd64":   {needsLinux},
}

// Each refusal is a file of the lowest package, for the targets that it refuses.
func TestRefusedTargets(t *testing.T) {
	files, err := filepath.Glob("alloc/region/refuse_*.go")
	require.NoError(t, err)
	require.Len(t, files, 3)
	for target, want := range refused {
		goos, goarch, _ := strings.Cut(target, "/")
		ctx := build.Default
		ctx.GOOS, ctx.GOARCH = goos, goarch
		var got []string
		for _, name := range files {
			match, err := ctx.MatchFile(filepath.Split(name))
			require.NoError(t, err)
			if match {
				got = append(got, complaint(t, name))
			}
		}
		assert.Equal(t, want, got, target)
	}
}

// complaint is what the compiler says about a file.
func complaint(t *testing.T, name string) string {
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, name, nil, parser.SkipObjectResolution)
	require.NoError(t, err)
	var config types.Config
	_, err = config.Check(name, fset, []*ast.File{f}, nil)
	var wrong types.Error
	require.ErrorAs(t, err, &wrong, name)
	return wrong.Msg
}

// A refusal is all that the user of a target gets to see, however much is
// built.
func TestRefusalStandsAlone(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the standard library for other targets, the first time")
	}
	t.Parallel()
	targets := []string{"linux/386", "darwin/arm64"}
	for _, target := range targets[:testdir.Scale(1, 2)] {
		out, err := goFor(target, "build", "./...")
		assert.Error(t, err, target)
		lines := slices.DeleteFunc(strings.Split(strings.TrimSpace(out), "\n"), func(line string) bool {
			return strings.HasPrefix(line, "go: downloading ")
		})
		if assert.Len(t, lines, 2, "%s: %s", target, out) {
			assert.Equal(t, "# "+module+"/alloc/region", lines[0])
			assert.Contains(t, lines[1], refused[target][0], target)
		}
	}
}

// The library compiles for the other processor that is tested; in a long run all of
// the module does, tests too.
func TestCompilesForARM64(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the library for another processor, the first time")
	}
	t.Parallel()
	args := []string{"build", "./shm/..."}
	if testdir.Long() {
		args = []string{"vet", "./..."}
	}
	out, err := goFor("linux/arm64", args...)
	assert.NoError(t, err, out)
}

// goFor runs the go command for a target.
func goFor(target string, args ...string) (string, error) {
	goos, goarch, _ := strings.Cut(target, "/")
	cmd := exec.Command("go", args...)
	cmd.Env = append(os.Environ(), "GOOS="+goos, "GOARCH="+goarch, "GOFLAGS=-buildvcs=false")
	out, err := cmd.CombinedOutput()
	return string(out), err
}
