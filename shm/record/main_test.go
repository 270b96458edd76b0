package record

import (
	"os"
	"testing"

	"github.com/seed-869cc763/shmkv/internal/testdir"
	"github.com/seed-869cc763/shmkv/internal/testproc"
)

// children are what the test binary may be as a child.
var children = map[string]func(){}

func TestMain(m *testing.M) {
	testproc.RunChild(children)
	os.Exit(testdir.Main(m))
}
