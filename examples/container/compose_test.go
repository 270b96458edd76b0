// Package container_test reads the compose file and the Dockerfile of this directory, and runs
// what they run, without containers.
package container_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/seed-869cc763/shmkv/internal/testdir"
)

func TestMain(m *testing.M) { os.Exit(testdir.Main(m)) }

const patience = 20 * time.Second

type service struct {
	Build *struct {
		Context    string
		Dockerfile string
	}
	Image     string
	User      string
	Command   []string
	Volumes   []string
	Ports     []string
	ShmSize   string   `yaml:"shm_size"`
	DependsOn []string `yaml:"depends_on"`
	Restart   string
}

type compose struct {
	Services map[string]service
	Volumes  map[string]struct {
		Driver     string
		DriverOpts map[string]string `yaml:"driver_opts"`
	}
}

func read(t *testing.T) (file compose) {
	t.Helper()
	r, err := os.Open("compose.yaml")
	require.NoError(t, err)
	defer func() { require.NoError(t, r.Close()) }()
	d := yaml.NewDecoder(r)
	d.KnownFields(true)
	require.NoError(t, d.Decode(&file))
	return file
}

// programs are the packages that the Dockerfile builds, relative to the root.
func programs(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("Dockerfile")
	require.NoError(t, err)
	m := regexp.MustCompile(`(?m)^RUN .*CGO_ENABLED=0 go build -o /programs/ (.*)$`).FindSubmatch(text)
	require.NotNil(t, m)
	require.Contains(t, string(text), "\nCOPY --from=build /programs/ /bin/\n")
	mod, err := os.ReadFile("../../go.mod")
	require.NoError(t, err)
	language := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindSubmatch(mod)
	require.Contains(t, string(text), "FROM golang:"+string(language[1])+" ", "the Go version of go.mod")
	return strings.Fields(string(m[1]))
}

// The file names services, volumes, images, programs and files that there are.
func TestNames(t *testing.T) {
	file := read(t)
	require.Len(t, file.Services, 4)
	built := map[string]bool{}
	for _, s := range file.Services {
		if s.Build != nil {
			require.FileExists(t, filepath.Join(s.Build.Context, s.Build.Dockerfile))
			require.FileExists(t, filepath.Join(s.Build.Context, "go.mod"))
			built[s.Image] = true
		}
	}
	bin := map[string]bool{}
	for _, p := range programs(t) {
		require.DirExists(t, filepath.Join("../..", p))
		bin["/bin/"+filepath.Base(p)] = true
	}
	for name, s := range file.Services {
		require.NotEmpty(t, s.Command, name)
		require.True(t, !built[s.Image] || bin[s.Command[0]], "%s: the image has no %s", name, s.Command[0])
		for _, other := range s.DependsOn {
			require.Contains(t, file.Services, other, name)
		}
		for _, v := range s.Volumes {
			from, _, _ := strings.Cut(v, ":")
			if strings.HasPrefix(from, ".") {
				require.DirExists(t, from, name)
			} else {
				require.Contains(t, file.Volumes, from, name)
			}
		}
	}
	require.NotEmpty(t, file.Services["prefork"].ShmSize)
	require.Equal(t, "tmpfs", file.Volumes["cache"].DriverOpts["type"])
}

// The commands of the services do what they should, with directories of this host for the mounts.
func TestCommands(t *testing.T) {
	if testing.Short() {
		t.Skip("runs programs that are built without the race detector, and takes seconds")
	}
	file := read(t)
	dir := t.TempDir()
	bin, volume, memory := filepath.Join(dir, "bin")+"/", filepath.Join(dir, "cache"), filepath.Join(dir, "shm")
	for _, d := range []string{volume, memory} {
		require.NoError(t, os.Mkdir(d, 0o700))
	}
	build := exec.Command("go", append([]string{"build", "-o", bin}, programs(t)...)...)
	build.Dir = "../.."
	build.Env = testdir.GoEnv()
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)

	here := strings.NewReplacer("/cache/", volume+"/", "/dev/shm/", memory+"/", "/example/", "../python/", "/bin/", bin, ":8080", "127.0.0.1:0")
	command := func(name string) *exec.Cmd {
		args := file.Services[name].Command
		for i := range args {
			args[i] = here.Replace(args[i])
		}
		return exec.Command(args[0], args[1:]...)
	}
	background := func(name, appears string) *exec.Cmd {
		t.Helper()
		cmd := command(name)
		cmd.Stderr = os.Stderr
		require.NoError(t, cmd.Start())
		t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
		require.Eventually(t, func() bool {
			_, err := os.Stat(appears)
			return err == nil
		}, patience, 5*time.Millisecond, "%s does not start", name)
		return cmd
	}
	memcached := background("memcached", volume+"/pages.sock")
	out, err = command("go").CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Equal(t, "1000 visits of ann by now\n", string(out))
	if _, err := exec.LookPath("python3"); err != nil {
		t.Logf("python3 is not installed: its service is not run")
	} else {
		out, err = command("python").CombinedOutput()
		require.NoError(t, err, "%s", out)
		require.Contains(t, string(out), ": greeting Hello from Go, ann\n")
	}
	require.NoError(t, memcached.Process.Signal(syscall.SIGTERM))
	require.NoError(t, memcached.Wait())
	prefork := background("prefork", memory+"/pages")
	require.NoError(t, prefork.Process.Signal(syscall.SIGTERM))
	_ = prefork.Wait()
}
