package shmkv_test

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// libraryPackages are those that users import.
var libraryPackages = []string{"./shm", "./shm/cache", "./shm/codec", "./shm/codec/gobcodec", "./shm/typed", "./shm/shmexpvar", "./hamt", "./node", "./alloc"}

// What users of the library build, also through other packages, is of few modules.
func TestUsersBuildLittle(t *testing.T) {
	// The test cache counts what the test reads, not what the go command does.
	sources(t)
	_, err := os.ReadFile("go.mod")
	require.NoError(t, err)
	for _, p := range libraryPackages {
		modules := modulesOf(t, p)
		require.Contains(t, modules, module, p)
		for _, m := range modules {
			require.True(t, m == module || slices.Contains(libraryMay, m),
				"%s depends on %s (go mod why -m %s), expected nothing but the standard library and %s", p, m, m, strings.Join(libraryMay, ", "))
		}
	}
	require.Subset(t, modulesOf(t, "./cmd/shmctl"), []string{"github.com/spf13/cobra"}, "other modules would be seen")
}

// modulesOf returns the modules, the standard library not counted, that a package
// depends on.
func modulesOf(t *testing.T, dir string) []string {
	t.Helper()
	var stderr strings.Builder
	list := exec.Command("go", "list", "-deps", "-f", "{{if not .Standard}}{{.Module.Path}}{{end}}", dir)
	list.Stderr = &stderr
	out, err := list.Output()
	require.NoError(t, err, stderr.String())
	modules := strings.Fields(string(out))
	slices.Sort(modules)
	return slices.Compact(modules)
}
