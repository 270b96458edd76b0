package alloc

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/seed-869cc763/shmkv/alloc/region"
)

// TryHugePages puts a huge page behind a file without a name in dir, as Open does
// with Options.HugePages, and returns the reason if that is not possible.
func TryHugePages(dir string) error {
	f, err := os.OpenFile(dir, os.O_RDWR|unix.O_TMPFILE, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	if err := fallocate(f, 0, 0, region.HugePage); err != nil {
		return err
	}
	m, err := region.MapHuge(f, region.HugePage, false)
	if err != nil {
		return err
	}
	defer func() { _ = m.Unmap() }()
	if err := m.Collapse(0, region.HugePage); err != nil {
		return fmt.Errorf("collapsing a huge page: %w", err)
	}
	return nil
}
