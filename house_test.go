// Package shmkv_test checks the rules of the house: which package may import
// which, and where the fence around unsafe stands.
package shmkv_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/seed-869cc763/shmkv"

// mayImport says which packages of the module a package may import, tests not
// counted. Imports run downwards.
var mayImport = map[string][]string{
	"shm":                    {"hamt", "btree", "node", "alloc", "alloc/layout", "alloc/region"},
	"shm/cache":              {"shm", "shm/codec", "shm/internal/pair", "alloc/region"},
	"shm/codec":              {},
	"shm/counter":            {"shm"},
	"shm/record":             {"shm"},
	"shm/record/filestorage": {"shm/record"},
	"shm/shmexpvar":          {"shm", "shm/cache"},
	"shm/typed":              {"shm", "shm/codec", "shm/internal/pair"},
	"hamt":                   {"node", "alloc/region"},
	"btree":                  {"node", "alloc/region"},
	"node":                   {"alloc/region"},
	"alloc":                  {"alloc/layout", "alloc/region"},
	"alloc/layout":           {"alloc/region"},
	"alloc/region":           {},
	"cmd/shmctl":             {"shm", "shm/cache", "shm/counter", "shm/record", "shm/record/filestorage", "shm/shmexpvar", "server/count", "server/count/wire", "server/durus", "server/memcache", "cmd/shmctl/internal/daemon", "cmd/shmctl/internal/demo", "cmd/shmctl/internal/doctor", "cmd/shmctl/internal/text"},

	"shm/codec/gobcodec": {},
	"shm/internal/pair":  {"shm/codec", "alloc/region"},

	"server/count":             {"shm", "shm/counter", "server/count/wire", "server/internal/accept"},
	"server/count/countclient": {"server/count/wire"},
	"server/count/wire":        {},
	"server/internal/accept":   {},
	"server/memcache":          {"shm", "shm/cache", "server/internal/accept"},
	"server/durus":             {"shm", "shm/record", "server/internal/accept"},

	"cmd/shmctl/internal/daemon": {},
	"cmd/shmctl/internal/demo":   {"shm", "cmd/shmctl/internal/text", "internal/tempdir"},
	"cmd/shmctl/internal/doctor": {"shm", "cmd/shmctl/internal/text"},
	"cmd/shmctl/internal/text":   {"shm"},

	"examples/internal/exampletest": {"internal/testdir"}, // for tests

	"internal/tempdir":  {},
	"internal/nodetest": {"node", "alloc/region"},             // for tests
	"internal/testdir":  {"internal/tempdir", "alloc/layout"}, // for tests
	"internal/testproc": {},                                   // for tests
}

// The only modules beside the standard library that users of the library get.
var libraryMay = []string{"golang.org/x/sys", "github.com/edsrzf/mmap-go"}

// fence is the package that casts and that uses atomics on shared words.
const fence = "alloc/region"

type source struct {
	dir  string // of the package, in the module
	path string
	test bool
	file *ast.File
}

func (s source) imports() (all []string) {
	for _, spec := range s.file.Imports {
		p, _ := strconv.Unquote(spec.Path.Value)
		all = append(all, p)
	}
	return all
}

// sources parses all Go files of the module, without those of the modules below it.
func sources(t *testing.T) (all []source) {
	fset := token.NewFileSet()
	err := filepath.WalkDir(".", func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			name := d.Name()
			if name == "testdata" || name == "vendor" || isModule(p) && p != "." || len(name) > 1 && strings.HasPrefix(name, ".") {
				return fs.SkipDir
			}
			return nil
		case !strings.HasSuffix(p, ".go"):
			return nil
		}
		f, err := parser.ParseFile(fset, p, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		all = append(all, source{
			dir:  filepath.ToSlash(filepath.Dir(p)),
			path: p,
			test: strings.HasSuffix(p, "_test.go"),
			file: f,
		})
		return nil
	})
	require.NoError(t, err)
	require.Greater(t, len(all), 20, "the tree is not where it should be")
	return all
}

func isModule(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "go.mod"))
	return err == nil
}

func TestImportsRunDownwards(t *testing.T) {
	for _, s := range sources(t) {
		if s.test || s.dir == "." {
			continue
		}
		allowed, known := mayImport[s.dir]
		if !known && strings.HasPrefix(s.dir, "cmd/") {
			allowed, known = mayImport["cmd/shmctl"], true
		}
		if !known && isExample(s.dir) {
			allowed, known = forUsers, true
		}
		require.True(t, known, "%s: package %s has no rule: say in mayImport what it may import", s.path, s.dir)
		for _, imp := range s.imports() {
			if rest, own := strings.CutPrefix(imp, module+"/"); own {
				require.Contains(t, allowed, rest, "%s imports upwards or across", s.path)
			}
		}
	}
}

// isExample reports whether a package is one of the examples, which are what users write:
// they import the packages for users and the standard library only.
func isExample(dir string) bool {
	name, below := strings.CutPrefix(dir, "examples/")
	return below && !strings.Contains(name, "/")
}

// forUsers are the packages that examples may import.
var forUsers = []string{"shm", "shm/cache", "shm/codec", "shm/codec/gobcodec", "shm/counter", "shm/typed"}

func TestExamplesImportWhatUsersDo(t *testing.T) {
	examples := map[string]bool{}
	for _, s := range sources(t) {
		if !isExample(s.dir) {
			continue
		}
		if s.test {
			examples[s.dir] = true
			continue
		}
		require.Equal(t, "main", s.file.Name.Name, s.path)
		for _, imp := range s.imports() {
			first, _, _ := strings.Cut(imp, "/")
			own, _ := strings.CutPrefix(imp, module+"/")
			require.True(t, slices.Contains(forUsers, own) || !strings.Contains(first, "."), "%s imports %s", s.path, imp)
		}
	}
	list, err := os.ReadFile("examples/README.md")
	require.NoError(t, err)
	dirs, err := filepath.Glob("examples/*/main.go")
	require.NoError(t, err)
	require.NotEmpty(t, dirs)
	for _, name := range dirs {
		dir := path.Dir(filepath.ToSlash(name))
		require.True(t, examples[dir] || isModule(dir), "%s has no test", dir)
		require.Contains(t, string(list), "["+path.Base(dir)+"]("+path.Base(dir)+"/", "examples/README.md does not list it")
	}
}

func TestUnsafeStaysInOnePackage(t *testing.T) {
	for _, s := range sources(t) {
		if s.dir != fence {
			require.NotContains(t, s.imports(), "unsafe", "%s", s.path)
			for _, group := range s.file.Comments {
				for _, c := range group.List {
					require.False(t, strings.HasPrefix(c.Text, "//go:linkname"), "%s: linkname", s.path)
				}
			}
		}
	}
}

// Atomic functions work on words of any memory; the atomic types have their
// own, which is Go's.
func TestAtomicsOnSharedWordsStayInOnePackage(t *testing.T) {
	types := []string{"Bool", "Int32", "Int64", "Pointer", "Uint32", "Uint64", "Uintptr", "Value"}
	for _, s := range sources(t) {
		if s.dir == fence || !slices.Contains(s.imports(), "sync/atomic") {
			continue
		}
		name := "atomic"
		for _, spec := range s.file.Imports {
			if spec.Path.Value == `"sync/atomic"` && spec.Name != nil {
				name = spec.Name.Name
			}
		}
		require.NotContains(t, []string{".", "_"}, name, "%s", s.path)
		ast.Inspect(s.file, func(n ast.Node) bool {
			if sel, ok := n.(*ast.SelectorExpr); ok {
				if x, ok := sel.X.(*ast.Ident); ok && x.Name == name {
					require.Contains(t, types, sel.Sel.Name, "%s uses the function atomic.%s", s.path, sel.Sel.Name)
				}
			}
			return true
		})
	}
}

func TestLibraryDependsOnLittle(t *testing.T) {
	for _, s := range sources(t) {
		if s.test || strings.HasPrefix(s.dir, "cmd/") || strings.HasPrefix(s.dir, "examples/") {
			continue
		}
		for _, imp := range s.imports() {
			require.NotEqual(t, "C", imp, "%s: no cgo", s.path)
			first, _, _ := strings.Cut(imp, "/")
			if !strings.Contains(first, ".") || strings.HasPrefix(imp, module+"/") {
				continue
			}
			require.True(t, slices.ContainsFunc(libraryMay, func(m string) bool {
				return imp == m || strings.HasPrefix(imp, m+"/")
			}), "%s imports %s", s.path, imp)
		}
	}
}

// Every package says what it is for, in no more than two screens. The page of the format
// is a reference, and longer.
func TestPackagesAreDocumented(t *testing.T) {
	const twoScreens = 100 // lines
	documented := map[string]bool{}
	for _, s := range sources(t) {
		if s.test {
			continue
		}
		documented[s.dir] = documented[s.dir] || s.file.Doc != nil
		if lines := strings.Count(s.file.Doc.Text(), "\n"); s.dir != "alloc/layout" {
			require.LessOrEqual(t, lines, twoScreens, "%s: the package comment is too long", s.path)
		}
	}
	for dir, ok := range documented {
		require.True(t, ok, "package %s has no package comment", path.Join(module, dir))
	}
}

// The modules of the repository can be required from outside: a directory has the path
// of its module, and what one requires of another is a version that can be tagged. A
// workspace file would take the place of these versions for all who build in a clone.
func TestModulesCanBeRequired(t *testing.T) {
	for _, dir := range []string{"shmprom"} {
		text, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		require.NoError(t, err)
		require.Contains(t, string(text), "module "+module+"/"+dir+"\n")
		require.Regexp(t, `(?m)^\s*(require )?`+regexp.QuoteMeta(module)+` v\d+\.\d+\.\d+$`, string(text))
		require.NotContains(t, string(text), module+" v0.0.0\n", "%s requires a version that there cannot be", dir)
	}
	tracked, err := exec.Command("git", "ls-files", "go.work", "*/go.work").Output()
	if err != nil {
		t.Skipf("not in a clone: %v", err)
	}
	require.Empty(t, string(tracked), "a workspace file is not for all")
}
