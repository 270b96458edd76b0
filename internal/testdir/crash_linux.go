package testdir

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"github.com/seed-869cc763/shmkv/alloc/layout"
)

// CrashSystem makes a store, which nobody has open, look as if it had been open on a disk
// when the system crashed: the next handle recovers it.
func CrashSystem(t testing.TB, store string) {
	t.Helper()
	for name, off := range map[string]int64{"data": layout.OffBoot, "procs": layout.OffProcsBoot} {
		f, err := os.OpenFile(filepath.Join(store, name), os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		b := binary.LittleEndian.AppendUint64(nil, uint64(layout.BootOf("the boot before")))
		_, err = f.WriteAt(b, off)
		if e := f.Close(); err == nil {
			err = e
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}
