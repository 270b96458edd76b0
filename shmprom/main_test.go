package shmprom_test

import (
	"os"
	"testing"

	"github.com/seed-869cc763/shmkv/internal/testdir"
)

func TestMain(m *testing.M) {
	os.Exit(testdir.Main(m))
}
