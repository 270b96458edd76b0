//go:build !shmhook && !race

package shm

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/internal/testdir"
)

// A typeChecker tells whether a package builds with one source file patched. It takes
// much less time than a build.
type typeChecker struct {
	files    *token.FileSet
	imports  types.Importer
	packages map[string]*listedPackage // by directory
}

type listedPackage struct {
	ImportPath, Dir, Export string
	GoFiles                 []string
}

// newTypeChecker returns a typeChecker of the module at root, with these build tags.
func newTypeChecker(t *testing.T, root, tags string) *typeChecker {
	cmd := exec.Command("go", "list", "-export", "-deps", "-json=ImportPath,Dir,Export,GoFiles", "-tags="+tags, "./shm/cache", "./btree")
	cmd.Dir = root
	cmd.Env = append(testdir.GoEnv(), "GOFLAGS=-buildvcs=false")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	c := &typeChecker{files: token.NewFileSet(), packages: map[string]*listedPackage{}}
	exports := map[string]string{}
	for decoder := json.NewDecoder(out); ; {
		var p listedPackage
		if err := decoder.Decode(&p); err == io.EOF {
			break
		} else {
			require.NoError(t, err)
		}
		c.packages[p.Dir], exports[p.ImportPath] = &p, p.Export
	}
	require.NoError(t, cmd.Wait())
	c.imports = importer.ForCompiler(c.files, "gc", func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) })
	return c
}

// check returns the first error in the package of the file at path, if the file's text is
// source.
func (c *typeChecker) check(path, source string) error {
	p := c.packages[filepath.Dir(path)]
	if p == nil {
		return fmt.Errorf("found no package in %s", filepath.Dir(path))
	}
	var files []*ast.File
	found := false
	for _, name := range p.GoFiles {
		name = filepath.Join(p.Dir, name)
		var text any
		if name == path {
			text, found = source, true
		}
		f, err := parser.ParseFile(c.files, name, text, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		files = append(files, f)
	}
	if !found {
		return fmt.Errorf("%s is not built", path)
	}
	config := types.Config{Importer: c.imports, Sizes: types.SizesFor("gc", "amd64")}
	_, err := config.Check(p.ImportPath, c.files, files, nil)
	return err
}
